//! `lunkeep-initiator` as the suites spawn it.

fn main() -> std::process::ExitCode {
    lunkeep_initiator::cli::main()
}
