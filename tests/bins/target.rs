//! `lunkeep-target` as the suites spawn it.

fn main() -> std::process::ExitCode {
    lunkeep_target::cli::main()
}
