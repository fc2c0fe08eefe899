//! Addresses: which subnet a network may have, which addresses in it a container may have. Pure.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Where subnets of /24 are taken from when nobody chose one. Small corners of RFC 1918 that neither the other engines'
/// defaults nor home routers use; three, because one private range is often routed as a whole.
const POOLS: [Ipv4Net; 3] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 186, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 30, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 128, 0), 17),
];

/// A network's IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subnet {
    /// The whole network, on the link.
    pub subnet: Ipv4Net,
    /// The host's address on the bridge, and the way out for containers.
    pub gateway: Ipv4Addr,
    /// The part of the subnet that addresses are given from unasked; all of it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Ipv4Net>,
}

impl Subnet {
    /// The subnet with its first address as gateway.
    pub(super) fn new(subnet: Ipv4Net) -> Self {
        Self {
            subnet: subnet.trunc(),
            gateway: Ipv4Addr::from(u32::from(subnet.network()) + 1),
            range: None,
        }
    }

    /// Whether containers can live in it.
    ///
    /// # Errors
    /// In words, what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        let subnet = self.subnet;
        if subnet != subnet.trunc() {
            return Err(format!(
                "subnet {subnet} has bits behind its prefix; did you mean {}?",
                subnet.trunc()
            ));
        }
        if subnet.prefix_len() > 30 {
            return Err(format!(
                "subnet {subnet} has no room for a gateway and a container: /30 is the smallest"
            ));
        }
        if !subnet.contains(&self.gateway) || self.is_edge(self.gateway) {
            return Err(format!(
                "gateway {} is not an address of a station in {subnet}",
                self.gateway
            ));
        }
        match self.range {
            Some(range) if !subnet.contains(&range) => {
                Err(format!("range {range} is not inside subnet {subnet}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a container may have this address.
    ///
    /// # Errors
    /// In words, why not.
    pub(super) fn check_address(&self, address: Ipv4Addr) -> Result<(), String> {
        let subnet = self.subnet;
        if !subnet.contains(&address) {
            Err(format!("address {address} is outside its subnet {subnet}"))
        } else if address == subnet.network() {
            Err(format!("address {address} is the network address of {subnet}"))
        } else if address == subnet.broadcast() {
            Err(format!("address {address} is the broadcast address of {subnet}"))
        } else if address == self.gateway {
            Err(format!("address {address} is the gateway of {subnet}"))
        } else {
            Ok(())
        }
    }

    /// The addresses that may be given unasked, from `start` on.
    pub(super) fn addresses(&self, start: Option<Ipv4Addr>) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let this = *self;
        let range = this.range.unwrap_or(this.subnet);
        let first = start.unwrap_or(range.network()).max(range.network());
        (u32::from(first)..=u32::from(range.broadcast()))
            .map(Ipv4Addr::from)
            .filter(move |address| this.check_address(*address).is_ok())
    }

    fn is_edge(&self, address: Ipv4Addr) -> bool {
        address == self.subnet.network() || address == self.subnet.broadcast()
    }
}

/// A part of the address space that somebody has, and in words who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) net: Ipv4Net,
    pub(super) by: String,
}

impl Taken {
    /// Whether taking `subnet` would steal traffic. Routes as wide as a default route (and its halves, which VPNs use)
    /// do not count: everything overlaps with them.
    fn collides(&self, subnet: Ipv4Net) -> bool {
        const NARROWEST_DEFAULT: u8 = 7;
        self.net.prefix_len() > NARROWEST_DEFAULT
            && (self.net.contains(&subnet) || subnet.contains(&self.net))
    }
}

/// Who has addresses inside `subnet` already, if anybody.
pub(super) fn conflict(subnet: Ipv4Net, taken: &[Taken]) -> Option<&Taken> {
    taken.iter().find(|taken| taken.collides(subnet))
}

/// The first /24 of the pools that nobody has.
pub(super) fn choose(taken: &[Taken]) -> Option<Ipv4Net> {
    POOLS
        .iter()
        .filter_map(|pool| pool.subnets(24).ok())
        .flatten()
        .find(|subnet| conflict(*subnet, taken).is_none())
}

/// The pools, for error messages.
pub(super) fn pools() -> String {
    POOLS.map(|pool| pool.to_string()).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn taken(nets: &[&str]) -> Vec<Taken> {
        nets.iter()
            .map(|text| Taken {
                net: net(text),
                by: "a test".to_owned(),
            })
            .collect()
    }

    #[test]
    fn the_first_free_subnet_is_chosen_whatever_part_of_others_is_taken() {
        assert_eq!(choose(&[]), Some(net("10.186.0.0/24")));
        assert_eq!(
            choose(&taken(&["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"])),
            Some(net("10.186.0.0/24"))
        );
        assert_eq!(choose(&taken(&["10.186.0.7/32"])), Some(net("10.186.1.0/24")));
        assert_eq!(choose(&taken(&["10.186.0.0/17"])), Some(net("10.186.128.0/24")));
        assert_eq!(choose(&taken(&["10.0.0.0/8"])), Some(net("172.30.0.0/24")));
        assert_eq!(
            choose(&taken(&["10.0.0.0/8", "172.16.0.0/12"])),
            Some(net("192.168.128.0/24"))
        );
        assert_eq!(
            choose(&taken(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"])),
            None
        );
    }

    #[test]
    fn a_subnet_without_room_or_with_a_foreign_gateway_is_refused() {
        let subnet = |text| Subnet::new(net(text));
        assert_eq!(subnet("10.0.0.0/30").check(), Ok(()));
        assert!(subnet("10.0.0.0/31").check().unwrap_err().contains("no room"));
        let outside = Subnet {
            gateway: Ipv4Addr::new(10, 0, 1, 1),
            ..subnet("10.0.0.0/24")
        };
        assert!(outside.check().unwrap_err().contains("gateway"));
        let range = Subnet {
            range: Some(net("10.0.1.0/25")),
            ..subnet("10.0.0.0/24")
        };
        assert!(range.check().unwrap_err().contains("range"));
        let bits = Subnet {
            subnet: net("10.0.0.1/24"),
            ..subnet("10.0.0.0/24")
        };
        assert!(bits.check().unwrap_err().contains("did you mean 10.0.0.0/24"));
    }

    #[test]
    fn only_addresses_of_stations_other_than_the_gateway_are_for_containers() {
        let subnet = Subnet::new(net("10.0.0.0/29"));
        let last = |n| Ipv4Addr::new(10, 0, 0, n);
        assert_eq!(
            subnet.addresses(None).collect::<Vec<_>>(),
            (2..=6).map(last).collect::<Vec<_>>()
        );
        assert_eq!(
            subnet.addresses(Some(last(5))).collect::<Vec<_>>(),
            [last(5), last(6)]
        );
        for (address, why) in [
            (last(0), "network address"),
            (last(1), "gateway"),
            (last(7), "broadcast"),
            (last(8), "outside"),
        ] {
            assert!(subnet.check_address(address).unwrap_err().contains(why));
        }
    }

    #[test]
    fn a_range_limits_what_is_given_unasked_but_not_what_may_be_asked_for() {
        let subnet = Subnet {
            range: Some(net("10.0.0.8/30")),
            ..Subnet::new(net("10.0.0.0/28"))
        };
        let given: Vec<_> = subnet.addresses(None).collect();
        assert_eq!(given, [8, 9, 10, 11].map(|n| Ipv4Addr::new(10, 0, 0, n)));
        assert_eq!(subnet.check_address(Ipv4Addr::new(10, 0, 0, 3)), Ok(()));
    }
}
