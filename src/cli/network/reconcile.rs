//! `minirun network reconcile`.

use crate::error::Result;
use crate::net::{self, Dirs};

/// Bring bridges, firewall, addresses and names back to what definitions and leases say, and print what was amiss
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(dirs: &Dirs, _: &Args) -> Result<()> {
    for repair in net::reconcile(dirs)? {
        println!("{repair}");
    }
    Ok(())
}
