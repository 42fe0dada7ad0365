//! httpjail: run a command whose only way out is a proxy that judges each HTTP and HTTPS request by rules.

use std::process::ExitCode;

/// So that the proxy knows what its clients make it hold.
#[global_allocator]
static ALLOCATOR: httpjail::Counting = httpjail::Counting;

fn main() -> ExitCode {
    httpjail::main()
}
