//! `update`: other limits for a living container.
//!
//! The control group's files first, then resctrl's, then what is remembered; when one fails, all files say what they said
//! before.

use oci_spec::runtime::LinuxResources;

use super::members;
use super::prepare::default_devices;
use super::record::Record;
use super::store::{Entry, Store};
use crate::cgroup::{Change, DefaultDevices, Limits};
use crate::error::{Error, Kind, Result};
use crate::log;
use crate::resctrl::{Group, Mount, Schemas};
use crate::spec::id::Id;
use crate::spec::state::Status;

/// Gives a container the limits that `given` has, and shares of caches and memory bandwidth; the others stay as they are.
///
/// # Errors
/// `WrongState` when the container does not live; a value that cannot be had, by its field. Nothing is changed then.
pub fn update(store: &Store, id: &Id, given: &LinuxResources, schemas: Schemas<'_>) -> Result<()> {
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
    let old = entry.resources(&spec)?;
    let change = Change::new(&old, given)?;
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
    // The shares last: the kernel takes them whole or not at all.
    let kept = entry
        .save_resources(change.merged())
        .and_then(|()| share(&entry, &record, schemas))
        .map_err(|error| match entry.save_resources(&old) {
            Ok(()) => error,
            Err(remains) => error.hint(remains),
        });
    kept.map_err(|error| undo.after(error))
}

/// Gives the container's class other shares. A container that was made without one gets one of its own, with all its
/// processes in it, as under runc.
fn share(entry: &Entry, record: &Record, schemas: Schemas<'_>) -> Result<()> {
    if schemas.is_empty() {
        return Ok(());
    }
    if let Some(group) = &record.resctrl {
        return group.change(schemas);
    }
    let mut record = record.clone();
    let made = Group::make_own(Mount::find()?, record.id.clone().as_str(), schemas, |group| {
        record.resctrl = Some(group.clone());
        entry.save(&record)
    });
    let gathered = made.and_then(|group| group.gather(|| members::pids(&record)));
    gathered.map_err(|error| {
        let removed = record.resctrl.take().map_or(Ok(()), |group| group.remove(true));
        match removed.and_then(|()| entry.save(&record)) {
            Ok(()) => error,
            Err(remains) => error.hint(remains),
        }
    })
}
