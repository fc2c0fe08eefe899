//! The binary: everything is in the library, so that tests can reach it.

use std::process::ExitCode;

use minirun::sys::heap::Heap;

#[global_allocator]
static HEAP: Heap = Heap::new();

fn main() -> ExitCode {
    minirun::cli::main(std::env::args_os())
}
