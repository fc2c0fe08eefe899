//! Leases: which container has which address on a network.
//!
//! A lease is one file with a name for each thing that it gives away, in `/run/minirun/net/<network>/`: `containers/<id>`,
//! `leases/<IPv4 address>` and, if the network has IPv6, `leases/<IPv6 address>`. It is written complete under a temporary
//! name and then linked, so that nobody ever reads half of one; a link fails when the address or the container has a
//! lease already. All writers hold the network's lock.
//!
//! A container that is not ready has a further file, `unready/<id>`: readiness changes during a lease's life, and a lease
//! cannot be replaced under all of its names at once.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::history::{History, Pool};
use super::prefix::Prefix;
use crate::error::{Error, Kind, OsContext, Result};
use crate::net::definition::Definition;
use crate::net::endpoint::{Endpoint, Mac};
use crate::net::file::{self, Durability};
use crate::net::kernel::namespace::NamespaceId;
use crate::net::{Port, is_default};
use crate::process::Process;

/// One container on one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::net) struct Lease {
    pub(in crate::net) container: String,
    /// What others on the network may call it.
    pub(in crate::net) names: Vec<String>,
    /// Those of `names` that others may have too: nobody gets its address for them while it is not ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::net) shared: Vec<String>,
    pub(in crate::net) address: Ipv4Addr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::net) address6: Option<Ipv6Addr>,
    pub(in crate::net) mac: Mac,
    /// In the container's namespace.
    pub(in crate::net) interface: String,
    /// The other end, in the host's namespace.
    pub(in crate::net) host_interface: String,
    pub(in crate::net) netns: NamespaceId,
    pub(in crate::net) host_netns: NamespaceId,
    pub(in crate::net) boot_id: String,
    /// Counts the leases of the network: the later of two has the higher one.
    #[serde(default)]
    pub(in crate::net) generation: u64,
    #[serde(default)]
    pub(in crate::net) ports: Vec<Port>,
    /// Whom netd asks for names of others on its behalf; the host's servers when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::net) upstream: Vec<IpAddr>,
    /// The container's first process, through which its namespace is found again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::net) process: Option<Process>,
    /// See [`crate::net::Endpoint::priority`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub(in crate::net) priority: i32,
}

/// Whether the container behind a lease can still be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Liveness {
    /// Its link exists, or at least its first process does.
    Live,
    /// Its process ended, its namespace went and took the link along; or the host was restarted.
    Gone,
    /// Its host side is another network namespace: from here nobody can say.
    Elsewhere,
}

/// What tells live leases from stale ones, and removes what a dead one left.
pub(in crate::net) trait Links {
    /// See [`Liveness`].
    fn liveness(&mut self, lease: &Lease) -> Result<Liveness>;
    /// Whether this interface exists on the host.
    fn exists(&mut self, interface: &str) -> Result<bool>;
    /// Deletes this interface on the host, if it exists.
    fn delete(&mut self, interface: &str) -> Result<()>;
}

impl Lease {
    /// What it gives away.
    pub(in crate::net) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [Some(self.address.into()), self.address6.map(IpAddr::V6)]
            .into_iter()
            .flatten()
    }
}

/// The leases of one network. Made under its lock.
pub(in crate::net) struct Leases<'a> {
    network: &'a str,
    dir: PathBuf,
}

impl<'a> Leases<'a> {
    pub(in crate::net) fn new(network: &'a str, dir: PathBuf) -> Self {
        Self { network, dir }
    }

    /// Gives `lease.container` the addresses that `endpoint` names, or any free ones; fills in addresses and generation.
    ///
    /// # Errors
    /// Exists when the container has a lease already, a wanted address is taken (by whom, the error says) or no
    /// address is left; nothing changes then.
    ///
    /// `dismiss` takes out of the firewall what a dead container has there, before its addresses become another's. Whether
    /// the container is `ready` from the beginning is known no later than its lease.
    pub(in crate::net) fn claim(
        &self,
        mut lease: Lease,
        ready: bool,
        definition: &Definition,
        endpoint: &Endpoint,
        links: &mut impl Links,
        dismiss: &dyn Fn(&Lease) -> Result<()>,
    ) -> Result<Lease> {
        for directory in [self.by_container(), self.by_address()] {
            file::directory(&directory)?;
        }
        if let Some(earlier) = self.of(&lease.container)? {
            if links.liveness(&earlier)? != Liveness::Gone {
                return Err(Error::new(
                    Kind::Exists,
                    format_args!(
                        "container {} is on network {} already",
                        lease.container, self.network
                    ),
                ));
            }
            self.evict(&earlier, dismiss)?;
        }
        let mut history = self.history(&lease.boot_id, definition);
        if let Some(pool) = &mut history.ipv4 {
            lease.address = self.choose(pool, endpoint.ip, links, dismiss)?;
        }
        if let Some(pool) = &mut history.ipv6 {
            lease.address6 = Some(self.choose(pool, endpoint.ip6, links, dismiss)?);
        }
        history.generation += 1;
        lease.generation = history.generation;
        // Before the lease: a generation that was never used harms nobody, one used twice would.
        self.remember(&history)?;

        self.set_ready(&lease.container, ready)?;
        let temporary = self.new_lease_path();
        file::create(&temporary, &lease, Durability::UntilReboot)?;
        let linked = self.link(&temporary, &lease);
        file::remove(&temporary)?;
        linked.map(|()| lease)
    }

    /// The container's name first: from it `release` finds everything, however early we are killed.
    fn link(&self, file: &Path, lease: &Lease) -> Result<()> {
        let mut linked: Vec<PathBuf> = Vec::new();
        let by_address = lease.addresses().map(|address| self.lease_path(address));
        for path in [self.by_container().join(&lease.container)]
            .into_iter()
            .chain(by_address)
        {
            if let Err(error) = fs::hard_link(file, &path).os("link lease", path.display()) {
                for path in linked.iter().rev() {
                    file::remove(path)?;
                }
                return Err(error);
            }
            linked.push(path);
        }
        Ok(())
    }

    /// Gives back what the container has on this network; `None` when it has nothing.
    pub(in crate::net) fn release(
        &self,
        container: &str,
        definition: Option<&Definition>,
        links: &mut impl Links,
    ) -> Result<Option<Lease>> {
        let by_container = self.by_container().join(container);
        file::remove(&self.unready_path(container))?;
        // Of a claim that was killed.
        file::remove(&self.new_lease_path())?;
        let Ok(own) = fs::symlink_metadata(&by_container) else {
            file::remove(&file::temporary(&self.history_path()))?;
            return Ok(None);
        };
        let lease = match self.of(container) {
            Ok(Some(lease)) => lease,
            // Unreadable: the addresses are the other names of the same file.
            Ok(None) | Err(_) => {
                for entry in self.by_addresses()? {
                    let (address, path) = entry?;
                    if file::is_same(&own, &path) {
                        crate::log::warn(format_args!(
                            "network {}: freed {address} of an unreadable lease",
                            self.network
                        ));
                        file::remove(&path)?;
                    }
                }
                file::remove(&by_container)?;
                return Ok(None);
            }
        };
        // Not those of a release that was killed having come this far: they may have new owners.
        let owns = |address: IpAddr| file::is_same(&own, &self.lease_path(address));
        if let Some(definition) = definition {
            let mut history = self.history(&lease.boot_id, definition);
            let link = &lease.host_interface;
            if let Some(pool) = &mut history.ipv4
                && owns(lease.address.into())
            {
                pool.free(lease.address, link, links)?;
            }
            if let (Some(pool), Some(address)) = (&mut history.ipv6, lease.address6)
                && owns(address.into())
            {
                pool.free(address, link, links)?;
            }
            self.remember(&history)?;
        }
        for address in lease.addresses().filter(|address| owns(*address)) {
            file::remove(&self.lease_path(address))?;
        }
        file::remove(&by_container)?;
        Ok(Some(lease))
    }

    /// The container's lease.
    pub(in crate::net) fn of(&self, container: &str) -> Result<Option<Lease>> {
        file::read(&self.by_container().join(container))
    }

    /// Whether others may be sent to the container by the names that it shares.
    pub(in crate::net) fn is_ready(&self, container: &str) -> bool {
        !self.unready_path(container).exists()
    }

    /// Remembers whether the container is ready.
    pub(in crate::net) fn set_ready(&self, container: &str, ready: bool) -> Result<()> {
        let path = self.unready_path(container);
        if ready {
            return file::remove(&path).map(drop);
        }
        file::directory(&self.unready())?;
        fs::write(&path, "").os("write", path.display())
    }

    /// Who has this address.
    pub(in crate::net) fn holder(&self, address: impl Into<IpAddr>) -> Result<Option<Lease>> {
        file::read(&self.lease_path(address.into()))
    }

    /// All leases, one at a time; unreadable ones are errors. Every one has an IPv4 address.
    pub(in crate::net) fn all(&self) -> Result<impl Iterator<Item = Result<Lease>> + use<>> {
        Ok(self.by_addresses()?.filter_map(|entry| match entry {
            Ok((IpAddr::V4(_), path)) => file::read(&path).transpose(),
            Ok((IpAddr::V6(_), _)) => None,
            Err(error) => Some(Err(error)),
        }))
    }

    /// Whether a container is on the network now, on this host. Looks no further than the first that is.
    pub(in crate::net) fn in_use(&self, links: &mut impl Links) -> Result<bool> {
        for lease in self.all()? {
            // An unreadable lease counts: better a bridge too many than one taken from under a container.
            let Ok(lease) = lease else { return Ok(true) };
            if links.liveness(&lease)? == Liveness::Live {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Why nobody else may have this address: the error names the owner.
    pub(in crate::net) fn taken(&self, address: impl Display, owner: &Lease) -> Error {
        Error::new(
            Kind::Exists,
            format_args!(
                "address {address} on network {} is taken by container {}",
                self.network, owner.container
            ),
        )
    }

    /// The address that is wanted, else the one whose turn it is, else one whose owner is gone.
    fn choose<P: Prefix>(
        &self,
        pool: &mut Pool<P>,
        wanted: Option<P::Address>,
        links: &mut impl Links,
        dismiss: &dyn Fn(&Lease) -> Result<()>,
    ) -> Result<P::Address> {
        let subnet = pool.subnet;
        if let Some(address) = wanted {
            subnet
                .check_address(address)
                .map_err(|why| Error::invalid(format_args!("network {}", self.network), why))?;
            if let Some(owner) = self.holder(address)? {
                match links.liveness(&owner)? {
                    Liveness::Gone => self.evict(&owner, dismiss)?,
                    Liveness::Live | Liveness::Elsewhere => return Err(self.taken(address, &owner)),
                }
            }
            pool.take(address, links)?;
            return Ok(address);
        }
        if let Some(address) = pool.pick(|address| self.lease_path(address).exists(), links)? {
            return Ok(address);
        }
        let range = subnet.range.unwrap_or(subnet.subnet);
        let mut count = 0;
        for entry in self.by_addresses()? {
            let (address, path) = entry?;
            let Some(address) = P::of(address).filter(|address| range.has(*address)) else {
                continue;
            };
            count += 1;
            if let Ok(Some(owner)) = file::read::<Lease>(&path)
                && links.liveness(&owner)? == Liveness::Gone
            {
                self.evict(&owner, dismiss)?;
                return Ok(address);
            }
        }
        Err(Error::new(
            Kind::Exists,
            format_args!(
                "network {}: no address left in {range}: {count} containers have one",
                self.network
            ),
        ))
    }

    /// Takes back what a dead container has, but not what has a new owner by now: a release may have been killed half way.
    fn evict(&self, owner: &Lease, dismiss: &dyn Fn(&Lease) -> Result<()>) -> Result<()> {
        dismiss(owner)?;
        crate::log::debug(format_args!(
            "network {}: took {} back from container {}, which is gone",
            self.network, owner.address, owner.container
        ));
        let by_address = owner.addresses().map(|address| self.lease_path(address));
        // The container's name last, as in `release`.
        for path in by_address.chain([self.by_container().join(&owner.container)]) {
            if file::read(&path).is_ok_and(|lease: Option<Lease>| lease.as_ref() == Some(owner)) {
                if path.starts_with(self.by_container()) {
                    file::remove(&self.unready_path(&owner.container))?;
                }
                file::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Deletes the links that are left of containers which are not. A connection that had no end, because its other side
    /// went first, keeps its namespace for minutes, and its link with it.
    pub(in crate::net) fn delete_links(
        &self,
        boot_id: &str,
        definition: &Definition,
        links: &mut impl Links,
    ) -> Result<()> {
        let History { ipv4, ipv6, .. } = self.history(boot_id, definition);
        let names4 = ipv4.iter().flat_map(Pool::links);
        let names6 = ipv6.iter().flat_map(Pool::links);
        let names: BTreeSet<&str> = names4.chain(names6).collect();
        names
            .into_iter()
            .map(|name| links.delete(name))
            .fold(Ok(()), Result::and)
    }

    fn history(&self, boot_id: &str, definition: &Definition) -> History {
        file::read::<History>(&self.history_path())
            .unwrap_or_else(|error| {
                crate::log::warn(format_args!("{error}; starting a new one"));
                None
            })
            .unwrap_or_default()
            .renewed(boot_id, definition)
    }

    fn remember(&self, history: &History) -> Result<()> {
        file::replace(&self.history_path(), history, Durability::UntilReboot)
    }

    fn by_addresses(&self) -> Result<impl Iterator<Item = Result<(IpAddr, PathBuf)>> + use<>> {
        let dir = self.by_address();
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            result => Some(result.os("read directory", dir.display())?),
        };
        Ok(entries.into_iter().flatten().filter_map(move |entry| {
            let entry = match entry.os("read directory", dir.display()) {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let address = entry.file_name().to_str()?.parse().ok()?;
            Some(Ok((address, entry.path())))
        }))
    }

    fn lease_path(&self, address: IpAddr) -> PathBuf {
        self.by_address().join(address.to_string())
    }

    fn by_address(&self) -> PathBuf {
        self.dir.join("leases")
    }

    fn by_container(&self) -> PathBuf {
        self.dir.join("containers")
    }

    fn unready(&self) -> PathBuf {
        self.dir.join("unready")
    }

    fn unready_path(&self, container: &str) -> PathBuf {
        self.unready().join(container)
    }

    /// Where a lease is written before it gets its names.
    fn new_lease_path(&self) -> PathBuf {
        self.dir.join("lease.new")
    }

    fn history_path(&self) -> PathBuf {
        self.dir.join("history.json")
    }
}
