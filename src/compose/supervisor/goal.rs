//! What verbs wait for, and the way back of an `up` that fails.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Stack;
use super::gate::{Readiness, unhealthy};
use super::health;
use super::place::Desired;
use crate::compose::protocol::{Answer, Down, Phase};
use crate::error::{Error, Kind, Result};

/// So often a replica that the file wants restarted may fail to start before that is the failure of a verb, when another
/// attempt may be luckier.
const ATTEMPTS: u32 = 4;

/// What a client waits for.
pub(super) struct Goal {
    pub(super) client: u64,
    /// Replicas that shall run, or have ended well.
    pub(super) running: BTreeSet<String>,
    /// They shall be healthy, too.
    pub(super) healthy: bool,
    /// Replicas that shall be gone.
    pub(super) gone: BTreeSet<String>,
    /// The stack shall be gone.
    pub(super) down: bool,
    /// Then it has failed.
    pub(super) deadline: Option<Instant>,
    /// What to return to when it fails.
    pub(super) back: Option<Back>,
    /// It has failed, and is on the way back.
    pub(super) failed: Option<Error>,
}

/// What there was before an `up`.
pub(super) struct Back {
    pub(super) desired: Option<Desired>,
    /// The replicas.
    pub(super) members: BTreeSet<String>,
    /// The networks that it made.
    pub(super) networks: Vec<String>,
}

impl Goal {
    pub(super) fn of(client: u64) -> Self {
        Self {
            client,
            running: BTreeSet::new(),
            healthy: false,
            gone: BTreeSet::new(),
            down: false,
            deadline: None,
            back: None,
            failed: None,
        }
    }
}

impl Stack {
    /// Answers the clients whose goals are reached or cannot be. True when that has changed what the stack shall be.
    pub(super) fn answer_goals(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for mut goal in std::mem::take(&mut self.goals) {
            if goal.failed.is_none() && !self.clients.has(goal.client) {
                // Nobody waits, so nothing is taken back either: the stack goes where it was sent.
                continue;
            }
            match self.judge(&goal, now) {
                None => self.goals.push(goal),
                Some(Ok(())) => match goal.failed.take() {
                    None => self.clients.answer(goal.client, &Answer::Done),
                    Some(error) => self.clients.answer(goal.client, &Answer::Error(error)),
                },
                Some(Err(error)) => match goal.back.take() {
                    None => self.clients.answer(goal.client, &Answer::Error(error)),
                    Some(back) => {
                        self.go_back(back, now);
                        changed = true;
                        goal.failed = Some(error);
                        self.goals.push(goal);
                    }
                },
            }
        }
        self.finish_down();
        changed
    }

    /// Ends the goals of verbs that another verb has overtaken.
    pub(super) fn cancel_goals(&mut self, verb: &str) {
        for goal in std::mem::take(&mut self.goals) {
            let error = goal.failed.unwrap_or_else(|| {
                Error::new(Kind::WrongState, format_args!("overtaken by `compose {verb}`"))
            });
            self.clients.answer(goal.client, &Answer::Error(error));
        }
    }

    /// Nothing while it is not decided.
    fn judge(&self, goal: &Goal, now: Instant) -> Option<Result<()>> {
        if goal.down {
            // Answered when everything is gone.
            return None;
        }
        if goal.failed.is_some() {
            let at_rest = self.members.values().all(|member| {
                let replica = &member.replica;
                match replica.is_wanted() {
                    true => replica.is_running() || replica.is_done() || replica.end().is_some(),
                    false => !replica.exists(),
                }
            });
            let down = self.desired.as_ref().is_none_or(|desired| desired.down.is_some());
            return (at_rest && !down).then_some(Ok(()));
        }
        let mut reached = goal
            .gone
            .iter()
            .all(|id| !self.members.get(id).is_some_and(|member| member.replica.exists()));
        for id in &goal.running {
            match self.judge_replica(id, goal.healthy) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Some(Err(error)),
                None => reached = false,
            }
        }
        if reached {
            return Some(Ok(()));
        }
        let late = goal.deadline.is_some_and(|deadline| deadline <= now);
        late.then(|| Err(self.too_late(goal)))
    }

    fn judge_replica(&self, id: &str, healthy: bool) -> Option<Result<()>> {
        let failed = |text: String| Some(Err(Error::new(Kind::WrongState, text)));
        let Some(member) = self.members.get(id) else {
            return failed(format!("{id} was removed by another command"));
        };
        let (replica, service) = (&member.replica, &member.service.name);
        if !replica.is_wanted() {
            return failed(format!("{id} was stopped by another command"));
        }
        if replica.is_ending() {
            // What there is goes, and another comes.
            return None;
        }
        if let Some((end, failure)) = replica.end().and_then(|end| Some((end, end.failure.as_ref()?))) {
            if !replica.is_done() && !end.lasting && replica.restarts() < ATTEMPTS {
                // What was killed beside it may be back by then.
                return None;
            }
            return failed(format!("service {service}: {id} cannot be started: {failure}"));
        }
        if !replica.is_running() && replica.end().is_none() {
            // Not started yet: what it waits for may never come.
            return match self.readiness(&member.service) {
                Readiness::Failed(error) => Some(Err(error)),
                Readiness::Ready | Readiness::Waiting(_) => None,
            };
        }
        let said = || member.output.last_words();
        if replica.is_done() {
            let end = replica.end().cloned().unwrap_or_default();
            if end.is_success() || !healthy {
                return Some(Ok(()));
            }
            let status = end
                .status
                .map_or_else(|| "unknown".to_owned(), |status| status.to_string());
            return failed(format!(
                "service {service}: {id} has exited with status {status}{}",
                said()
            ));
        }
        if !healthy {
            // It runs, or has run and is between two attempts.
            return (replica.is_running() || replica.end().is_some()).then_some(Ok(()));
        }
        if !replica.is_running() {
            return None;
        }
        match replica.health().map(|health| (health.status(), health.output())) {
            None | Some((health::Status::Healthy, _)) => Some(Ok(())),
            Some((health::Status::Starting, _)) => None,
            Some((health::Status::Unhealthy, output)) => {
                failed(format!("service {service}: {id} {}{}", unhealthy(output), said()))
            }
        }
    }

    fn too_late(&self, goal: &Goal) -> Error {
        let missing: Vec<String> = goal
            .running
            .iter()
            .filter(|id| !matches!(self.judge_replica(id, goal.healthy), Some(Ok(()))))
            .map(|id| {
                let waits = self.members.get(id).map(|member| self.readiness(&member.service));
                match waits {
                    Some(Readiness::Waiting(service)) => format!("{id} (waits for {service})"),
                    _ => id.clone(),
                }
            })
            .collect();
        Error::new(
            Kind::WrongState,
            format_args!("not ready in time: {}", missing.join(", ")),
        )
        .hint("--wait-timeout says how long to wait")
    }

    /// Makes the stack what it was before an `up`.
    fn go_back(&mut self, back: Back, now: Instant) {
        let Some(desired) = back.desired else {
            self.bring_down(Down::default(), now);
            return;
        };
        self.desired = Some(desired);
        if let Err(error) = self.save() {
            self.warn(error.to_string());
        }
        self.lay_out(now);
        let new: Vec<String> = self
            .members
            .keys()
            .filter(|id| !back.members.contains(*id))
            .cloned()
            .collect();
        for id in new {
            self.let_go(&id, now, None);
        }
        let selected: BTreeSet<String> = self
            .desired
            .iter()
            .flat_map(|desired| desired.project.services.keys().cloned())
            .collect();
        if let Err(error) = self.bring_up(&selected, super::members::Replace::Changed, now) {
            self.warn(error.to_string());
        }
        self.unused = back.networks;
    }

    /// The last part of `down`: when no replica is left, the rest goes, and the supervisor with it.
    fn finish_down(&mut self) {
        if self.over || !self.members.is_empty() {
            return;
        }
        let Some(down) = self.desired.as_ref().and_then(|desired| desired.down.clone()) else {
            return;
        };
        let mut failure = self.remove_networks(None);
        if down.volumes {
            failure = failure.and(self.remove_volumes());
        }
        failure = failure.and(self.place.clear());
        for goal in std::mem::take(&mut self.goals) {
            let answer = match (goal.failed, &failure) {
                (Some(error), _) => Answer::Error(error),
                (None, Err(error)) => Answer::Error(error.clone()),
                (None, Ok(())) => Answer::Done,
            };
            self.clients.answer(goal.client, &answer);
        }
        if let Err(error) = failure {
            self.warn(error.to_string());
        }
        self.clients.dismiss();
        self.desired = None;
        self.over = true;
    }

    /// A step that several verbs may wait for has failed.
    pub(super) fn fail_goals(&mut self, error: &Error) {
        let now = Instant::now();
        for mut goal in std::mem::take(&mut self.goals) {
            match goal.back.take().filter(|_| goal.failed.is_none()) {
                Some(back) => {
                    self.go_back(back, now);
                    goal.failed = Some(error.clone());
                    self.goals.push(goal);
                }
                None => self.clients.answer(goal.client, &Answer::Error(error.clone())),
            }
        }
    }

    /// Removes networks that a failed `up` has made, when nobody is on them any more.
    pub(super) fn remove_unused_networks(&mut self) {
        if self.unused.is_empty() {
            return;
        }
        let mut members = self.members.values();
        if members.any(|member| {
            member.replica.exists() && member.networks.iter().any(|name| self.unused.contains(name))
        }) {
            return;
        }
        let unused = std::mem::take(&mut self.unused);
        if let Err(error) = self.remove_networks(Some(&unused)) {
            self.warn(error.to_string());
        }
    }

    /// Tells of replicas that need nothing.
    pub(super) fn tell_running(&mut self, ids: &BTreeSet<String>) {
        for id in ids {
            let runs = self
                .members
                .get(id)
                .is_some_and(|member| member.replica.is_running());
            if runs {
                self.tell_replica(id, Phase::Running, "");
            }
        }
    }
}
