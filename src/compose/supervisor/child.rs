//! Processes that the supervisor waits for, each by a pidfd: its own children, and those of containers that it adopted.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::error::{OsContext as _, Result};
use crate::process::Process;
use crate::sys::pidfd;

/// What a process is for. A container is meant by its id, and a run of it by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    Create {
        id: String,
    },
    Start {
        id: String,
    },
    Delete {
        id: String,
    },
    /// What fills a new volume.
    Fill {
        volume: String,
    },
    /// What brings names back.
    Reconcile,
    /// The container's first process.
    Init {
        id: String,
        run: u64,
    },
    /// What starts a health check.
    CheckStart {
        id: String,
        run: u64,
    },
    /// The health check.
    Check {
        id: String,
        run: u64,
    },
}

struct Child {
    pid: i32,
    pidfd: OwnedFd,
    job: Job,
    /// Our child, or an adopted process.
    ours: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Children(Vec<Child>);

impl Children {
    /// Waits for a child of ours, which may have ended already.
    pub(super) fn add(&mut self, pid: i32, job: Job) -> Result<()> {
        let pidfd = pidfd::open(Pid::from_raw(pid)).os("open pidfd of", pid)?;
        let ours = true;
        self.0.push(Child {
            pid,
            pidfd,
            job,
            ours,
        });
        Ok(())
    }

    /// Waits for a process that is another's child. False when it has ended already.
    pub(super) fn adopt(&mut self, process: Process, job: Job) -> Result<bool> {
        let Some(pidfd) = process.open()? else {
            return Ok(false);
        };
        let (pid, ours) = (process.pid, false);
        self.0.push(Child {
            pid,
            pidfd,
            job,
            ours,
        });
        Ok(true)
    }

    /// Whether one of them does this.
    pub(super) fn are_at(&self, job: &Job) -> bool {
        self.0.iter().any(|child| child.job == *job)
    }

    /// Kills those that do this. Their ends are heard of as others are.
    pub(super) fn kill(&self, which: impl Fn(&Job) -> bool) {
        for child in self.0.iter().filter(|child| which(&child.job)) {
            // One that has ended already is as well.
            let _ = pidfd::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
        }
    }

    /// The pidfds to poll, in an order that [`Children::reap`] does not depend on.
    pub(super) fn pidfds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|child| child.pidfd.as_fd())
    }

    /// Those that have ended, with their exit statuses as far as they can be known.
    pub(super) fn reap(&mut self) -> Vec<(Job, Option<i32>)> {
        let mut ended = Vec::new();
        self.0.retain(|child| {
            let gone = pidfd::wait_exit(child.pidfd.as_fd(), nix::poll::PollTimeout::ZERO);
            if !gone.unwrap_or(true) {
                return true;
            }
            let status = match child.ours {
                true => wait(child.pid),
                false => reported(&child.pidfd),
            };
            ended.push((child.job.clone(), status));
            false
        });
        ended
    }

    /// Waits for processes that became ours because their parents have ended, and that are nobody's business: hooks'
    /// children, netd. Not while a child of ours runs that leaves a process behind which is going to be known.
    pub(super) fn reap_strays(&self) {
        if self
            .0
            .iter()
            .any(|child| matches!(child.job, Job::Create { .. } | Job::CheckStart { .. }))
        {
            return;
        }
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, peek) {
            match status.pid() {
                Some(pid) if !self.0.iter().any(|child| child.pid == pid.as_raw()) => wait(pid.as_raw()),
                // One of those that we know: its time will come.
                _ => return,
            };
        }
    }
}

/// The exit status of a child that has ended: 128 and the number after a signal.
fn wait(pid: i32) -> Option<i32> {
    loop {
        return match waitpid(Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, code)) => Some(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as i32),
            Err(Errno::EINTR) => continue,
            _ => None,
        };
    }
}

/// The exit status of another's child, where the kernel keeps it (Linux 6.15) and once its parent has taken note.
fn reported(pidfd: &OwnedFd) -> Option<i32> {
    const ATTEMPTS: u32 = 20;
    (0..ATTEMPTS).find_map(|attempt| {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let status = pidfd::exit_status(pidfd.as_fd()).ok()??;
        let (code, signal) = (status >> 8 & 0xff, status & 0x7f);
        Some(if signal == 0 { code } else { 128 + signal })
    })
}
