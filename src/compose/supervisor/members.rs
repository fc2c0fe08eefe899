//! From what the stack shall be to the list of its replicas: which there are, which are wanted, which are replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::place::{self, Desired};
use super::replica::{Replica, Settings};
use super::{Member, Stack, network};
use crate::compose::bundle::{Bundle, Source};
use crate::error::Result;

/// Which containers that run already are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replace {
    /// Those that are not what the file says.
    Changed,
    All,
    None,
}

impl Stack {
    /// What every replica of these services would be made of. Errors of all kinds come to light here.
    pub(super) fn hashes(
        &self,
        desired: &Desired,
        selected: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>> {
        let project = &desired.project;
        let mut hashes = BTreeMap::new();
        for service in selected.iter().filter_map(|name| project.services.get(name)) {
            for replica in 1..=desired.replicas(&service.name) {
                let id = place::id(&self.name, &service.name, replica);
                id.parse::<crate::spec::id::Id>()?;
                let source = Source {
                    project,
                    service,
                    replica,
                    id: &id,
                    directory: &self.place.bundle(&id),
                    layer: &self.place.layer(&id),
                    networks: &|name| network::hash(project, name),
                };
                hashes.insert(id.clone(), Bundle::of(&source)?.hash);
            }
        }
        Ok(hashes)
    }

    /// Makes the list of members what the file says; nobody is wanted by that. Returns those that it does not know.
    pub(super) fn lay_out(&mut self, now: Instant) -> BTreeSet<String> {
        let Some(desired) = self.desired.clone() else {
            return BTreeSet::new();
        };
        for service in desired.project.services.values() {
            for number in 1..=desired.replicas(&service.name) {
                let id = place::id(&self.name, &service.name, number);
                let fresh = || Member::new(service, number, Replica::new(Settings::from(service)));
                let member = self.members.entry(id).or_insert_with(fresh);
                member.orphan = false;
                member.leaving = false;
            }
        }
        let mut orphans = BTreeSet::new();
        let mut surplus = Vec::new();
        for (id, member) in &mut self.members {
            if !desired.project.services.contains_key(&member.service.name) {
                member.orphan = true;
                if member.replica.exists() {
                    orphans.insert(id.clone());
                } else {
                    surplus.push(id.clone());
                }
            } else if member.number > desired.replicas(&member.service.name) {
                surplus.push(id.clone());
            }
        }
        for id in surplus {
            self.let_go(&id, now, None);
        }
        orphans
    }

    /// Wants the replicas of these services as the file says. Returns their ids.
    pub(super) fn bring_up(
        &mut self,
        selected: &BTreeSet<String>,
        replace: Replace,
        now: Instant,
    ) -> Result<BTreeSet<String>> {
        let Some(desired) = self.desired.clone() else {
            return Ok(BTreeSet::new());
        };
        let hashes = self.hashes(&desired, selected)?;
        let mut replaced = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for (id, member) in &mut self.members {
            let Some(service) = desired.project.services.get(&member.service.name) else {
                continue;
            };
            let on_stale = member.networks.iter().any(|network| self.stale.contains(network));
            if !selected.contains(&service.name) || desired.stopped.contains(&service.name) {
                if on_stale && member.replica.exists() {
                    member.replica.replace();
                }
                continue;
            }
            if member.leaving {
                continue;
            }
            member.service = service.clone();
            member.replica.configure(Settings::from(service), now);
            let changed = hashes.get(id).is_some_and(|hash| *hash != member.hash) || on_stale;
            if member.replica.exists()
                && (replace == Replace::All || (replace == Replace::Changed && changed))
            {
                member.replica.replace();
                replaced.insert(service.name.clone());
            }
            member.replica.want();
            ids.insert(id.clone());
        }
        self.replace_dependents(replaced);
        Ok(ids)
    }

    /// Services that are to be restarted with what they depend on.
    fn replace_dependents(&mut self, mut replaced: BTreeSet<String>) {
        let mut known = 0;
        while replaced.len() > known {
            known = replaced.len();
            for member in self.members.values_mut() {
                let mut dependencies = member.service.depends_on.iter();
                let follows = dependencies.any(|(name, how)| how.restart && replaced.contains(name));
                if follows && !replaced.contains(&member.service.name) {
                    replaced.insert(member.service.name.clone());
                }
                if follows && member.replica.exists() && !member.replica.is_ending() {
                    member.replica.replace();
                }
            }
        }
    }

    /// A replica goes for good.
    pub(super) fn let_go(&mut self, id: &str, now: Instant, grace: Option<Duration>) {
        if let Some(member) = self.members.get_mut(id) {
            member.leaving = true;
            member.replica.unwant(now, grace);
        }
    }
}
