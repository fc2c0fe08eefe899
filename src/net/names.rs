//! What netd has to know: who is on which network under which names, and the sockets that only it keeps open.
//!
//! A lease says all of it, so a netd that was killed is made whole again from the leases: the namespace is found through
//! the container's first process.

use std::collections::HashMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::address::lease::{Lease, Leases, Links as _, Liveness};
use super::definition::{self, Definition, Dirs};
use super::kernel::link::Host;
use super::kernel::namespace::{self, NamespaceId};
use super::publish;
use crate::error::{OsContext as _, Result};
use crate::netd::client::{self, Descriptors, Netd};
use crate::netd::{Resolver, Station};

/// What is known of a container's process and namespace when its names are announced.
pub(super) struct Holder<'a> {
    /// Of its first process.
    pub(super) pidfd: BorrowedFd<'a>,
    /// Its network namespace, when netd has no sockets of its resolver yet.
    pub(super) resolver_in: Option<BorrowedFd<'a>>,
    /// Its published ports.
    pub(super) ports: Vec<OwnedFd>,
}

/// Makes a container's names known to its network. When this returns they resolve.
///
/// # Errors
/// When netd cannot be started or refuses.
pub(super) fn announce(
    dirs: &Dirs,
    host: &mut Host,
    definition: &Definition,
    lease: &Lease,
    ready: bool,
    holder: Holder<'_>,
) -> Result<()> {
    match register(dirs, host, definition, lease, ready, holder)? {
        Netd::Running => Ok(()),
        // An earlier one may have been killed, and others be waiting for their names.
        Netd::Started => restore(dirs, host).map(drop),
    }
}

/// Tells netd that a container has become ready or is so no more; fine when it has ended.
///
/// # Errors
/// As [`announce`].
pub(super) fn renew(
    dirs: &Dirs,
    host: &mut Host,
    definition: &Definition,
    lease: &Lease,
    ready: bool,
) -> Result<()> {
    let Some((pidfd, _)) = holder(lease)? else {
        return Ok(());
    };
    // netd has the sockets.
    let known = Holder {
        pidfd: pidfd.as_fd(),
        resolver_in: None,
        ports: Vec::new(),
    };
    match register(dirs, host, definition, lease, ready, known)? {
        Netd::Running => Ok(()),
        // It has heard of nobody else, and has not this one's sockets either.
        Netd::Started => restore(dirs, host).map(drop),
    }
}

/// A descriptor that hangs up (poll(2)) when the process that answers names ends; nothing when there is none. After that
/// names do not resolve until [`reconcile`](super::reconcile()), unless no container is on a network any more.
///
/// # Errors
/// When that process does not answer.
pub fn watch_names(dirs: &Dirs) -> Result<Option<OwnedFd>> {
    client::watch(&dirs.run)
}

/// Takes the container off the network's names.
pub(super) fn withdraw(dirs: &Dirs, container: &str, network: &str) -> Result<()> {
    client::unregister(&dirs.run, container, network)
}

fn register(
    dirs: &Dirs,
    host: &Host,
    definition: &Definition,
    lease: &Lease,
    ready: bool,
    holder: Holder<'_>,
) -> Result<Netd> {
    let netns = holder.resolver_in;
    let open = netns.map(|netns| move || namespace::visit(netns, &host.netns, Resolver::open));
    let station = Station {
        container: lease.container.clone(),
        network: definition.name.clone(),
        internal: definition.internal,
        names: lease.names.clone(),
        unready: match ready {
            true => Vec::new(),
            false => lease.shared.clone(),
        },
        addresses: [Some(lease.address.into()), lease.address6.map(IpAddr::V6)]
            .into_iter()
            .flatten()
            .collect(),
        pools: definition.pools().collect(),
        upstream: lease.upstream.clone(),
    };
    let descriptors = Descriptors {
        pidfd: Some(holder.pidfd),
        resolver: open.as_ref().map(|open| open as &dyn Fn() -> Result<Resolver>),
        ports: holder.ports,
    };
    client::register(&dirs.run, &station, descriptors)
}

/// What netd has of a container.
#[derive(Default)]
struct Heard {
    resolver: bool,
    /// Whether it knows it there as one that lacks names because it is not ready.
    networks: HashMap<String, bool>,
}

/// Tells netd of every container on this host that it does not know, or not as ready as it is. Returns their ids.
///
/// # Errors
/// When netd cannot be asked; what is wrong with single containers is a warning.
pub(super) fn restore(dirs: &Dirs, host: &mut Host) -> Result<Vec<String>> {
    let mut known: HashMap<String, Heard> = HashMap::new();
    for station in client::stations(&dirs.run)? {
        let heard = known.entry(station.container).or_default();
        heard.resolver |= station.resolver;
        heard.networks.insert(station.network, station.unready);
    }
    let mut restored = Vec::new();
    for name in definition::names(dirs)? {
        let Some(definition) = Definition::load(dirs, &name)? else {
            continue;
        };
        let leases = Leases::new(&name, dirs.network(&name));
        for lease in leases.all()?.flatten() {
            let heard = known.entry(lease.container.clone()).or_default();
            let ready = leases.is_ready(&lease.container);
            let lacks_names = !ready && !lease.shared.is_empty();
            if heard.resolver && heard.networks.get(&name) == Some(&lacks_names) {
                continue;
            }
            match again(dirs, host, &definition, &lease, ready, heard) {
                Ok(false) => {}
                Ok(true) => {
                    heard.resolver = true;
                    heard.networks.insert(name.clone(), lacks_names);
                    restored.push(lease.container);
                }
                Err(error) => crate::log::warn(error.during(format_args!("names of {}", lease.container))),
            }
        }
    }
    restored.dedup();
    Ok(restored)
}

/// False when the container is not there any more, or not on this host.
fn again(
    dirs: &Dirs,
    host: &mut Host,
    definition: &Definition,
    lease: &Lease,
    ready: bool,
    heard: &Heard,
) -> Result<bool> {
    if host.liveness(lease)? != Liveness::Live {
        return Ok(false);
    }
    let Some((pidfd, netns)) = holder(lease)? else {
        return Ok(false);
    };
    // A station that only lacks a resolver, or is to be renewed, has them.
    let ports = match heard.networks.contains_key(&definition.name) {
        true => Vec::new(),
        false => publish::hold_again(&lease.ports, lease.address6.is_some()).unwrap_or_else(|error| {
            // The firewall sends what comes there to the container, whoever holds the port.
            crate::log::warn(error);
            Vec::new()
        }),
    };
    let holder = Holder {
        pidfd: pidfd.as_fd(),
        resolver_in: (!heard.resolver).then(|| netns.as_fd()),
        ports,
    };
    register(dirs, host, definition, lease, ready, holder).map(|_| true)
}

/// The first process of a lease's container, and its network namespace; `None` when it has ended.
///
/// # Errors
/// Those of opening its files.
pub(super) fn holder(lease: &Lease) -> Result<Option<(OwnedFd, File)>> {
    let Some(process) = lease.process else {
        return Ok(None);
    };
    let Some(pidfd) = process.open()? else {
        return Ok(None);
    };
    let path = format!("/proc/{}/ns/net", process.pid);
    let netns = match File::open(&path) {
        Ok(netns) => netns,
        // It has ended since: what has ended has no namespaces, waited for or not.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(None),
        Err(error) => return Err(error).os("open", &path),
    };
    // The number meant that process until now, so the namespace is its own. It may have gone to another one since.
    let same = process.is_alive()? && NamespaceId::of(&netns)? == lease.netns;
    Ok(same.then_some((pidfd, netns)))
}
