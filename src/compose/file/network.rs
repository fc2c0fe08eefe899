//! Networks: those of the file, and how a service is on them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::keys;
use super::node::At;
use super::service::{Context, labels};
use crate::compose::model::{Join, Network};
use crate::error::Result;
use crate::net::{Policy, Rule, Wish, is_host_name};

/// The network that a service is on that names none.
pub(super) const DEFAULT: &str = "default";

/// A network of the file.
pub(super) fn network(at: &At<'_>, key: &str, context: &Context<'_>) -> Result<Network> {
    let mut network = Network {
        name: format!("{}_{key}", context.project),
        external: false,
        internal: false,
        subnets: Vec::new(),
        gateways: Vec::new(),
        ranges: Vec::new(),
        ipv6: false,
        mtu: None,
        labels: BTreeMap::new(),
        policy: Policy::default(),
    };
    if !at.node.is_null() {
        read(at, key, &mut network)?;
    }
    let wish = Wish {
        subnets: network.subnets.clone(),
        gateways: network.gateways.clone(),
        ranges: network.ranges.clone(),
        ipv6: network.ipv6,
        mtu: network.mtu,
        ..Wish::new(&network.name)
    };
    wish.check().map_err(|why| at.error(why))?;
    Ok(network)
}

fn read(at: &At<'_>, key: &str, network: &mut Network) -> Result<()> {
    let fields = at.fields(keys::NETWORK)?;
    network.external = fields.read("external", At::bool)?.unwrap_or(false);
    if let Some(name) = fields.get("name") {
        network.name = name.word("a name")?.to_owned();
    } else if network.external {
        network.name = key.to_owned();
    }
    if network.external {
        let others = at
            .node
            .entries()
            .iter()
            .filter(|entry| !entry.key.starts_with("x-") || entry.key == "x-policy");
        let mut others = others.filter(|entry| !matches!(entry.key.as_str(), "external" | "name"));
        return match others.next() {
            Some(entry) => {
                Err(at.key_error(&entry.key, "means nothing for a network that somebody else makes"))
            }
            None => Ok(()),
        };
    }
    if let Some(driver) = fields.get("driver")
        && !matches!(driver.text("bridge")?, "bridge" | "default" | "")
    {
        return Err(driver.error("bridge is the only driver"));
    }
    if let Some(options) = fields.get("driver_opts") {
        let options = options.fields(keys::NETWORK_OPTIONS)?;
        network.mtu = options.read("com.docker.network.driver.mtu", |at| {
            at.number("a number of bytes")
        })?;
    }
    network.internal = fields.read("internal", At::bool)?.unwrap_or(false);
    network.ipv6 = fields.read("enable_ipv6", At::bool)?.unwrap_or(false);
    network.labels = labels(&fields)?;
    if let Some(ipam) = fields.get("ipam") {
        let ipam = ipam.fields(keys::IPAM)?;
        if let Some(driver) = ipam.get("driver").filter(|at| at.node.text() != Some("default")) {
            return Err(driver.error("\"default\" is the only driver"));
        }
        if let Some(pools) = ipam.get("config") {
            for pool in pools.items("a list of subnets")? {
                let pool = pool.fields(keys::POOL)?;
                let block = |at: &At<'_>| at.number::<IpNet>("a subnet like 172.20.0.0/24");
                network.subnets.extend(pool.read("subnet", block)?);
                network.ranges.extend(pool.read("ip_range", block)?);
                network
                    .gateways
                    .extend(pool.read("gateway", |at| at.number::<IpAddr>("an IP address"))?);
            }
        }
    }
    network.subnets.sort_by_key(|subnet| subnet.addr().is_ipv6());
    network.gateways.sort_by_key(IpAddr::is_ipv6);
    network.ranges.sort_by_key(|range| range.addr().is_ipv6());
    network.policy = fields.read("x-policy", policy)?.unwrap_or_default();
    Ok(())
}

fn policy(at: &At<'_>) -> Result<Policy> {
    let fields = at.fields(keys::POLICY)?;
    let stance = |at: &At<'_>| at.parsed("allow or deny", str::parse);
    let mut policy = Policy {
        within: fields.read("within", stance)?.unwrap_or_default(),
        egress: fields.read("egress", stance)?.unwrap_or_default(),
        rules: Vec::new(),
    };
    if let Some(rules) = fields.get("rules") {
        for at in rules.items("a list of rules")? {
            policy.rules.push(rule(&at)?);
        }
    }
    Ok(policy)
}

fn rule(at: &At<'_>) -> Result<Rule> {
    let fields = at.fields(keys::RULE)?;
    let party = |key| fields.required(key)?.parsed("a name", str::parse);
    let ports = fields.required("ports")?.one_or_more("ports like 5432/tcp")?;
    let rule = Rule {
        from: party("from")?,
        to: party("to")?,
        ports: ports
            .iter()
            .map(|at| at.parsed("a port", str::parse))
            .collect::<Result<_>>()?,
        rate: fields.read("rate", |at| at.parsed("a rate like 100/minute", str::parse))?,
        burst: fields.read("burst", |at| at.number("a whole number"))?,
    };
    rule.check().map_err(|why| at.error(why))?;
    Ok(rule)
}

/// A service on a network.
pub(super) fn join(at: &At<'_>) -> Result<Join> {
    if at.node.is_null() {
        return Ok(Join::default());
    }
    let fields = at.fields(keys::JOIN)?;
    let mut aliases: Vec<String> = Vec::new();
    if let Some(names) = fields.get("aliases") {
        for at in names.items("a list of names")? {
            let name = at.word("a name")?;
            if !is_host_name(name) {
                return Err(at.error(format_args!("{name:?} is not a host name")));
            }
            if !aliases.iter().any(|earlier| earlier == name) {
                aliases.push(name.to_owned());
            }
        }
    }
    let interface = fields.read("interface_name", |at| {
        let name = at.word("the name of an interface")?;
        // The endpoint's own reader knows which names an interface can have.
        let endpoint = format!("net:interface={name}").parse::<crate::net::Endpoint>();
        match endpoint {
            Ok(endpoint) if endpoint.interface.as_deref() == Some(name) => Ok(name.to_owned()),
            _ => Err(at.error(format_args!(
                "{name:?} is not a name of at most 15 bytes for an interface"
            ))),
        }
    })?;
    Ok(Join {
        aliases,
        ipv4: fields.read("ipv4_address", |at| at.number("an IPv4 address"))?,
        ipv6: fields.read("ipv6_address", |at| at.number("an IPv6 address"))?,
        mac: fields.read("mac_address", |at| at.parsed("an Ethernet address", str::parse))?,
        priority: fields
            .read("priority", |at| at.number("a whole number"))?
            .unwrap_or(0),
        gateway_priority: fields
            .read("gw_priority", |at| at.number("a whole number"))?
            .unwrap_or(0),
        interface,
    })
}
