//! Making a network: from what a person wishes to a definition that holds on this host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::address::prefix::Prefix;
use super::address::subnet::{Subnet, Subnet6};
use super::address::taken::{self, Taken};
use super::definition::{self, DEFAULT, DEFAULT_BRIDGE, Definition, Dirs};
use super::endpoint::{check_network_name, random};
use super::file;
use super::kernel::link::Host;
use super::membership::taken_by_others;
use super::policy::{Policy, Stance};
use crate::error::{Error, Kind, Result};

/// What a new network shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// At most one of each family. A free IPv4 subnet is found when there is none.
    pub subnets: Vec<IpNet>,
    /// The host's addresses, each in the subnet of its family; the first of the subnet otherwise.
    pub gateways: Vec<IpAddr>,
    /// The parts of the subnets that addresses are given from unasked; all otherwise.
    pub ranges: Vec<IpNet>,
    /// Whether to have IPv6 even when no subnet of it is given: a random one of unique local addresses (RFC 4193) then.
    pub ipv6: bool,
    /// See [`Definition::internal`].
    pub internal: bool,
    /// See [`Definition::isolated`].
    pub isolated: bool,
    /// See [`Definition::host_access`].
    pub host_access: bool,
    /// See [`Policy::within`].
    pub within: Stance,
    /// See [`Policy::egress`].
    pub egress: Stance,
    /// See [`Definition::mtu`].
    pub mtu: Option<u32>,
    /// The bridge's name on the host; one made of the network's name otherwise.
    pub bridge: Option<String>,
    /// See [`Definition::labels`].
    pub labels: BTreeMap<String, String>,
}

impl Wish {
    /// A network of which nothing is wished but its name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            subnets: Vec::new(),
            gateways: Vec::new(),
            ranges: Vec::new(),
            ipv6: false,
            internal: false,
            isolated: true,
            host_access: false,
            within: Stance::default(),
            egress: Stance::default(),
            mtu: None,
            bridge: None,
            labels: BTreeMap::new(),
        }
    }

    /// Whether a network can be made of it on some host.
    ///
    /// # Errors
    /// The field, and in words, what is wrong with it.
    pub fn check(&self) -> std::result::Result<(), String> {
        check_network_name(&self.name)?;
        let (ipv4, ipv6) = self.given()?;
        ipv4.map_or(Ok(()), |subnet| subnet.check())
            .map_err(|why| format!("ipv4.{why}"))?;
        ipv6.map_or(Ok(()), |subnet| subnet.check())
            .map_err(|why| format!("ipv6.{why}"))?;
        definition::check_mtu(self.mtu, self.ipv6 || ipv6.is_some())
    }

    /// The subnets that it asks for, under a name without a meaning of its own.
    fn given(&self) -> std::result::Result<(Option<Subnet>, Option<Subnet6>), String> {
        if matches!(self.name.as_str(), "none" | "host") {
            return Err("the name has a meaning of its own".to_owned());
        }
        Ok((given(self)?, given(self)?))
    }
}

/// Writes a network's definition. Its bridge comes with the first container.
///
/// # Errors
/// InvalidConfig by the name of the field that makes no sense; Exists when the network's name, its bridge's name or its
/// addresses are taken (by whom, the error says). Nothing is written then.
pub fn create(dirs: &Dirs, wish: Wish) -> Result<Definition> {
    let name = wish.name.clone();
    check_network_name(&name).map_err(|why| Error::invalid("network", why))?;
    let (given4, given6) = wish
        .given()
        .map_err(|why| Error::invalid(format_args!("network {name:?}"), why))?;

    file::directory(&dirs.run)?;
    let _shared = file::lock(&dirs.shared_lock())?;
    if Definition::load(dirs, &name)?.is_some() {
        return Err(Error::new(
            Kind::Exists,
            format_args!("network {name} exists already"),
        ));
    }
    let taken = taken_by_others(dirs, &name)?;
    let ipv4 = match given4 {
        Some(subnet) => subnet,
        None => definition::free_subnet(&name, &taken)?,
    };
    let ipv6 = match given6 {
        None if wish.ipv6 => Some(unique_local(&taken)?),
        given => given,
    };
    let bridge = wish.bridge.unwrap_or_else(|| bridge_name(&name));
    let definition = Definition {
        auto: given4.is_none(),
        ipv6,
        mtu: wish.mtu,
        internal: wish.internal,
        isolated: wish.isolated,
        host_access: wish.host_access,
        policy: Policy {
            within: wish.within,
            egress: wish.egress,
            rules: Vec::new(),
        },
        labels: wish.labels,
        ..Definition::new(&name, &bridge, ipv4)
    };
    definition
        .check(&name)
        .map_err(|why| Error::invalid(format_args!("network {name:?}"), why))?;
    definition::check_overlap(&definition, &taken)?;
    check_bridge(dirs, &definition)?;
    definition.save(dirs)?;
    Ok(definition)
}

/// The subnet of one family that was wished for.
fn given<P: Prefix>(wish: &Wish) -> std::result::Result<Option<Subnet<P>>, String> {
    let family = P::FAMILY;
    let one = |what: &str, count: usize| match count {
        0 | 1 => Ok(()),
        _ => Err(format!(
            "{what}: {count} are given for {family}, there can be one"
        )),
    };
    let subnets: Vec<P> = wish.subnets.iter().filter_map(|net| P::of_net(*net)).collect();
    let gateways: Vec<P::Address> = wish.gateways.iter().filter_map(|ip| P::of(*ip)).collect();
    let ranges: Vec<P> = wish.ranges.iter().filter_map(|net| P::of_net(*net)).collect();
    one("subnet", subnets.len())?;
    one("gateway", gateways.len())?;
    one("range", ranges.len())?;
    let Some(subnet) = subnets.first() else {
        let alone = gateways
            .first()
            .map(|gateway| format!("gateway: {gateway}"))
            .or_else(|| ranges.first().map(|range| format!("range: {range}")));
        return match alone {
            Some(alone) => Err(format!(
                "{alone} is given without the {family} subnet that it lies in"
            )),
            None => Ok(None),
        };
    };
    // Not truncated: bits behind the prefix are a mistake to be told.
    let first = Subnet::new(*subnet);
    Ok(Some(Subnet {
        subnet: *subnet,
        gateway: gateways.first().copied().unwrap_or(first.gateway),
        range: ranges.first().copied(),
    }))
}

/// A random subnet that nobody has: RFC 4193 makes one that somebody has less likely than a broken memory.
fn unique_local(taken: &[Taken]) -> Result<Subnet6> {
    loop {
        let subnet = taken::unique_local(random()?);
        if taken::conflict(subnet, taken).is_none() {
            return Ok(Subnet::new(subnet));
        }
    }
}

/// `mr-` and the network's name when that is short enough for an interface, else its start and a hash.
fn bridge_name(network: &str) -> String {
    const LONGEST: usize = 15;
    if network == DEFAULT {
        return DEFAULT_BRIDGE.to_owned();
    }
    let name = format!("mr-{network}");
    if name.len() <= LONGEST {
        return name;
    }
    // FNV-1a, 32 bits.
    let hash = network.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    // Networks have names of one byte a letter.
    format!("mr-{}-{hash:08x}", network.get(..3).unwrap_or_default())
}

fn check_bridge(dirs: &Dirs, definition: &Definition) -> Result<()> {
    let bridge = definition.bridge.as_str();
    let taken = |by: String| {
        Error::new(
            Kind::Exists,
            format_args!("network {}: bridge: {bridge} is {by}", definition.name),
        )
        .hint("give the bridge another name")
    };
    for other in definition::names(dirs)? {
        if Definition::load(dirs, &other)?.is_some_and(|other| other.bridge == bridge) {
            return Err(taken(format!("the bridge of network {other}")));
        }
    }
    match Host::open()?.link(bridge)? {
        Some(_) => Err(taken("an interface of this host already".to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_called_after_its_network_as_far_as_there_is_room() {
        assert_eq!(bridge_name("default"), "minirun0");
        assert_eq!(bridge_name("shop"), "mr-shop");
        assert_eq!(bridge_name("twelve-bytes"), "mr-twelve-bytes");
        let (one, other) = (bridge_name("thirteen-byte"), bridge_name("thirteen-bytes"));
        assert_eq!((one.len(), other.len()), (15, 15));
        assert!(one.starts_with("mr-thi-") && one != other, "{one} {other}");
    }
}
