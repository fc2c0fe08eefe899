//! Addresses: which subnet a network may have, which addresses in it a container may have. Pure.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::prefix::Prefix;

/// A network's addresses of one family, IPv4 unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, bound = "")]
pub struct Subnet<P: Prefix = Ipv4Net> {
    /// The whole network, on the link.
    pub subnet: P,
    /// The host's address on the bridge, and the way out for containers.
    pub gateway: P::Address,
    /// The part of the subnet that addresses are given from unasked; all of it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<P>,
}

/// A network's IPv6 addresses.
pub type Subnet6 = Subnet<Ipv6Net>;

impl<P: Prefix> Subnet<P> {
    /// The subnet with its first address as gateway.
    pub(in crate::net) fn new(subnet: P) -> Self {
        Self {
            subnet: subnet.truncated(),
            gateway: P::address(subnet.first().saturating_add(1)),
            range: None,
        }
    }

    /// Whether containers can live in it.
    ///
    /// # Errors
    /// The field, and in words, what is wrong with it.
    pub(in crate::net) fn check(&self) -> Result<(), String> {
        let subnet = self.subnet;
        if subnet != subnet.truncated() {
            return Err(format!(
                "subnet: {subnet} has bits behind its prefix; did you mean {}?",
                subnet.truncated()
            ));
        }
        // Two bits: the address of the network, the gateway, a container, and the broadcast address of IPv4.
        let smallest = P::BITS - 2;
        if subnet.length() > smallest {
            return Err(format!(
                "subnet: {subnet} has no room for a gateway and a container: /{smallest} is the smallest"
            ));
        }
        if let Some(purpose) = subnet.reserved() {
            return Err(format!("subnet: {subnet} is reserved for {purpose}"));
        }
        if !subnet.has(self.gateway) || self.is_edge(self.gateway) {
            return Err(format!(
                "gateway: {} is not an address of a station in {subnet}",
                self.gateway
            ));
        }
        match self.range {
            Some(range) if range != range.truncated() => Err(format!(
                "range: {range} has bits behind its prefix; did you mean {}?",
                range.truncated()
            )),
            Some(range) if !subnet.covers(range) => {
                Err(format!("range: {range} is not inside subnet {subnet}"))
            }
            Some(range) if self.addresses(None).next().is_none() => Err(format!(
                "range: {range} has no address for a container beside the gateway"
            )),
            _ => Ok(()),
        }
    }

    /// Whether a container may have this address.
    ///
    /// # Errors
    /// In words, why not.
    pub(in crate::net) fn check_address(&self, address: P::Address) -> Result<(), String> {
        let subnet = self.subnet;
        let number = P::number(address);
        if !subnet.has(address) {
            Err(format!("address {address} is outside its subnet {subnet}"))
        } else if number == subnet.first() {
            Err(format!("address {address} is the network address of {subnet}"))
        } else if P::HAS_BROADCAST && number == subnet.last() {
            Err(format!("address {address} is the broadcast address of {subnet}"))
        } else if address == self.gateway {
            Err(format!("address {address} is the gateway of {subnet}"))
        } else {
            Ok(())
        }
    }

    /// The addresses that may be given unasked, from `start` on.
    pub(in crate::net) fn addresses(
        &self,
        start: Option<P::Address>,
    ) -> impl Iterator<Item = P::Address> + use<P> {
        let this = *self;
        let range = this.range.unwrap_or(this.subnet);
        let first = start.map_or(range.first(), |start| P::number(start).max(range.first()));
        (first..=range.last())
            .map(P::address)
            .filter(move |address| this.check_address(*address).is_ok())
    }

    fn is_edge(&self, address: P::Address) -> bool {
        let number = P::number(address);
        number == self.subnet.first() || P::HAS_BROADCAST && number == self.subnet.last()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn v4(text: &str) -> Subnet {
        Subnet::new(text.parse().unwrap())
    }

    fn v6(text: &str) -> Subnet6 {
        Subnet::new(text.parse().unwrap())
    }

    #[test]
    fn a_subnet_without_room_or_with_a_foreign_gateway_is_refused() {
        assert_eq!(v4("10.0.0.0/30").check(), Ok(()));
        assert_eq!(v6("fd00::/126").check(), Ok(()));
        for subnet in ["10.0.0.0/31", "10.0.0.0/32"] {
            assert!(v4(subnet).check().unwrap_err().contains("subnet: 10.0.0.0/3"));
        }
        for subnet in ["fd00::/127", "fd00::/128"] {
            assert!(v6(subnet).check().unwrap_err().contains("/126 is the smallest"));
        }
        let outside = Subnet {
            gateway: Ipv4Addr::new(10, 0, 1, 1),
            ..v4("10.0.0.0/24")
        };
        assert!(outside.check().unwrap_err().contains("gateway: 10.0.1.1"));
        let range = Subnet {
            range: Some("10.0.1.0/25".parse().unwrap()),
            ..v4("10.0.0.0/24")
        };
        assert!(range.check().unwrap_err().contains("range: 10.0.1.0/25"));
        let only_the_gateway = Subnet {
            range: Some("10.0.0.1/32".parse().unwrap()),
            ..v4("10.0.0.0/24")
        };
        assert!(only_the_gateway.check().unwrap_err().contains("no address"));
        let bits = Subnet {
            subnet: "10.0.0.1/24".parse().unwrap(),
            ..v4("10.0.0.0/24")
        };
        assert!(bits.check().unwrap_err().contains("did you mean 10.0.0.0/24"));
    }

    #[test]
    fn reserved_addresses_are_no_networks() {
        for (subnet, why) in [
            ("127.0.0.0/24", "loopback"),
            ("224.0.0.0/24", "multicast"),
            ("169.254.7.0/24", "link-local"),
            ("0.0.0.0/8", "this host"),
        ] {
            assert!(v4(subnet).check().unwrap_err().contains(why), "{subnet}");
        }
        for (subnet, why) in [
            ("fe80::/64", "link-local"),
            ("ff02::/64", "multicast"),
            ("::/64", "loopback"),
        ] {
            assert!(v6(subnet).check().unwrap_err().contains(why), "{subnet}");
        }
    }

    #[test]
    fn only_addresses_of_stations_other_than_the_gateway_are_for_containers() {
        let subnet = v4("10.0.0.0/29");
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
    fn the_last_address_of_an_ipv6_subnet_is_a_stations_like_others() {
        let subnet = v6("fd00::/126");
        let last = |n| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n);
        assert_eq!(subnet.gateway, last(1));
        assert_eq!(subnet.addresses(None).collect::<Vec<_>>(), [last(2), last(3)]);
        assert!(
            subnet
                .check_address(last(0))
                .unwrap_err()
                .contains("network address")
        );
        assert!(subnet.check_address(last(4)).unwrap_err().contains("outside"));
    }

    #[test]
    fn a_range_limits_what_is_given_unasked_but_not_what_may_be_asked_for() {
        let subnet = Subnet {
            range: Some("10.0.0.8/30".parse().unwrap()),
            ..v4("10.0.0.0/28")
        };
        let given: Vec<_> = subnet.addresses(None).collect();
        assert_eq!(given, [8, 9, 10, 11].map(|n| Ipv4Addr::new(10, 0, 0, n)));
        assert_eq!(subnet.check_address(Ipv4Addr::new(10, 0, 0, 3)), Ok(()));
    }
}
