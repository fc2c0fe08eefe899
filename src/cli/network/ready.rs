//! `minirun network ready`.

use crate::error::Result;
use crate::net::{self, Dirs};
use crate::spec::id::Id;

/// Say whether others are sent to a container by the aliases that it shares
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container's id
    container: Id,
    /// No more, until said otherwise: its id and its host name still lead to it
    #[arg(long)]
    not: bool,
}

pub(super) fn run(dirs: &Dirs, args: &Args) -> Result<()> {
    net::ready(dirs, args.container.as_str(), !args.not)
}
