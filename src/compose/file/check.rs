//! What concerns several services: names that nobody has, circles, and what two of them want.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::node::At;
use crate::compose::model::{Condition, MountKind, Project, Service};
use crate::compose::order;
use crate::error::{Error, Result, closest};
use crate::log;
use crate::net::{Party, PortRange, Publish, is_host_name};

/// Checks the services of active profiles together, and leaves out of the project what none of them uses. `inactive`
/// are the other services.
pub(super) fn check(project: &mut Project, root: &At<'_>, inactive: &BTreeSet<String>) -> Result<()> {
    for service in project.services.values() {
        names(project, service, root)?;
        replicas(project, service, root)?;
    }
    dependencies(project, root, inactive)?;
    ports(project, root)?;
    addresses(project, root)?;
    parties(project, root);
    without_unused(project);
    Ok(())
}

/// What stands at a path of the document, or the last of it that is there.
fn at<'a>(root: &At<'a>, path: &[&str]) -> At<'a> {
    let mut at = root.clone();
    for key in path {
        let Some(node) = at.node.get(key) else { break };
        at = at.below(key, node);
    }
    at
}

/// What stands at a place of a service; the element `index` of it if it is a list.
fn in_service<'a>(root: &At<'a>, service: &Service, path: &[&str], index: usize) -> At<'a> {
    let whole: Vec<&str> = ["services", service.name.as_str()]
        .iter()
        .chain(path)
        .copied()
        .collect();
    let at = at(root, &whole);
    match at.items("") {
        Ok(items) => items.into_iter().nth(index).unwrap_or(at),
        Err(_) => at,
    }
}

/// The error for a name that is not in one of the file's sections.
fn undefined<'a>(at: &At<'_>, what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let error = at.error(format_args!("there is no {what} {name:?} in the file"));
    match closest(name, known) {
        Some(close) => error.hint(format_args!("did you mean {close:?}?")),
        None => error,
    }
}

fn names(project: &Project, service: &Service, root: &At<'_>) -> Result<()> {
    for name in service.networks.keys() {
        if !project.networks.contains_key(name) {
            let at = in_service(root, service, &["networks", name], 0);
            return Err(undefined(
                &at,
                "network",
                name,
                project.networks.keys().map(String::as_str),
            ));
        }
    }
    for (index, mount) in service.mounts.iter().enumerate() {
        if let MountKind::Volume { name } = &mount.kind
            && !project.volumes.contains_key(name)
        {
            let at = in_service(root, service, &["volumes"], index);
            let error = undefined(&at, "volume", name, project.volumes.keys().map(String::as_str));
            return Err(error.hint(format_args!(
                "add {name:?} to the file's `volumes`; a path begins with . or /"
            )));
        }
    }
    for (what, key, uses, known) in [
        ("config", "configs", &service.configs, &project.configs),
        ("secret", "secrets", &service.secrets, &project.secrets),
    ] {
        for (index, file) in uses.iter().enumerate() {
            if !known.contains_key(&file.source) {
                let at = in_service(root, service, &[key], index);
                return Err(undefined(
                    &at,
                    what,
                    &file.source,
                    known.keys().map(String::as_str),
                ));
            }
        }
    }
    Ok(())
}

/// What only one replica can have.
fn replicas(project: &Project, service: &Service, root: &At<'_>) -> Result<()> {
    let last = format!("{}-{}-{}", project.name, service.name, service.replicas);
    if service.hostname.is_none() && (last.len() > 64 || !is_host_name(&last)) {
        let at = in_service(root, service, &[], 0);
        return Err(at
            .error(format_args!(
                "the replica's name {last:?} is too long for a host name"
            ))
            .hint("give the service a `hostname`"));
    }
    for (network, join) in &service.networks {
        let at = in_service(root, service, &["networks", network], 0);
        let fixed = join.ipv4.is_some() || join.ipv6.is_some() || join.mac.is_some();
        if fixed && service.replicas > 1 {
            return Err(at.error(format_args!(
                "{} replicas cannot have one address",
                service.replicas
            )));
        }
    }
    for (index, port) in service.ports.iter().enumerate() {
        let Some(host) = port.host.filter(|_| service.replicas > 1) else {
            continue;
        };
        let enough = count(port.container) == 1 && count(host) >= service.replicas;
        if !enough {
            return Err(in_service(root, service, &["ports"], index)
                .error(format_args!(
                    "{} replicas cannot all have the host's port {host}",
                    service.replicas
                ))
                .hint("publish a range that has one for each, leave the host's port out, or put a balancer in front"));
        }
    }
    Ok(())
}

/// Dependencies are services, in no circle. Those on services of inactive profiles that are not required go.
fn dependencies(project: &mut Project, root: &At<'_>, inactive: &BTreeSet<String>) -> Result<()> {
    let services: BTreeMap<String, bool> = project
        .services
        .iter()
        .map(|(name, service)| (name.clone(), service.healthcheck.is_some()))
        .collect();
    for service in project.services.values_mut() {
        for (name, dependency) in &service.depends_on {
            let path = ["services", &service.name, "depends_on", name];
            match services.get(name) {
                Some(false) if dependency.condition == Condition::Healthy => {
                    return Err(at(root, &path).error(format_args!(
                        "the service {name:?} has no `healthcheck`, so it never becomes healthy"
                    )));
                }
                Some(_) => {}
                None if !inactive.contains(name) => {
                    return Err(undefined(
                        &at(root, &path),
                        "service",
                        name,
                        services.keys().map(String::as_str),
                    ));
                }
                None if dependency.required => {
                    return Err(at(root, &path)
                        .error(format_args!("the service {name:?} is not in an active profile"))
                        .hint("activate one with --profile, or say `required: false`"));
                }
                None => {}
            }
        }
        service.depends_on.retain(|name, _| services.contains_key(name));
    }
    let Some(circle) = order::circle(project) else {
        return Ok(());
    };
    let path = match circle.as_slice() {
        [first, second, ..] => vec!["services", first, "depends_on", second],
        _ => vec!["services"],
    };
    let error = at(root, &path).error(format_args!(
        "services wait for each other: {}",
        circle.join(" -> ")
    ));
    Err(error)
}

fn count(range: PortRange) -> u32 {
    u32::from(range.last - range.first) + 1
}

/// The host's ports that a port takes for sure: none of a range of which any one will do.
fn taken(port: &Publish) -> Option<PortRange> {
    port.host.filter(|host| count(*host) == count(port.container))
}

/// Whether two cannot be published at once.
fn collide(a: &Publish, b: &Publish) -> bool {
    let (Some(ports_a), Some(ports_b)) = (taken(a), taken(b)) else {
        return false;
    };
    let any = |address: Option<IpAddr>| address.is_none_or(|address| address.is_unspecified());
    let addresses = match (a.address, b.address) {
        (Some(a), Some(b)) if a.is_ipv4() != b.is_ipv4() => false,
        (a, b) => any(a) || any(b) || a == b,
    };
    addresses && a.protocol == b.protocol && ports_a.first <= ports_b.last && ports_b.first <= ports_a.last
}

fn ports(project: &Project, root: &At<'_>) -> Result<()> {
    let mut seen: Vec<(&Service, usize, &Publish)> = Vec::new();
    for service in project.services.values().filter(|service| service.replicas > 0) {
        for (index, port) in service.ports.iter().enumerate() {
            let at = in_service(root, service, &["ports"], index);
            if let Some((other, there, theirs)) = seen.iter().find(|(.., theirs)| collide(theirs, port)) {
                let other_at = in_service(root, other, &["ports"], *there);
                return Err(at.error(format_args!(
                    "{port} takes a port of the host that {theirs} of {} takes already, in line {}",
                    other_at.path, other_at.node.place.line
                )));
            }
            seen.push((service, index, port));
        }
    }
    Ok(())
}

/// Fixed addresses are in their network's subnet, and nobody else's.
fn addresses(project: &Project, root: &At<'_>) -> Result<()> {
    let mut seen: BTreeMap<(&str, String), String> = BTreeMap::new();
    for service in project.services.values() {
        for (name, join) in &service.networks {
            let Some(network) = project.networks.get(name) else {
                continue;
            };
            let fixed = [
                ("ipv4_address", join.ipv4.map(IpAddr::from)),
                ("ipv6_address", join.ipv6.map(IpAddr::from)),
            ];
            for (key, address) in fixed {
                let Some(address) = address else { continue };
                let at = in_service(root, service, &["networks", name, key], 0);
                let family = |net: &&ipnet::IpNet| net.addr().is_ipv4() == address.is_ipv4();
                match network.subnets.iter().find(family) {
                    _ if network.external => {}
                    None => {
                        return Err(at
                            .error(format_args!(
                                "the network {name:?} has no subnet of its own to have {address} in"
                            ))
                            .hint(format_args!("add networks.{name}.ipam.config with a subnet")));
                    }
                    Some(subnet) if !subnet.contains(&address) => {
                        return Err(at.error(format_args!(
                            "{address} is not in {subnet}, the subnet of {name:?}"
                        )));
                    }
                    Some(subnet) => {
                        let first = subnet.hosts().next();
                        let gateway = network
                            .gateways
                            .iter()
                            .find(|gateway| gateway.is_ipv4() == address.is_ipv4());
                        if gateway.copied().or(first) == Some(address) {
                            return Err(at.error(format_args!("{address} is the gateway of {name:?}")));
                        }
                    }
                }
            }
            let macs = ("mac_address", join.mac.map(String::from));
            let texts = fixed.map(|(key, address)| (key, address.map(|address| address.to_string())));
            for (key, text) in texts.into_iter().chain([macs]) {
                let Some(text) = text else { continue };
                let at = in_service(root, service, &["networks", name, key], 0);
                if let Some(other) = seen.insert((name.as_str(), text.clone()), at.path.clone()) {
                    return Err(at.error(format_args!("{text} is taken by {other}")));
                }
            }
        }
    }
    Ok(())
}

/// Rules may be about containers of other projects, so a name that none of ours has is a warning.
fn parties(project: &Project, root: &At<'_>) {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for service in project.services.values() {
        names.insert(service.name.clone());
        names.extend(service.hostname.clone());
        names.extend(service.networks.values().flat_map(|join| join.aliases.clone()));
        let ids = (1..=service.replicas).map(|number| format!("{}-{}-{number}", project.name, service.name));
        names.extend(ids);
    }
    for (key, network) in &project.networks {
        let rules = at(root, &["networks", key, "x-policy", "rules"])
            .items("")
            .unwrap_or_default();
        for (rule, at) in network.policy.rules.iter().zip(rules) {
            for party in [&rule.from, &rule.to] {
                if let Party::Named(name) = party
                    && !names.contains(name)
                {
                    let place = &at.node.place;
                    log::warn(format_args!(
                        "{place}: {}: no service of this project is called {name:?}",
                        at.path
                    ));
                }
            }
        }
    }
}

fn without_unused(project: &mut Project) {
    let services: Vec<&Service> = project.services.values().collect();
    let used = |pick: fn(&Service) -> Vec<&str>| -> BTreeSet<String> {
        services
            .iter()
            .flat_map(|service| pick(service))
            .map(str::to_owned)
            .collect()
    };
    let networks = used(|service| service.networks.keys().map(String::as_str).collect());
    let volumes = used(|service| {
        let named = service.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Volume { name } => Some(name.as_str()),
            _ => None,
        });
        named.collect()
    });
    let configs = used(|service| service.configs.iter().map(|file| file.source.as_str()).collect());
    let secrets = used(|service| service.secrets.iter().map(|file| file.source.as_str()).collect());
    project.networks.retain(|key, _| networks.contains(key));
    project.volumes.retain(|key, _| volumes.contains(key));
    project.configs.retain(|key, _| configs.contains(key));
    project.secrets.retain(|key, _| secrets.contains(key));
}
