//! Changes to what a network's definition allows, while containers may be on it.

use std::net::IpAddr;

use serde::Serialize;

use super::address::lease::{Leases, Links as _, Liveness};
use super::definition::{self, DEFAULT, Definition, Dirs};
use super::firewall;
use super::kernel::conntrack::{self, Stale};
use super::kernel::link::Host;
use super::membership::taken_by_others;
use super::policy::{Party, Ports, Rule, Stance};
use super::reconcile::Everything;
use crate::error::{Error, Kind, Result};

/// Allows what a rule says, on the network `network` or else on the one that the rule's target is on; returns its name.
/// A rule for the same two parties and ports is replaced.
///
/// # Errors
/// A network that does not exist; no network named, and none or several that the target is on.
pub fn allow(dirs: &Dirs, network: Option<&str>, rule: Rule) -> Result<String> {
    let name = network_of(dirs, network, &rule.from, &rule.to)?;
    amend(dirs, &name, |definition| {
        let rules = &mut definition.policy.rules;
        rules.retain(|known| (&known.from, &known.to, &known.ports) != (&rule.from, &rule.to, &rule.ports));
        rules.push(rule);
        Ok(())
    })?;
    Ok(name)
}

/// Takes back what was allowed from one to another: these ports, or all when `ports` is empty. Returns the network.
///
/// # Errors
/// As [`allow`]; NotFound when nothing of the kind was allowed.
pub fn deny(dirs: &Dirs, network: Option<&str>, from: &Party, to: &Party, ports: &[Ports]) -> Result<String> {
    let name = network_of(dirs, network, from, to)?;
    amend(dirs, &name, |definition| {
        let mut found = false;
        for rule in &mut definition.policy.rules {
            if (&rule.from, &rule.to) == (from, to) {
                let before = rule.ports.len();
                rule.ports
                    .retain(|known| !ports.is_empty() && !ports.contains(known));
                found |= rule.ports.len() < before;
            }
        }
        definition.policy.rules.retain(|rule| !rule.ports.is_empty());
        match found {
            true => Ok(()),
            false => Err(Error::new(
                Kind::NotFound,
                format_args!(
                    "network {}: no rule allows this from {from} to {to}",
                    definition.name
                ),
            )
            .hint("`minirun network policy ls` shows the rules")),
        }
    })?;
    end(dirs, &name, from, to)?;
    Ok(name)
}

/// Lets the firewall judge anew what one container has open to another: connections outlive the rule that they began
/// under. What another rule allows goes on.
fn end(dirs: &Dirs, network: &str, from: &Party, to: &Party) -> Result<()> {
    let (callers, called) = (addresses(dirs, network, from)?, addresses(dirs, network, to)?);
    let pairs: Vec<Stale<'_>> = callers
        .iter()
        .flat_map(|caller| called.iter().map(|called| (*caller, *called)))
        .filter(|(caller, called)| caller.is_ipv4() == called.is_ipv4())
        .map(|(caller, called)| Stale::Between(caller, called))
        .collect();
    conntrack::forget(&pairs)
}

/// The addresses of the containers that a rule of this network calls so.
fn addresses(dirs: &Dirs, network: &str, party: &Party) -> Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for name in definition::names(dirs)? {
        for lease in Leases::new(&name, dirs.network(&name)).all()?.flatten() {
            let meant = match party {
                Party::Everybody => name == network,
                Party::Named(wanted) => lease.names.contains(wanted),
                Party::Outside => false,
            };
            if meant {
                found.push(IpAddr::V4(lease.address));
                found.extend(lease.address6.map(IpAddr::V6));
            }
        }
    }
    Ok(found)
}

/// Changes a definition and brings the firewall to it.
///
/// # Errors
/// Those of `change`, a definition that makes no sense then (nothing has changed), or what the kernel refused.
pub fn amend(dirs: &Dirs, name: &str, change: impl FnOnce(&mut Definition) -> Result<()>) -> Result<()> {
    let mut host = Host::open()?;
    let everything = Everything::lock(dirs)?;
    let mut definition = match Definition::load(dirs, name)? {
        Some(definition) => definition,
        None if name == DEFAULT => Definition::default_network(&taken_by_others(dirs, name)?)?,
        None => return Err(definition::unknown(dirs, name)),
    };
    change(&mut definition)?;
    definition
        .check(name)
        .map_err(|why| Error::invalid(format_args!("network {name}"), why))?;
    definition.save(dirs)?;
    firewall::replace(dirs, &mut host, &everything.shared)
}

/// The network that a rule belongs to.
fn network_of(dirs: &Dirs, named: Option<&str>, from: &Party, to: &Party) -> Result<String> {
    if let Some(name) = named {
        return Ok(name.to_owned());
    }
    // What leads outside belongs to where it comes from.
    let party = if *to == Party::Outside { from } else { to };
    let Party::Named(wanted) = party else {
        return Err(Error::invalid(
            "--network",
            format_args!("is needed: {party} is on every network"),
        ));
    };
    let mut host = Host::open()?;
    let mut found = Vec::new();
    for name in definition::names(dirs)? {
        for lease in Leases::new(&name, dirs.network(&name)).all()?.flatten() {
            if lease.names.contains(wanted) && host.liveness(&lease)? != Liveness::Gone {
                found.push(name);
                break;
            }
        }
    }
    match <[String; 1]>::try_from(found) {
        Ok([name]) => Ok(name),
        Err(found) if found.is_empty() => Err(Error::new(
            Kind::NotFound,
            format_args!("no running container is called {wanted:?} on any network"),
        )
        .hint("say with --network which network's policy this is")),
        Err(found) => Err(Error::invalid(
            "--network",
            format_args!("is needed: {wanted} is on {}", found.join(" and ")),
        )),
    }
}

/// A network's policy, with what each rule let pass.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// The network's name.
    pub network: String,
    /// Between its containers, where no rule speaks.
    pub within: Stance,
    /// To the outside, where no rule speaks.
    pub egress: Stance,
    /// In the order in which they were allowed.
    pub rules: Vec<CountedRule>,
}

/// A rule and what passed by it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CountedRule {
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
    /// Packets that opened a connection, since the network is in use or its policy was changed; nothing when it is not in
    /// use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Those that were more than the rule's rate, and refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<u64>,
}

/// The policies of all networks, or of one.
///
/// # Errors
/// A network that does not exist, or counters that cannot be read.
pub fn policies(dirs: &Dirs, network: Option<&str>) -> Result<Vec<NetworkPolicy>> {
    let names = match network {
        Some(name) => vec![name.to_owned()],
        None => definition::names(dirs)?,
    };
    let counters = firewall::counters(dirs)?;
    let mut policies = Vec::new();
    for name in names {
        let definition = Definition::load(dirs, &name)?.ok_or_else(|| definition::unknown(dirs, &name))?;
        let rules = definition.policy.rules.into_iter().enumerate();
        let network = name.clone();
        let counted = |(index, rule): (usize, Rule)| {
            let seen = counters.rules.get(&(network.clone(), index));
            CountedRule {
                packets: seen.map(|seen| seen.allowed.packets),
                over: seen.filter(|_| rule.rate.is_some()).map(|seen| seen.over.packets),
                rule,
            }
        };
        policies.push(NetworkPolicy {
            network: name,
            within: definition.policy.within,
            egress: definition.policy.egress,
            rules: rules.map(counted).collect(),
        });
    }
    Ok(policies)
}
