//! `minirun network rm`.

use crate::error::Result;
use crate::net::{self, Dirs};

/// Remove networks that no container is on
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The networks' names
    #[arg(required = true)]
    network: Vec<String>,
}

pub(super) fn run(dirs: &Dirs, args: &Args) -> Result<()> {
    let mut failures = args
        .network
        .iter()
        .filter_map(|name| match net::remove(dirs, name) {
            Ok(()) => {
                println!("{name}");
                None
            }
            Err(error) => Some(error),
        });
    // All are attempted; the first failure is the command's.
    let first = failures.next();
    failures.for_each(crate::log::warn);
    first.map_or(Ok(()), Err)
}
