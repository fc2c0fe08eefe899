//! `pause` and `resume`: the freezer.

use super::events::{self, Action, Event};
use super::store::Store;
use crate::error::{Error, Kind, Result};
use crate::spec::id::Id;
use crate::spec::state::Status;

/// Freezes all processes of a container that runs or is created.
///
/// # Errors
/// `WrongState` otherwise.
pub fn pause(store: &Store, id: &Id) -> Result<()> {
    let (_lock, entry, record) = store.lock(id)?;
    match entry.status(&record)? {
        Status::Running | Status::Created => {
            record.cgroup.freeze()?;
            events::publish(store.root(), || vec![Event::of(&record, Action::Pause)]);
            Ok(())
        }
        status => Err(Error::new(
            Kind::WrongState,
            format_args!("container not running or created: {status}"),
        )),
    }
}

/// Thaws a paused container.
///
/// # Errors
/// `WrongState` when it is not paused.
pub fn resume(store: &Store, id: &Id) -> Result<()> {
    let (_lock, entry, record) = store.lock(id)?;
    match entry.status(&record)? {
        Status::Paused => {
            record.cgroup.thaw()?;
            events::publish(store.root(), || vec![Event::of(&record, Action::Unpause)]);
            Ok(())
        }
        status => Err(Error::new(
            Kind::WrongState,
            format_args!("container not paused: {status}"),
        )),
    }
}
