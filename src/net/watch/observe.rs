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

use super::flows::{self, Flow, Known};
use super::topology::Topology;
use crate::error::{Error, Kind, Result};
use crate::log;
use crate::net::definition::Dirs;
use crate::net::firewall;
use crate::net::inventory::{self, Description};
use crate::net::kernel::netlink::{Netlink, Request};
use crate::net::kernel::sockets::{self, Sockets};
use crate::net::kernel::{conntrack, namespace};
use crate::process::Process;

/// The connections that containers have part in now.
///
/// The process should have one thread: it visits the containers' namespaces.
///
/// # Errors
/// When the networks or the kernel's lists cannot be read. What cannot be read of a single container is said in the log
/// and left out.
pub fn flows(dirs: &Dirs) -> Result<Vec<Flow>> {
    let mut known = Known {
        host: host_addresses()?.into_iter().collect(),
        ..Known::default()
    };
    let (mut open, mut lacking) = (BTreeMap::new(), None);
    let home = namespace::current()?;
    for Description {
        definition,
        containers,
        ..
    } in inventory::list(dirs)?
    {
        for member in containers {
            let addresses = [Some(member.address.into()), member.address6.map(IpAddr::from)];
            for address in addresses.into_iter().flatten() {
                let owner = (member.container.clone(), definition.name.clone());
                known.containers.insert(address, owner);
            }
            if let Entry::Vacant(place) = open.entry(member.container.clone())
                && let Some(process) = member.process
            {
                match sockets_of(process, &home) {
                    Ok(sockets) => drop(sockets.map(|sockets| place.insert(sockets))),
                    // The same for every container.
                    Err(error) if error.kind() == Kind::Unsupported => lacking = Some(error),
                    Err(error) => log::warn(error.during(format_args!("container {}", member.container))),
                }
            }
        }
    }
    if let Some(error) = lacking {
        log::warn(error.hint("connections inside a bridge are not shown"));
    }
    // After the sockets: a connection that begins meanwhile is then known from here at least.
    let tracked = match conntrack::dump() {
        Err(error) if error.kind() == Kind::Unsupported => {
            log::warn(error.hint("of connections through the host only the container's end is shown"));
            Vec::new()
        }
        tracked => tracked?,
    };
    Ok(flows::join(&known, &tracked, &open))
}

/// The map of the networks, as defined and as they are, with what the rules have counted when that can be read.
///
/// # Errors
/// When the networks cannot be read.
pub fn topology(dirs: &Dirs) -> Result<Topology> {
    let topology = Topology::new(&inventory::list(dirs)?);
    Ok(match firewall::counters(dirs) {
        Ok(counters) => topology.counted(|network, rule| counters.of(network, rule).allowed.packets),
        Err(error) => {
            log::warn(error);
            topology
        }
    })
}

/// What the container of this process has open; `None` when the process has ended.
fn sockets_of(process: Process, home: &File) -> Result<Option<Sockets>> {
    let Ok(netns) = File::open(format!("/proc/{}/ns/net", process.pid)) else {
        return Ok(None);
    };
    // Asked after opening: it was this process' namespace and not that of a later one with its number.
    match process.is_alive()? {
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
