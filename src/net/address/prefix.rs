//! One kind of subnet arithmetic for IPv4 and IPv6. Pure.

use std::fmt::{Debug, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A block of addresses of one family: [`Ipv4Net`] or [`Ipv6Net`]. Addresses count as numbers in host order.
pub trait Prefix:
    Copy + Debug + Display + Eq + FromStr + Into<IpNet> + Serialize + DeserializeOwned + 'static
{
    /// A single address.
    type Address: Copy
        + Debug
        + Display
        + Ord
        + FromStr
        + Into<IpAddr>
        + Serialize
        + DeserializeOwned
        + 'static;

    /// What people call the family.
    const FAMILY: &'static str;
    /// Bits of an address.
    const BITS: u8;
    /// Whether the last address of a block reaches everybody in it. IPv6 has no broadcast.
    const HAS_BROADCAST: bool;

    /// The block's length in bits.
    fn length(self) -> u8;
    /// The address that was written, whatever bits it has behind the prefix.
    fn written(self) -> u128;
    /// The block of this address and length, `None` when the length is more than an address has.
    fn new(address: u128, length: u8) -> Option<Self>;
    /// The number of an address.
    fn number(address: Self::Address) -> u128;
    /// The address of a number; what lies above [`Prefix::BITS`] is cut off.
    fn address(number: u128) -> Self::Address;
    /// The address if it is of this family.
    fn of(address: IpAddr) -> Option<Self::Address>;
    /// The block if it is of this family.
    fn of_net(net: IpNet) -> Option<Self>;
    /// What the block's addresses are for when no bridge can have them, in a word.
    fn reserved(self) -> Option<&'static str>;

    /// The number of the first address.
    fn first(self) -> u128 {
        self.written() & !self.host_mask()
    }

    /// The number of the last address.
    fn last(self) -> u128 {
        self.written() | self.host_mask()
    }

    /// The block without bits behind its prefix.
    fn truncated(self) -> Self {
        Self::new(self.first(), self.length()).unwrap_or(self)
    }

    /// Whether an address lies in it.
    fn has(self, address: Self::Address) -> bool {
        (self.first()..=self.last()).contains(&Self::number(address))
    }

    /// Whether all of another block lies in it.
    fn covers(self, other: Self) -> bool {
        self.first() <= other.first() && other.last() <= self.last()
    }

    /// The bits behind the prefix.
    fn host_mask(self) -> u128 {
        let bits = u32::from(Self::BITS - self.length());
        u128::MAX.checked_shr(128 - bits).unwrap_or(0)
    }
}

impl Prefix for Ipv4Net {
    type Address = Ipv4Addr;

    const FAMILY: &'static str = "IPv4";
    const BITS: u8 = 32;
    const HAS_BROADCAST: bool = true;

    fn length(self) -> u8 {
        self.prefix_len()
    }

    fn written(self) -> u128 {
        Self::number(self.addr())
    }

    fn new(address: u128, length: u8) -> Option<Self> {
        Ipv4Net::new(<Self as Prefix>::address(address), length).ok()
    }

    fn number(address: Ipv4Addr) -> u128 {
        u128::from(u32::from(address))
    }

    fn address(number: u128) -> Ipv4Addr {
        Ipv4Addr::from(number as u32)
    }

    fn of(address: IpAddr) -> Option<Ipv4Addr> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    fn of_net(net: IpNet) -> Option<Self> {
        match net {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        }
    }

    fn reserved(self) -> Option<&'static str> {
        let [first, second, ..] = self.network().octets();
        match (first, second) {
            (0, _) => Some("\"this host\""),
            (127, _) => Some("loopback"),
            (169, 254) => Some("link-local use"),
            (224..=239, _) => Some("multicast"),
            (240..=255, _) => Some("the future"),
            _ => None,
        }
    }
}

impl Prefix for Ipv6Net {
    type Address = Ipv6Addr;

    const FAMILY: &'static str = "IPv6";
    const BITS: u8 = 128;
    const HAS_BROADCAST: bool = false;

    fn length(self) -> u8 {
        self.prefix_len()
    }

    fn written(self) -> u128 {
        Self::number(self.addr())
    }

    fn new(address: u128, length: u8) -> Option<Self> {
        Ipv6Net::new(<Self as Prefix>::address(address), length).ok()
    }

    fn number(address: Ipv6Addr) -> u128 {
        u128::from(address)
    }

    fn address(number: u128) -> Ipv6Addr {
        Ipv6Addr::from(number)
    }

    fn of(address: IpAddr) -> Option<Ipv6Addr> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        }
    }

    fn of_net(net: IpNet) -> Option<Self> {
        match net {
            IpNet::V4(_) => None,
            IpNet::V6(net) => Some(net),
        }
    }

    fn reserved(self) -> Option<&'static str> {
        let [first, ..] = self.network().segments();
        match first {
            0 => Some("loopback and IPv4 addresses"),
            0xfe80..=0xfebf => Some("link-local use"),
            0xff00..=0xffff => Some("multicast"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_address_are_those_of_the_block_in_both_families() {
        fn edges<P: Prefix>(text: &str) -> (String, String)
        where
            P::Err: Debug,
        {
            let prefix: P = text.parse().unwrap();
            (
                P::address(prefix.first()).to_string(),
                P::address(prefix.last()).to_string(),
            )
        }
        let both = |first: &str, last: &str| (first.to_owned(), last.to_owned());
        assert_eq!(edges::<Ipv4Net>("10.0.0.9/29"), both("10.0.0.8", "10.0.0.15"));
        assert_eq!(edges::<Ipv4Net>("0.0.0.0/0"), both("0.0.0.0", "255.255.255.255"));
        assert_eq!(edges::<Ipv4Net>("10.0.0.9/32"), both("10.0.0.9", "10.0.0.9"));
        assert_eq!(
            edges::<Ipv6Net>("fd00::1:0/112"),
            both("fd00::1:0", "fd00::1:ffff")
        );
        assert_eq!(
            edges::<Ipv6Net>("::/0"),
            both("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
        );
        assert_eq!(edges::<Ipv6Net>("fd00::1/128"), both("fd00::1", "fd00::1"));
    }
}
