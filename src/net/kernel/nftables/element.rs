//! Elements of nftables' sets and maps: what people write after `nft add element`, and what the kernel is sent. Pure.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::net::endpoint::Mac;
use crate::net::kernel::netlink::attribute;
use crate::net::policy::Protocol;

const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;

/// One part of a key or of a map's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) enum Part {
    /// The name of an interface (`ifname`).
    Interface(String),
    /// An address (`ipv4_addr`, `ipv6_addr`).
    Address(IpAddr),
    /// All addresses of a subnet; only as the last part, in sets with the flag `interval`.
    Subnet(IpNet),
    /// An Ethernet address (`ether_addr`).
    Station(Mac),
    /// The number of an interface (`iface_index`).
    Index(u32),
    /// A transport protocol (`inet_proto`).
    Protocol(Protocol),
    /// A port (`inet_service`).
    Port(u16),
    /// An IPv6 address as 128 bits somewhere in a packet, for which nft has no name.
    Body(Ipv6Addr),
}

/// What a map gives for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) enum Data {
    /// Values of the kinds that keys have.
    Parts(Vec<Part>),
    /// The verdict `accept`.
    Accept,
    /// The verdict `jump CHAIN`.
    Jump(String),
}

/// An element of a set or map of one of our tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) struct Element {
    pub(in crate::net) set: String,
    key: Vec<Part>,
    data: Option<Data>,
}

impl Element {
    /// An element of a set.
    pub(in crate::net) fn new(set: impl Into<String>, key: impl Into<Vec<Part>>) -> Self {
        Self {
            set: set.into(),
            key: key.into(),
            data: None,
        }
    }

    /// An element of a map.
    pub(in crate::net) fn mapping(self, data: Data) -> Self {
        Self {
            data: Some(data),
            ..self
        }
    }

    /// Whatever its key maps to.
    pub(in crate::net) fn whatever(&self) -> Self {
        Self {
            data: None,
            ..self.clone()
        }
    }

    /// `NFTA_LIST_ELEM`s without their header: one, or two for a bare subnet, whose set is a tree of the places where
    /// a subnet starts and where the rest of the world does.
    pub(super) fn encode(&self) -> Vec<Vec<u8>> {
        let data = self
            .data
            .iter()
            .flat_map(|data| attribute(NFTA_SET_ELEM_DATA | super::NESTED, &data.encode()));
        if let [Part::Subnet(subnet)] = self.key[..] {
            let start = key(NFTA_SET_ELEM_KEY, &octets(subnet.network()));
            let mut list = vec![start.into_iter().chain(data).collect()];
            if let Some(after) = after(subnet) {
                let end = attribute(NFTA_SET_ELEM_FLAGS, &NFT_SET_ELEM_INTERVAL_END.to_be_bytes());
                list.push([key(NFTA_SET_ELEM_KEY, &octets(after)), end].concat());
            }
            return list;
        }
        let first: Vec<u8> = match &self.key[..] {
            // Nothing follows that would have to begin at a register of its own.
            [Part::Station(mac)] => mac.octets().to_vec(),
            parts => parts.iter().flat_map(|part| part.bytes(false)).collect(),
        };
        let mut element = key(NFTA_SET_ELEM_KEY, &first);
        if self.key.iter().any(|part| matches!(part, Part::Subnet(_))) {
            let last: Vec<u8> = self.key.iter().flat_map(|part| part.bytes(true)).collect();
            element.extend(key(NFTA_SET_ELEM_KEY_END, &last));
        }
        element.extend(data);
        vec![element]
    }
}

impl Element {
    /// Whether the kernel's answer about this element tells the data that it is to have. Verdicts are not compared: of
    /// those there is one for a key.
    pub(in crate::net) fn has_data_of(&self, answer: &[u8]) -> bool {
        let Some(Data::Parts(parts)) = &self.data else {
            return true;
        };
        let expected: Vec<u8> = parts.iter().flat_map(|part| part.bytes(false)).collect();
        let body = answer.get(super::header(0, 0).len()..).unwrap_or_default();
        super::find(body, super::NFTA_SET_ELEM_LIST_ELEMENTS)
            .and_then(|list| super::find(list, super::NFTA_LIST_ELEM))
            .and_then(|element| super::find(element, NFTA_SET_ELEM_DATA))
            .and_then(|data| super::find(data, NFTA_DATA_VALUE))
            .is_some_and(|found| found == expected)
    }
}

fn key(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | super::NESTED, &attribute(NFTA_DATA_VALUE, value))
}

/// The address behind a subnet; `None` at the end of the world.
fn after(subnet: IpNet) -> Option<IpAddr> {
    match subnet.broadcast() {
        IpAddr::V4(last) => u32::from(last)
            .checked_add(1)
            .map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(last) => u128::from(last)
            .checked_add(1)
            .map(|next| Ipv6Addr::from(next).into()),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

impl Part {
    /// In a concatenation every part fills whole registers of four bytes; names fill IFNAMSIZ. `end`: of an interval.
    fn bytes(&self, end: bool) -> Vec<u8> {
        let (mut bytes, width) = match self {
            Self::Interface(name) => (name.as_bytes().to_vec(), libc::IFNAMSIZ),
            Self::Address(address) => (octets(*address), 4),
            Self::Subnet(subnet) if end => (octets(subnet.broadcast()), 4),
            Self::Subnet(subnet) => (octets(subnet.network()), 4),
            Self::Station(mac) => (mac.octets().to_vec(), 4),
            Self::Index(index) => (index.to_ne_bytes().to_vec(), 4),
            Self::Protocol(protocol) => (vec![number(*protocol)], 4),
            Self::Port(port) => (port.to_be_bytes().to_vec(), 4),
            Self::Body(address) => (address.octets().to_vec(), 4),
        };
        bytes.resize(bytes.len().next_multiple_of(width), 0);
        bytes
    }
}

/// The number of a transport protocol in the header of IP.
fn number(protocol: Protocol) -> u8 {
    let number = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
        Protocol::Sctp => libc::IPPROTO_SCTP,
    };
    number as u8
}

/// A verdict (`NFTA_DATA_VERDICT`), with the chain where it leads.
fn verdict(code: i32, chain: Option<&str>) -> Vec<u8> {
    let mut verdict = attribute(NFTA_VERDICT_CODE, &code.to_be_bytes());
    verdict.extend(
        chain
            .iter()
            .flat_map(|chain| super::text(NFTA_VERDICT_CHAIN, chain)),
    );
    attribute(NFTA_DATA_VERDICT | super::NESTED, &verdict)
}

/// The verdict `goto CHAIN`.
pub(super) fn goto(chain: &str) -> Vec<u8> {
    verdict(NFT_GOTO, Some(chain))
}

impl Data {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Parts(parts) => {
                let bytes: Vec<u8> = parts.iter().flat_map(|part| part.bytes(false)).collect();
                attribute(NFTA_DATA_VALUE, &bytes)
            }
            Self::Accept => verdict(libc::NF_ACCEPT, None),
            Self::Jump(chain) => verdict(NFT_JUMP, Some(chain)),
        }
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "\"{name}\""),
            Self::Address(address) => write!(f, "{address}"),
            Self::Subnet(subnet) => write!(f, "{subnet}"),
            Self::Station(mac) => write!(f, "{mac}"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Protocol(protocol) => write!(f, "{protocol}"),
            Self::Port(port) => write!(f, "{port}"),
            Self::Body(address) => write!(f, "{:#034x}", u128::from(*address)),
        }
    }
}

/// `KEY : DATA` in nft's language.
impl Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(&self.key))?;
        match &self.data {
            None => Ok(()),
            Some(Data::Parts(parts)) => write!(f, " : {}", joined(parts)),
            Some(Data::Accept) => f.write_str(" : accept"),
            Some(Data::Jump(chain)) => write!(f, " : jump {chain}"),
        }
    }
}

fn joined(parts: &[Part]) -> String {
    let texts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    texts.join(" . ")
}
