//! The binary: everything is in the library, so that tests can reach it.

use std::process::ExitCode;

use minirun::sys::heap::Program;

#[global_allocator]
static HEAP: Program = Program;

fn main() -> ExitCode {
    minirun::cli::main(std::env::args_os())
}
