//! What a network remembers about addresses without a lease, so that each is used again as late as possible: neighbours
//! remember its old Ethernet address.
//!
//! Addresses are given in turn, the whole range round; those that were freed last are passed over until nothing else is
//! left. Both take little room and no search, however many containers there are: this is read and written with every
//! one that comes or goes.

use std::collections::VecDeque;
use std::net::IpAddr;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::lease::Links;
use super::prefix::Prefix;
use super::subnet::Subnet;
use crate::error::Result;
use crate::net::definition::Definition;

/// How many freed addresses are passed over. Enough for all whose links can linger while many containers end at once.
const REMEMBERED: usize = 64;

/// The history of one network: `history.json` beside its leases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::net) struct History {
    boot_id: String,
    /// Counts the leases of the network.
    pub(in crate::net) generation: u64,
    #[serde(default)]
    pub(in crate::net) ipv4: Option<Pool<Ipv4Net>>,
    #[serde(default)]
    pub(in crate::net) ipv6: Option<Pool<Ipv6Net>>,
}

/// The addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub(in crate::net) struct Pool<P: Prefix> {
    /// Where the rest holds; a network of another subnet starts anew.
    pub(in crate::net) subnet: Subnet<P>,
    /// Whose turn it is.
    next: Option<P::Address>,
    /// Oldest first, at most [`REMEMBERED`]. With the host's end of the link, which goes with its namespace, a little
    /// later than the lease.
    freed: VecDeque<(P::Address, String)>,
}

impl History {
    /// What of it still holds in this boot and for these subnets.
    pub(in crate::net) fn renewed(self, boot_id: &str, definition: &Definition) -> Self {
        let (old4, old6) = match self.boot_id == boot_id {
            true => (self.ipv4, self.ipv6),
            false => (None, None),
        };
        Self {
            boot_id: boot_id.to_owned(),
            // Whoever saw an old generation must not take it for a new one.
            generation: self.generation,
            ipv4: Some(Pool::renewed(old4, definition.ipv4)),
            ipv6: definition.ipv6.map(|subnet| Pool::renewed(old6, subnet)),
        }
    }
}

impl<P: Prefix> Pool<P> {
    /// The links of the freed addresses; few of them are still there.
    pub(in crate::net) fn links(&self) -> impl Iterator<Item = &str> {
        self.freed.iter().map(|(_, link)| link.as_str())
    }

    fn renewed(old: Option<Self>, subnet: Subnet<P>) -> Self {
        old.filter(|old| old.subnet == subnet).unwrap_or(Self {
            subnet,
            next: None,
            freed: VecDeque::new(),
        })
    }

    /// The next address in turn that nobody has; else the one that was freed first. `None` when all are leased.
    pub(in crate::net) fn pick(
        &mut self,
        is_leased: impl Fn(IpAddr) -> bool,
        links: &mut impl Links,
    ) -> Result<Option<P::Address>> {
        let free = |address: &P::Address| {
            !self.freed.iter().any(|(freed, _)| freed == address) && !is_leased((*address).into())
        };
        let rest = self.subnet.addresses(self.next).find(&free);
        let found = rest.or_else(|| {
            let next = self.next?;
            let before = self.subnet.addresses(None).take_while(|address| *address < next);
            before.into_iter().find(&free)
        });
        if let Some(address) = found {
            self.next = Some(P::address(P::number(address).wrapping_add(1)));
            return Ok(found);
        }
        self.freed.retain(|(freed, _)| !is_leased((*freed).into()));
        // Best the oldest whose link is gone too; else the oldest, whose link then goes now.
        for index in 0..self.freed.len() {
            if !links.exists(&self.freed[index].1)? {
                return Ok(self.freed.remove(index).map(|(address, _)| address));
            }
        }
        match self.freed.pop_front() {
            Some((address, link)) => links.delete(&link).map(|()| Some(address)),
            None => Ok(None),
        }
    }

    /// Somebody gets this very address: its last owner may be on the way out, yet still answer for it.
    pub(in crate::net) fn take(&mut self, address: P::Address, links: &mut impl Links) -> Result<()> {
        if let Some(index) = self.freed.iter().position(|(freed, _)| *freed == address)
            && let Some((_, link)) = self.freed.remove(index)
        {
            links.delete(&link)?;
        }
        Ok(())
    }

    /// Remembers an address that was given back.
    pub(in crate::net) fn free(
        &mut self,
        address: P::Address,
        host_interface: &str,
        links: &mut impl Links,
    ) -> Result<()> {
        self.freed.retain(|(freed, _)| *freed != address);
        self.freed.push_back((address, host_interface.to_owned()));
        if self.freed.len() > REMEMBERED
            && let Some((_, link)) = self.freed.pop_front()
        {
            // From now on the address may be given to anybody: nobody else may answer for it.
            links.delete(&link)?;
        }
        Ok(())
    }
}
