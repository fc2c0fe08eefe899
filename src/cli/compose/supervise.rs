//! `minirun compose supervise`: what minirun itself starts for a stack.

use crate::compose::supervisor::process;
use crate::container::store::Store;
use crate::error::Result;

/// Keep a stack running; minirun starts this itself
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Args {
    /// The project's name
    project: String,
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    process::run(store, &args.project).map(|()| 0)
}
