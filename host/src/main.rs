//! Parse the arguments, call the subcommand, map its answer to an exit code; nothing else.

use std::process::ExitCode;

/// A tenth of what a mail costs is memory that is taken and given back, by several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bewit::cli::main()
}
