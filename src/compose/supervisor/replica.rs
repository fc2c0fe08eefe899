//! One replica's life: what has happened goes in, what to do comes out. Pure: the time is passed in, nothing is started.
//!
//! ```text
//!  Absent --> Creating --> Created --> Starting --> Running --> Stopping
//!    ^            |           |            |           |            |
//!    |            v           v            v           v            v
//!    `------ Removing <--------------------- Ended <----------------'
//! ```
//!
//! A container runs once, so each end, wanted or not, is followed by its removal; whether and when there is a next one is
//! decided in `Absent`. What keeps a replica from being created, started or stopped at once (networks that are being
//! replaced, dependencies, dependents) is the [`Gate`]'s matter.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::health::{Due, Health, Status};
use crate::compose::model::{Healthcheck, Restart};
use crate::error::{Error, Kind};

/// What could not be removed is tried again so much later.
const REMOVE_AGAIN: Duration = Duration::from_secs(1);

/// What the file says of a replica's life. Changing it needs no new container.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What to do when it ends.
    pub restart: Restart,
    /// How to ask whether it works.
    pub health: Option<Healthcheck>,
    /// From the stop signal to SIGKILL.
    pub grace: Duration,
}

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is no container.
    Absent,
    /// It is being created.
    Creating,
    /// It waits to be started.
    Created,
    /// It is being started.
    Starting,
    /// Its program runs.
    Running,
    /// It was told to end.
    Stopping,
    /// Its program has ended.
    Ended,
    /// It is being deleted.
    Removing,
}

/// What the others allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Its networks are as they should be.
    pub create: bool,
    /// What it depends on is ready.
    pub start: bool,
    /// What depends on it has stopped.
    pub stop: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create the container; [`Replica::created`] is waited for.
    Create,
    /// Start it; [`Replica::started`] is waited for.
    Start,
    /// Send its stop signal; [`Replica::exited`] is waited for.
    Stop,
    /// Kill it.
    Kill,
    /// Delete it, by force; [`Replica::deleted`] is waited for.
    Delete,
    /// Start a health check; [`Replica::checked`] is waited for.
    Check,
    /// End the health check that is under way.
    GiveUp,
    /// Whether others find it under the service's name.
    Ready(bool),
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The exit status, 128 and the signal's number after a signal; nothing when nobody saw it.
    pub status: Option<i32>,
    /// Why it could not be created or started.
    pub failure: Option<String>,
    /// Another attempt would fail for the same reason.
    pub lasting: bool,
}

impl End {
    /// Whether it ended as a success.
    pub fn is_success(&self) -> bool {
        self.status == Some(0) && self.failure.is_none()
    }
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Replica {
    settings: Settings,
    phase: Phase,
    wanted: bool,
    /// What there is must be replaced.
    outdated: bool,
    /// It starts only when its dependencies are ready: a verb wants it, and it was not up then.
    held: bool,
    /// The end that comes was asked for by a verb.
    asked: bool,
    /// It has ended and is not started again.
    done: bool,
    backoff: Backoff,
    /// Not created, or deleted again, before.
    due: Option<Instant>,
    kill_at: Option<Instant>,
    /// When the next run may begin, once the remains of this one are gone.
    resume: Option<Instant>,
    started: Option<Instant>,
    /// It ended before anybody heard that it was started.
    early_end: Option<Option<i32>>,
    end: Option<End>,
    health: Option<Health>,
    /// What was last said of its readiness.
    ready: Option<bool>,
}

impl Replica {
    /// One that does not exist, and is not wanted yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Absent,
            wanted: false,
            outdated: false,
            held: false,
            asked: false,
            done: false,
            backoff: Backoff::default(),
            due: None,
            kill_at: None,
            resume: None,
            started: None,
            early_end: None,
            end: None,
            health: None,
            ready: None,
        }
    }

    /// One that was found running since `started`.
    pub fn adopted(settings: Settings, started: Instant, now: Instant) -> Self {
        let health = settings.health.clone();
        Self {
            phase: Phase::Running,
            started: Some(started),
            health: health.map(|health| Health::adopted(health, started, now)),
            wanted: true,
            ..Self::new(settings)
        }
    }

    /// One of which something was found that does not run: it is removed first. An end that nobody saw.
    pub fn remains(settings: Settings, now: Instant) -> Self {
        let mut replica = Self {
            phase: Phase::Ended,
            wanted: true,
            end: Some(End::default()),
            ..Self::new(settings)
        };
        replica.decide(now);
        replica
    }

    /// One that has ended for good before this supervisor came.
    pub fn finished(settings: Settings, status: Option<i32>) -> Self {
        Self {
            wanted: true,
            done: true,
            end: Some(End {
                status,
                ..End::default()
            }),
            ..Self::new(settings)
        }
    }

    /// Takes settings of a changed file.
    pub fn configure(&mut self, settings: Settings, now: Instant) {
        match (&mut self.health, &settings.health) {
            (Some(health), Some(config)) => health.configure(config.clone()),
            (health, config) => {
                let started = self.started.filter(|_| self.phase == Phase::Running);
                *health = config
                    .clone()
                    .zip(started)
                    .map(|(config, started)| Health::adopted(config, started, now));
            }
        }
        self.settings = settings;
    }

    /// A verb wants it to run; one that has ended runs again.
    pub fn want(&mut self) {
        self.wanted = true;
        if self.phase == Phase::Absent {
            self.done = false;
            self.due = None;
            self.backoff = Backoff::default();
            self.end = None;
            self.held = true;
        }
        if matches!(self.phase, Phase::Stopping | Phase::Ended | Phase::Removing) {
            // It comes back when this one is gone.
            self.outdated = true;
            self.held = true;
        }
    }

    /// A verb wants it not to run; `grace` in place of the file's.
    pub fn unwant(&mut self, now: Instant, grace: Option<Duration>) {
        self.wanted = false;
        if let Some(grace) = grace {
            self.settings.grace = grace;
            self.kill_at = self.kill_at.map(|at| at.min(now + grace));
        }
    }

    /// From the stop signal to SIGKILL, from now on.
    pub fn set_grace(&mut self, grace: Duration) {
        self.settings.grace = grace;
    }

    /// What there is must be replaced by a new container.
    pub fn replace(&mut self) {
        if self.phase != Phase::Absent {
            self.outdated = true;
        }
        self.held = true;
    }

    /// What is due. Call until there is nothing more.
    pub fn step(&mut self, now: Instant, gate: Gate) -> Option<Action> {
        let waits = self.due.is_some_and(|due| due > now);
        match self.phase {
            Phase::Absent if self.wanted && !self.done && !waits && gate.create => {
                self.due = None;
                self.ready = None;
                self.phase = Phase::Creating;
                Some(Action::Create)
            }
            Phase::Created if !self.wanted || self.outdated => {
                self.asked = true;
                self.remove()
            }
            Phase::Created if self.settings.health.is_some() && self.ready != Some(false) => {
                self.ready = Some(false);
                Some(Action::Ready(false))
            }
            Phase::Created if !self.held || gate.start => {
                self.held = false;
                self.phase = Phase::Starting;
                Some(Action::Start)
            }
            Phase::Running if (!self.wanted || self.outdated) && gate.stop => {
                self.asked = true;
                self.phase = Phase::Stopping;
                self.kill_at = Some(now + self.settings.grace);
                Some(Action::Stop)
            }
            Phase::Running => self.step_health(now),
            Phase::Stopping if self.kill_at.is_some_and(|at| at <= now) => {
                self.kill_at = None;
                Some(Action::Kill)
            }
            Phase::Ended if !waits => self.remove(),
            _ => None,
        }
    }

    fn remove(&mut self) -> Option<Action> {
        self.due = None;
        self.phase = Phase::Removing;
        Some(Action::Delete)
    }

    fn step_health(&mut self, now: Instant) -> Option<Action> {
        let Some(health) = self.health.as_mut() else {
            // A changed file has taken the check away.
            let hidden = self.ready.take_if(|ready| !*ready);
            return hidden.map(|_| Action::Ready(true));
        };
        let ready = match health.status() {
            Status::Starting => None,
            status => Some(status == Status::Healthy),
        };
        if ready.is_some() && ready != self.ready {
            self.ready = ready;
            return ready.map(Action::Ready);
        }
        health.due(now).map(|due| match due {
            Due::Check => Action::Check,
            Due::GiveUp => Action::GiveUp,
        })
    }

    /// When [`Replica::step`] has something to do though nothing has happened.
    pub fn wake(&self) -> Option<Instant> {
        match self.phase {
            Phase::Absent if self.wanted && !self.done => self.due,
            Phase::Ended => self.due,
            Phase::Stopping => self.kill_at,
            Phase::Running => self.health.as_ref().and_then(Health::wake),
            _ => None,
        }
    }

    /// The container was created, or why not.
    pub fn created(&mut self, now: Instant, result: Result<(), Error>) {
        match result {
            Ok(()) => self.phase = Phase::Created,
            Err(failure) => self.fail(now, &failure),
        }
    }

    /// Its program runs, or why not.
    pub fn started(&mut self, now: Instant, result: Result<(), Error>) {
        match result {
            Ok(()) => {
                self.phase = Phase::Running;
                self.started = Some(now);
                let health = self.settings.health.clone();
                self.health = health.map(|health| Health::new(health, now));
                if let Some(status) = self.early_end.take() {
                    self.exited(now, status);
                }
            }
            Err(failure) => self.fail(now, &failure),
        }
    }

    fn fail(&mut self, now: Instant, failure: &Error) {
        self.early_end = None;
        self.started = None;
        self.end = Some(End {
            status: None,
            failure: Some(failure.to_string()),
            // A system call or a program may have failed because of what was killed meanwhile, and comes back.
            lasting: !matches!(failure.kind(), Kind::Os | Kind::Program | Kind::WrongState),
        });
        self.phase = Phase::Ended;
        self.decide(now);
    }

    /// Its program has ended, with a status if somebody saw it.
    pub fn exited(&mut self, now: Instant, status: Option<i32>) {
        match self.phase {
            Phase::Starting => self.early_end = Some(status),
            Phase::Created => self.fail(now, &Error::new(Kind::WrongState, "ended before it was started")),
            Phase::Running | Phase::Stopping => {
                self.end = Some(End {
                    status,
                    ..End::default()
                });
                self.health = None;
                self.kill_at = None;
                self.phase = Phase::Ended;
                // The wait counts from the end, not from when the remains are gone.
                self.decide(now);
            }
            Phase::Absent | Phase::Creating | Phase::Ended | Phase::Removing => {}
        }
    }

    /// Whether and when there is a next run. Where a verb caused the end it is for verbs to say.
    fn decide(&mut self, now: Instant) {
        if self.asked || self.outdated {
            return;
        }
        let ran = self
            .started
            .take()
            .map(|started| now.saturating_duration_since(started));
        let status = self.end.as_ref().and_then(|end| end.status);
        match self.backoff.next(&self.settings.restart, status, ran) {
            Some(wait) => self.resume = Some(now + wait),
            None => self.done = true,
        }
    }

    /// The container is gone, or why not.
    pub fn deleted(&mut self, now: Instant, result: Result<(), String>) {
        if let Err(failure) = result {
            self.phase = Phase::Ended;
            self.due = Some(now + REMOVE_AGAIN);
            self.end.get_or_insert_default().failure = Some(failure);
            return;
        }
        self.phase = Phase::Absent;
        self.due = self.resume.take();
        if self.asked || self.outdated {
            self.done = false;
            self.due = None;
            self.backoff = Backoff::default();
            if self.wanted {
                self.end = None;
            }
        }
        self.asked = false;
        self.outdated = false;
        self.started = None;
    }

    /// A health check came to nothing: the container was ending under it.
    pub fn unchecked(&mut self, now: Instant) {
        if let Some(health) = &mut self.health {
            health.unchecked(now);
        }
    }

    /// A health check has ended; `failure` is what it said if it failed. True when the status changed.
    pub fn checked(&mut self, now: Instant, failure: Option<String>) -> bool {
        let health = self.health.as_mut();
        health.is_some_and(|health| health.checked(now, failure))
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it is to run.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether there is a container, or the rest of one.
    pub fn exists(&self) -> bool {
        self.phase != Phase::Absent
    }

    /// Whether it runs, and will not be replaced.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running && !self.outdated && self.wanted
    }

    /// Whether what runs is to end, for good or to be replaced.
    pub fn is_ending(&self) -> bool {
        !self.wanted || self.outdated
    }

    /// Whether it has ended and is not started again.
    pub fn is_done(&self) -> bool {
        self.done && self.phase == Phase::Absent
    }

    /// What is known of its health; nothing when it does not run or has no health check.
    pub fn health(&self) -> Option<&Health> {
        self.health.as_ref().filter(|_| self.phase == Phase::Running)
    }

    /// How its last run ended; nothing before, and when a verb has started it since.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Since when it runs.
    pub fn since(&self) -> Option<Instant> {
        self.started
            .filter(|_| matches!(self.phase, Phase::Running | Phase::Stopping))
    }

    /// How often it was restarted in a row.
    pub fn restarts(&self) -> u32 {
        self.backoff.attempts()
    }
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
