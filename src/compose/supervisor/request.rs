//! What verbs change: what the stack shall be, written down first, and which replicas are wanted for that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::goal::{Back, Goal};
use super::place::{self, Desired};
use super::replica::{Replica, Settings};
use super::{Member, Stack, network};
use crate::compose::bundle::{Bundle, Source};
use crate::compose::model::Project;
use crate::compose::protocol::{Answer, Down, Request, Up};
use crate::error::{Error, Kind, Result};
use crate::net;

/// Which containers that run already are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replace {
    /// Those that are not what the file says.
    Changed,
    All,
    None,
}

impl Stack {
    /// Does what a client asks for, as far as that can be done at once.
    pub(super) fn handle(&mut self, client: u64, request: Request, now: Instant) {
        let goal = match request {
            Request::Up(up) => {
                self.cancel_goals("up");
                self.up(client, &up, now)
            }
            Request::Down(down) => {
                self.cancel_goals("down");
                self.bring_down(down, now);
                let down = true;
                Ok(Some(Goal {
                    down,
                    ..Goal::of(client)
                }))
            }
            Request::Stop { services, grace } => self.stop_services(client, &services, grace, now),
            Request::Start { services, wait } => self.start_services(client, &services, wait, now),
            Request::Restart { services, grace } => self.restart_services(client, &services, grace, now),
            Request::Scale { replicas } => self.scale(client, &replicas, now),
            Request::Ps => {
                let replicas = self.status(now);
                self.clients.answer(client, &Answer::Replicas(replicas));
                Ok(None)
            }
            Request::Subscribe => Ok(None),
        };
        match goal {
            Ok(goal) => self.goals.extend(goal),
            Err(error) => self.clients.answer(client, &Answer::Error(error)),
        }
    }

    fn up(&mut self, client: u64, up: &Up, now: Instant) -> Result<Option<Goal>> {
        let project = &up.project;
        if project.name != self.name {
            return Err(Error::invalid("project", "is another one's"));
        }
        let selected = closure(project, &up.services)?;
        let before = self.desired.clone().filter(|desired| desired.down.is_none());
        let desired = wish(before.as_ref(), up, &selected)?;
        // Whatever is wrong with bundles, users, configs is told before anything is done.
        self.hashes(&desired, &selected)?;
        self.place.create()?;
        self.place.save(&desired)?;
        let (networks, made) = self.ensure_networks(&desired, &selected);
        let back = Back {
            desired: before,
            members: self.members.keys().cloned().collect(),
            networks,
        };
        if let Err(error) = made {
            self.remove_networks(Some(&back.networks))?;
            match &back.desired {
                Some(before) => self.place.save(before)?,
                None => self.place.clear()?,
            }
            return Err(error);
        }
        // Whatever was killed beside us: netd, or a command between two of its steps.
        if let Err(error) = net::reconcile(&self.dirs) {
            self.warn(error.to_string());
        }
        self.desired = Some(desired);
        // Asked on its way out, it stays.
        self.over = false;
        let orphans = self.lay_out(now);
        if up.remove_orphans {
            for id in &orphans {
                self.let_go(id, now, None);
            }
        } else if !orphans.is_empty() {
            let ids: Vec<&str> = orphans.iter().map(String::as_str).collect();
            self.warn(format!(
                "the file does not know the services of {}; --remove-orphans removes them",
                ids.join(", ")
            ));
        }
        let replace = match (up.force_recreate, up.no_recreate) {
            (true, _) => Replace::All,
            (false, true) => Replace::None,
            (false, false) => Replace::Changed,
        };
        let running = self.bring_up(&selected, replace, now)?;
        self.tell_running(&running);
        Ok(Some(Goal {
            gone: if up.remove_orphans {
                orphans
            } else {
                BTreeSet::new()
            },
            running,
            healthy: up.wait,
            deadline: up.patience.map(|patience| now + patience),
            back: Some(back),
            ..Goal::of(client)
        }))
    }

    /// What every replica of these services would be made of. Errors of all kinds come to light here.
    fn hashes(&self, desired: &Desired, selected: &BTreeSet<String>) -> Result<BTreeMap<String, String>> {
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

    /// Everything goes.
    pub(super) fn bring_down(&mut self, down: Down, now: Instant) {
        let grace = down.grace;
        match &mut self.desired {
            Some(desired) => desired.down = Some(down),
            None => {
                // Nobody has said what it shall be, so there is nothing; whoever asked is told so.
                self.clients.dismiss();
                return;
            }
        }
        if let Err(error) = self.save() {
            self.warn(error.to_string());
        }
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            self.let_go(&id, now, grace);
        }
    }

    fn stop_services(
        &mut self,
        client: u64,
        services: &[String],
        grace: Option<Duration>,
        now: Instant,
    ) -> Result<Option<Goal>> {
        let selected = self.known(services)?;
        if let Some(desired) = &mut self.desired {
            desired.stopped.extend(selected.iter().cloned());
        }
        self.save()?;
        let mut gone = BTreeSet::new();
        for (id, member) in &mut self.members {
            if selected.contains(&member.service.name) {
                member.replica.unwant(now, grace);
                gone.insert(id.clone());
            }
        }
        Ok(Some(Goal {
            gone,
            ..Goal::of(client)
        }))
    }

    fn start_services(
        &mut self,
        client: u64,
        services: &[String],
        wait: bool,
        now: Instant,
    ) -> Result<Option<Goal>> {
        let selected = self.known(services)?;
        let running = self.want_again(&selected, Replace::None, now)?;
        self.tell_running(&running);
        let healthy = wait;
        Ok(Some(Goal {
            running,
            healthy,
            ..Goal::of(client)
        }))
    }

    fn restart_services(
        &mut self,
        client: u64,
        services: &[String],
        grace: Option<Duration>,
        now: Instant,
    ) -> Result<Option<Goal>> {
        let selected = self.known(services)?;
        let running = self.want_again(&selected, Replace::All, now)?;
        for id in &running {
            if let (Some(member), Some(grace)) = (self.members.get_mut(id), grace) {
                member.replica.set_grace(grace);
            }
        }
        Ok(Some(Goal {
            running,
            ..Goal::of(client)
        }))
    }

    fn want_again(
        &mut self,
        selected: &BTreeSet<String>,
        replace: Replace,
        now: Instant,
    ) -> Result<BTreeSet<String>> {
        let Some(desired) = &mut self.desired else {
            return Ok(BTreeSet::new());
        };
        desired.stopped.retain(|service| !selected.contains(service));
        let prefix = format!("{}-", self.name);
        let service = |id: &str| Some(id.strip_prefix(&prefix)?.rsplit_once('-')?.0.to_owned());
        desired
            .ended
            .retain(|id, _| !service(id).is_some_and(|service| selected.contains(&service)));
        let wish = desired.clone();
        self.ensure_networks(&wish, selected).1?;
        self.save()?;
        self.lay_out(now);
        self.bring_up(selected, replace, now)
    }

    fn scale(&mut self, client: u64, replicas: &BTreeMap<String, u32>, now: Instant) -> Result<Option<Goal>> {
        let names: Vec<String> = replicas.keys().cloned().collect();
        let selected = self.known(&names)?;
        if let Some(desired) = &mut self.desired {
            desired
                .scale
                .extend(replicas.iter().map(|(name, number)| (name.clone(), *number)));
        }
        let before: BTreeSet<String> = self.members.keys().cloned().collect();
        let running = self.want_again(&selected, Replace::None, now)?;
        let gone = before
            .into_iter()
            .filter(|id| self.members.get(id).is_some_and(|member| member.leaving))
            .collect();
        Ok(Some(Goal {
            running,
            gone,
            ..Goal::of(client)
        }))
    }

    /// The named services, or all.
    fn known(&self, services: &[String]) -> Result<BTreeSet<String>> {
        let Some(desired) = self.desired.as_ref().filter(|desired| desired.down.is_none()) else {
            return Err(
                Error::new(Kind::NotFound, format_args!("project {} is not up", self.name))
                    .hint("start it with `minirun compose up`"),
            );
        };
        let all = &desired.project.services;
        if services.is_empty() {
            return Ok(all.keys().cloned().collect());
        }
        match services.iter().find(|name| !all.contains_key(*name)) {
            Some(unknown) => Err(no_such_service(unknown, &desired.project)),
            None => Ok(services.iter().cloned().collect()),
        }
    }
}

/// What the stack shall be after an `up`.
fn wish(before: Option<&Desired>, up: &Up, selected: &BTreeSet<String>) -> Result<Desired> {
    let project = &up.project;
    if let Some(unknown) = up.scale.keys().find(|name| !project.services.contains_key(*name)) {
        return Err(no_such_service(unknown, project));
    }
    let mut desired = Desired::new(project.clone());
    let unselected = project.services.keys().filter(|name| !selected.contains(*name));
    for name in unselected {
        match before.filter(|before| before.project.services.contains_key(name)) {
            // What runs beside what was asked for goes on as it is.
            Some(before) => {
                desired
                    .scale
                    .extend(before.scale.get(name).map(|number| (name.clone(), *number)));
                if before.stopped.contains(name) {
                    desired.stopped.insert(name.clone());
                }
            }
            None => {
                desired.stopped.insert(name.clone());
            }
        }
    }
    desired.scale.extend(up.scale.clone());
    Ok(desired)
}

/// The named services with everything that they depend on, or all.
fn closure(project: &Project, services: &[String]) -> Result<BTreeSet<String>> {
    if services.is_empty() {
        return Ok(project.services.keys().cloned().collect());
    }
    let mut pending = services.to_vec();
    let mut selected = BTreeSet::new();
    while let Some(name) = pending.pop() {
        let service = project
            .services
            .get(&name)
            .ok_or_else(|| no_such_service(&name, project))?;
        if selected.insert(name) {
            pending.extend(service.depends_on.keys().cloned());
        }
    }
    Ok(selected)
}

fn no_such_service(name: &str, project: &Project) -> Error {
    let known: Vec<&str> = project.services.keys().map(String::as_str).collect();
    Error::new(Kind::NotFound, format_args!("no such service: {name}")).hint(format_args!(
        "project {} has {}",
        project.name,
        known.join(", ")
    ))
}
