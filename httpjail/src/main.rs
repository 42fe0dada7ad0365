//! httpjail: run a command whose only way out is a proxy that judges each HTTP and HTTPS request by rules.

use std::process::ExitCode;

fn main() -> ExitCode {
    httpjail::cli::main()
}
