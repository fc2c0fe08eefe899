//! `minirun pause` and `minirun resume`.

use crate::container::pause;
use crate::container::store::Store;
use crate::error::Result;
use crate::spec::id::Id;

#[derive(Debug, clap::Args)]
pub(super) struct PauseArgs {
    /// The container's id
    id: Id,
}

#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    /// The container's id
    id: Id,
}

pub(super) fn pause(store: &Store, args: &PauseArgs) -> Result<u8> {
    pause::pause(store, &args.id).map(|()| 0)
}

pub(super) fn resume(store: &Store, args: &ResumeArgs) -> Result<u8> {
    pause::resume(store, &args.id).map(|()| 0)
}
