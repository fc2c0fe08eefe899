//! Which networks there are, who is on them, and removing those that nobody is on.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::Port;
use super::address::lease::{Lease, Leases, Links as _, Liveness};
use super::definition::{self, DEFAULT, Definition, Dirs};
use super::endpoint::Mac;
use super::file;
use super::kernel::link::Host;
use super::membership::close_if_unused;
use super::watch::traffic::{Traffic, traffic};
use crate::error::{Error, Kind, OsContext as _, Result};
use crate::process::Process;

/// A network, and who is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// What it is to be.
    #[serde(flatten)]
    pub definition: Definition,
    /// Whether its bridge stands.
    pub up: bool,
    /// Who has an address on it, in the order of these.
    pub containers: Vec<Member>,
}

/// A container on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its id.
    pub container: String,
    /// Under which names others find it: its id first.
    pub names: Vec<String>,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, if the network has IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The interface in the container.
    pub interface: String,
    /// Its other end on the host.
    pub host_interface: String,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Its first process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// It died without being deleted: its addresses are taken back when others need them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Nobody is sent to it by the names that it shares with others: see [`super::ready`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unready: bool,
    /// What it has sent and received; only [`describe`] looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
}

/// All networks that are defined, by name. One that cannot be read does not hide the others: it is warned of.
///
/// # Errors
/// When the definitions or leases cannot be listed.
pub fn list(dirs: &Dirs) -> Result<Vec<Description>> {
    let mut host = Host::open()?;
    let mut networks = Vec::new();
    for name in definition::names(dirs)? {
        match Definition::load(dirs, &name) {
            Ok(Some(definition)) => networks.push(describe_defined(dirs, &mut host, definition)?),
            Ok(None) => {}
            Err(error) => crate::log::warn(error),
        }
    }
    Ok(networks)
}

/// One network.
///
/// # Errors
/// NotFound with a suggestion; InvalidConfig when its definition makes no sense.
pub fn describe(dirs: &Dirs, name: &str) -> Result<Description> {
    let definition = Definition::load(dirs, name)?.ok_or_else(|| definition::unknown(dirs, name))?;
    let mut network = describe_defined(dirs, &mut Host::open()?, definition)?;
    let interfaces = network
        .containers
        .iter()
        .map(|member| member.host_interface.as_str());
    let counted = traffic(interfaces)?;
    for (member, traffic) in network.containers.iter_mut().zip(counted) {
        member.traffic = traffic;
    }
    Ok(network)
}

fn describe_defined(dirs: &Dirs, host: &mut Host, definition: Definition) -> Result<Description> {
    let mut containers = Vec::new();
    let leases = Leases::new(&definition.name, dirs.network(&definition.name));
    for lease in leases.all()? {
        match lease {
            Ok(lease) => {
                let stale = host.liveness(&lease)? == Liveness::Gone;
                let unready = !leases.is_ready(&lease.container);
                containers.push(member(lease, stale, unready));
            }
            Err(error) => crate::log::warn(error),
        }
    }
    containers.sort_by_key(|member| member.address);
    let up = host
        .link(&definition.bridge)?
        .is_some_and(|link| link.is_our_bridge && link.up);
    Ok(Description {
        definition,
        up,
        containers,
    })
}

fn member(lease: Lease, stale: bool, unready: bool) -> Member {
    Member {
        container: lease.container,
        names: lease.names,
        address: lease.address,
        address6: lease.address6,
        mac: lease.mac,
        interface: lease.interface,
        host_interface: lease.host_interface,
        ports: lease.ports,
        process: lease.process,
        stale,
        unready,
        traffic: None,
    }
}

/// Removes a network that no container is on, with all that is remembered of it.
///
/// # Errors
/// NotFound with a suggestion; WrongState with the names of the containers that are on it.
pub fn remove(dirs: &Dirs, name: &str) -> Result<()> {
    if Definition::load(dirs, name)?.is_none() {
        return Err(definition::unknown(dirs, name));
    }
    let users = remove_unused(dirs, name)?;
    if users.is_empty() {
        return Ok(());
    }
    const SHOWN: usize = 5;
    let mut text = users
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if users.len() > SHOWN {
        text += &format!(" and {} more", users.len() - SHOWN);
    }
    Err(Error::new(
        Kind::WrongState,
        format_args!("network {name} is in use by {text}"),
    )
    .hint("disconnect or delete them first"))
}

/// Removes all networks that no container is on, but for the default one. Returns their names.
///
/// # Errors
/// The first network that could not be removed for another reason; the others have been attempted.
pub fn prune(dirs: &Dirs) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let mut failure = Ok(());
    for name in definition::names(dirs)?
        .into_iter()
        .filter(|name| name != DEFAULT)
    {
        match remove_unused(dirs, &name) {
            Ok(users) if users.is_empty() => removed.push(name),
            Ok(_) => {}
            Err(error) => failure = failure.and(Err(error)),
        }
    }
    failure.map(|()| removed)
}

/// Removes the network, or says which containers are on it.
fn remove_unused(dirs: &Dirs, name: &str) -> Result<Vec<String>> {
    let dir = dirs.network(name);
    let _lock = file::lock(&dir.join("lock"))?;
    let Some(definition) = Definition::load(dirs, name)? else {
        return Ok(Vec::new());
    };
    let mut host = Host::open()?;
    let leases = Leases::new(name, dir.clone());
    let mut users = Vec::new();
    for lease in leases.all()? {
        let lease = lease?;
        if host.liveness(&lease)? != Liveness::Gone {
            users.push(lease.container);
        }
    }
    if !users.is_empty() {
        users.sort();
        return Ok(users);
    }
    let _shared = file::lock(&dirs.shared_lock())?;
    close_if_unused(dirs, &mut host, &definition, &leases, true)?;
    let boot_id = host.boot_id.clone();
    leases.delete_links(&boot_id, &definition, &mut host)?;
    definition.delete(dirs)?;
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        result => result.os("remove", dir.display())?,
    }
    Ok(users)
}
