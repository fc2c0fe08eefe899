//! `minirun network prune`.

use crate::error::Result;
use crate::net::{self, Dirs};

/// Remove all networks that no container is on, but for the default one
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Accepted: there is no question to answer
    #[arg(short, long, hide = true)]
    force: bool,
}

pub(super) fn run(dirs: &Dirs, _: &Args) -> Result<()> {
    for name in net::prune(dirs)? {
        println!("{name}");
    }
    Ok(())
}
