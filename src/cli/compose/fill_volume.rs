//! `minirun compose fill-volume`: what a supervisor starts, so that copying keeps nobody waiting.

use std::path::PathBuf;

use crate::compose::volume;
use crate::error::Result;

/// Make a volume from what a service has in its place; minirun starts this itself
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Args {
    /// The volume's name
    name: String,
    /// The service's root file system
    rootfs: PathBuf,
    /// Where in it
    target: String,
}

pub(super) fn run(args: &Args) -> Result<u8> {
    volume::make(&args.name, &args.rootfs, &args.target).map(|()| 0)
}
