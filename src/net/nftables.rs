//! The few nf_tables messages that are worth their encoding: they are sent when `nft` would be too slow.
//!
//! Numbers and shapes are from the kernel's uapi headers linux/netfilter/nfnetlink.h and nf_tables.h. Integers in
//! attributes are big endian.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netlink_packet_core::{NLA_F_NESTED, NLM_F_ACK, NLM_F_CREATE};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::netlink::{Netlink, Request, absent};
use crate::error::Result;

const SUBSYSTEM: u16 = libc::NFNL_SUBSYS_NFTABLES as u16;
const FAMILY_INET: u8 = libc::NFPROTO_INET as u8;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;

/// A table of family inet.
pub(super) struct Table {
    netlink: Netlink,
    name: &'static str,
}

/// An element of a set or map.
pub(super) struct Element {
    set: &'static str,
    attributes: Vec<Attribute>,
}

impl Element {
    /// An interface name.
    pub(super) fn interface(set: &'static str, name: &str) -> Self {
        Self::new(set, interface_key(name), Vec::new())
    }

    /// A pair of interface names with the verdict accept.
    pub(super) fn accept(map: &'static str, from: &str, to: &str) -> Self {
        let code = Attribute::number(NFTA_VERDICT_CODE, libc::NF_ACCEPT as u32);
        let verdict = Attribute::nested(NFTA_DATA_VERDICT, &[code]);
        let key = [interface_key(from), interface_key(to)].concat();
        Self::new(map, key, vec![Attribute::nested(NFTA_SET_ELEM_DATA, &[verdict])])
    }

    /// A subnet: sets with intervals take where it starts and where the rest of the world does.
    pub(super) fn subnet(set: &'static str, subnet: Ipv4Net) -> [Self; 2] {
        let after = Ipv4Addr::from(u32::from(subnet.broadcast()).wrapping_add(1));
        let end = Attribute::number(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
        [
            Self::new(set, subnet.network().octets().to_vec(), Vec::new()),
            Self::new(set, after.octets().to_vec(), vec![end]),
        ]
    }

    fn new(set: &'static str, key: Vec<u8>, mut more: Vec<Attribute>) -> Self {
        let value = Attribute::new(NFTA_DATA_VALUE, key);
        more.insert(0, Attribute::nested(NFTA_SET_ELEM_KEY, &[value]));
        Self {
            set,
            attributes: more,
        }
    }
}

/// Names are compared as 16 bytes, padded with zeros (IFNAMSIZ).
fn interface_key(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(libc::IFNAMSIZ, 0);
    key
}

impl Table {
    /// For the table of this name in the calling thread's network namespace, whether it exists or not.
    pub(super) fn open(name: &'static str) -> Result<Self> {
        Ok(Self {
            netlink: Netlink::open(NETLINK_NETFILTER)?,
            name,
        })
    }

    /// Whether the table exists.
    pub(super) fn exists(&mut self) -> Result<bool> {
        let body = [Attribute::text(NFTA_TABLE_NAME, self.name)];
        let request = self.query(libc::NFT_MSG_GETTABLE, &body, "look up nftables table");
        found(self.netlink.exchange(&[request]))
    }

    /// Whether table, set and element exist; a round trip that takes no lock of the firewall.
    pub(super) fn contains(&mut self, element: &Element) -> Result<bool> {
        let body = self.elements(element.set, &[element]);
        let request = self.query(
            libc::NFT_MSG_GETSETELEM,
            &body,
            "look up element of nftables table",
        );
        found(self.netlink.exchange(&[request]))
    }

    /// Adds the elements, all or none; those that exist already stay.
    pub(super) fn add(&mut self, elements: &[Element]) -> Result<()> {
        self.change(
            libc::NFT_MSG_NEWSETELEM,
            NLM_F_CREATE,
            elements,
            "add elements to nftables table",
        )
    }

    /// Removes the elements, all or none.
    pub(super) fn remove(&mut self, elements: &[Element]) -> Result<()> {
        self.change(
            libc::NFT_MSG_DELSETELEM,
            0,
            elements,
            "remove elements of nftables table",
        )
    }

    /// Deletes the table with all that is in it.
    pub(super) fn delete(&mut self) -> Result<()> {
        let body = payload(FAMILY_INET, 0, &[Attribute::text(NFTA_TABLE_NAME, self.name)]);
        let request = Request::raw(
            message(libc::NFT_MSG_DELTABLE),
            NLM_F_ACK,
            body,
            "delete nftables table",
            self.name,
        );
        self.transaction(vec![request])
    }

    fn change(&mut self, kind: i32, flags: u16, elements: &[Element], stage: &'static str) -> Result<()> {
        let mut requests = Vec::new();
        // One message per run of elements of the same set.
        for run in elements.chunk_by(|a, b| a.set == b.set) {
            let Some(first) = run.first() else { continue };
            let body = payload(
                FAMILY_INET,
                0,
                &self.elements(first.set, &run.iter().collect::<Vec<_>>()),
            );
            let subject = format!("inet {}, set {}", self.name, first.set);
            requests.push(Request::raw(
                message(kind),
                flags | NLM_F_ACK,
                body,
                stage,
                subject,
            ));
        }
        self.transaction(requests)
    }

    fn transaction(&mut self, mut requests: Vec<Request>) -> Result<()> {
        let mark = |kind: i32| {
            let body = payload(libc::AF_UNSPEC as u8, SUBSYSTEM, &[]);
            Request::raw(kind as u16, 0, body, "start transaction on", "nftables").unanswered()
        };
        requests.insert(0, mark(libc::NFNL_MSG_BATCH_BEGIN));
        requests.push(mark(libc::NFNL_MSG_BATCH_END));
        self.netlink.exchange(&requests).map(drop)
    }

    fn query(&self, kind: i32, body: &[Attribute], stage: &'static str) -> Request {
        let subject = format!("inet {}", self.name);
        Request::raw(message(kind), 0, payload(FAMILY_INET, 0, body), stage, subject)
    }

    fn elements(&self, set: &str, elements: &[&Element]) -> [Attribute; 3] {
        let list: Vec<_> = elements
            .iter()
            .map(|element| Attribute::nested(NFTA_LIST_ELEM, &element.attributes))
            .collect();
        [
            Attribute::text(NFTA_SET_ELEM_LIST_TABLE, self.name),
            Attribute::text(NFTA_SET_ELEM_LIST_SET, set),
            Attribute::nested(NFTA_SET_ELEM_LIST_ELEMENTS, &list),
        ]
    }
}

fn found(answer: Result<Vec<Vec<u8>>>) -> Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) if absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn message(kind: i32) -> u16 {
    SUBSYSTEM << 8 | kind as u16
}

/// `struct nfgenmsg` (family, version, resource in network order) and attributes.
fn payload(family: u8, resource: u16, attributes: &[Attribute]) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    let mut bytes = vec![family, 0, high, low];
    bytes.extend(attributes.iter().flat_map(|attribute| &attribute.0));
    bytes
}

/// One encoded attribute: `struct nlattr` and value, padded to four bytes.
struct Attribute(Vec<u8>);

impl Attribute {
    fn new(kind: u16, value: Vec<u8>) -> Self {
        const HEADER: usize = 4;
        let length = (HEADER + value.len()) as u16;
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Self(bytes)
    }

    fn text(kind: u16, value: &str) -> Self {
        Self::new(kind, [value.as_bytes(), &[0]].concat())
    }

    fn number(kind: u16, value: u32) -> Self {
        Self::new(kind, value.to_be_bytes().to_vec())
    }

    fn nested(kind: u16, attributes: &[Attribute]) -> Self {
        let inner = attributes
            .iter()
            .flat_map(|attribute| attribute.0.iter().copied())
            .collect();
        Self::new(kind | NLA_F_NESTED, inner)
    }
}
