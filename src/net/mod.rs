//! Networks without a daemon: bridges, addresses, names, published ports, policies.
//!
//! This room takes a network namespace and gives back a record; it knows nothing of OCI. Its state is files:
//!
//! - `/var/lib/minirun/net/<name>.json`: a network's [`Definition`]; the one of `default` is written on first use;
//! - `/run/minirun/net/<name>/`: lock, leases (`leases/<address>`, for each address, and `containers/<id>` are names of
//!   the same file) and the history of freed addresses;
//! - `/run/minirun/net/<name>/firewall.json`: the definition that the firewall has, while the network is in use;
//! - `/run/minirun/net/.lock`: for what networks share: subnets, the firewall table, the host's switches.
//!
//! A network's lock is always taken before the shared one. A network is *in use* while a container's link stands on this
//! host; the first [`attach`] makes its bridge and firewall elements, the last [`detach`] takes them away.
//!
//! Every step of attach can be repeated and leaves, when it is killed, what `detach` finds from the container's id and
//! the networks' names alone. docs/networking.md shows each step with the command that would do the same.
//!
//! | about | files |
//! |---|---|
//! | what is asked for | `definition`, `policy`, `creation`, `amend`; `endpoint`, `publish` |
//! | who has what | `address/`; `file` writes it |
//! | who may be asked for | `readiness` |
//! | a container comes or goes | `membership`, `names`, `files` |
//! | who may talk to whom | `firewall/` |
//! | a container is given a device of the host | `device` |
//! | something is amiss | `reconcile` |
//! | looking | `inventory`, `watch/` |
//! | what the kernel has of networks, and its languages | `kernel/` |

mod address;
mod amend;
mod creation;
mod definition;
mod device;
mod endpoint;
mod file;
mod files;
mod firewall;
#[doc(hidden)]
pub mod fuzz;
mod inventory;
mod kernel;
mod membership;
mod names;
mod policy;
mod publish;
mod readiness;
mod reconcile;
#[cfg(test)]
mod tests;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

pub use self::address::prefix::Prefix;
pub use self::address::subnet::{Subnet, Subnet6};
pub use self::amend::{CountedRule, NetworkPolicy, allow, amend, deny, policies};
pub use self::creation::{Wish, create};
pub use self::definition::{DEFAULT, Definition, Dirs, Driver, names};
pub use self::device::{DEVICES, Device, Moved, move_into};
pub use self::endpoint::{Endpoint, Mac, is_host_name};
pub use self::files::{hostname, hosts, own_lines, resolv_conf};
pub use self::firewall::{Counted, Counters, Refused, RuleCounters, counters};
pub use self::inventory::{Description, Member, describe, list, prune, remove};
pub use self::kernel::namespace::NamespaceId;
pub use self::kernel::{conntrack, sockets};
pub use self::names::watch_names;
pub use self::policy::{Party, Policy, Ports, Protocol, Rate, Rule, Span, Stance};
pub use self::publish::{PortRange, Publish};
pub use self::readiness::{is_ready, ready};
pub use self::reconcile::{Repair, reconcile};
pub use self::watch::traffic::{Meter, Traffic, traffic};
pub use self::watch::{flows, observe, topology};

use self::address::lease::{Leases, Links as _, Liveness};
use self::kernel::link::Host;
use self::kernel::routes::{Candidate, Defaults};
use self::membership::{Joining, leave, report, taken_by_others, undo};
use crate::error::{Error, Kind, Result};
use crate::process::Process;

/// A container's networks, in the order in which it asked for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attachment {
    /// One entry per network.
    pub networks: Vec<Attached>,
}

/// A container on one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// The network's name.
    pub network: String,
    /// The interface in the container: `eth0`, `eth1`, ...
    pub interface: String,
    /// Its other end on the host. It goes with the container's network namespace, a moment after the last process.
    pub host_interface: String,
    /// The container's address.
    pub address: Ipv4Addr,
    /// Bits of the subnet's prefix.
    pub prefix: u8,
    /// The bridge's address, next hop of the default route.
    pub gateway: Ipv4Addr,
    /// The container's IPv6 address, if the network has IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    /// Bits of the IPv6 subnet's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix6: Option<u8>,
    /// The bridge's IPv6 address, next hop of the IPv6 default route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway6: Option<Ipv6Addr>,
    /// The container's Ethernet address.
    pub mac: Mac,
    /// What others on the network may call the container: its id, host name and aliases.
    pub names: Vec<String>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Which network has the default route: see [`Endpoint::priority`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// The network has no way out, so the default route is never here.
    #[serde(default, skip_serializing_if = "is_default")]
    pub internal: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The host's address that it is published on; all of them otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port on the host.
    pub host: u16,
    /// The port in the container.
    pub container: u16,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// What [`attach`] is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The id under which [`detach`] finds everything again; write it and the networks' names down before calling.
    pub container: &'a str,
    /// The container's own name, or nothing.
    pub hostname: &'a str,
    /// Its network namespace.
    pub netns: BorrowedFd<'a>,
    /// Its first process: while it lives, so does the container, whatever becomes of its links.
    pub process: Option<Process>,
    /// A descriptor for that process. netd has to learn of its end, so without one the container has no names.
    pub pidfd: Option<BorrowedFd<'a>>,
    /// What to join.
    pub endpoints: &'a [Endpoint],
    /// What it is on already; nothing when it is being made.
    pub attached: &'a [Attached],
    /// Ports of the host that lead to it; through the network that has its default route.
    pub publish: &'a [Publish],
    /// How it finds names.
    pub dns: &'a Dns,
    /// Whether others may be sent to it by the names that it shares, from the beginning: see [`ready`].
    pub ready: bool,
}

/// How a container finds the names that are not of its networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// Whom to ask; the host's servers when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
    /// Domains to look in; the host's when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
}

/// Says before any side effect whether [`attach`] would refuse these endpoints: networks that do not exist (with a
/// suggestion), named twice, addresses that are outside, reserved or taken (by whom), names of interfaces that are taken.
///
/// # Errors
/// NotFound, InvalidConfig or Exists, for the first endpoint that is wrong.
pub fn check(dirs: &Dirs, endpoints: &[Endpoint]) -> Result<()> {
    examine(dirs, &[], endpoints).map(drop)
}

/// What [`check`] says of endpoints in addition to those that a container is on already, and what decides which of all
/// these networks has the default routes.
fn examine(dirs: &Dirs, attached: &[Attached], endpoints: &[Endpoint]) -> Result<Vec<Candidate>> {
    let mut candidates: Vec<Candidate> = attached.iter().map(Candidate::from).collect();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let name = &endpoint.network;
        let earlier = endpoints.iter().take(index).map(|earlier| &earlier.network);
        if attached
            .iter()
            .map(|on| &on.network)
            .chain(earlier)
            .any(|other| other == name)
        {
            return Err(Error::invalid(format_args!("network {name}"), "asked for twice"));
        }
        let definition = match Definition::load(dirs, name)? {
            Some(definition) => Some(definition),
            None if name != DEFAULT => return Err(definition::unknown(dirs, name)),
            // It will be chosen on first use; only somebody who wants an address needs to know it now.
            None if endpoint.ip.is_none() && endpoint.ip6.is_none() => None,
            None => Some(Definition::default_network(&taken_by_others(dirs, name)?)?),
        };
        if let Some(definition) = &definition {
            check_addresses(dirs, endpoint, definition)?;
        }
        candidates.push(Candidate {
            priority: endpoint.priority,
            internal: definition.as_ref().is_some_and(|definition| definition.internal),
            has_ipv6: definition.is_some_and(|definition| definition.ipv6.is_some()),
        });
    }
    kernel::routes::interface_names(attached, endpoints)?;
    Ok(candidates)
}

fn check_addresses(dirs: &Dirs, endpoint: &Endpoint, definition: &Definition) -> Result<()> {
    let name = &endpoint.network;
    let wrong = |why| Error::invalid(format_args!("network {name}"), why);
    if let Some(address) = endpoint.ip {
        definition.ipv4.check_address(address).map_err(wrong)?;
    }
    if let Some(address) = endpoint.ip6 {
        let Some(ipv6) = &definition.ipv6 else {
            return Err(wrong(format!("ip6={address}: the network has no IPv6"))
                .hint("only a network that was created with IPv6 has it"));
        };
        ipv6.check_address(address).map_err(wrong)?;
    }
    let leases = Leases::new(name, dirs.network(name));
    let addresses = [endpoint.ip.map(IpAddr::V4), endpoint.ip6.map(IpAddr::V6)];
    for address in addresses.into_iter().flatten() {
        if let Some(owner) = leases.holder(address)?
            && Host::open()?.liveness(&owner)? != Liveness::Gone
        {
            return Err(leases.taken(address, &owner));
        }
    }
    Ok(())
}

/// Connects a container's namespace to all these networks, or to none. Returns one entry per endpoint, in their order.
///
/// The process should have one thread: it visits the namespace.
///
/// # Errors
/// What [`check`] says, an exhausted range, an overlapping subnet, or what the kernel or `nft` refused; what had been
/// done is undone.
pub fn attach(dirs: &Dirs, request: &Request<'_>) -> Result<Attachment> {
    let Request {
        container, endpoints, ..
    } = *request;
    check_container_id(container)?;
    let candidates = examine(dirs, request.attached, endpoints)?;
    let defaults = Defaults::choose(&candidates)
        .into_iter()
        .skip(request.attached.len());
    let interfaces = kernel::routes::interface_names(request.attached, endpoints)?;
    if !request.publish.is_empty() && !defaults.clone().any(|defaults| defaults.ipv4) {
        return Err(Error::invalid(
            "publish",
            "a container on internal networks only has no way in from outside",
        )
        .hint("put it on a network that is not internal, too"));
    }
    let mut host = Host::open()?;
    if NamespaceId::of(request.netns)? == host.netns_id {
        return Err(Error::new(
            Kind::WrongState,
            format_args!("container {container} has the host's network namespace: nothing to attach"),
        ));
    }
    let mut attachment = Attachment::default();
    for ((endpoint, interface), defaults) in endpoints.iter().zip(interfaces).zip(defaults) {
        let attached = Joining {
            dirs,
            request,
            endpoint,
            interface,
            defaults,
            first: request.attached.is_empty() && attachment.networks.is_empty(),
        }
        .join(&mut host);
        match attached {
            Ok(attached) => attachment.networks.push(attached),
            Err(error) => {
                for earlier in attachment.networks.iter().rev() {
                    report(undo(
                        dirs,
                        &mut host,
                        container,
                        &earlier.network,
                        &earlier.host_interface,
                    ));
                }
                return Err(error);
            }
        }
    }
    Ok(attachment)
}

/// Gives back what the container has on these networks; works when its namespace is gone, when it has nothing there
/// (any more), and again. The last container of a network takes bridge and firewall rules along.
///
/// The container's links are left to the kernel, which removes them with the namespace, a moment after its last process:
/// deleting one here would take 25 ms. Their addresses are not given to others before they are gone.
///
/// # Errors
/// Everything that could not be given back, in one error. Call again.
pub fn detach(dirs: &Dirs, container: &str, networks: &[String]) -> Result<()> {
    check_container_id(container)?;
    let mut host = Host::open()?;
    let failures: Vec<Error> = networks
        .iter()
        .filter_map(|network| leave(dirs, &mut host, container, network).err())
        .collect();
    match <[Error; 1]>::try_from(failures) {
        Ok([error]) => Err(error),
        Err(failures) if failures.is_empty() => Ok(()),
        Err(failures) => {
            let texts: Vec<_> = failures.iter().map(ToString::to_string).collect();
            Err(Error::new(Kind::Os, texts.join("; ")))
        }
    }
}

/// Takes a running container off one of its networks: `attached`, as [`attach`] told. Its link goes at once, not with its
/// namespace, and its default routes move to where they belong among those that are `left`.
///
/// # Errors
/// What could not be given back, or the kernel's refusal of the routes. Call again.
pub fn disconnect(
    dirs: &Dirs,
    container: &str,
    attached: &Attached,
    netns: BorrowedFd<'_>,
    left: &[Attached],
) -> Result<()> {
    check_container_id(container)?;
    let mut host = Host::open()?;
    let (network, interface) = (attached.network.as_str(), attached.host_interface.as_str());
    undo(dirs, &mut host, container, network, interface)?;
    host.restore_defaults(left, netns)
}

/// Takes back what an [`attach`] of a running container left that was killed before anybody heard of its success.
///
/// # Errors
/// As [`disconnect`].
pub fn abandon(
    dirs: &Dirs,
    container: &str,
    network: &str,
    netns: BorrowedFd<'_>,
    left: &[Attached],
) -> Result<()> {
    check_container_id(container)?;
    let mut host = Host::open()?;
    match Leases::new(network, dirs.network(network)).of(container) {
        Ok(Some(lease)) => undo(dirs, &mut host, container, network, &lease.host_interface)?,
        // Unreadable, it does not tell of a link.
        Ok(None) | Err(_) => leave(dirs, &mut host, container, network)?,
    }
    host.restore_defaults(left, netns)
}

/// Ids become names of files here; their full rule is the container room's.
fn check_container_id(id: &str) -> Result<()> {
    let fine = (1..=255).contains(&id.len()) && id != "." && id != ".." && !id.contains(['/', '\0']);
    match fine {
        true => Ok(()),
        false => Err(Error::invalid(
            "container id",
            format_args!("{id:?} cannot be the name of a file"),
        )),
    }
}
