//! `update`: other limits for a living container.
//!
//! The control group's files first, then what is remembered; when either fails, all files say what they said before.

use oci_spec::runtime::LinuxResources;

use super::prepare::default_devices;
use super::store::Store;
use crate::cgroup::{Change, DefaultDevices, Limits};
use crate::error::{Error, Kind, Result};
use crate::log;
use crate::spec::id::Id;
use crate::spec::state::Status;

/// Gives a container the limits that `given` has; the others stay as they are.
///
/// # Errors
/// `WrongState` when the container does not live; a value that cannot be had, by its field. Nothing is changed then.
pub fn update(store: &Store, id: &Id, given: &LinuxResources) -> Result<()> {
    let (_lock, entry, record) = store.lock(id)?;
    match entry.status(&record)? {
        Status::Created | Status::Running | Status::Paused => {}
        Status::Creating | Status::Stopped => {
            return Err(Error::new(
                Kind::WrongState,
                format_args!("container not running: {id}"),
            ));
        }
    }
    let spec = entry.config()?;
    let change = Change::new(&entry.resources(&spec)?, given)?;
    let devices = if store.caller().is_rootless() {
        DefaultDevices::Unenforced
    } else {
        default_devices(&spec)?
    };
    let limits = Limits::plan_change(&change, &record.cgroup.layout(), devices)?;
    limits.warnings().iter().for_each(log::warn);
    let undo = record.cgroup.change(&limits)?;
    if let Some(scope) = &record.scope
        && let Err(error) = scope.set(&limits.properties())
    {
        return Err(undo.after(error));
    }
    entry
        .save_resources(change.merged())
        .map_err(|error| undo.after(error))
}
