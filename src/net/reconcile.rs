//! Bringing bridges, links, firewall and names back to what definitions and leases say.
//!
//! Whatever happened (a killed command, `nft flush ruleset`, a deleted bridge, a killed netd, a container that died
//! without delete), the leases say who should be there. What is there and says so is left alone.

use std::fmt::{self, Display};
use std::os::fd::AsFd as _;

use super::address::lease::{Lease, Leases, Links as _, Liveness};
use super::definition::{self, Definition, Dirs};
use super::file::{self, Lock};
use super::kernel::bridge;
use super::kernel::link::Host;
use super::kernel::routes::{Candidate, Defaults};
use super::{firewall, membership, names};
use crate::error::Result;

/// The locks of all networks in the order of their names, and the shared one: nobody attaches or detaches meanwhile.
pub(super) struct Everything {
    _networks: Vec<Lock>,
    pub(super) shared: Lock,
}

impl Everything {
    /// Waits for all of them.
    pub(super) fn lock(dirs: &Dirs) -> Result<Self> {
        let mut networks = Vec::new();
        for name in definition::names(dirs)? {
            let dir = dirs.network(&name);
            file::directory(&dir)?;
            networks.push(file::lock(&dir.join("lock"))?);
        }
        file::directory(&dirs.run)?;
        Ok(Self {
            _networks: networks,
            shared: file::lock(&dirs.shared_lock())?,
        })
    }
}

/// Something that was amiss and is not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    network: Option<String>,
    what: String,
}

impl Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.network {
            Some(network) => write!(f, "network {network}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Brings everything back. Returns what was amiss; nothing when nothing was.
///
/// # Errors
/// The first thing that could not be repaired; the others have been attempted.
pub fn reconcile(dirs: &Dirs) -> Result<Vec<Repair>> {
    let mut reconciliation = Reconciliation {
        dirs,
        host: Host::open()?,
        repairs: Vec::new(),
    };
    let names = {
        let everything = Everything::lock(dirs)?;
        definition::sweep(dirs)?;
        let names = definition::names(dirs)?;
        let mut result = Ok(());
        for name in &names {
            result = result.and(reconciliation.network(name, &everything));
        }
        result = result.and(reconciliation.strays());
        result.and(reconciliation.firewall(&everything))
    };
    // netd ends itself under a lock of its own; names need none of ours.
    names.and(reconciliation.names())?;
    Ok(reconciliation.repairs)
}

struct Reconciliation<'a> {
    dirs: &'a Dirs,
    host: Host,
    repairs: Vec<Repair>,
}

impl Reconciliation<'_> {
    fn repaired(&mut self, network: &str, what: impl Display) {
        self.repairs.push(Repair {
            network: Some(network.to_owned()),
            what: what.to_string(),
        });
    }

    /// Takes back what the dead left, and brings back what the living miss.
    fn network(&mut self, name: &str, everything: &Everything) -> Result<()> {
        let Some(definition) = Definition::load(self.dirs, name)? else {
            return Ok(());
        };
        file::sweep(&self.dirs.network(name))?;
        let leases = Leases::new(name, self.dirs.network(name));
        let mut living = Vec::new();
        for lease in leases.all()? {
            let lease = lease?;
            match self.host.liveness(&lease)? {
                Liveness::Live => living.push(lease),
                Liveness::Elsewhere => {}
                Liveness::Gone => {
                    firewall::dismiss(self.dirs, &definition, &lease)?;
                    names::withdraw(self.dirs, &lease.container, name)?;
                    leases.release(&lease.container, Some(&definition), &mut self.host)?;
                    let Lease {
                        container, address, ..
                    } = lease;
                    self.repaired(
                        name,
                        format_args!("took {address} back from {container}, which is gone"),
                    );
                }
            }
        }
        if living.is_empty() {
            if bridge::existing(&mut self.host, &definition)?.is_some() {
                membership::close(self.dirs, &mut self.host, &definition, everything)?;
                self.repaired(
                    name,
                    format_args!("removed bridge {}, which nobody is on", definition.bridge),
                );
            }
            return Ok(());
        }
        let bridge = self.bridge(&definition)?;
        // It says itself what it switched on.
        membership::forward(self.dirs, &definition)?;
        for lease in &living {
            if let Some(what) = self.link(&definition, lease, bridge)? {
                self.repaired(name, format_args!("{what} {}", lease.container));
            }
        }
        Ok(())
    }

    /// The bridge's index.
    fn bridge(&mut self, definition: &Definition) -> Result<u32> {
        if let Some(link) = bridge::existing(&mut self.host, definition)?
            && link.up
        {
            return Ok(link.index);
        }
        let index = bridge::bring_up(&mut self.host, definition)?;
        self.repaired(
            &definition.name,
            format_args!("brought bridge {} back", definition.bridge),
        );
        Ok(index)
    }

    /// What had to be done with the container's link.
    fn link(&mut self, definition: &Definition, lease: &Lease, bridge: u32) -> Result<Option<&'static str>> {
        match self.host.link(&lease.host_interface)? {
            Some(link) if link.up && link.controller == Some(bridge) => Ok(None),
            Some(link) => {
                self.host.enslave(link.index, bridge, &lease.host_interface)?;
                Ok(Some("put the link back into the bridge for"))
            }
            None => {
                let Some((_, netns)) = names::holder(lease)? else {
                    return Ok(None);
                };
                let defaults = self.defaults(lease, &definition.name)?;
                self.host
                    .connect(lease, definition, bridge, defaults, netns.as_fd())?;
                Ok(Some("made a new link for"))
            }
        }
    }

    /// Which default routes of the lease's container lead to this network: all its leases decide it.
    fn defaults(&self, lease: &Lease, network: &str) -> Result<Defaults> {
        let mut all = Vec::new();
        for name in definition::names(self.dirs)? {
            let Some(definition) = Definition::load(self.dirs, &name)? else {
                continue;
            };
            if let Some(lease) = Leases::new(&name, self.dirs.network(&name)).of(&lease.container)? {
                let candidate = Candidate {
                    priority: lease.priority,
                    internal: definition.internal,
                    has_ipv6: lease.address6.is_some(),
                };
                all.push((lease.interface, name, candidate));
            }
        }
        // As the container asked for them, which the names of the interfaces tell.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let candidates: Vec<Candidate> = all.iter().map(|(.., candidate)| *candidate).collect();
        let found = all
            .iter()
            .zip(Defaults::choose(&candidates))
            .find(|((_, name, _), _)| name == network);
        Ok(found.map(|(_, defaults)| defaults).unwrap_or_default())
    }

    /// Bridges that carry our mark and belong to no network.
    fn strays(&mut self) -> Result<()> {
        for name in bridge::ours()? {
            let mut known = false;
            for network in definition::names(self.dirs)? {
                known |= Definition::load(self.dirs, &network)?
                    .is_some_and(|definition| definition.bridge == name);
            }
            if !known {
                self.host.delete(&name)?;
                self.repairs.push(Repair {
                    network: None,
                    what: format!("removed bridge {name}, which belongs to no network"),
                });
            }
        }
        Ok(())
    }

    fn firewall(&mut self, everything: &Everything) -> Result<()> {
        if refresh_firewall(self.dirs, &mut self.host, everything)? {
            self.repairs.push(Repair {
                network: None,
                what: "brought the firewall's table to what networks and containers need".to_owned(),
            });
        }
        for (network, what) in firewall::adapt(self.dirs, &mut self.host, &everything.shared)? {
            self.repaired(&network, what);
        }
        Ok(())
    }

    fn names(&mut self) -> Result<()> {
        for container in names::restore(self.dirs, &mut self.host)? {
            self.repairs.push(Repair {
                network: None,
                what: format!("told netd of {container}"),
            });
        }
        Ok(())
    }
}

/// Brings the firewall's tables to what definitions and leases say; true when they were not so. A network is in use when
/// its bridge stands.
///
/// # Errors
/// What the kernel or `nft` refused.
fn refresh_firewall(dirs: &Dirs, host: &mut Host, everything: &Everything) -> Result<bool> {
    let intact = firewall::is_intact(dirs, host)?;
    if !intact {
        firewall::replace(dirs, host, &everything.shared)?;
    }
    Ok(!intact)
}
