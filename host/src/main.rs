//! Parse the arguments, call the subcommand, map its answer to an exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    bewit::cli::main()
}
