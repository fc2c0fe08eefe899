//! `minirun kill`.

use crate::container::kill;
use crate::container::store::Store;
use crate::error::Result;
use crate::spec::id::Id;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Send it to all processes of the container
    #[arg(short, long)]
    all: bool,
    /// The container's id
    id: Id,
    /// Number or name of the signal
    #[arg(default_value = "TERM", allow_hyphen_values = true)]
    signal: String,
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    let signal = kill::parse_signal(&args.signal)?;
    kill::kill(store, &args.id, signal, args.all).map(|()| 0)
}
