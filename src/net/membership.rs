//! One container joining or leaving one network, and the network coming and going with its containers.
//!
//! Join: lock; the definition (chosen on first use); the lease; bridge, firewall and forwarding when they are not there
//! yet; the links. Leave: lock; the lease; bridge and firewall when nobody is left. The lease comes before anything else
//! because from it everything is found again.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use super::address::lease::{Lease, Leases, Links as _};
use super::address::taken::Taken;
use super::definition::{self, DEFAULT, Definition, Dirs};
use super::endpoint::{self, Endpoint, Mac};
use super::file::Lock;
use super::kernel::link::Host;
use super::kernel::namespace::NamespaceId;
use super::kernel::routes::Defaults;
use super::names::{self, Holder};
use super::reconcile::Everything;
use super::{Attached, Port, Request, file, firewall, kernel::bridge, kernel::sysctl, publish};
use crate::error::{Error, Kind, Result};

/// One container joining one network.
pub(super) struct Joining<'a> {
    pub(super) dirs: &'a Dirs,
    pub(super) request: &'a Request<'a>,
    pub(super) endpoint: &'a Endpoint,
    /// Its name in the container.
    pub(super) interface: String,
    /// Which default routes lead there.
    pub(super) defaults: Defaults,
    /// It is the container's first network.
    pub(super) first: bool,
}

impl Joining<'_> {
    pub(super) fn join(&self, host: &mut Host) -> Result<Attached> {
        let (dirs, name) = (self.dirs, self.endpoint.network.as_str());
        let dir = dirs.network(name);
        file::directory(&dir)?;
        let _lock = file::lock(&dir.join("lock"))?;

        let known = Definition::load(dirs, name)?;
        let standing = match &known {
            Some(definition) => bridge_if_standing(host, definition)?,
            None => None,
        };
        let state = match standing {
            Some(bridge) => State::Standing(bridge),
            None => State::Down(file::lock(&dirs.shared_lock())?),
        };
        let definition = match (known, &state) {
            (Some(definition), State::Standing(_)) => definition,
            (known, _) => settle(dirs, host, name, known)?,
        };

        let (ports, sockets) = match self.defaults.ipv4 {
            true => {
                let owner = |port: &Port| publish::owner(dirs, port);
                publish::hold(self.request.publish, definition.ipv6.is_some(), &owner)?
            }
            false => Default::default(),
        };
        let leases = Leases::new(name, dir);
        let close = |host: &mut Host| {
            close_if_unused(dirs, host, &definition, &leases, state.has_shared_lock()).map(drop)
        };
        let dismiss = |dead: &Lease| firewall::dismiss(dirs, &definition, dead);
        let lease = self.lease(host, ports)?;
        let lease = match leases.claim(
            lease,
            self.request.ready,
            &definition,
            self.endpoint,
            host,
            &dismiss,
        ) {
            Ok(lease) => lease,
            Err(error) => {
                report(close(host));
                return Err(error);
            }
        };
        let connected = match &state {
            State::Standing(bridge) => Ok(*bridge),
            State::Down(shared) => set_up(dirs, host, &definition, shared),
        }
        .and_then(|bridge| host.connect(&lease, &definition, bridge, self.defaults, self.request.netns))
        .and_then(|()| firewall::admit(dirs, &definition, &lease))
        .and_then(|()| match self.holder(sockets) {
            Some(holder) => names::announce(dirs, host, &definition, &lease, self.request.ready, holder),
            None => Ok(()),
        });
        if let Err(error) = connected {
            report(names::withdraw(dirs, self.request.container, name));
            report(firewall::dismiss(dirs, &definition, &lease));
            report(host.delete(&lease.host_interface));
            let released = leases.release(self.request.container, Some(&definition), host);
            report(released.map(drop));
            report(close(host));
            return Err(error.during(format_args!("network {name}")));
        }
        Ok(attached(name, &definition, lease))
    }

    /// Who is behind the names; nobody when there is no process whose end netd could learn of.
    fn holder(&self, ports: Vec<OwnedFd>) -> Option<Holder<'_>> {
        Some(Holder {
            pidfd: self.request.pidfd?,
            resolver_in: self.first.then_some(self.request.netns),
            ports,
        })
    }

    fn lease(&self, host: &Host, ports: Vec<Port>) -> Result<Lease> {
        let mut names = vec![self.request.container.to_owned()];
        for name in [self.request.hostname]
            .into_iter()
            .chain(self.endpoint.aliases.iter().map(String::as_str))
        {
            if !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        // The id is its own alone, whatever it asks for.
        let mut shared = self.endpoint.aliases.clone();
        shared.retain(|name| name != self.request.container);
        Ok(Lease {
            container: self.request.container.to_owned(),
            names,
            shared,
            address: Ipv4Addr::UNSPECIFIED,
            address6: None,
            mac: self.endpoint.mac.map_or_else(Mac::random, Ok)?,
            interface: self.interface.clone(),
            host_interface: endpoint::random_interface()?,
            netns: NamespaceId::of(self.request.netns)?,
            host_netns: host.netns_id,
            boot_id: host.boot_id.clone(),
            generation: 0,
            ports,
            upstream: self.request.dns.servers.clone(),
            process: self.request.process,
            priority: self.endpoint.priority,
        })
    }
}

fn attached(network: &str, definition: &Definition, lease: Lease) -> Attached {
    Attached {
        network: network.to_owned(),
        interface: lease.interface,
        host_interface: lease.host_interface,
        address: lease.address,
        prefix: definition.ipv4.subnet.prefix_len(),
        gateway: definition.ipv4.gateway,
        prefix6: lease
            .address6
            .and(definition.ipv6)
            .map(|ipv6| ipv6.subnet.prefix_len()),
        gateway6: lease.address6.and(definition.ipv6).map(|ipv6| ipv6.gateway),
        address6: lease.address6,
        mac: lease.mac,
        names: lease.names,
        ports: lease.ports,
        priority: lease.priority,
        internal: definition.internal,
    }
}

/// How a container that joins finds the network.
enum State {
    /// With a bridge of this index: the network's own lock is enough.
    Standing(u32),
    /// To be set up, and what networks share with it: both locks are held until the container is on it.
    Down(Lock),
}

impl State {
    fn has_shared_lock(&self) -> bool {
        matches!(self, State::Down(_))
    }
}

/// The index of the network's bridge when it is up and the firewall knows it: the way of all but the first container.
fn bridge_if_standing(host: &mut Host, definition: &Definition) -> Result<Option<u32>> {
    match bridge::existing(host, definition)? {
        Some(link) if link.up && firewall::is_open(definition)? => Ok(Some(link.index)),
        _ => Ok(None),
    }
}

/// The definition under which the network can be set up now: `default` is made on first use and moves to another subnet
/// when the host has come to use its own otherwise. The shared lock is held.
fn settle(dirs: &Dirs, host: &mut Host, name: &str, known: Option<Definition>) -> Result<Definition> {
    if let Some(definition) = &known
        && bridge::existing(host, definition)?.is_some()
    {
        // Containers may be on it: whatever the host's routes say now, it stays where it is.
        return Ok(definition.clone());
    }
    let taken = taken_by_others(dirs, name)?;
    let definition = match known {
        None if name == DEFAULT => Definition::default_network(&taken)?,
        None => return Err(definition::unknown(dirs, name)),
        Some(definition) => {
            let Err(overlap) = definition::check_overlap(&definition, &taken) else {
                return Ok(definition);
            };
            if !definition.auto {
                return Err(overlap);
            }
            crate::log::warn(format_args!("{overlap}; choosing another one"));
            let ipv4 = definition::free_subnet(name, &taken)?;
            let definition = Definition { ipv4, ..definition };
            definition::check_overlap(&definition, &taken)?;
            definition
        }
    };
    definition.save(dirs)?;
    Ok(definition)
}

/// What a network without a bridge may not overlap with: the host's routes and addresses, and the other networks.
pub(super) fn taken_by_others(dirs: &Dirs, name: &str) -> Result<Vec<Taken>> {
    let mut taken = bridge::taken()?;
    for other in definition::names(dirs)?.iter().filter(|other| *other != name) {
        if let Some(other) = Definition::load(dirs, other)? {
            taken.extend(other.pools().map(|net| Taken {
                net,
                by: format!("network {}, which has {net}", other.name),
            }));
        }
    }
    Ok(taken)
}

/// Bridge, firewall, forwarding.
fn set_up(dirs: &Dirs, host: &mut Host, definition: &Definition, shared: &Lock) -> Result<u32> {
    let bridge = bridge::bring_up(host, definition)?;
    firewall::open(dirs, host, definition, shared)?;
    forward(dirs, definition)?;
    Ok(bridge)
}

/// Lets the host forward the network's packets, if it has to. The shared lock is held.
pub(super) fn forward(dirs: &Dirs, definition: &Definition) -> Result<()> {
    if definition.needs_forwarding() {
        sysctl::forward_ipv4(dirs, &definition.name)?;
        if definition.ipv6.is_some() {
            sysctl::forward_ipv6(dirs, &definition.name)?;
        }
    }
    Ok(())
}

pub(super) fn leave(dirs: &Dirs, host: &mut Host, container: &str, name: &str) -> Result<()> {
    endpoint::check_network_name(name).map_err(|why| Error::invalid("network", why))?;
    let dir = dirs.network(name);
    if !dir.exists() {
        return Ok(());
    }
    let _lock = file::lock(&dir.join("lock"))?;
    let leases = Leases::new(name, dir);
    let definition = Definition::load(dirs, name);
    let known = definition.as_ref().ok().and_then(Option::as_ref);
    // Before the lease, from which all of this is found again, and which keeps the address from others.
    names::withdraw(dirs, container, name)?;
    if let (Some(definition), Ok(Some(lease))) = (known, leases.of(container)) {
        firewall::dismiss(dirs, definition, &lease)?;
    }
    let released = leases.release(container, known, host)?;
    match definition? {
        Some(definition) => {
            let closed = close_if_unused(dirs, host, &definition, &leases, false)?;
            match released {
                // With the bridge nobody is left who could answer what may still keep the link. Only now, when the kernel
                // has had the time to see that the namespace is unused.
                Some(lease) if closed => host.delete_kept(&lease.host_interface),
                _ => Ok(()),
            }
        }
        None if released.is_none() => Ok(()),
        None => Err(Error::new(
            Kind::NotFound,
            format_args!("network {name}: its definition is gone, so its bridge cannot be found and stays"),
        )),
    }
}

pub(super) fn undo(
    dirs: &Dirs,
    host: &mut Host,
    container: &str,
    network: &str,
    interface: &str,
) -> Result<()> {
    host.delete(interface).and(leave(dirs, host, container, network))
}

/// Takes bridge and rules of a network away, on which no container is any more. All locks are held.
pub(super) fn close(dirs: &Dirs, host: &mut Host, definition: &Definition, _: &Everything) -> Result<()> {
    let leases = Leases::new(&definition.name, dirs.network(&definition.name));
    close_if_unused(dirs, host, definition, &leases, true).map(drop)
}

/// Takes bridge and rules of a network away when no container is on it any more, and says whether it was so. The network's
/// lock is held, the shared one too when `has_shared` says so.
pub(super) fn close_if_unused(
    dirs: &Dirs,
    host: &mut Host,
    definition: &Definition,
    leases: &Leases<'_>,
    has_shared: bool,
) -> Result<bool> {
    if leases.in_use(host)? {
        return Ok(false);
    }
    let shared = match has_shared {
        true => None,
        false => Some(file::lock(&dirs.shared_lock())?),
    };
    let last = !any_other_in_use(dirs, host, definition)?;
    // Both, whatever becomes of the first.
    let closed = firewall::close(dirs, host, definition, last, shared.as_ref());
    match host.link(&definition.bridge)? {
        Some(link) if link.is_our_bridge => host.delete(&definition.bridge).and(closed)?,
        _ => closed?,
    }
    Ok(true)
}

fn any_other_in_use(dirs: &Dirs, host: &mut Host, definition: &Definition) -> Result<bool> {
    for other in definition::names(dirs)? {
        if other == definition.name {
            continue;
        }
        match Definition::load(dirs, &other) {
            Ok(Some(other)) if host.link(&other.bridge)?.is_some_and(|link| link.is_our_bridge) => {
                return Ok(true);
            }
            Ok(_) => {}
            // Whoever broke the file may still be using the rules.
            Err(error) => {
                crate::log::warn(error);
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The second error of an undo is for the log: the first one is what the user has to know.
pub(super) fn report(result: Result<()>) {
    if let Err(error) = result {
        crate::log::warn(error);
    }
}
