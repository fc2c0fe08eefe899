//! Clients that wait for services to end: `up` in the foreground. Unlike a goal, a vigil is not overtaken by other verbs.

use std::time::Instant;

use super::{Member, Stack};
use crate::compose::model::Condition;
use crate::compose::protocol::{Answer, Until};

/// One client's.
pub(super) struct Vigil {
    pub(super) client: u64,
    /// All when empty.
    pub(super) services: Vec<String>,
    pub(super) until: Until,
}

impl Stack {
    /// Answers those whose waiting is over.
    pub(super) fn answer_vigils(&mut self, now: Instant) {
        for vigil in std::mem::take(&mut self.vigils) {
            if !self.clients.has(vigil.client) {
                continue;
            }
            if self.is_over(&vigil) {
                let replicas = self.status(now);
                self.clients.answer(vigil.client, &Answer::Replicas(replicas));
            } else {
                self.vigils.push(vigil);
            }
        }
    }

    fn is_over(&self, vigil: &Vigil) -> bool {
        let mut members = self.members.values().filter(|member| {
            let name = &member.service.name;
            !member.orphan && (vigil.services.is_empty() || vigil.services.contains(name))
        });
        match vigil.until {
            Until::AllEnded => members.all(has_ended),
            Until::OneEnded => members.any(|member| has_run(member) && !self.is_done_for_others(member)),
            Until::OneFailed => members.any(|member| has_run(member) && !is_success(member)),
        }
    }

    /// A job that another service waits for: it is meant to end.
    fn is_done_for_others(&self, member: &Member) -> bool {
        let services = self
            .desired
            .iter()
            .flat_map(|desired| desired.project.services.values());
        let mut waiting = services.filter_map(|service| service.depends_on.get(&member.service.name));
        is_success(member)
            && waiting.any(|dependency| dependency.condition == Condition::CompletedSuccessfully)
    }
}

/// Nothing of it is there, and nothing will be unless somebody does something.
fn has_ended(member: &Member) -> bool {
    let replica = &member.replica;
    replica.is_done() || (!replica.is_wanted() && !replica.exists())
}

/// It has ended, and not because nobody has ever wanted it.
fn has_run(member: &Member) -> bool {
    has_ended(member) && member.replica.end().is_some()
}

fn is_success(member: &Member) -> bool {
    member.replica.end().is_some_and(|end| end.is_success())
}
