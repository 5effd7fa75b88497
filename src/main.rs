//! The `logproc` command: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    logproc::cli::main()
}
