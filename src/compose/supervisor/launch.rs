//! Doing what a replica says is due: child processes and signals; and hearing what became of them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Stack;
use super::child::Job;
use super::network;
use super::output::{Ends, Output};
use super::replica::Action;
use crate::compose::bundle::{Bundle, PROJECT, Source};
use crate::compose::protocol::Phase;
use crate::container::{self, events};
use crate::error::{Error, Kind, OsContext as _, Result};
use crate::net;
use crate::spec::id::Id;

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
            Action::Create => member.replica.created(now, Err(error)),
            Action::Start => member.replica.started(now, Err(error)),
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
        if !self.volumes_are_there(id, &project, &service)? {
            return Ok(());
        }
        self.tell_replica(id, Phase::Creating, "");
        let directory = self.place.bundle(id);
        super::place::directory(&directory)?;
        let member = self.members.get_mut(id);
        let (number, fresh) = member.map_or((1, false), |member| {
            (member.number, std::mem::take(&mut member.fresh))
        });
        let bundle = Bundle::of(&Source {
            project: &project,
            service: &service,
            replica: number,
            id,
            directory: &directory,
            layer: &self.place.layer(id),
            networks: &|name| network::hash(&project, name),
        })?;
        bundle.write(fresh)?;
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
            Job::Fill { volume } => self.filled(&volume, status, now),
            Job::Reconcile => self.names_mended(status),
            Job::Init { id, run } => self.init_ended(&id, run, status, now),
            Job::CheckStart { id, run } => self.check_started(&id, run, status, now),
            Job::Check { id, run } => self.check_ended(&id, run, status, now),
        }
    }

    /// What a verb of the runtime came to.
    pub(super) fn result(&self, id: &str, verb: &str, status: Option<i32>) -> Result<()> {
        let path = self.log_of(id, verb);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(&path);
        if status == Some(0) {
            return Ok(());
        }
        Err(crate::log::failure(&text).unwrap_or_else(|| {
            let how = status.map_or_else(String::new, |status| format!(" with status {status}"));
            Error::new(Kind::Program, format_args!("`minirun {verb}` ended{how}"))
        }))
    }

    fn create_ended(&mut self, id: &str, status: Option<i32>, now: Instant) {
        let result = self.result(id, "create", status).and_then(|()| {
            let pid = self.first_process(id)?;
            let run = self.members.get(id).map_or(0, |member| member.run);
            let job = Job::Init {
                id: id.to_owned(),
                run,
            };
            self.children.add(pid, job)?;
            Ok(pid)
        });
        match &result {
            Ok(_) => self.tell_replica(id, Phase::Created, ""),
            Err(error) => self.tell_replica(id, Phase::Failed, error.to_string()),
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
            Err(error) => self.tell_replica(id, Phase::Failed, error.to_string()),
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
        let result = self
            .result(id, "delete", status)
            .map_err(|error| error.to_string());
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
            for own in [self.place.bundle(id), self.place.layer(id)] {
                if let Err(error) = super::place::remove_tree(&own) {
                    crate::log::warn(error);
                }
            }
        } else if done && let Some(desired) = &mut self.desired {
            desired.ended.insert(id.to_owned(), end);
            if let Err(error) = self.save() {
                crate::log::warn(error);
            }
        }
    }

    /// Tells those who watch all containers (`minirun events`).
    pub(super) fn publish(&self, id: &str, (action, attribute, value): (events::Action, &str, String)) {
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
