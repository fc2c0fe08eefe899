//! What verbs change: what the stack shall be, written down first, and which replicas are wanted for that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Stack;
use super::goal::{Back, Goal};
use super::members::Replace;
use super::place::Desired;
use super::vigil::Vigil;
use crate::compose::model::Project;
use crate::compose::order;
use crate::compose::protocol::{Answer, Down, Request, Up};
use crate::error::{Error, Kind, Result};
use crate::net;

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
            Request::Await { services, until } => {
                self.vigils.push(Vigil {
                    client,
                    services,
                    until,
                });
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
        let selected = selected(project, &up.services)?;
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
        for (_, member) in self.members.iter_mut().filter(|(id, _)| running.contains(*id)) {
            member.fresh |= up.force_recreate;
        }
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
        self.give_volumes_up();
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
fn selected(project: &Project, services: &[String]) -> Result<BTreeSet<String>> {
    if services.is_empty() {
        return Ok(project.services.keys().cloned().collect());
    }
    match services.iter().find(|name| !project.services.contains_key(*name)) {
        Some(unknown) => Err(no_such_service(unknown, project)),
        None => Ok(order::with_dependencies(project, services)
            .into_iter()
            .map(str::to_owned)
            .collect()),
    }
}

fn no_such_service(name: &str, project: &Project) -> Error {
    let known: Vec<&str> = project.services.keys().map(String::as_str).collect();
    Error::new(Kind::NotFound, format_args!("no such service: {name}")).hint(format_args!(
        "project {} has {}",
        project.name,
        known.join(", ")
    ))
}
