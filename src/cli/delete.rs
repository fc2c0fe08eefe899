//! `minirun delete`.

use super::plain::{Line, Plain};
use crate::container::delete;
use crate::container::store::Store;
use crate::error::Result;
use crate::spec::id::Id;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kill it first; a container that does not exist is no error
    #[arg(short, long)]
    force: bool,
    /// The containers' ids
    #[arg(required = true)]
    id: Vec<Id>,
}

impl Plain for Args {
    const SHORT: &'static [(&'static str, &'static str)] = &[("f", "force")];

    fn take(line: &mut Line) -> Option<Self> {
        Some(Args {
            force: line.flag("force"),
            id: line.words().filter(|ids: &Vec<_>| !ids.is_empty())?,
        })
    }
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    let mut failures = args
        .id
        .iter()
        .filter_map(|id| delete::delete(store, id, args.force).err());
    // All are attempted; the first failure is the command's.
    let first = failures.next();
    failures.for_each(crate::log::warn);
    first.map_or(Ok(0), Err)
}
