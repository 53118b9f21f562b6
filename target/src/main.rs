//! `lunkeep-target`: see `lunkeep_target::cli`.

fn main() -> std::process::ExitCode {
    lunkeep_target::cli::main()
}
