//! `run`: create and start in one, and unless detached everything until the container is gone.

use std::os::fd::AsFd;

use super::create::{NewContainer, Starter, create};
use super::delete;
use super::events::{self, Action, Event};
use super::notify::Notifications;
use super::options::Options;
use super::record::Record;
use super::relay::{self, Signals};
use super::start::{hand_on, run_poststart};
use super::store::Store;
use crate::error::{Error, Kind, OsContext, Result};
use crate::init::protocol::ToChild;
use crate::init::{self, parent};
use crate::log;

/// How a container runs, besides what `create` wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Return as soon as it runs.
    pub detach: bool,
    /// Do not delete it when it has ended.
    pub keep: bool,
}

/// Runs a container; its exit status, or 0 when detached.
///
/// # Errors
/// As `create` and `start`; the container is gone then.
pub fn run(store: &Store, options: &Options, mode: Mode) -> Result<u8> {
    let mut signals = if mode.detach {
        None
    } else {
        Some(Signals::block()?)
    };
    let mut container = create(store, options, Starter::Creator)?;
    let started = listen(&container, options).and_then(|notifications| {
        start(&mut container)?;
        Ok(notifications)
    });
    let notifications = match started {
        Ok(notifications) => notifications,
        Err(error) => {
            // A failed poststart hook has deleted it already.
            return Err(if container.entry.path().exists() {
                take_back(&container, error)
            } else {
                error
            });
        }
    };
    let NewContainer {
        record,
        child,
        console,
        plan,
        lock,
        channel,
        ..
    } = container;
    drop((lock, channel));
    let Some(signals) = &mut signals else {
        if let Some(notifications) = notifications {
            notifications.wait(child.pidfd.as_fd(), Some(child.pid.as_raw()))?;
        }
        return Ok(0);
    };
    let notifying = notifications
        .map(|notifications| notifications.wait_beside(child.pidfd.try_clone().os("copy", "a pidfd")?))
        .transpose()?;
    let status = relay::wait(&child, signals, console)?;
    if let Some(thread) = notifying {
        // It has logged what it had to say.
        let _ = thread.join();
    }
    events::publish(store.root(), || {
        vec![Event::of(&record, Action::Die).with("exitCode", status)]
    });
    if !mode.keep {
        remove(store, &record, &plan)?;
    }
    Ok(status)
}

/// Deletes the container as it is now: `network connect` may have added to the record meanwhile. Somebody else may have
/// been quicker, and made another container of this id.
pub(super) fn remove(store: &Store, record: &Record, plan: &init::Plan) -> Result<()> {
    let Ok((_lock, entry)) = store.wait_lock(&record.id) else {
        return Ok(());
    };
    match entry.load() {
        Ok(now) if now.init == record.init => delete::destroy(&entry, &now, Some((&plan.hooks, &plan.state))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        Err(damaged) => {
            log::warn(damaged);
            delete::destroy(&entry, record, Some((&plan.hooks, &plan.state)))
        }
    }
}

/// For those who want to know when the program is ready.
fn listen(container: &NewContainer, options: &Options) -> Result<Option<Notifications>> {
    match &options.notify {
        Some(manager) => Notifications::listen(container.entry.path(), manager.clone()),
        None => Ok(None),
    }
}

fn start(container: &mut NewContainer) -> Result<()> {
    container.channel.tell(ToChild::Start)?;
    parent::started(&container.channel, |listener| {
        hand_on(&container.entry.config()?, &container.record, listener)
    })?;
    events::publish_beside(&container.entry, || {
        vec![Event::of(&container.record, Action::Start)]
    });
    let plan = &container.plan;
    run_poststart(&container.entry, &mut container.record, &plan.hooks, &plan.state)
}

fn take_back(container: &NewContainer, error: Error) -> Error {
    let NewContainer {
        entry, record, plan, ..
    } = container;
    match delete::destroy(entry, record, Some((&plan.hooks, &plan.state))) {
        Ok(()) => error,
        Err(remains) => error.hint(remains),
    }
}
