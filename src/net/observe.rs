//! Looking at the networks of this host as they are: definitions, leases, connections. Nothing is changed and no lock is
//! taken, so what comes or goes meanwhile may be seen or not.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd as _;

use netlink_packet_core::Parseable as _;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::conntrack;
use super::definition::{self, Definition, Dirs};
use super::flows::{self, Flow, Known};
use super::lease::{Lease, Leases};
use super::namespace::{self, NamespaceId};
use super::netlink::{Netlink, Request};
use super::sockets::{self, Sockets};
use crate::error::{Error, Kind, Result};
use crate::log;

/// The connections that containers have part in now.
///
/// The process should have one thread: it visits the containers' namespaces.
///
/// # Errors
/// When the directory of definitions or the kernel's lists cannot be read. What cannot be read of a single network or
/// container is said in the log and left out.
pub fn flows(dirs: &Dirs) -> Result<Vec<Flow>> {
    let mut known = Known {
        host: host_addresses()?.into_iter().collect(),
        ..Known::default()
    };
    let mut open = BTreeMap::new();
    let home = namespace::current()?;
    for (definition, leases) in networks(dirs)? {
        for lease in leases {
            let owner = (lease.container.clone(), definition.name.clone());
            for address in addresses(&lease) {
                known.containers.insert(address, owner.clone());
            }
            if let Entry::Vacant(place) = open.entry(lease.container.clone()) {
                match sockets_of(&lease, &home) {
                    Ok(Some(sockets)) => drop(place.insert(sockets)),
                    Ok(None) => {}
                    Err(error) => log::warn(error.during(format_args!("container {}", lease.container))),
                }
            }
        }
    }
    // After the sockets: a connection that begins meanwhile is then known from here at least.
    Ok(flows::join(&known, &conntrack::dump()?, &open))
}

/// Every network that is defined, with its leases.
pub(super) fn networks(dirs: &Dirs) -> Result<Vec<(Definition, Vec<Lease>)>> {
    let mut networks = Vec::new();
    for name in definition::names(dirs)? {
        match Definition::load(dirs, &name) {
            Ok(Some(definition)) => networks.push((definition, leases(dirs, &name)?)),
            Ok(None) => {}
            Err(error) => log::warn(error),
        }
    }
    Ok(networks)
}

fn leases(dirs: &Dirs, network: &str) -> Result<Vec<Lease>> {
    let leases = Leases::new(network, dirs.network(network)).all()?;
    let readable = |lease: Result<Lease>| lease.inspect_err(|error| log::warn(error)).ok();
    let mut leases: Vec<Lease> = leases.filter_map(readable).collect();
    leases.sort_by_key(|lease| lease.address);
    Ok(leases)
}

pub(super) fn addresses(lease: &Lease) -> Vec<IpAddr> {
    [Some(lease.address.into()), lease.address6.map(IpAddr::from)]
        .into_iter()
        .flatten()
        .collect()
}

/// What the container has open; `None` when its first process has ended.
fn sockets_of(lease: &Lease, home: &File) -> Result<Option<Sockets>> {
    let Some(process) = lease.process else {
        return Ok(None);
    };
    let Ok(netns) = File::open(format!("/proc/{}/ns/net", process.pid)) else {
        return Ok(None);
    };
    // Another process may have the number by now.
    match NamespaceId::of(&netns)? == lease.netns {
        true => sockets::dump(netns.as_fd(), home).map(Some),
        false => Ok(None),
    }
}

/// The addresses of the calling thread's network namespace.
fn host_addresses() -> Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    let request = Request::query(
        libc::RTM_GETADDR,
        &AddressMessage::default(),
        "list addresses of",
        "the host",
    );
    Netlink::open(NETLINK_ROUTE)?.dump(request, |message| {
        let message = AddressMessage::parse(message)
            .map_err(|error| Error::new(Kind::Os, format_args!("list addresses of the host: {error}")))?;
        // Of a point-to-point link `Address` is the other end's.
        let mut own = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => own = Some(*address),
                AddressAttribute::Address(address) => own = own.or(Some(*address)),
                _ => {}
            }
        }
        found.extend(own);
        Ok(())
    })?;
    Ok(found)
}
