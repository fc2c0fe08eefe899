//! Which parts of the address space somebody has, and which of them a new network may have. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Where subnets of /24 are taken from when nobody chose one. Small corners of RFC 1918 that neither the other engines'
/// defaults nor home routers use; three, because one private range is often routed as a whole.
const POOLS: [Ipv4Net; 3] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 186, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 30, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 128, 0), 17),
];

/// A part of the address space that somebody has, and in words who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) struct Taken {
    pub(in crate::net) net: IpNet,
    pub(in crate::net) by: String,
}

impl Taken {
    /// Whether taking `subnet` would steal traffic. Routes as wide as a default route (its halves, which VPNs use; all
    /// unique local or global IPv6 addresses) do not count: everything overlaps with them.
    fn collides(&self, subnet: IpNet) -> bool {
        const NARROWEST_DEFAULT: u8 = 7;
        self.net.prefix_len() > NARROWEST_DEFAULT
            && (self.net.contains(&subnet) || subnet.contains(&self.net))
    }
}

/// Who has addresses inside `subnet` already, if anybody.
pub(in crate::net) fn conflict(subnet: impl Into<IpNet>, taken: &[Taken]) -> Option<&Taken> {
    let subnet = subnet.into();
    taken.iter().find(|taken| taken.collides(subnet))
}

/// The first /24 of the pools that nobody has.
pub(in crate::net) fn choose(taken: &[Taken]) -> Option<Ipv4Net> {
    POOLS
        .iter()
        .filter_map(|pool| pool.subnets(24).ok())
        .flatten()
        .find(|subnet| conflict(*subnet, taken).is_none())
}

/// The pools, for error messages.
pub(in crate::net) fn pools() -> String {
    POOLS.map(|pool| pool.to_string()).join(", ")
}

/// A /64 of unique local addresses: fd00::/8, 40 random bits, subnet number 0 (RFC 4193, section 3.1).
pub(in crate::net) fn unique_local([a, b, c, d, e]: [u8; 5]) -> Ipv6Net {
    let segments = [[0xfd, a], [b, c], [d, e]].map(u16::from_be_bytes);
    let [first, second, third] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0), 64)
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
                net: text.parse().unwrap(),
                by: "a test".to_owned(),
            })
            .collect()
    }

    #[test]
    fn the_first_free_subnet_is_chosen_whatever_part_of_others_is_taken() {
        assert_eq!(choose(&[]), Some(net("10.186.0.0/24")));
        assert_eq!(
            choose(&taken(&["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0"])),
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
    fn subnets_of_ipv6_collide_as_those_of_ipv4_do() {
        let taken = taken(&["fc00::/7", "fd00:1::7/128", "10.0.0.0/8"]);
        let ours: Ipv6Net = "fd00:1::/64".parse().unwrap();
        assert_eq!(conflict(ours, &taken), taken.get(1));
        assert_eq!(conflict("fd00:2::/64".parse::<Ipv6Net>().unwrap(), &taken), None);
    }

    #[test]
    fn a_unique_local_subnet_has_its_forty_random_bits_behind_fd() {
        let subnet = unique_local([0x01, 0x23, 0x45, 0x67, 0x89]);
        assert_eq!(subnet.to_string(), "fd01:2345:6789::/64");
    }
}
