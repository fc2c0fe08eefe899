//! Health checks: processes in the containers, what they say, and what their ends mean.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};

use super::Stack;
use super::child::Job;
use super::health::Status;
use crate::compose::protocol::Phase;
use crate::container::events;
use crate::error::{OsContext as _, Result, describe};
use crate::process::Process;

/// Of what a health check says, its end is kept.
const CHECK_OUTPUT: usize = 4 << 10;

impl Stack {
    /// Starts one.
    pub(super) fn check(&mut self, id: &str) -> Result<()> {
        let Some(member) = self.members.get(id) else {
            return Ok(());
        };
        let (run, test) = (
            member.run,
            member
                .service
                .healthcheck
                .as_ref()
                .map(|check| check.test.clone()),
        );
        let pid_file = self.place.bundle(id).join("check.pid");
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).os("make", "a pipe")?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).os("set flags of", "a pipe")?;
        let mut command = self.minirun(id, "check");
        command
            .args(["exec", "--detach", "--pid-file"])
            .arg(pid_file)
            .arg(id);
        command.args(test.unwrap_or_default());
        let error = writer.try_clone().os("copy", "a pipe")?;
        command.stdout(writer).stderr(error);
        self.spawn(
            &mut command,
            Job::CheckStart {
                id: id.to_owned(),
                run,
            },
        )?;
        if let Some(member) = self.members.get_mut(id) {
            member.check = Some(Check {
                reader,
                open: true,
                said: Vec::new(),
                pid: None,
                given_up: false,
            });
        }
        Ok(())
    }

    /// Ends the one that is under way.
    pub(super) fn give_up(&mut self, id: &str) -> Result<()> {
        match self.members.get_mut(id).and_then(|member| member.check.as_mut()) {
            Some(check) => {
                check.given_up = true;
                check.end().os("kill health check of", id)
            }
            None => Ok(()),
        }
    }

    pub(super) fn check_started(&mut self, id: &str, run: u64, status: Option<i32>, now: Instant) {
        let result = self
            .result(id, "check", status)
            .map_err(|error| error.to_string());
        let Some(member) = self.members.get_mut(id).filter(|member| member.run == run) else {
            return;
        };
        let started = result.and_then(|()| {
            let path = self.place.bundle(id).join("check.pid");
            let text =
                fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
            let pid = text
                .trim()
                .parse::<i32>()
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let id = id.to_owned();
            self.children
                .add(pid, Job::Check { id, run })
                .map_err(|error| error.to_string())?;
            Ok(pid)
        });
        match started {
            Ok(pid) => {
                if let Some(check) = &mut member.check {
                    check.pid = Some(pid);
                    if check.given_up {
                        // It has taken too long to start.
                        let _ = check.end();
                    }
                }
            }
            Err(failure) => self.checked(id, Some(failure), now),
        }
    }

    pub(super) fn check_ended(&mut self, id: &str, run: u64, status: Option<i32>, now: Instant) {
        let Some(member) = self.members.get_mut(id).filter(|member| member.run == run) else {
            return;
        };
        let said = member.check.take().map(Check::finish).unwrap_or_default();
        let failure = match status {
            Some(0) => None,
            _ if !said.is_empty() => Some(said),
            Some(status) => Some(format!("(nothing, and ends with status {status})")),
            None => Some("(nothing)".to_owned()),
        };
        self.checked(id, failure, now);
    }

    fn checked(&mut self, id: &str, failure: Option<String>, now: Instant) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.check = None;
        // A container that has just ended fails its check with whatever was gone first: its end says more.
        let alive = |pid| {
            Process::of(Pid::from_raw(pid))
                .and_then(Process::is_alive)
                .unwrap_or(false)
        };
        let ending =
            |said: &String| said.contains(&describe(Errno::ESRCH)) || !member.init.is_some_and(alive);
        if failure.as_ref().is_some_and(ending) {
            member.replica.unchecked(now);
            return;
        }
        if !member.replica.checked(now, failure) {
            return;
        }
        let Some(health) = member.replica.health() else {
            return;
        };
        let (phase, said) = match health.status() {
            Status::Healthy => (Phase::Healthy, String::new()),
            _ => (Phase::Unhealthy, health.output().to_owned()),
        };
        let word = phase.word().to_lowercase();
        self.tell_replica(id, phase, said);
        self.publish(id, (events::Action::HealthStatus, "healthStatus", word));
    }
}

/// A health check that is under way.
pub(super) struct Check {
    reader: OwnedFd,
    /// Somebody may write yet.
    open: bool,
    said: Vec<u8>,
    /// Its process, when it is known.
    pid: Option<i32>,
    given_up: bool,
}

impl Check {
    /// To be polled for reading.
    pub(super) fn reader(&self) -> Option<BorrowedFd<'_>> {
        self.open.then(|| self.reader.as_fd())
    }

    fn end(&self) -> nix::Result<()> {
        match self.pid {
            // A child of ours, not waited for yet: nobody else has its number.
            Some(pid) => kill(Pid::from_raw(pid), Signal::SIGKILL),
            None => Ok(()),
        }
    }

    /// Reads what there is. The last of it is kept.
    pub(super) fn read(&mut self) {
        let Ok(copy) = self.reader.try_clone() else {
            return;
        };
        let (mut file, mut buffer) = (File::from(copy), [0; 4096]);
        // A check that never stops writing has its next turn later.
        for _ in 0..16 {
            match file.read(&mut buffer) {
                Ok(0) => {
                    self.open = false;
                    return;
                }
                Ok(length) => self
                    .said
                    .extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
            let beyond = self.said.len().saturating_sub(CHECK_OUTPUT);
            self.said.drain(..beyond);
        }
    }

    fn finish(mut self) -> String {
        self.read();
        String::from_utf8_lossy(&self.said).trim().to_owned()
    }
}
