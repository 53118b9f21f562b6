//! `lunkeep-initiator`: see `lunkeep_initiator::cli`.

fn main() -> std::process::ExitCode {
    lunkeep_initiator::cli::main()
}
