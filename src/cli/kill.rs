//! `minirun kill`.

use super::plain::{Line, Plain};
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

impl Plain for Args {
    const SHORT: &'static [(&'static str, &'static str)] = &[("a", "all")];

    fn take(line: &mut Line) -> Option<Self> {
        Some(Args {
            all: line.flag("all"),
            id: line.word()?,
            signal: line.word().unwrap_or_else(|| "TERM".to_owned()),
        })
    }
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    let signal = kill::parse_signal(&args.signal)?;
    kill::kill(store, &args.id, signal, args.all).map(|()| 0)
}
