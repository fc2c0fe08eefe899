//! The kernel's list of connections that pass through the host: `conntrack -L`, and `conntrack -D` for what a container
//! left behind.
//!
//! Every connection has two tuples: the *original* one as its first packet came in, and the *reply* one as answers look.
//! Without address translation one is the other turned round. With a published port the reply comes from the container,
//! not from the host's address that was asked for; with masquerading it goes to the host, not to the container.
//!
//! The kernel consults the firewall's NAT rules for the first packet of a connection only and follows the entry from then
//! on. A UDP client that keeps sending keeps its entry, so it would talk to a container's old address long after the port
//! was unpublished; hence [`forget`]. The other way round, a client that sent to a port before it was published keeps an
//! entry without translation.
//!
//! Traffic inside one bridge does not come here unless the firewall looks at bridged packets. Messages and numbers are
//! from the kernel's uapi header linux/netfilter/nfnetlink_conntrack.h; integers in attributes are big endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLA_F_NESTED, NLM_F_ACK};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use serde::Serialize;

use super::netlink::{Netlink, Request, absent, attribute, attributes, find};
use crate::error::{Error, Kind, Result};
use crate::net::{Port, Protocol};

const SUBSYSTEM: u16 = libc::NFNL_SUBSYS_CTNETLINK as u16;
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const IPCTNL_MSG_CT_GET_STATS: u16 = 5;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_COUNTERS_ORIG: u16 = 9;
const CTA_COUNTERS_REPLY: u16 = 10;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const CTA_COUNTERS_PACKETS: u16 = 1;
const CTA_COUNTERS_BYTES: u16 = 2;
const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;

const CTA_FILTER: u16 = 25;
const CTA_STATUS_MASK: u16 = 26;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
const NESTED: u16 = NLA_F_NESTED;

/// Which fields of a tuple count, in the order of the kernel's ctnetlink_filter (net/netfilter/nf_conntrack_netlink.c).
const FILTER_IP_SRC: u32 = 1 << 0;
const FILTER_IP_DST: u32 = 1 << 1;
const FILTER_PROTO_NUM: u32 = 1 << 3;
const FILTER_PROTO_DST_PORT: u32 = 1 << 5;

/// IPS_SEEN_REPLY and IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const SEEN_REPLY: u32 = 1 << 1;
const DESTINATION_CHANGED: u32 = 1 << 5;

/// One connection as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the protocol above IP (`IPPROTO_TCP`, ...).
    pub protocol: u8,
    /// The first packet.
    pub original: Tuple,
    /// What answers to it look like.
    pub reply: Tuple,
    /// Both directions have had packets.
    pub replied: bool,
    /// The destination was changed on the way: a published port.
    pub redirected: bool,
    /// For TCP.
    pub tcp: Option<TcpState>,
    /// Packets of the original direction and of replies, when `net.netfilter.nf_conntrack_acct` was on as the connection
    /// began.
    pub counters: Option<[Counter; 2]>,
}

/// Where packets of one direction come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// The sender's port; 0 for protocols without.
    pub source_port: u16,
    /// The receiver's port; 0 for protocols without.
    pub destination_port: u16,
}

/// What has passed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, headers of IP included.
    pub bytes: u64,
}

/// What the host believes of a TCP connection (linux/netfilter/nf_conntrack_tcp.h).
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    None,
    SynSent,
    SynReceived,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
}

impl TcpState {
    fn from_kernel(state: u8) -> Option<Self> {
        Some(match state {
            0 => Self::None,
            // 9: both sides sent a SYN.
            1 | 9 => Self::SynSent,
            2 => Self::SynReceived,
            3 => Self::Established,
            4 => Self::FinWait,
            5 => Self::CloseWait,
            6 => Self::LastAck,
            7 => Self::TimeWait,
            8 => Self::Close,
            _ => return None,
        })
    }
}

/// All connections through the calling thread's network namespace, IPv4 and IPv6.
///
/// # Errors
/// Unsupported when the kernel has no such list to show; when it refuses.
pub fn dump() -> Result<Vec<Entry>> {
    let mut netlink = Netlink::open(NETLINK_NETFILTER)?;
    let mut entries = Vec::new();
    if count(&mut netlink)? > 0 {
        netlink.dump(list(), |message| {
            entries.extend(parse(message));
            Ok(())
        })?;
    }
    Ok(entries)
}

/// What [`forget`] is to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale<'a> {
    /// UDP that a container of this address began, or answered. Not TCP: the kernel says goodbye for a container that was
    /// killed, and without the entry nobody gets to hear it; the killed container's sockets, waiting for an answer, would
    /// keep its namespace for minutes.
    Address(IpAddr),
    /// Those that the first opened to the second.
    Between(IpAddr, IpAddr),
    /// Connections to a published port that nobody ever answered: they began before it was published. Not for TCP, where
    /// callers that got no answer begin anew. Those that the port redirected belong to the container's address.
    Published(&'a Port),
}

impl Stale<'_> {
    fn covers(&self, entry: &Entry) -> bool {
        match self {
            Stale::Address(address) => {
                entry.protocol == libc::IPPROTO_UDP as u8
                    && [entry.original.source, entry.reply.source].contains(address)
            }
            Stale::Between(from, to) => (entry.original.source, entry.original.destination) == (*from, *to),
            Stale::Published(port) => {
                port.protocol != Protocol::Tcp
                    && protocol_number(port.protocol) == entry.protocol
                    && entry.original.destination_port == port.host
                    && port
                        .address
                        .is_none_or(|address| address == entry.original.destination)
                    && !entry.replied
            }
        }
    }

    /// The same in the kernel's terms: a connection that any of these messages describes.
    fn filters(&self) -> Vec<Vec<u8>> {
        match self {
            Stale::Address(address) => {
                let udp = attribute(CTA_PROTO_NUM, &[libc::IPPROTO_UDP as u8]);
                let source = [
                    attribute(CTA_TUPLE_IP | NESTED, &source(*address)),
                    attribute(CTA_TUPLE_PROTO | NESTED, &udp),
                ]
                .concat();
                [
                    (CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS),
                    (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS),
                ]
                .map(|(tuple, flags)| {
                    let flags = attribute(flags, &(FILTER_IP_SRC | FILTER_PROTO_NUM).to_ne_bytes());
                    [
                        header(family(*address)),
                        attribute(tuple | NESTED, &source),
                        attribute(CTA_FILTER | NESTED, &flags),
                    ]
                    .concat()
                })
                .to_vec()
            }
            Stale::Between(from, to) => {
                let ip = attribute(CTA_TUPLE_IP | NESTED, &[source(*from), destination(*to)].concat());
                let flags = attribute(
                    CTA_FILTER_ORIG_FLAGS,
                    &(FILTER_IP_SRC | FILTER_IP_DST).to_ne_bytes(),
                );
                let filter = [
                    header(family(*from)),
                    attribute(CTA_TUPLE_ORIG | NESTED, &ip),
                    attribute(CTA_FILTER | NESTED, &flags),
                ];
                vec![filter.concat()]
            }
            Stale::Published(port) if port.protocol == Protocol::Tcp => Vec::new(),
            Stale::Published(port) => {
                let ports = [
                    attribute(CTA_PROTO_NUM, &[protocol_number(port.protocol)]),
                    attribute(CTA_PROTO_DST_PORT, &port.host.to_be_bytes()),
                ]
                .concat();
                let ip = port.address.map(destination).unwrap_or_default();
                let tuple = [
                    attribute(CTA_TUPLE_IP | NESTED, &ip),
                    attribute(CTA_TUPLE_PROTO | NESTED, &ports),
                ]
                .concat();
                let address = port.address.map_or(0, |_| FILTER_IP_DST);
                let flags = address | FILTER_PROTO_NUM | FILTER_PROTO_DST_PORT;
                let flags = attribute(CTA_FILTER_ORIG_FLAGS, &flags.to_ne_bytes());
                let families = match port.address {
                    Some(address) => vec![family(address)],
                    None => vec![libc::AF_INET as u8, libc::AF_INET6 as u8],
                };
                families
                    .into_iter()
                    .map(|family| {
                        [
                            header(family),
                            attribute(CTA_TUPLE_ORIG | NESTED, &tuple),
                            attribute(CTA_FILTER | NESTED, &flags),
                            attribute(CTA_STATUS, &0u32.to_be_bytes()),
                            attribute(CTA_STATUS_MASK, &SEEN_REPLY.to_be_bytes()),
                        ]
                        .concat()
                    })
                    .collect()
            }
        }
    }
}

/// Deletes the connections that any of `stale` covers from the list of the calling thread's network namespace, so that
/// their next packets are judged by the firewall anew.
///
/// To be called after the firewall was told: an entry that is deleted before comes back. When the host has no connections
/// this is one question; otherwise the kernel goes through its whole table: twice for an address, once for each family of a
/// port. With 262144 rows that takes a quarter of a millisecond each time. A kernel that does not show its list keeps it.
///
/// # Errors
/// When the kernel refuses.
pub fn forget(stale: &[Stale<'_>]) -> Result<()> {
    let requests: Vec<_> = stale
        .iter()
        .flat_map(Stale::filters)
        .map(|filter| request(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, filter, "delete some of the"))
        .collect();
    if requests.is_empty() {
        return Ok(());
    }
    let mut netlink = Netlink::open(NETLINK_NETFILTER)?;
    match count(&mut netlink) {
        Ok(0) => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == Kind::Unsupported => {
            crate::log::debug(error);
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    match netlink.exchange(&requests) {
        // Linux before 6.6 does not select what it deletes: it takes the tuple for that of one connection, and finds it
        // incomplete.
        Err(error) if matches!(error.errno(), Some(Errno::EINVAL | Errno::EOPNOTSUPP)) => {
            forget_one_by_one(&mut netlink, stale)
        }
        result => result.map(drop),
    }
}

/// Reads the whole list, which takes milliseconds on a host with a large table, and deletes by tuple and id.
pub(in crate::net) fn forget_one_by_one(netlink: &mut Netlink, stale: &[Stale<'_>]) -> Result<()> {
    let mut deletions = Vec::new();
    netlink.dump(list(), |message| {
        if parse(message).is_some_and(|entry| stale.iter().any(|stale| stale.covers(&entry))) {
            deletions.push(deletion(message));
        }
        Ok(())
    })?;
    // So few at a time that the answers fit into the socket's buffer.
    for some in deletions.chunks(64) {
        match netlink.exchange(some) {
            // One ended by itself meanwhile.
            Err(error) if !absent(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// IPPROTO_TCP and so on.
pub(in crate::net) fn protocol_number(protocol: Protocol) -> u8 {
    let number = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
        Protocol::Sctp => libc::IPPROTO_SCTP,
    };
    number as u8
}

fn family(address: IpAddr) -> u8 {
    let family = match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    family as u8
}

fn source(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => attribute(CTA_IP_V4_SRC, &address.octets()),
        IpAddr::V6(address) => attribute(CTA_IP_V6_SRC, &address.octets()),
    }
}

fn destination(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => attribute(CTA_IP_V4_DST, &address.octets()),
        IpAddr::V6(address) => attribute(CTA_IP_V6_DST, &address.octets()),
    }
}

/// How many connections the namespace has. The table is one for all namespaces and has hundreds of thousands of rows,
/// which a dump visits one by one; this number costs nothing.
fn count(netlink: &mut Netlink) -> Result<u32> {
    let request = request(IPCTNL_MSG_CT_GET_STATS, 0, header(libc::AF_UNSPEC as u8), "count");
    let answers = netlink
        .exchange(&[request])
        .map_err(|error| match error.errno() {
            // Of no part of netfilter that the kernel has.
            Some(Errno::EINVAL) => Error::unsupported(
                "listing the host's connections",
                "the kernel has no module nf_conntrack_netlink",
            ),
            _ => error,
        })?;
    let statistics = answers.first().map(Vec::as_slice).unwrap_or_default();
    let entries = find(body(statistics), CTA_STATS_GLOBAL_ENTRIES);
    // A kernel that does not say is asked for the list.
    Ok(entries.and_then(number).unwrap_or(u32::MAX))
}

fn list() -> Request {
    request(IPCTNL_MSG_CT_GET, 0, header(libc::AF_UNSPEC as u8), "list")
}

/// The request that deletes the entry of this message and no other: tuple and zone find it, the id tells it from a later
/// one with the same tuple.
pub(in crate::net) fn deletion(message: &[u8]) -> Request {
    let mut payload = header(message.first().copied().unwrap_or_default());
    for attribute in attributes(body(message)) {
        if matches!(attribute.kind, CTA_TUPLE_ORIG | CTA_ID | CTA_ZONE) {
            payload.extend(attribute.whole);
        }
    }
    request(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, payload, "delete")
}

fn request(kind: u16, flags: u16, payload: Vec<u8>, stage: &'static str) -> Request {
    Request::raw(
        SUBSYSTEM << 8 | kind,
        flags,
        payload,
        stage,
        "tracked connections of the host",
    )
}

/// `struct nfgenmsg`: family, version, resource.
fn header(family: u8) -> Vec<u8> {
    vec![family, 0, 0, 0]
}

/// What follows `struct nfgenmsg`.
fn body(message: &[u8]) -> &[u8] {
    message.get(4..).unwrap_or_default()
}

/// `None` for a message that lacks what every entry has.
pub(in crate::net) fn parse(message: &[u8]) -> Option<Entry> {
    let (mut original, mut reply, mut status, mut tcp) = (None, None, 0, None);
    let mut counters = [None; 2];
    for attribute in attributes(body(message)) {
        let value = attribute.value;
        match attribute.kind {
            CTA_TUPLE_ORIG => original = tuple(value),
            CTA_TUPLE_REPLY => reply = tuple(value),
            CTA_STATUS => status = number(value)?,
            CTA_PROTOINFO => {
                tcp = find(value, CTA_PROTOINFO_TCP)
                    .and_then(|tcp| find(tcp, CTA_PROTOINFO_TCP_STATE))
                    .and_then(|state| TcpState::from_kernel(*state.first()?));
            }
            CTA_COUNTERS_ORIG => counters[0] = counter(value),
            CTA_COUNTERS_REPLY => counters[1] = counter(value),
            _ => {}
        }
    }
    let (protocol, original) = original?;
    let (_, reply) = reply?;
    Some(Entry {
        protocol,
        original,
        reply,
        replied: status & SEEN_REPLY != 0,
        redirected: status & DESTINATION_CHANGED != 0,
        tcp,
        counters: match counters {
            [Some(original), Some(reply)] => Some([original, reply]),
            _ => None,
        },
    })
}

fn tuple(value: &[u8]) -> Option<(u8, Tuple)> {
    let (ip, protocol) = (find(value, CTA_TUPLE_IP)?, find(value, CTA_TUPLE_PROTO)?);
    let address = |v4, v6| {
        let v4 = || Some(IpAddr::from(Ipv4Addr::from(*find(ip, v4)?.first_chunk::<4>()?)));
        let v6 = || Some(IpAddr::from(Ipv6Addr::from(*find(ip, v6)?.first_chunk::<16>()?)));
        v4().or_else(v6)
    };
    let port = |kind| {
        find(protocol, kind)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |bytes| u16::from_be_bytes(*bytes))
    };
    let tuple = Tuple {
        source: address(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
        destination: address(CTA_IP_V4_DST, CTA_IP_V6_DST)?,
        source_port: port(CTA_PROTO_SRC_PORT),
        destination_port: port(CTA_PROTO_DST_PORT),
    };
    Some((*find(protocol, CTA_PROTO_NUM)?.first()?, tuple))
}

fn counter(value: &[u8]) -> Option<Counter> {
    let number = |kind| {
        let bytes = find(value, kind)?.first_chunk()?;
        Some(u64::from_be_bytes(*bytes))
    };
    Some(Counter {
        packets: number(CTA_COUNTERS_PACKETS)?,
        bytes: number(CTA_COUNTERS_BYTES)?,
    })
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(redirected: bool, replied: bool) -> Entry {
        let tuple = |source: &str, source_port, destination: &str, destination_port| Tuple {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            source_port,
            destination_port,
        };
        Entry {
            protocol: libc::IPPROTO_UDP as u8,
            original: tuple("192.0.2.2", 4000, "192.0.2.1", 53),
            reply: match redirected {
                true => tuple("10.1.0.7", 5353, "192.0.2.2", 4000),
                false => tuple("192.0.2.1", 53, "192.0.2.2", 4000),
            },
            replied,
            redirected,
            tcp: None,
            counters: None,
        }
    }

    fn port(address: Option<&str>, host: u16, protocol: Protocol) -> Port {
        Port {
            address: address.map(|address| address.parse().unwrap()),
            host,
            container: 5353,
            protocol,
        }
    }

    #[test]
    fn connections_that_began_before_a_port_was_published_are_those_that_wait_for_an_answer() {
        let covers = |port: Port, entry: Entry| Stale::Published(&port).covers(&entry);
        let waiting = || entry(false, false);
        assert!(covers(port(None, 53, Protocol::Udp), waiting()));
        assert!(covers(port(Some("192.0.2.1"), 53, Protocol::Udp), waiting()));
        assert!(!covers(port(Some("127.0.0.1"), 53, Protocol::Udp), waiting()));
        assert!(!covers(port(None, 54, Protocol::Udp), waiting()));
        assert!(!covers(port(None, 53, Protocol::Sctp), waiting()));
        assert!(
            !covers(port(None, 53, Protocol::Udp), entry(false, true)),
            "answered"
        );
        let tcp = Entry {
            protocol: libc::IPPROTO_TCP as u8,
            ..waiting()
        };
        assert!(
            !covers(port(None, 53, Protocol::Tcp), tcp),
            "begins anew by itself"
        );
    }

    #[test]
    fn what_a_container_leaves_is_the_udp_that_it_began_and_that_it_answered() {
        let covers = |address: &str, entry: &Entry| Stale::Address(address.parse().unwrap()).covers(entry);
        let udp = entry(true, true);
        assert!(covers("192.0.2.2", &udp) && covers("10.1.0.7", &udp));
        assert!(!covers("10.1.0.8", &udp));
        let tcp = Entry {
            protocol: libc::IPPROTO_TCP as u8,
            ..udp
        };
        assert!(!covers("10.1.0.7", &tcp), "its kernel still has to say goodbye");
    }

    #[test]
    fn a_message_that_is_cut_off_anywhere_is_no_entry_and_no_panic() {
        let whole: &[u8] = &[
            2, 0, 0, 0, // AF_INET
            52, 0, 1, 128, // CTA_TUPLE_ORIG
            20, 0, 1, 128, 8, 0, 1, 0, 10, 0, 0, 1, 8, 0, 2, 0, 10, 0, 0, 2, // addresses
            28, 0, 2, 128, 5, 0, 1, 0, 6, 0, 0, 0, 6, 0, 2, 0, 0, 7, 0, 0, 6, 0, 3, 0, 0, 80, 0, 0, 52, 0, 2,
            128, // CTA_TUPLE_REPLY
            20, 0, 1, 128, 8, 0, 1, 0, 10, 0, 0, 2, 8, 0, 2, 0, 10, 0, 0, 1, 28, 0, 2, 128, 5, 0, 1, 0, 6, 0,
            0, 0, 6, 0, 2, 0, 0, 80, 0, 0, 6, 0, 3, 0, 0, 7, 0, 0,
        ];
        let entry = parse(whole).unwrap();
        assert_eq!((entry.protocol, entry.original.destination_port), (6, 80));
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length} bytes");
        }
    }
}
