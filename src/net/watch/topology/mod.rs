//! A map of the networks: who is where, under which addresses, and who may open connections to whom. Pure: from the
//! networks' descriptions to a model, and from the model to text, Graphviz' language, a picture and (by serde) JSON.

mod dot;
mod layout;
mod svg;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::net::IpAddr;

use serde::Serialize;

use crate::net::inventory::{Description, Member};
use crate::net::{Definition, Party, Port, Rule, Stance};

/// Everything that a drawing shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// From the outside inwards: those with published ports first, then those that share containers with them.
    pub networks: Vec<Network>,
    /// By id.
    pub containers: Vec<Container>,
    /// Who may open connections to whom.
    pub flows: Vec<Allowed>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The bridge's interface name.
    pub bridge: String,
    /// The bridge stands: somebody is on it.
    pub up: bool,
    /// One, or two with IPv6.
    pub subnets: Vec<String>,
    /// The bridge's addresses.
    pub gateways: Vec<IpAddr>,
    /// It has no way out.
    pub internal: bool,
    /// It does not talk with other networks by itself.
    pub isolated: bool,
    /// Between its containers without a rule.
    pub within: Stance,
    /// To the outside without a rule.
    pub egress: Stance,
}

/// A container that is on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its id.
    pub id: String,
    /// It died without being deleted.
    #[serde(skip_serializing_if = "crate::net::is_default")]
    pub stale: bool,
    /// Where it is, in the order of [`Topology::networks`].
    pub on: Vec<Place>,
    /// Published ports.
    pub ports: Vec<Port>,
}

/// A container on one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The network's name.
    pub network: String,
    /// The interface in the container.
    pub interface: String,
    /// One, or two with IPv6.
    pub addresses: Vec<IpAddr>,
    /// Its names there, the id first.
    pub names: Vec<String>,
}

/// Connections that the firewall lets through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Allowed {
    /// Who may begin.
    pub from: Side,
    /// Who may be asked.
    pub to: Side,
    /// Ports of `to`; empty for all.
    pub ports: Vec<String>,
    /// At most so many new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What allows it.
    #[serde(flatten)]
    pub why: Why,
    /// How many connections the rule has allowed, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
}

/// One side of what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Side {
    /// Whatever is neither a container nor this host.
    Outside,
    /// This host.
    Host,
    /// Every container on a network.
    Network {
        /// Its name.
        network: String,
    },
    /// Containers that a rule names, where it finds them.
    Containers {
        /// The rule's name for them.
        name: String,
        /// On this network.
        network: String,
        /// Their ids; empty when nobody has the name now.
        containers: Vec<String>,
    },
}

impl Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Side::Outside => f.write_str("outside"),
            Side::Host => f.write_str("host"),
            Side::Network { network } => write!(f, "all of {network}"),
            Side::Containers { name, containers, .. } => match containers.len() {
                0 => write!(f, "{name} (nobody now)"),
                1 => f.write_str(name),
                count => write!(f, "{name} ×{count}"),
            },
        }
    }
}

/// What allows a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "lowercase")]
pub enum Why {
    /// A published port.
    Published {
        /// As it is written for `--publish`, without the container's port.
        at: String,
    },
    /// The network lets its containers talk to each other.
    Within,
    /// The network lets its containers out.
    Egress,
    /// Both networks are not isolated.
    Linked,
    /// The network lets its containers use the host's services.
    Access,
    /// A rule in the network's policy.
    Rule {
        /// The network's name.
        of: String,
        /// Its place in the policy, from 0.
        index: usize,
    },
}

impl Topology {
    /// The map of these networks.
    pub fn new(networks: &[Description]) -> Self {
        let networks = from_the_outside_inwards(networks);
        let containers = containers(&networks);
        Self {
            flows: flows(&networks, &containers),
            networks: networks.iter().map(|network| Network::of(network)).collect(),
            containers,
        }
    }

    /// Says how many connections each rule has allowed, by its network and place there.
    #[must_use]
    pub fn counted(mut self, allowed: impl Fn(&str, usize) -> u64) -> Self {
        for flow in &mut self.flows {
            if let Why::Rule { of, index } = &flow.why {
                flow.connections = Some(allowed(of, *index));
            }
        }
        self
    }

    /// Those on a network, in the order of their addresses there.
    fn members(&self, network: &str) -> Vec<(&Container, &Place)> {
        let mut members: Vec<_> = self
            .containers
            .iter()
            .filter_map(|container| Some((container, container.place(network)?)))
            .collect();
        members.sort_by_key(|(_, place)| place.addresses.first().copied());
        members
    }
}

impl Network {
    fn of(network: &Description) -> Self {
        let definition = &network.definition;
        let ipv6 = definition.ipv6.as_ref();
        Self {
            name: definition.name.clone(),
            bridge: definition.bridge.clone(),
            up: network.up,
            subnets: [
                Some(definition.ipv4.subnet.to_string()),
                ipv6.map(|ipv6| ipv6.subnet.to_string()),
            ]
            .into_iter()
            .flatten()
            .collect(),
            gateways: [
                Some(definition.ipv4.gateway.into()),
                ipv6.map(|ipv6| ipv6.gateway.into()),
            ]
            .into_iter()
            .flatten()
            .collect(),
            internal: definition.internal,
            isolated: definition.isolated,
            within: definition.policy.within,
            egress: definition.policy.egress,
        }
    }

    /// What is special about it, in words.
    fn remarks(&self) -> Vec<&'static str> {
        let egress = !self.internal && self.egress == Stance::Deny;
        [
            (self.internal, "internal"),
            (!self.isolated, "not isolated"),
            (self.within == Stance::Deny, "within by rule only"),
            (egress, "egress by rule only"),
            (!self.up, "down"),
        ]
        .into_iter()
        .filter_map(|(holds, remark)| holds.then_some(remark))
        .collect()
    }
}

impl Container {
    fn place(&self, network: &str) -> Option<&Place> {
        self.on.iter().find(|place| place.network == network)
    }
}

/// How a port is published, as it is written for `--publish`, without the container's port.
fn published_at(port: &Port) -> String {
    match port.address {
        None => port.host.to_string(),
        Some(address) => std::net::SocketAddr::new(address, port.host).to_string(),
    }
}

fn from_the_outside_inwards(networks: &[Description]) -> Vec<&Description> {
    let ids = |network: &Description| -> BTreeSet<String> {
        let ids = network.containers.iter().map(|member| member.container.clone());
        ids.collect()
    };
    let mut left: Vec<&Description> = networks.iter().collect();
    let mut ordered: Vec<&Description> = Vec::new();
    let mut reached = BTreeSet::new();
    while !left.is_empty() {
        let rank = |network: &&Description| {
            let publishes = network.containers.iter().any(|member| !member.ports.is_empty());
            (
                ids(network).is_disjoint(&reached) && !reached.is_empty(),
                !publishes,
                network.definition.internal,
                network.definition.name.clone(),
            )
        };
        let Some(next) = (0..left.len()).min_by_key(|index| left.get(*index).map(rank)) else {
            break;
        };
        let next = left.remove(next);
        reached.extend(ids(next));
        ordered.push(next);
    }
    ordered
}

fn containers(networks: &[&Description]) -> Vec<Container> {
    let mut containers: BTreeMap<&str, Container> = BTreeMap::new();
    for network in networks {
        for member in &network.containers {
            let container = containers.entry(&member.container).or_insert_with(|| Container {
                id: member.container.clone(),
                stale: false,
                on: Vec::new(),
                ports: Vec::new(),
            });
            container.stale |= member.stale;
            container.on.push(place(network, member));
            for port in &member.ports {
                if !container.ports.contains(port) {
                    container.ports.push(port.clone());
                }
            }
        }
    }
    containers.into_values().collect()
}

fn place(network: &Description, member: &Member) -> Place {
    let addresses = [Some(member.address.into()), member.address6.map(IpAddr::from)];
    Place {
        network: network.definition.name.clone(),
        interface: member.interface.clone(),
        addresses: addresses.into_iter().flatten().collect(),
        names: member.names.clone(),
    }
}

fn flows(networks: &[&Description], containers: &[Container]) -> Vec<Allowed> {
    let definitions = || networks.iter().map(|network| &network.definition);
    let published = containers.iter().flat_map(published);
    let rules = definitions().flat_map(|definition| {
        let rules = definition.policy.rules.iter().enumerate();
        rules.flat_map(|(index, rule)| by_rule(definition, index, rule, containers))
    });
    published
        .chain(rules)
        .chain(definitions().flat_map(by_stance))
        .chain(linked(networks))
        .collect()
}

fn published(container: &Container) -> Vec<Allowed> {
    let on = container.on.first();
    container
        .ports
        .iter()
        .map(|port| Allowed {
            from: match port.address {
                Some(address) if address.is_loopback() => Side::Host,
                _ => Side::Outside,
            },
            to: Side::Containers {
                name: container.id.clone(),
                network: on.map(|on| on.network.clone()).unwrap_or_default(),
                containers: vec![container.id.clone()],
            },
            ports: vec![format!("{}/{}", port.container, port.protocol)],
            limit: None,
            why: Why::Published {
                at: published_at(port),
            },
            connections: None,
        })
        .collect()
}

fn by_rule(definition: &Definition, index: usize, rule: &Rule, containers: &[Container]) -> Vec<Allowed> {
    let all = rule.ports.contains(&crate::net::Ports::All);
    let ports: Vec<String> = match all {
        true => Vec::new(),
        false => rule.ports.iter().map(ToString::to_string).collect(),
    };
    let limit = rule.rate.map(|rate| match rule.burst {
        Some(burst) => format!("{rate}, burst {burst}"),
        None => rate.to_string(),
    });
    let to = sides(&rule.to, definition, containers, false);
    sides(&rule.from, definition, containers, true)
        .into_iter()
        .flat_map(|from| to.iter().map(move |to| (from.clone(), to.clone())))
        .map(|(from, to)| Allowed {
            from,
            to,
            ports: ports.clone(),
            limit: limit.clone(),
            why: Why::Rule {
                of: definition.name.clone(),
                index,
            },
            connections: None,
        })
        .collect()
}

/// Whom a rule of this network means: on the network itself those who are there, elsewhere (when that counts) the others.
fn sides(party: &Party, definition: &Definition, containers: &[Container], elsewhere: bool) -> Vec<Side> {
    let here = definition.name.as_str();
    let name = match party {
        Party::Everybody => {
            return vec![Side::Network {
                network: here.to_owned(),
            }];
        }
        Party::Outside => return vec![Side::Outside],
        Party::Named(name) => name,
    };
    let has_name = |place: &&Place| place.names.contains(name);
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for container in containers {
        let place = match container.place(here) {
            Some(place) => Some(place).filter(has_name),
            None if elsewhere => container.on.iter().find(has_name),
            None => None,
        };
        if let Some(place) = place {
            found
                .entry(&place.network)
                .or_default()
                .push(container.id.clone());
        }
    }
    if found.is_empty() {
        found.insert(here, Vec::new());
    }
    found
        .into_iter()
        .map(|(network, containers)| Side::Containers {
            name: name.clone(),
            network: network.to_owned(),
            containers,
        })
        .collect()
}

/// What a network allows without a rule.
fn by_stance(definition: &Definition) -> Vec<Allowed> {
    let all = || Side::Network {
        network: definition.name.clone(),
    };
    let policy = &definition.policy;
    [
        (policy.within == Stance::Allow, all(), Why::Within),
        (
            policy.egress == Stance::Allow && !definition.internal,
            Side::Outside,
            Why::Egress,
        ),
        (definition.host_access, Side::Host, Why::Access),
    ]
    .into_iter()
    .filter(|(holds, ..)| *holds)
    .map(|(_, to, why)| Allowed {
        from: all(),
        to,
        ports: Vec::new(),
        limit: None,
        why,
        connections: None,
    })
    .collect()
}

/// Each pair of networks that are not isolated, both ways.
fn linked(networks: &[&Description]) -> Vec<Allowed> {
    let open: Vec<&str> = networks
        .iter()
        .filter(|network| !network.definition.isolated)
        .map(|network| network.definition.name.as_str())
        .collect();
    let side = |network: &str| Side::Network {
        network: network.to_owned(),
    };
    open.iter()
        .flat_map(|from| {
            open.iter()
                .filter(move |to| *to != from)
                .map(move |to| (*from, *to))
        })
        .map(|(from, to)| Allowed {
            from: side(from),
            to: side(to),
            ports: Vec::new(),
            limit: None,
            why: Why::Linked,
            connections: None,
        })
        .collect()
}
