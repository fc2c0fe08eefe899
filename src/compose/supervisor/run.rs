//! The loop.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Stack;
use super::check::Check;
use super::process::Locks;
use crate::compose::journal::Stream;
use crate::error::{Error, Result};

/// When everything is gone, clients have so long to read their last answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a descriptor that is ready stands for.
enum Ready {
    Output(String, Stream),
    Check(String),
}

impl Stack {
    /// Until everything is gone.
    pub(super) fn run(&mut self, locks: &Locks) -> Result<()> {
        let mut farewell = None;
        loop {
            let now = Instant::now();
            self.settle(now);
            if self.answer_goals(now) {
                // The way back has begun: there is something to settle.
                continue;
            }
            self.answer_vigils(now);
            self.remove_unused_networks();
            self.keep_names(now);
            let nothing = self.over || (self.desired.is_none() && self.members.is_empty());
            if nothing {
                let until = *farewell.get_or_insert(now + FAREWELL);
                if (self.clients.are_gone() || now >= until) && locks.leave(&self.place, &mut self.clients)? {
                    return Ok(());
                }
            } else {
                farewell = None;
            }
            self.wait(now, farewell)?;
        }
    }

    /// Does everything that is due, and what becomes due by that.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut quiet = true;
            let ids: Vec<String> = self.members.keys().cloned().collect();
            for id in ids {
                let Some(gate) = self.members.get(&id).map(|member| self.gate(member)) else {
                    continue;
                };
                let action = self
                    .members
                    .get_mut(&id)
                    .and_then(|member| member.replica.step(now, gate));
                if let Some(action) = action {
                    quiet = false;
                    self.perform(&id, action, now);
                }
            }
            if quiet {
                break;
            }
        }
        self.members
            .retain(|_, member| !member.leaving || member.replica.exists());
        if !self.stale.is_empty() {
            let before = self.stale.len();
            if let Err(error) = self.replace_stale_networks() {
                self.fail_goals(&error);
            }
            if self.stale.len() < before {
                self.settle(now);
            }
        }
    }

    fn wait(&mut self, now: Instant, farewell: Option<Instant>) -> Result<()> {
        let wakes = self.members.values().filter_map(|member| member.replica.wake());
        let deadlines = self.goals.iter().filter_map(|goal| goal.deadline);
        let names = self.names.wake();
        let wake = wakes.chain(deadlines).chain(farewell).chain(names).min();
        let timeout = match wake {
            None => PollTimeout::NONE,
            Some(at) => {
                // Rounded up, or the last millisecond would be spent in circles.
                let milliseconds = at.saturating_duration_since(now).as_micros().div_ceil(1000);
                PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut ready = Vec::new();
        let mut fds: Vec<PollFd<'_>> = self
            .children
            .pidfds()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        fds.extend(self.clients.fds().map(|(fd, flags)| PollFd::new(fd, flags)));
        let first = fds.len();
        let mut meanings = Vec::new();
        for (id, member) in &self.members {
            for (stream, fd) in member.output.sources() {
                fds.push(PollFd::new(fd, PollFlags::POLLIN));
                meanings.push((id, stream));
            }
        }
        let checks = fds.len();
        let mut checked = Vec::new();
        for (id, member) in &self.members {
            if let Some(fd) = member.check.as_ref().and_then(Check::reader) {
                fds.push(PollFd::new(fd, PollFlags::POLLIN));
                checked.push(id);
            }
        }
        let names = fds.len();
        fds.extend(self.names.watch().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::os("wait for", "events", errno)),
        }
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        let outputs = fds.get(first..checks).unwrap_or_default().iter().zip(&meanings);
        ready.extend(
            outputs
                .filter(|(fd, _)| is_ready(fd))
                .map(|(_, (id, stream))| Ready::Output((*id).clone(), *stream)),
        );
        let checks = fds.get(checks..).unwrap_or_default().iter().zip(&checked);
        ready.extend(
            checks
                .filter(|(fd, _)| is_ready(fd))
                .map(|(_, id)| Ready::Check((*id).clone())),
        );
        let netd_ended = fds.get(names).is_some_and(is_ready);
        self.take(ready);
        if netd_ended {
            self.names.lost();
        }
        Ok(())
    }

    fn take(&mut self, ready: Vec<Ready>) {
        for ready in ready {
            match ready {
                Ready::Output(id, stream) => {
                    let read = self.members.get_mut(&id).map(|member| member.output.read(stream));
                    if let Some(Err(error)) = read {
                        crate::log::warn(format_args!("{id}: {error}"));
                    }
                }
                Ready::Check(id) => {
                    if let Some(check) = self.members.get_mut(&id).and_then(|member| member.check.as_mut()) {
                        check.read();
                    }
                }
            }
        }
        let ended = self.children.reap();
        let now = Instant::now();
        for (job, status) in ended {
            self.ended(job, status, now);
        }
        self.children.reap_strays();
        for (client, request) in self.clients.serve() {
            match request {
                Ok(request) => self.handle(client, request, now),
                Err(error) => self
                    .clients
                    .answer(client, &crate::compose::protocol::Answer::Error(error)),
            }
        }
    }
}
