//! `minirun netd DIR`: what minirun itself starts to answer containers' questions for names.

use std::path::PathBuf;

use crate::error::Result;
use crate::netd;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the networks' state
    dir: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<u8> {
    netd::process::run(&args.dir)?;
    Ok(0)
}
