//! `minirun start`.

use super::plain::{Line, Plain};
use crate::container::notify::Manager;
use crate::container::start;
use crate::container::store::Store;
use crate::error::Result;
use crate::spec::id::Id;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container's id
    id: Id,
}

impl Plain for Args {
    fn take(line: &mut Line) -> Option<Self> {
        Some(Args { id: line.word()? })
    }
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    start::start(store, &args.id, Manager::of_caller()?).map(|()| 0)
}
