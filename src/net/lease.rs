//! Leases: which container has which address on a network.
//!
//! A lease is one file with two names in `/run/minirun/net/<network>/`: `containers/<id>` and `leases/<address>`. It is
//! written complete under a temporary name and then linked, so that nobody ever reads half of one; the link fails when
//! the address or the container has a lease already. All writers hold the network's lock.

use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::endpoint::Mac;
use super::file::{self, Durability};
use super::namespace::NamespaceId;
use super::subnet::Subnet;
use super::{Port, is_default};
use crate::error::{Error, Kind, OsContext, Result};
use crate::process::Process;

/// One container on one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lease {
    pub(super) container: String,
    /// What others on the network may call it.
    pub(super) names: Vec<String>,
    pub(super) address: Ipv4Addr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) address6: Option<Ipv6Addr>,
    pub(super) mac: Mac,
    /// In the container's namespace.
    pub(super) interface: String,
    /// The other end, in the host's namespace.
    pub(super) host_interface: String,
    pub(super) netns: NamespaceId,
    pub(super) host_netns: NamespaceId,
    pub(super) boot_id: String,
    /// Counts the leases of the network: the later of two has the higher one.
    #[serde(default)]
    pub(super) generation: u64,
    #[serde(default)]
    pub(super) ports: Vec<Port>,
    /// The container's first process, through which its namespace is found again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<Process>,
    /// See [`super::Endpoint::priority`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) priority: i32,
}

/// Whether the container behind a lease can still be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    /// Its link exists, or at least its first process does.
    Live,
    /// Its process ended, its namespace went and took the link along; or the host was restarted.
    Gone,
    /// Its host side is another network namespace: from here nobody can say.
    Elsewhere,
}

/// What tells live leases from stale ones, and removes what a dead one left.
pub(super) trait Links {
    /// See [`Liveness`].
    fn liveness(&mut self, lease: &Lease) -> Result<Liveness>;
    /// Whether this interface exists on the host.
    fn exists(&mut self, interface: &str) -> Result<bool>;
    /// Deletes this interface on the host, if it exists.
    fn delete(&mut self, interface: &str) -> Result<()>;
}

/// What the network remembers about addresses without a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct History {
    boot_id: String,
    /// Where the rest holds; a network of another subnet starts anew.
    subnet: Option<Subnet>,
    generation: u64,
    /// Every address before this one has been given out at least once.
    fresh: Option<Ipv4Addr>,
    /// Oldest first. An address is used again as late as possible: neighbours remember its old Ethernet address.
    freed: VecDeque<Freed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Freed {
    address: Ipv4Addr,
    /// Goes with its namespace, a little later than the lease.
    host_interface: String,
}

/// The leases of one network. Made under its lock.
pub(super) struct Leases<'a> {
    network: &'a str,
    dir: PathBuf,
}

impl<'a> Leases<'a> {
    pub(super) fn new(network: &'a str, dir: PathBuf) -> Self {
        Self { network, dir }
    }

    /// Gives `lease.container` the address that `wanted` names, or any free one; fills in address and generation.
    ///
    /// # Errors
    /// Exists when the container has a lease already, the wanted address is taken (by whom, the error says) or no
    /// address is left; nothing changes then.
    pub(super) fn claim(
        &self,
        mut lease: Lease,
        subnet: &Subnet,
        wanted: Option<Ipv4Addr>,
        links: &mut impl Links,
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
            self.evict(&earlier)?;
        }
        let mut history = self.history(&lease.boot_id, subnet)?;
        lease.address = match wanted {
            Some(address) => self.take(address, subnet, &history, links)?,
            None => self.pick(subnet, &mut history, links)?,
        };
        history.generation += 1;
        lease.generation = history.generation;
        // Before the lease: a generation that was never used harms nobody, one used twice would.
        file::replace(&self.history_path(), &history, Durability::UntilReboot)?;

        let temporary = self.dir.join("lease.new");
        file::create(&temporary, &lease)?;
        let linked = self.link(&temporary, &lease);
        file::remove(&temporary)?;
        linked.map(|()| lease)
    }

    /// The container's name first: from it `release` finds everything, however early we are killed.
    fn link(&self, file: &Path, lease: &Lease) -> Result<()> {
        let by_container = self.by_container().join(&lease.container);
        fs::hard_link(file, &by_container).os("link lease", by_container.display())?;
        let by_address = self.lease_path(lease.address);
        let linked = fs::hard_link(file, &by_address).os("link lease", by_address.display());
        if linked.is_err() {
            file::remove(&by_container)?;
        }
        linked
    }

    /// Gives back what the container has on this network; `None` when it has nothing.
    pub(super) fn release(&self, container: &str, subnet: Option<&Subnet>) -> Result<Option<Lease>> {
        let by_container = self.by_container().join(container);
        let Ok(own) = fs::symlink_metadata(&by_container) else {
            return Ok(None);
        };
        let lease = match self.of(container) {
            Ok(Some(lease)) => lease,
            // Unreadable: the address is the other name of the same file.
            Ok(None) | Err(_) => {
                for (address, path) in self.addresses()? {
                    if is_same(&own, &path) {
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
        // Not when a killed release came this far before, and the address has a new owner.
        let by_address = self.lease_path(lease.address);
        if is_same(&own, &by_address) {
            if let Some(subnet) = subnet {
                let mut history = self.history(&lease.boot_id, subnet)?;
                history.freed.retain(|freed| freed.address != lease.address);
                history.freed.push_back(Freed {
                    address: lease.address,
                    host_interface: lease.host_interface.clone(),
                });
                file::replace(&self.history_path(), &history, Durability::UntilReboot)?;
            }
            file::remove(&by_address)?;
        }
        file::remove(&by_container)?;
        Ok(Some(lease))
    }

    /// The container's lease.
    pub(super) fn of(&self, container: &str) -> Result<Option<Lease>> {
        file::read(&self.by_container().join(container))
    }

    /// Who has this address.
    pub(super) fn holder(&self, address: Ipv4Addr) -> Result<Option<Lease>> {
        file::read(&self.lease_path(address))
    }

    /// All leases, one at a time; unreadable ones are errors.
    pub(super) fn all(&self) -> Result<impl Iterator<Item = Result<Lease>> + use<>> {
        Ok(self
            .addresses()?
            .into_iter()
            .filter_map(|(_, path)| file::read(&path).transpose()))
    }

    /// Whether a container's link stands on this host now.
    pub(super) fn in_use(&self, links: &mut impl Links) -> Result<bool> {
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
    pub(super) fn taken(&self, address: Ipv4Addr, owner: &Lease) -> Error {
        Error::new(
            Kind::Exists,
            format_args!(
                "address {address} on network {} is taken by container {}",
                self.network, owner.container
            ),
        )
    }

    fn take(
        &self,
        address: Ipv4Addr,
        subnet: &Subnet,
        history: &History,
        links: &mut impl Links,
    ) -> Result<Ipv4Addr> {
        subnet
            .check_address(address)
            .map_err(|why| Error::invalid(format_args!("network {}", self.network), why))?;
        if let Some(owner) = self.holder(address)? {
            match links.liveness(&owner)? {
                Liveness::Gone => self.evict(&owner)?,
                Liveness::Live | Liveness::Elsewhere => return Err(self.taken(address, &owner)),
            }
        }
        // Its last owner may be on the way out, yet still answer for the address.
        if let Some(freed) = history.freed.iter().find(|freed| freed.address == address) {
            links.delete(&freed.host_interface)?;
        }
        Ok(address)
    }

    /// An address that was never used, else the one that was freed first, else one whose owner is gone.
    fn pick(&self, subnet: &Subnet, history: &mut History, links: &mut impl Links) -> Result<Ipv4Addr> {
        let fresh = subnet.addresses(history.fresh).find(|address| {
            !history.freed.iter().any(|freed| freed.address == *address) && !self.is_leased(*address)
        });
        if let Some(address) = fresh {
            history.fresh = Some(Ipv4Addr::from(u32::from(address) + 1));
            return Ok(address);
        }
        // From here on `fresh` stands behind the range: nothing is found there any more.
        history.fresh = Some(subnet.subnet.broadcast());

        history.freed.retain(|freed| !self.is_leased(freed.address));
        // Best the oldest whose link is gone too; else the oldest, whose link then goes now.
        for index in 0..history.freed.len() {
            if !links.exists(&history.freed[index].host_interface)?
                && let Some(freed) = history.freed.remove(index)
            {
                return Ok(freed.address);
            }
        }
        if let Some(freed) = history.freed.pop_front() {
            links.delete(&freed.host_interface)?;
            return Ok(freed.address);
        }
        for lease in self.all()?.flatten() {
            if subnet.check_address(lease.address).is_ok() && links.liveness(&lease)? == Liveness::Gone {
                self.evict(&lease)?;
                return Ok(lease.address);
            }
        }
        // Freed without a trace, by hand.
        if let Some(address) = subnet.addresses(None).find(|address| !self.is_leased(*address)) {
            return Ok(address);
        }
        let range = subnet.range.unwrap_or(subnet.subnet);
        Err(Error::new(
            Kind::Exists,
            format_args!(
                "network {}: no address left in {range}: {} containers have one",
                self.network,
                self.addresses()?.len()
            ),
        ))
    }

    fn evict(&self, owner: &Lease) -> Result<()> {
        crate::log::debug(format_args!(
            "network {}: took {} back from container {}, whose network namespace is gone",
            self.network, owner.address, owner.container
        ));
        let (by_address, by_container) = (
            self.lease_path(owner.address),
            self.by_container().join(&owner.container),
        );
        if fs::symlink_metadata(&by_address).is_ok_and(|lease| is_same(&lease, &by_container)) {
            file::remove(&by_container)?;
        }
        file::remove(&by_address)?;
        Ok(())
    }

    fn history(&self, boot_id: &str, subnet: &Subnet) -> Result<History> {
        let history = file::read::<History>(&self.history_path()).unwrap_or_else(|error| {
            crate::log::warn(format_args!("{error}; starting a new one"));
            None
        });
        let new = History {
            boot_id: boot_id.to_owned(),
            subnet: Some(*subnet),
            ..History::default()
        };
        Ok(match history {
            Some(old) if old.boot_id == new.boot_id && old.subnet == new.subnet => old,
            // Generations go on: whoever saw an old one must not take it for a new one.
            Some(old) => History {
                generation: old.generation,
                ..new
            },
            None => new,
        })
    }

    fn is_leased(&self, address: Ipv4Addr) -> bool {
        self.lease_path(address).exists()
    }

    fn addresses(&self) -> Result<Vec<(Ipv4Addr, PathBuf)>> {
        let dir = self.by_address();
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.os("read directory", dir.display())?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.os("read directory", dir.display())?;
            if let Some(address) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                found.push((address, entry.path()));
            }
        }
        Ok(found)
    }

    fn lease_path(&self, address: Ipv4Addr) -> PathBuf {
        self.by_address().join(address.to_string())
    }

    fn by_address(&self) -> PathBuf {
        self.dir.join("leases")
    }

    fn by_container(&self) -> PathBuf {
        self.dir.join("containers")
    }

    fn history_path(&self) -> PathBuf {
        self.dir.join("history.json")
    }
}

/// Whether `path` is another name of the file.
fn is_same(file: &fs::Metadata, path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|other| (other.dev(), other.ino()) == (file.dev(), file.ino()))
}
