//! The networks of a stack.
//!
//! A network carries the project's name and the hash of what the file said of it as labels. A policy that has changed is
//! brought to the network as it is; anything else that has changed makes it *stale*: its replicas are outdated, and when the
//! last of them is gone the network is made anew.

use std::collections::BTreeSet;

use super::Stack;
use super::place::Desired;
use crate::compose::bundle::{CONFIG_HASH, PROJECT, hash_of};
use crate::compose::model::{Network, Project};
use crate::compose::protocol::Phase;
use crate::error::{Error, Kind, Result};
use crate::net::{self, Definition, Policy, Wish};

/// What tells one definition of a network from another; nothing for a network that is somebody else's.
pub(super) fn hash(project: &Project, name: &str) -> String {
    let network = project
        .networks
        .values()
        .find(|network| network.name == name && !network.external);
    network
        .map(|network| {
            hash_of(&Network {
                policy: Policy::default(),
                ..network.clone()
            })
        })
        .unwrap_or_default()
}

impl Stack {
    /// Makes the networks that these services need. Returns those that were made, also when that fails in the middle.
    pub(super) fn ensure_networks(
        &mut self,
        desired: &Desired,
        services: &BTreeSet<String>,
    ) -> (Vec<String>, Result<()>) {
        let project = &desired.project;
        let used = services.iter().filter_map(|name| project.services.get(name));
        let keys: BTreeSet<&String> = used.flat_map(|service| service.networks.keys()).collect();
        let mut made = Vec::new();
        for network in keys.into_iter().filter_map(|key| project.networks.get(key)) {
            match self.ensure_network(project, network) {
                Ok(true) => made.push(network.name.clone()),
                Ok(false) => {}
                Err(error) => return (made, Err(error)),
            }
        }
        (made, Ok(()))
    }

    /// True when the network was made.
    fn ensure_network(&mut self, project: &Project, network: &Network) -> Result<bool> {
        let name = &network.name;
        let Some(definition) = Definition::load(&self.dirs, name)? else {
            if network.external {
                return Err(Error::new(
                    Kind::NotFound,
                    format_args!("network {name} is external and does not exist"),
                )
                .hint(format_args!("create it with `minirun network create {name}`")));
            }
            self.make_network(project, network)?;
            return Ok(true);
        };
        if network.external {
            return Ok(false);
        }
        let label = |key: &str| definition.labels.get(key).map(String::as_str).unwrap_or_default();
        if label(PROJECT) != project.name {
            return Err(Error::new(
                Kind::Exists,
                format_args!("network {name} exists and is not of project {}", project.name),
            )
            .hint("mark it as `external: true`, or remove it with `minirun network rm`"));
        }
        if label(CONFIG_HASH) != hash(project, name) {
            self.stale.insert(name.clone());
        } else if definition.policy != network.policy {
            set_policy(&self.dirs, network)?;
        }
        Ok(false)
    }

    fn make_network(&mut self, project: &Project, network: &Network) -> Result<()> {
        let name = &network.name;
        let mut labels = network.labels.clone();
        labels.insert(PROJECT.to_owned(), project.name.clone());
        labels.insert(CONFIG_HASH.to_owned(), hash(project, name));
        net::create(
            &self.dirs,
            Wish {
                subnets: network.subnets.clone(),
                gateways: network.gateways.clone(),
                ranges: network.ranges.clone(),
                ipv6: network.ipv6,
                internal: network.internal,
                mtu: network.mtu,
                within: network.policy.within,
                egress: network.policy.egress,
                labels,
                ..Wish::new(name)
            },
        )?;
        if let Err(error) = set_policy(&self.dirs, network) {
            net::remove(&self.dirs, name)?;
            return Err(error);
        }
        self.tell("Network", name, Phase::Created, "");
        Ok(())
    }

    /// Makes stale networks anew that no replica is on any more.
    pub(super) fn replace_stale_networks(&mut self) -> Result<()> {
        for name in self.stale.clone() {
            let mut members = self.members.values();
            if members.any(|member| member.replica.exists() && member.networks.contains(&name)) {
                continue;
            }
            self.stale.remove(&name);
            net::remove(&self.dirs, &name)?;
            let Some(project) = self.desired.as_ref().map(|desired| desired.project.clone()) else {
                continue;
            };
            if let Some(network) = project.networks.values().find(|network| network.name == name) {
                self.make_network(&project, network)?;
            }
        }
        Ok(())
    }

    /// Removes networks of this project, by name or all.
    pub(super) fn remove_networks(&mut self, only: Option<&[String]>) -> Result<()> {
        let mut failure = Ok(());
        for name in net::names(&self.dirs)? {
            if only.is_some_and(|only| !only.contains(&name)) {
                continue;
            }
            let definition = Definition::load(&self.dirs, &name)?;
            let ours =
                definition.is_some_and(|definition| definition.labels.get(PROJECT) == Some(&self.name));
            if !ours {
                continue;
            }
            match net::remove(&self.dirs, &name) {
                Ok(()) => self.tell("Network", &name, Phase::Removed, ""),
                Err(error) => failure = failure.and(Err(error)),
            }
        }
        failure
    }
}

fn set_policy(dirs: &net::Dirs, network: &Network) -> Result<()> {
    let policy = network.policy.clone();
    if policy.rules.is_empty()
        && Definition::load(dirs, &network.name)?.is_some_and(|known| known.policy == policy)
    {
        return Ok(());
    }
    net::amend(dirs, &network.name, |definition| {
        definition.policy = policy;
        Ok(())
    })
}
