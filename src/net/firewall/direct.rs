//! A short way between the containers of one network, on hosts whose switches show bridged packets to the firewall.
//!
//! There every packet inside a bridge would pass connection tracking and all chains that forwarded packets pass, only to be
//! accepted. `table netdev minirun/<network>` hands it over at the link that it came from: only those that our tables
//! accept anyhow, and only where nobody but us looks at bridged packets. Nothing depends on it: whatever is not
//! there goes through the bridge.

use std::path::Path;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use super::{bridged, foreign, nft};
use crate::error::Result;
use crate::net::address::lease::Lease;
use crate::net::definition::Definition;
use crate::net::file::Lock;
use crate::net::kernel::netlink::absent;
use crate::net::kernel::nftables::{Data, Element, Family, Part, Table};

pub(super) const RULESET: &str = include_str!("minirun-direct.nft");

fn table(definition: &Definition) -> Result<Table> {
    Table::open(Family::Netdev, format!("minirun/{}", definition.name))
}

/// Whether containers of the network should have the short way: it would spare them something, the network's policy says
/// yes to everything within, and neither the administrator's rules nor other firewalls see bridged packets.
fn is_wanted(definition: &Definition) -> Result<bool> {
    let shown = bridged::sees_ipv4() || bridged::sees_ipv6();
    Ok(shown
        && !super::is_guarded(definition)
        && !Path::new(super::ADMIN).exists()
        && !foreign::look_inside_bridges()?)
}

/// Makes the network's table anew when it is wanted, with those of its containers that have a link. The caller holds the
/// network's lock.
///
/// # Errors
/// When the kernel refuses to remove it. One that cannot make it lets everything go through the bridge.
pub(super) fn open(definition: &Definition, leases: &[Lease], shared: &Lock) -> Result<()> {
    close(definition)?;
    if !is_wanted(definition)? {
        return Ok(());
    }
    match nft::run(&script(definition), Some(shared)) {
        Ok(()) => leases.iter().for_each(|lease| admit(definition, lease)),
        Err(error) => crate::log::debug(error.during(format_args!(
            "network {}: packets between its containers take the long way",
            definition.name
        ))),
    }
    Ok(())
}

/// Takes it away, with all containers in it.
pub(super) fn close(definition: &Definition) -> Result<()> {
    table(definition)?.delete()
}

/// Whether it is there when it is wanted, and only then, with all of these containers that have a link.
pub(super) fn is_intact(definition: &Definition, leases: &[Lease]) -> Result<bool> {
    let mut table = table(definition)?;
    let found = table.comment()?;
    if !is_wanted(definition)? {
        return Ok(found.is_none());
    }
    let elements: Vec<Element> = leases.iter().filter_map(station).collect();
    Ok(found == Some(super::comment()) && table.contain(&elements)?)
}

/// Lets a container, whose link is up, have the short way to those of its network that have it, and them to it.
pub(super) fn admit(definition: &Definition, lease: &Lease) {
    let shown = bridged::sees_ipv4() || bridged::sees_ipv6();
    if shown && let Err(error) = enter(definition, lease) {
        crate::log::warn(error.during(format_args!(
            "network {}: packets of container {} take the long way",
            definition.name, lease.container
        )));
    }
}

fn enter(definition: &Definition, lease: &Lease) -> Result<()> {
    let Some(station) = station(lease) else {
        return Ok(());
    };
    let mut table = table(definition)?;
    if table.comment()?.is_none() || table.contains(&station)? {
        return Ok(());
    }
    // What a killed command left under its Ethernet address.
    table.remove(&[station.whatever()])?;
    let link = &lease.host_interface;
    match table.lead(link, "within", station.clone()) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => {
            table.remove_chain(link)?;
            table.lead(link, "within", station)
        }
        // The link or the table went just now.
        Err(error) if absent(&error) => Ok(()),
        result => result,
    }
}

/// Takes the container out again, as far as it is there.
pub(super) fn dismiss(definition: &Definition, lease: &Lease) -> Result<()> {
    let mut table = table(definition)?;
    let station = Element::new("stations", [Part::Station(lease.mac)]);
    if !table.contains(&station)? {
        return Ok(());
    }
    table.remove(&[station])?;
    // Of older kernels, the link has taken it along.
    match table.remove_chain(&lease.host_interface) {
        Err(error) if absent(&error) => Ok(()),
        result => result,
    }
}

/// Its Ethernet address and the link behind it; nothing when there is no link.
fn station(lease: &Lease) -> Option<Element> {
    let index = if_nametoindex(lease.host_interface.as_str()).ok()?;
    let link = Data::Parts(vec![Part::Index(index)]);
    Some(Element::new("stations", [Part::Station(lease.mac)]).mapping(link))
}

fn script(definition: &Definition) -> String {
    let mut script = RULESET
        .replace("NETWORK", &definition.name)
        .replace("VERSION", super::comment().trim_start_matches("ruleset "))
        .replace("SUBNET4", &definition.ipv4.subnet.to_string());
    match definition.ipv6 {
        Some(ipv6) => script = script.replace("SUBNET6", &ipv6.subnet.to_string()),
        None => {
            script = script
                .split_inclusive('\n')
                .filter(|line| !line.contains("SUBNET6"))
                .collect();
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(fields: serde_json::Value) -> Definition {
        let mut all = serde_json::json!({
            "name": "shop", "driver": "bridge", "bridge": "mr-shop",
            "ipv4": {"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"},
        });
        all.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn only_who_speaks_from_an_address_of_the_network_has_the_short_way() {
        let rules = |definition: &Definition| {
            let script = script(definition);
            let rules = script.lines().filter(|line| line.contains(" fwd to "));
            rules.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        let v4 = "ip saddr 10.1.0.0/24 fwd to ether daddr map @stations";
        assert_eq!(rules(&definition(serde_json::json!({}))), [v4]);
        let ipv6 = serde_json::json!({"ipv6": {"subnet": "fd00:1::/64", "gateway": "fd00:1::1"}});
        let v6 = "ip6 saddr fd00:1::/64 fwd to ether daddr map @stations";
        assert_eq!(rules(&definition(ipv6)), [v4, v6]);
    }
}
