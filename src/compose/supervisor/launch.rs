//! Doing what a replica says is due: child processes and signals; and hearing what became of them.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};

use super::Stack;
use super::child::Job;
use super::network;
use super::output::{Ends, Output};
use super::replica::Action;
use crate::compose::bundle::{Bundle, PROJECT, Source};
use crate::compose::protocol::Phase;
use crate::container::{self, events};
use crate::error::{Error, Kind, OsContext as _, Result, describe};
use crate::net;
use crate::process::Process;
use crate::spec::id::Id;

/// Of what a health check says, its end is kept.
const CHECK_OUTPUT: usize = 4 << 10;

impl Stack {
    /// Does it. Whatever keeps it from being done is told to the replica as the result.
    pub(super) fn perform(&mut self, id: &str, action: Action, now: Instant) {
        let done = match action {
            Action::Create => self.create(id),
            Action::Start => self.start(id),
            Action::Stop => self.stop(id),
            Action::Kill => signal(self, id, libc::SIGKILL),
            Action::Delete => self.delete(id),
            Action::Check => self.check(id),
            Action::GiveUp => self.give_up(id),
            Action::Ready(ready) => self.set_ready(id, ready),
        };
        let Err(error) = done else {
            return;
        };
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let text = error.to_string();
        match action {
            Action::Create => member.replica.created(now, Err(text.clone())),
            Action::Start => member.replica.started(now, Err(text.clone())),
            Action::Delete => member.replica.deleted(now, Err(text.clone())),
            Action::Check => drop(member.replica.checked(now, Some(text.clone()))),
            // It has ended just now, and its end will be heard of.
            Action::Stop | Action::Kill if error.kind() == Kind::WrongState => {}
            Action::Stop | Action::Kill | Action::GiveUp | Action::Ready(_) => {
                crate::log::warn(format_args!("{id}: {text}"));
            }
        }
        if matches!(action, Action::Create | Action::Start | Action::Delete) {
            self.tell_replica(id, Phase::Failed, text);
        }
    }

    /// Whether a container of this id is not of this project.
    fn is_foreign(&self, id: &str) -> bool {
        let record = id.parse::<Id>().and_then(|id| self.store.read(&id));
        record.is_ok_and(|(_, record)| record.annotations.get(PROJECT) != Some(&self.name))
    }

    fn create(&mut self, id: &str) -> Result<()> {
        if self.is_foreign(id) {
            return Err(Error::new(
                Kind::Exists,
                format_args!("there is a container {id} that is not of project {}", self.name),
            )
            .hint("delete it first or name the project otherwise (--project-name)"));
        }
        let Some(project) = self.desired.as_ref().map(|desired| desired.project.clone()) else {
            return Err(Error::new(Kind::WrongState, "the project is gone"));
        };
        let Some(service) = self.members.get(id).map(|member| member.service.clone()) else {
            return Ok(());
        };
        self.tell_replica(id, Phase::Creating, "");
        self.ensure_volumes(&project, &service)?;
        let directory = self.place.bundle(id);
        super::place::directory(&directory)?;
        let number = self.members.get(id).map_or(1, |member| member.number);
        let bundle = Bundle::of(&Source {
            project: &project,
            service: &service,
            replica: number,
            id,
            directory: &directory,
            networks: &|name| network::hash(&project, name),
        })?;
        bundle.write()?;
        let networks: Vec<String> = self.networks_of(&service).cloned().collect();
        let (output, Ends { stdout, stderr }) =
            Output::create(&directory, &self.place.logs(), id, &service.logging)?;
        let mut command = self.minirun(id, "create");
        command.arg("create").arg("--bundle").arg(&directory).arg(id);
        command.stdout(stdout).stderr(stderr);
        self.spawn(&mut command, Job::Create { id: id.to_owned() })?;
        if let Some(member) = self.members.get_mut(id) {
            member.hash = bundle.hash;
            member.networks = networks;
            member.output = output;
            member.run += 1;
        }
        Ok(())
    }

    fn start(&mut self, id: &str) -> Result<()> {
        self.tell_replica(id, Phase::Starting, "");
        let mut command = self.minirun(id, "start");
        command.args(["start", id]);
        self.spawn(&mut command, Job::Start { id: id.to_owned() })
    }

    fn stop(&mut self, id: &str) -> Result<()> {
        self.tell_replica(id, Phase::Stopping, "");
        let named = self
            .members
            .get(id)
            .and_then(|member| member.service.stop_signal.clone());
        let number = match named {
            Some(name) => container::kill::parse_signal(&name)?,
            None => libc::SIGTERM,
        };
        signal(self, id, number)
    }

    fn delete(&mut self, id: &str) -> Result<()> {
        if self.is_foreign(id) {
            self.delete_ended(id, Some(0), Instant::now());
            return Ok(());
        }
        let mut command = self.minirun(id, "delete");
        command.args(["delete", "--force", id]);
        self.spawn(&mut command, Job::Delete { id: id.to_owned() })
    }

    fn check(&mut self, id: &str) -> Result<()> {
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

    fn give_up(&mut self, id: &str) -> Result<()> {
        match self.members.get_mut(id).and_then(|member| member.check.as_mut()) {
            Some(check) => {
                check.given_up = true;
                check.end().os("kill health check of", id)
            }
            None => Ok(()),
        }
    }

    /// A replica that is not ready leaves the names that it shares with others.
    fn set_ready(&self, id: &str, ready: bool) -> Result<()> {
        match net::ready(&self.dirs, id, ready) {
            // On no network: nobody asks for it.
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            result => result,
        }
    }

    /// This same binary, with the error going to a file of its own: the streams are the container's.
    pub(super) fn minirun(&self, id: &str, verb: &str) -> Command {
        let log = self.log_of(id, verb);
        let _ = fs::remove_file(&log);
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("--root")
            .arg(self.store.root())
            .arg("--log")
            .arg(log)
            .args(["--log-format", "json"])
            // Whether a container is ready is for the supervisor to know, and not for the manager of whoever started it.
            .env_remove("NOTIFY_SOCKET")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn log_of(&self, id: &str, verb: &str) -> PathBuf {
        self.place.run.join(format!("{id}.{verb}.log"))
    }

    pub(super) fn spawn(&mut self, command: &mut Command, job: Job) -> Result<()> {
        let child = command.spawn().os("execute", "minirun")?;
        self.children.add(child.id().cast_signed(), job)
    }

    /// What a child's end means.
    pub(super) fn ended(&mut self, job: Job, status: Option<i32>, now: Instant) {
        match job {
            Job::Create { id } => self.create_ended(&id, status, now),
            Job::Start { id } => self.start_ended(&id, status, now),
            Job::Delete { id } => self.delete_ended(&id, status, now),
            Job::Reconcile => self.names_mended(status),
            Job::Init { id, run } => self.init_ended(&id, run, status, now),
            Job::CheckStart { id, run } => self.check_started(&id, run, status, now),
            Job::Check { id, run } => self.check_ended(&id, run, status, now),
        }
    }

    /// What a verb of the runtime came to.
    pub(super) fn result(
        &self,
        id: &str,
        verb: &str,
        status: Option<i32>,
    ) -> std::result::Result<(), String> {
        let path = self.log_of(id, verb);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(&path);
        if status == Some(0) {
            return Ok(());
        }
        let error = text.lines().rev().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (line["level"] == "error").then(|| line["msg"].as_str().map(str::to_owned))?
        });
        Err(error.unwrap_or_else(|| match status {
            Some(status) => format!("`minirun {verb}` ended with status {status}"),
            None => format!("`minirun {verb}` ended"),
        }))
    }

    fn create_ended(&mut self, id: &str, status: Option<i32>, now: Instant) {
        let result = self.result(id, "create", status).and_then(|()| {
            let pid = self.first_process(id).map_err(|error| error.to_string())?;
            let run = self.members.get(id).map_or(0, |member| member.run);
            let job = Job::Init {
                id: id.to_owned(),
                run,
            };
            self.children.add(pid, job).map_err(|error| error.to_string())?;
            Ok(pid)
        });
        match &result {
            Ok(_) => self.tell_replica(id, Phase::Created, ""),
            Err(error) => self.tell_replica(id, Phase::Failed, error.clone()),
        }
        if let Some(member) = self.members.get_mut(id) {
            member.init = result.as_ref().ok().copied();
            member.replica.created(now, result.map(drop));
        }
    }

    fn first_process(&self, id: &str) -> Result<i32> {
        let parsed: Id = id.parse()?;
        let (_, record) = self.store.read(&parsed)?;
        let init = record.init.map(|init| init.pid);
        init.ok_or_else(|| Error::new(Kind::WrongState, format_args!("container {id} has no process")))
    }

    fn start_ended(&mut self, id: &str, status: Option<i32>, now: Instant) {
        let result = self.result(id, "start", status);
        match &result {
            Ok(()) => self.tell_replica(id, Phase::Started, ""),
            Err(error) => self.tell_replica(id, Phase::Failed, error.clone()),
        }
        if let Some(member) = self.members.get_mut(id) {
            member.replica.started(now, result);
        }
    }

    fn init_ended(&mut self, id: &str, run: u64, status: Option<i32>, now: Instant) {
        let Some(member) = self.members.get_mut(id).filter(|member| member.run == run) else {
            return;
        };
        member.init = None;
        let wanted = member.replica.is_wanted() && !member.replica.is_ending();
        member.replica.exited(now, status);
        let code = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
        self.publish(id, (events::Action::Die, "exitCode", code));
        if wanted {
            let detail = status.map_or_else(String::new, |status| format!("status {status}"));
            self.tell_replica(id, Phase::Exited, detail);
        }
    }

    fn delete_ended(&mut self, id: &str, status: Option<i32>, now: Instant) {
        let result = self.result(id, "delete", status);
        if let Err(error) = &result {
            self.tell_replica(id, Phase::Failed, error.clone());
        }
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let gone = result.is_ok();
        if gone {
            member.init = None;
            member.check = None;
            if let Err(error) = member.output.finish() {
                crate::log::warn(format_args!("{id}: {error}"));
            }
        }
        member.replica.deleted(now, result);
        if !gone {
            return;
        }
        let (leaving, done, wanted) = (
            member.leaving,
            member.replica.is_done(),
            member.replica.is_wanted(),
        );
        let end = member.replica.end().and_then(|end| end.status);
        if leaving || !wanted {
            self.tell_replica(id, if leaving { Phase::Removed } else { Phase::Stopped }, "");
        }
        if leaving {
            self.members.remove(id);
            if let Err(error) = super::place::remove_tree(&self.place.bundle(id)) {
                crate::log::warn(error);
            }
        } else if done && let Some(desired) = &mut self.desired {
            desired.ended.insert(id.to_owned(), end);
            if let Err(error) = self.save() {
                crate::log::warn(error);
            }
        }
    }

    fn check_started(&mut self, id: &str, run: u64, status: Option<i32>, now: Instant) {
        let result = self.result(id, "check", status);
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

    fn check_ended(&mut self, id: &str, run: u64, status: Option<i32>, now: Instant) {
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
            super::health::Status::Healthy => (Phase::Healthy, String::new()),
            _ => (Phase::Unhealthy, health.output().to_owned()),
        };
        let word = phase.word().to_lowercase();
        self.tell_replica(id, phase, said);
        self.publish(id, (events::Action::HealthStatus, "healthStatus", word));
    }

    /// Tells those who watch all containers (`minirun events`).
    fn publish(&self, id: &str, (action, attribute, value): (events::Action, &str, String)) {
        events::publish(self.store.root(), || {
            let record = id.parse::<Id>().and_then(|id| self.store.read(&id));
            let event = record.map(|(_, record)| events::Event::of(&record, action).with(attribute, value));
            event.into_iter().collect()
        });
    }
}

fn signal(stack: &Stack, id: &str, number: i32) -> Result<()> {
    container::kill::kill(&stack.store, &id.parse::<Id>()?, number, false)
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
