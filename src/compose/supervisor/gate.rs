//! What has to wait for what: starts for dependencies, stops for dependents, creation for networks.

use std::net::IpAddr;

use super::replica::{Gate, Phase};
use super::{Member, Stack, health};
use crate::compose::model::{Condition, Service};
use crate::error::{Error, Kind};
use crate::net::Publish;
use crate::spec::id::Id;

/// How far what a service depends on is.
pub(super) enum Readiness {
    /// The service may start.
    Ready,
    /// Not yet; on which service it waits.
    Waiting(String),
    /// Never, unless somebody does something.
    Failed(Error),
}

impl Stack {
    /// What may be done with this replica.
    pub(super) fn gate(&self, member: &Member) -> Gate {
        Gate {
            create: !self
                .networks_of(&member.service)
                .any(|network| self.stale.contains(network))
                && !self.waits_for_leaving(member),
            start: matches!(self.readiness(&member.service), Readiness::Ready),
            stop: self.may_stop(member),
        }
    }

    /// Whether a replica that goes still has what this one is going to get: a changed file may give a port or an address to
    /// another service.
    fn waits_for_leaving(&self, member: &Member) -> bool {
        let service = &member.service;
        let fixed: Vec<IpAddr> = service
            .networks
            .values()
            .flat_map(|join| [join.ipv4.map(IpAddr::V4), join.ipv6.map(IpAddr::V6)])
            .flatten()
            .collect();
        let mut others = self.members.iter();
        // Most have none of either, and records are files.
        (!service.ports.is_empty() || !fixed.is_empty())
            && !member.replica.exists()
            && others.any(|(id, other)| {
                other.replica.exists()
                    && other.replica.is_ending()
                    && self.has_any(id, &service.ports, &fixed)
            })
    }

    fn has_any(&self, id: &str, ports: &[Publish], addresses: &[IpAddr]) -> bool {
        let record = id.parse::<Id>().and_then(|id| self.store.read(&id));
        record.is_ok_and(|(_, record)| {
            record.attachment.networks.iter().any(|network| {
                let has = |address: &IpAddr| match address {
                    IpAddr::V4(address) => network.address == *address,
                    IpAddr::V6(address) => network.address6 == Some(*address),
                };
                let publishes = |wish: &Publish| {
                    network.ports.iter().any(|port| {
                        let range = wish.host.filter(|_| wish.protocol == port.protocol);
                        range.is_some_and(|range| (range.first..=range.last).contains(&port.host))
                    })
                };
                addresses.iter().any(has) || ports.iter().any(publishes)
            })
        })
    }

    /// Whether everything that a service depends on is as it wants it.
    pub(super) fn readiness(&self, service: &Service) -> Readiness {
        for (name, dependency) in &service.depends_on {
            let members = self
                .members
                .values()
                .filter(|member| member.is_of(name) && !member.leaving);
            for member in members {
                match condition(member, dependency.condition) {
                    Some(Ok(())) => {}
                    None => return Readiness::Waiting(name.clone()),
                    Some(Err(_)) if !dependency.required => {}
                    Some(Err(why)) => {
                        let text = format!("service {} depends on {name}, which {why}", service.name);
                        return Readiness::Failed(Error::new(Kind::WrongState, text));
                    }
                }
            }
        }
        Readiness::Ready
    }

    /// A replica stops when none is left of what depends on it and stops as well.
    fn may_stop(&self, member: &Member) -> bool {
        let service = &member.service.name;
        let mut dependents = self.members.values();
        !dependents.any(|other| {
            let runs = matches!(
                other.replica.phase(),
                Phase::Starting | Phase::Running | Phase::Stopping
            );
            other.service.depends_on.contains_key(service) && runs && other.replica.is_ending()
        })
    }

    /// The real names of a service's networks.
    pub(super) fn networks_of<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a String> {
        let networks = self.desired.as_ref().map(|desired| &desired.project.networks);
        let of_key = move |key| networks.and_then(|networks| networks.get(key));
        service
            .networks
            .keys()
            .filter_map(of_key)
            .map(|network| &network.name)
    }
}

/// Whether one replica fulfils a condition: nothing while that may still change by itself. The error ends a sentence.
fn condition(member: &Member, condition: Condition) -> Option<Result<(), String>> {
    let replica = &member.replica;
    if !replica.is_wanted() && !replica.exists() {
        // A verb has stopped it: whoever starts what depends on it knows.
        return Some(Ok(()));
    }
    if replica.is_done() {
        let end = replica.end().cloned().unwrap_or_default();
        let why = match (&end.failure, end.status) {
            (Some(failure), _) => format!("could not be started: {failure}"),
            (None, Some(status)) => format!("has exited with status {status}{}", member.output.last_words()),
            (None, None) => "has ended while nobody looked".to_owned(),
        };
        return Some(match condition {
            Condition::CompletedSuccessfully if end.is_success() => Ok(()),
            Condition::Started if end.failure.is_none() => Ok(()),
            _ => Err(why),
        });
    }
    if !replica.is_running() {
        return None;
    }
    match condition {
        Condition::Started => Some(Ok(())),
        Condition::CompletedSuccessfully => None,
        Condition::Healthy => match replica.health().map(|health| (health.status(), health.output())) {
            None | Some((health::Status::Healthy, _)) => Some(Ok(())),
            Some((health::Status::Starting, _)) => None,
            Some((health::Status::Unhealthy, output)) => Some(Err(unhealthy(output))),
        },
    }
}

/// What there is to say of an unhealthy replica; the end of a sentence.
pub(super) fn unhealthy(output: &str) -> String {
    match output.trim() {
        "" => "is unhealthy: its health check fails and says nothing".to_owned(),
        output => format!("is unhealthy: its health check says: {output}"),
    }
}
