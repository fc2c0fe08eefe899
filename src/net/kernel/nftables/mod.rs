//! The few nf_tables messages that are worth their encoding: they are sent when `nft` would be too slow.
//!
//! Numbers and shapes are from the kernel's uapi headers linux/netfilter/nfnetlink.h and nf_tables.h. Integers in
//! attributes are big endian.

mod element;

use netlink_packet_core::{NLA_F_NESTED, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_sys::protocols::NETLINK_NETFILTER;

pub(in crate::net) use self::element::{Data, Element, Part};

use super::netlink::{Netlink, Request, absent, attribute, attributes, find};
use crate::error::Result;

const SUBSYSTEM: u16 = libc::NFNL_SUBSYS_NFTABLES as u16;
const NESTED: u16 = NLA_F_NESTED;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_USERDATA: u16 = 6;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_HOOK_DEV: u16 = 3;
const NF_NETDEV_INGRESS: u32 = 0;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFT_REG_VERDICT: u32 = 0;
/// The type of a comment in the user data of tables (nft's libnftnl/udata.h).
const NFTNL_UDATA_TABLE_COMMENT: u8 = 0;

/// The families of tables that we have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Family {
    /// IPv4 and IPv6.
    Inet = libc::NFPROTO_INET as isize,
    /// Frames inside bridges.
    Bridge = libc::NFPROTO_BRIDGE as isize,
    /// Whatever comes in at one link.
    Netdev = libc::NFPROTO_NETDEV as isize,
}

/// A chain of whatever table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) struct Chain {
    /// `NFPROTO_*`.
    pub(in crate::net) family: u8,
    pub(in crate::net) table: String,
    pub(in crate::net) name: String,
    /// Of a base chain, which hook calls it: `NF_INET_*`.
    pub(in crate::net) hook: Option<u32>,
    /// It translates addresses (`type nat`), which concerns the first packets of connections.
    pub(in crate::net) translates: bool,
    /// What does not meet a verdict in it is dropped.
    pub(in crate::net) drops: bool,
}

/// A table of ours.
pub(in crate::net) struct Table {
    netlink: Netlink,
    family: Family,
    name: String,
}

impl Table {
    /// For the table of this name in the calling thread's network namespace, whether it exists or not.
    pub(in crate::net) fn open(family: Family, name: impl Into<String>) -> Result<Self> {
        Ok(Self {
            netlink: Netlink::open(NETLINK_NETFILTER)?,
            family,
            name: name.into(),
        })
    }

    /// The table's comment, empty when it has none; `None` when there is no such table. A round trip that takes no lock
    /// of the firewall.
    pub(in crate::net) fn comment(&mut self) -> Result<Option<String>> {
        let body = text(NFTA_TABLE_NAME, &self.name);
        let request = self.query(libc::NFT_MSG_GETTABLE, &body, "look up nftables table");
        match self.netlink.exchange(&[request]) {
            Ok(answers) => Ok(Some(
                answers.first().map(|answer| comment(answer)).unwrap_or_default(),
            )),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether table, set and element exist, a map's element with this very data: the key may be somebody else's by now.
    /// A round trip that takes no lock of the firewall.
    pub(in crate::net) fn contains(&mut self, element: &Element) -> Result<bool> {
        let body = self.elements(&element.set, &[element]);
        let request = self.query(
            libc::NFT_MSG_GETSETELEM,
            &body,
            "look up element of nftables table",
        );
        match self.netlink.exchange(&[request]) {
            Ok(answers) => Ok(answers.first().is_some_and(|answer| element.has_data_of(answer))),
            Err(error) if absent(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether all of them exist.
    pub(in crate::net) fn contain(&mut self, elements: &[Element]) -> Result<bool> {
        for element in elements {
            if !self.contains(element)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds the elements, all or none; those that exist already stay.
    pub(in crate::net) fn add(&mut self, elements: &[Element]) -> Result<()> {
        self.change(
            libc::NFT_MSG_NEWSETELEM,
            NLM_F_CREATE,
            elements,
            "add elements to nftables table",
        )
    }

    /// Adds the elements, all or none.
    ///
    /// # Errors
    /// With `EEXIST` when one of them exists.
    pub(in crate::net) fn add_new(&mut self, elements: &[Element]) -> Result<()> {
        self.change(
            libc::NFT_MSG_NEWSETELEM,
            NLM_F_CREATE | NLM_F_EXCL,
            elements,
            "add elements to nftables table",
        )
    }

    /// Removes those of the elements that exist. One that is missing would fail the whole transaction, and the kernel
    /// takes milliseconds to undo it; so they are looked up first, which takes microseconds.
    pub(in crate::net) fn remove(&mut self, elements: &[Element]) -> Result<()> {
        let mut present = Vec::new();
        for element in elements {
            if self.contains(element)? {
                present.push(element.clone());
            }
        }
        self.change(
            libc::NFT_MSG_DELSETELEM,
            0,
            &present,
            "remove elements of nftables table",
        )
    }

    /// Deletes the table with all that is in it, if it exists.
    pub(in crate::net) fn delete(&mut self) -> Result<()> {
        if self.comment()?.is_none() {
            return Ok(());
        }
        let body = self.payload(&text(NFTA_TABLE_NAME, &self.name));
        let request = Request::raw(
            message(libc::NFT_MSG_DELTABLE),
            NLM_F_ACK,
            body,
            "delete nftables table",
            &self.name,
        );
        self.transaction(vec![request])
    }

    /// Leads what comes in at a link to a chain of this table of the family netdev, through a new chain that is named after
    /// the link, and adds an element, all or nothing.
    ///
    /// # Errors
    /// With `EEXIST` when there is a chain of that name.
    pub(in crate::net) fn lead(&mut self, link: &str, chain: &str, element: Element) -> Result<()> {
        let hook = [
            attribute(NFTA_HOOK_HOOKNUM, &NF_NETDEV_INGRESS.to_be_bytes()),
            attribute(NFTA_HOOK_PRIORITY, &0u32.to_be_bytes()),
            text(NFTA_HOOK_DEV, link),
        ];
        let base = [
            text(NFTA_CHAIN_TABLE, &self.name),
            text(NFTA_CHAIN_NAME, link),
            attribute(NFTA_CHAIN_HOOK | NESTED, &hook.concat()),
            text(NFTA_CHAIN_TYPE, "filter"),
        ];
        let immediate = [
            attribute(NFTA_IMMEDIATE_DREG, &NFT_REG_VERDICT.to_be_bytes()),
            attribute(NFTA_IMMEDIATE_DATA | NESTED, &element::goto(chain)),
        ];
        let expression = [
            text(NFTA_EXPR_NAME, "immediate"),
            attribute(NFTA_EXPR_DATA | NESTED, &immediate.concat()),
        ];
        let rule = [
            text(NFTA_RULE_TABLE, &self.name),
            text(NFTA_RULE_CHAIN, link),
            attribute(
                NFTA_RULE_EXPRESSIONS | NESTED,
                &attribute(NFTA_LIST_ELEM | NESTED, &expression.concat()),
            ),
        ];
        let stage = "lead packets into nftables table";
        let add = |kind, flags, body: &[u8]| {
            let flags = NLM_F_CREATE | NLM_F_ACK | flags;
            Request::raw(message(kind), flags, self.payload(body), stage, &self.name)
        };
        let requests = vec![
            add(libc::NFT_MSG_NEWCHAIN, NLM_F_EXCL, &base.concat()),
            add(libc::NFT_MSG_NEWRULE, NLM_F_APPEND, &rule.concat()),
            add(
                libc::NFT_MSG_NEWSETELEM,
                0,
                &self.elements(&element.set, &[&element]),
            ),
        ];
        self.transaction(requests)
    }

    /// Removes a chain, with its rules.
    pub(in crate::net) fn remove_chain(&mut self, name: &str) -> Result<()> {
        let body = [text(NFTA_CHAIN_TABLE, &self.name), text(NFTA_CHAIN_NAME, name)].concat();
        let request = Request::raw(
            message(libc::NFT_MSG_DELCHAIN),
            NLM_F_ACK,
            self.payload(&body),
            "remove chain of nftables table",
            format!("{}, chain {name}", self.name),
        );
        self.transaction(vec![request])
    }

    fn change(&mut self, kind: i32, flags: u16, elements: &[Element], stage: &'static str) -> Result<()> {
        if elements.is_empty() {
            return Ok(());
        }
        let mut requests = Vec::new();
        // One message per run of elements of the same set.
        for run in elements.chunk_by(|a, b| a.set == b.set) {
            let Some(first) = run.first() else { continue };
            let body = self.payload(&self.elements(&first.set, &run.iter().collect::<Vec<_>>()));
            let subject = format!("{}, set {}", self.name, first.set);
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
            let body = header(libc::AF_UNSPEC as u8, SUBSYSTEM);
            Request::raw(kind as u16, 0, body, "start transaction on", "nftables").unanswered()
        };
        requests.insert(0, mark(libc::NFNL_MSG_BATCH_BEGIN));
        requests.push(mark(libc::NFNL_MSG_BATCH_END));
        self.netlink.exchange(&requests).map(drop)
    }

    fn query(&self, kind: i32, body: &[u8], stage: &'static str) -> Request {
        Request::raw(message(kind), 0, self.payload(body), stage, &self.name)
    }

    fn payload(&self, body: &[u8]) -> Vec<u8> {
        [header(self.family as u8, 0), body.to_vec()].concat()
    }

    fn elements(&self, set: &str, elements: &[&Element]) -> Vec<u8> {
        let list: Vec<u8> = elements
            .iter()
            .flat_map(|element| element.encode())
            .flat_map(|element| attribute(NFTA_LIST_ELEM | NESTED, &element))
            .collect();
        [
            text(NFTA_SET_ELEM_LIST_TABLE, &self.name),
            text(NFTA_SET_ELEM_LIST_SET, set),
            attribute(NFTA_SET_ELEM_LIST_ELEMENTS | NESTED, &list),
        ]
        .concat()
    }
}

/// The chains of the calling thread's network namespace, of all tables.
///
/// # Errors
/// When the kernel refuses the list.
pub(in crate::net) fn chains() -> Result<Vec<Chain>> {
    let request = Request::raw(
        message(libc::NFT_MSG_GETCHAIN),
        0,
        header(libc::NFPROTO_UNSPEC as u8, 0),
        "list chains of",
        "nftables",
    );
    let mut chains = Vec::new();
    Netlink::open(NETLINK_NETFILTER)?.dump(request, |message| {
        chains.extend(chain(message));
        Ok(())
    })?;
    Ok(chains)
}

pub(in crate::net) fn chain(message: &[u8]) -> Option<Chain> {
    let family = *message.first()?;
    let body = message.get(header(0, 0).len()..)?;
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(*bytes.first_chunk()?));
    let hook = find(body, NFTA_CHAIN_HOOK).and_then(|hook| find(hook, NFTA_HOOK_HOOKNUM));
    Some(Chain {
        family,
        table: string(find(body, NFTA_CHAIN_TABLE)?),
        name: string(find(body, NFTA_CHAIN_NAME)?),
        hook: hook.and_then(number),
        translates: find(body, NFTA_CHAIN_TYPE).is_some_and(|kind| string(kind) == "nat"),
        drops: find(body, NFTA_CHAIN_POLICY).and_then(number) == Some(libc::NF_DROP as u32),
    })
}

/// The comment in the user data of a table: records of type, length and value.
pub(in crate::net) fn comment(answer: &[u8]) -> String {
    let body = answer.get(header(0, 0).len()..).unwrap_or_default();
    let mut data = attributes(body)
        .find(|attribute| attribute.kind == NFTA_TABLE_USERDATA)
        .map_or(&[][..], |attribute| attribute.value);
    while let [kind, length, rest @ ..] = data {
        let Some((value, after)) = rest.split_at_checked(usize::from(*length)) else {
            break;
        };
        if *kind == NFTNL_UDATA_TABLE_COMMENT {
            return string(value);
        }
        data = after;
    }
    String::new()
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn message(kind: i32) -> u16 {
    SUBSYSTEM << 8 | kind as u16
}

/// `struct nfgenmsg`: family, version, resource in network order.
fn header(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}
