//! `tidegate`: parse, run, map the outcome to an exit code (sysexits.h).

use std::process::ExitCode;

// Mail is many short-lived buffers of tens of kilobytes on several threads: mimalloc gives memory back and
// keeps threads apart where the system's allocator holds on to both.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::main()
}
