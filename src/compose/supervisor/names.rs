//! Names come back when netd was killed.
//!
//! netd is started by whoever puts a container on a network, and nobody else would miss it: so while replicas are on
//! networks, the supervisor holds a connection to it that hangs up with it. Then `network reconcile` brings the names of
//! all containers back, of this stack and of others.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::Stack;
use super::child::Job;
use crate::error::Result;
use crate::net;

/// When names could not be brought back, they are tried again after so long.
const AGAIN: Duration = Duration::from_secs(2);

/// What names the files of the child process, as an id names those of other verbs. No replica is called so: the names of
/// those have the project's in front.
const FILES: &str = "names";

/// What the supervisor knows of netd.
#[derive(Default)]
pub(super) struct Names {
    watch: Option<OwnedFd>,
    /// It ended, and nothing has been done about it.
    lost: bool,
    /// A reconcile is under way.
    mending: bool,
    /// When the next one may be.
    again: Option<Instant>,
}

impl Names {
    /// Hangs up when netd ends.
    pub(super) fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(|fd| fd.as_fd())
    }

    /// netd has ended.
    pub(super) fn lost(&mut self) {
        self.watch = None;
        self.lost = true;
    }

    /// When there is something to try again.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.again.filter(|_| self.watch.is_none() && !self.mending)
    }
}

impl Stack {
    /// Watches netd, or has it brought back.
    pub(super) fn keep_names(&mut self, now: Instant) {
        if self.names.watch.is_some() || self.names.mending {
            return;
        }
        let mut members = self.members.values();
        if !members.any(|member| member.init.is_some() && !member.networks.is_empty()) {
            // It ends with the last container; the next one starts another.
            self.names = Names::default();
            return;
        }
        if !std::mem::take(&mut self.names.lost) {
            match net::watch_names(&self.dirs) {
                Ok(None) => {}
                Ok(watch) => {
                    self.names.watch = watch;
                    self.names.again = None;
                    return;
                }
                Err(error) => crate::log::warn(error),
            }
        }
        if self.names.again.is_some_and(|at| now < at) {
            return;
        }
        match self.mend_names() {
            Ok(()) => self.names.mending = true,
            Err(error) => crate::log::warn(error.during("bring names back")),
        }
        self.names.again = Some(now + AGAIN);
    }

    fn mend_names(&mut self) -> Result<()> {
        let mut command = self.minirun(FILES, "reconcile");
        command.args(["network", "reconcile"]);
        self.spawn(&mut command, Job::Reconcile)
    }

    /// The reconcile has ended: netd is there to be watched, unless it failed.
    pub(super) fn names_mended(&mut self, status: Option<i32>) {
        self.names.mending = false;
        if let Err(error) = self.result(FILES, "reconcile", status) {
            crate::log::warn(format_args!("names are not back: {error}"));
        }
    }
}
