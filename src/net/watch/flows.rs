//! Who talks to whom now: what the host tracks and what the containers' sockets know, joined. Pure; [`super::observe`]
//! collects what is joined here.
//!
//! One connection may be seen up to three times: by the host's connection tracking ([`crate::net::kernel::conntrack`]), which alone
//! knows who called first and what was translated on the way, and by the sockets at both ends ([`crate::net::kernel::sockets`]). With a
//! published port the two ends know each other under different addresses; the tracked entry has both pairs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::net::kernel::conntrack::{Counter, Entry, TcpState, Tuple, protocol_number};
use crate::net::kernel::sockets::{Socket, Sockets};

/// One connection, or what counts as one for protocols without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// `tcp`, `udp`, `icmp`, ..., else the protocol's number.
    pub protocol: String,
    /// Who began it.
    pub from: End,
    /// Who was reached in the end.
    pub to: End,
    /// How far it is.
    pub state: State,
    /// The published address and port of the host that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<SocketAddr>,
    /// As whom the other side sees `from`, when it is not its own address: masquerading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_as: Option<SocketAddr>,
    /// What `from` has sent: packets as the host counts them when `net.netfilter.nf_conntrack_acct` is on, else TCP's
    /// segments and bytes without headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Counter>,
    /// What `to` has sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<Counter>,
}

/// One side of a [`Flow`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Whose address it is.
    #[serde(flatten)]
    pub who: Who,
    /// The address.
    pub address: IpAddr,
    /// The port, for protocols that have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Whose an address is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Who {
    /// A container's.
    Container {
        /// Its id.
        container: String,
        /// On which network it has the address.
        network: String,
    },
    /// This host's.
    Host,
    /// Somebody else's.
    Outside,
}

impl Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Who::Container { container, .. } => container,
            Who::Host => "host",
            Who::Outside => "outside",
        })
    }
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// TCP: data may flow both ways.
    Established,
    /// TCP: no answer yet.
    SynSent,
    /// TCP: answered, not yet confirmed.
    SynReceived,
    /// TCP: one side has no more to send.
    Closing,
    /// TCP: over; only late packets are waited for.
    TimeWait,
    /// TCP: over.
    Closed,
    /// Not TCP: packets in both directions.
    Answered,
    /// Not TCP: packets in one direction.
    Unanswered,
    /// Not TCP: a socket that has a peer.
    Open,
}

impl State {
    /// Nothing will be sent any more.
    pub fn is_over(self) -> bool {
        matches!(self, State::TimeWait | State::Closed)
    }
}

impl From<TcpState> for State {
    fn from(state: TcpState) -> Self {
        match state {
            TcpState::Established => State::Established,
            TcpState::None | TcpState::SynSent => State::SynSent,
            TcpState::SynReceived => State::SynReceived,
            TcpState::FinWait | TcpState::CloseWait | TcpState::LastAck => State::Closing,
            TcpState::TimeWait => State::TimeWait,
            TcpState::Close => State::Closed,
        }
    }
}

impl Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Established => "established",
            State::SynSent => "syn-sent",
            State::SynReceived => "syn-received",
            State::Closing => "closing",
            State::TimeWait => "time-wait",
            State::Closed => "closed",
            State::Answered => "answered",
            State::Unanswered => "unanswered",
            State::Open => "open",
        })
    }
}

/// What is known of whom.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Container and network of each address that a container has.
    pub containers: HashMap<IpAddr, (String, String)>,
    /// The host's own addresses.
    pub host: HashSet<IpAddr>,
}

impl Known {
    fn who(&self, address: IpAddr) -> Who {
        match self.containers.get(&address) {
            Some((container, network)) => Who::Container {
                container: container.clone(),
                network: network.clone(),
            },
            None if address.is_loopback() || self.host.contains(&address) => Who::Host,
            None => Who::Outside,
        }
    }

    fn end(&self, address: IpAddr, port: u16, has_ports: bool) -> End {
        End {
            who: self.who(address),
            address,
            port: has_ports.then_some(port),
        }
    }

    fn is_container(&self, address: IpAddr) -> bool {
        self.containers.contains_key(&address)
    }
}

/// A connection as the socket at one end knows it: protocol, own and other end.
type Pair = (u8, SocketAddr, SocketAddr);

/// The connections that a container has part in, each once, sorted by its ends.
///
/// `sockets`: what is open in each container, by its id.
pub fn join(known: &Known, entries: &[Entry], sockets: &BTreeMap<String, Sockets>) -> Vec<Flow> {
    let mut flows: Vec<Flow> = Vec::new();
    let mut seen: HashMap<Pair, usize> = HashMap::new();
    for entry in entries {
        if known.is_container(entry.original.source) || known.is_container(entry.reply.source) {
            for tuple in [entry.original, entry.reply] {
                let (one, other) = ends(tuple);
                seen.insert((entry.protocol, one, other), flows.len());
                seen.insert((entry.protocol, other, one), flows.len());
            }
            flows.push(tracked(known, entry));
        }
    }
    for own in sockets.values() {
        for socket in &own.connected {
            let protocol = protocol_number(socket.protocol);
            let pair = (protocol, socket.local, socket.remote);
            if let Some(index) = seen.get(&pair) {
                if let Some(flow) = flows.get_mut(*index) {
                    complete(flow, socket);
                }
                continue;
            }
            seen.insert((protocol, socket.remote, socket.local), flows.len());
            seen.insert(pair, flows.len());
            flows.push(open(known, socket, own, sockets));
        }
    }
    let key = |flow: &Flow| (flow.from.clone(), flow.to.clone(), flow.protocol.clone());
    flows.sort_by_cached_key(key);
    flows
}

fn tracked(known: &Known, entry: &Entry) -> Flow {
    let Entry { original, reply, .. } = *entry;
    let has_ports = has_ports(entry.protocol);
    let address = |(address, port)| SocketAddr::new(address, port);
    let asked = (original.destination, original.destination_port);
    let reached = (reply.source, reply.source_port);
    let own = (original.source, original.source_port);
    let answered = (reply.destination, reply.destination_port);
    Flow {
        protocol: protocol_name(entry.protocol),
        from: known.end(own.0, own.1, has_ports),
        to: known.end(reached.0, reached.1, has_ports),
        state: match entry.tcp {
            Some(state) => state.into(),
            None if entry.replied => State::Answered,
            None => State::Unanswered,
        },
        via: (asked != reached).then_some(address(asked)),
        seen_as: (own != answered).then_some(address(answered)),
        sent: entry.counters.map(|[sent, _]| sent),
        received: entry.counters.map(|[_, received]| received),
    }
}

/// Adds what the socket at one end knows of a connection that is known already.
fn complete(flow: &mut Flow, socket: &Socket) {
    if let (None, Some(counters)) = (flow.sent, socket.counters) {
        let is_caller = flow.from.address == socket.local.ip() && flow.from.port == Some(socket.local.port());
        let [sent, received] = from_the_callers_side(counters, is_caller);
        (flow.sent, flow.received) = (Some(sent), Some(received));
    }
}

/// A connection of which no host knows.
fn open(known: &Known, socket: &Socket, own: &Sockets, all: &BTreeMap<String, Sockets>) -> Flow {
    let (local, remote) = (socket.local, socket.remote);
    let is_from = !own.serves(socket.protocol, local.port()) && {
        let other = known.containers.get(&remote.ip());
        let other = other.and_then(|(container, _)| all.get(container));
        // When nobody listens any more, clients are those with a port from the upper end, which the system chose.
        other.is_some_and(|other| other.serves(socket.protocol, remote.port()))
            || local.port() >= remote.port()
    };
    let (from, to) = match is_from {
        true => (local, remote),
        false => (remote, local),
    };
    let counters = socket
        .counters
        .map(|counters| from_the_callers_side(counters, is_from));
    Flow {
        protocol: socket.protocol.to_string(),
        from: known.end(from.ip(), from.port(), true),
        to: known.end(to.ip(), to.port(), true),
        state: socket.tcp.map_or(State::Open, State::from),
        via: None,
        seen_as: None,
        sent: counters.map(|[sent, _]| sent),
        received: counters.map(|[_, received]| received),
    }
}

fn from_the_callers_side([sent, received]: [Counter; 2], is_caller: bool) -> [Counter; 2] {
    match is_caller {
        true => [sent, received],
        false => [received, sent],
    }
}

fn ends(tuple: Tuple) -> (SocketAddr, SocketAddr) {
    (
        SocketAddr::new(tuple.source, tuple.source_port),
        SocketAddr::new(tuple.destination, tuple.destination_port),
    )
}

fn has_ports(protocol: u8) -> bool {
    matches!(
        i32::from(protocol),
        libc::IPPROTO_TCP
            | libc::IPPROTO_UDP
            | libc::IPPROTO_SCTP
            | libc::IPPROTO_DCCP
            | libc::IPPROTO_UDPLITE
    )
}

fn protocol_name(protocol: u8) -> String {
    match i32::from(protocol) {
        libc::IPPROTO_TCP => "tcp",
        libc::IPPROTO_UDP => "udp",
        libc::IPPROTO_SCTP => "sctp",
        libc::IPPROTO_ICMP => "icmp",
        libc::IPPROTO_ICMPV6 => "icmpv6",
        other => return other.to_string(),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Protocol;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// web and db on `shop`, gateway on `shop` and `back`, api on `back`; the host is 192.0.2.1.
    fn known() -> Known {
        let containers = [
            ("10.1.0.2", "web", "shop"),
            ("10.1.0.3", "db", "shop"),
            ("10.1.0.4", "gateway", "shop"),
            ("10.2.0.4", "gateway", "back"),
            ("10.2.0.5", "api", "back"),
            ("fd00:1::2", "web", "shop"),
        ];
        Known {
            containers: containers
                .map(|(address, container, network)| {
                    (
                        address.parse().unwrap(),
                        (container.to_owned(), network.to_owned()),
                    )
                })
                .into(),
            host: ["192.0.2.1", "10.1.0.1", "10.2.0.1"]
                .map(|address| address.parse().unwrap())
                .into(),
        }
    }

    fn tuple(source: &str, destination: &str) -> Tuple {
        let (source, destination) = (at(source), at(destination));
        Tuple {
            source: source.ip(),
            destination: destination.ip(),
            source_port: source.port(),
            destination_port: destination.port(),
        }
    }

    fn entry(original: (&str, &str), reply: (&str, &str)) -> Entry {
        Entry {
            protocol: 6,
            original: tuple(original.0, original.1),
            reply: tuple(reply.0, reply.1),
            replied: true,
            redirected: original.1 != reply.0,
            tcp: Some(TcpState::Established),
            counters: None,
        }
    }

    fn socket(local: &str, remote: &str, sent: u64, received: u64) -> Socket {
        let counter = |bytes| Counter { packets: 2, bytes };
        Socket {
            protocol: Protocol::Tcp,
            local: at(local),
            remote: at(remote),
            tcp: Some(TcpState::Established),
            counters: Some([counter(sent), counter(received)]),
        }
    }

    fn sockets(served: &[u16], connected: Vec<Socket>) -> Sockets {
        Sockets {
            served: served.iter().map(|port| (Protocol::Tcp, *port)).collect(),
            connected,
        }
    }

    /// `web 10.1.0.2 -> db 10.1.0.3:80 via 192.0.2.1:8080`, as people would write it down.
    fn written(flows: &[Flow]) -> Vec<String> {
        let bytes =
            |counter: Option<Counter>| counter.map_or("?".to_owned(), |counter| counter.bytes.to_string());
        flows
            .iter()
            .map(|flow| {
                let via = flow.via.map(|via| format!(" via {via}")).unwrap_or_default();
                let seen_as = flow.seen_as.map(|seen| format!(" as {seen}")).unwrap_or_default();
                format!(
                    "{} {} -> {} {}:{}{via}{seen_as} {} {}/{}",
                    flow.from.who,
                    flow.from.address,
                    flow.to.who,
                    flow.to.address,
                    flow.to.port.unwrap_or(0),
                    flow.state,
                    bytes(flow.sent),
                    bytes(flow.received),
                )
            })
            .collect()
    }

    #[test]
    fn a_connection_inside_a_bridge_is_known_from_both_ends_and_shown_once() {
        let at_web = sockets(&[], vec![socket("10.1.0.2:40000", "10.1.0.3:5432", 7, 9)]);
        let at_db = sockets(&[5432], vec![socket("10.1.0.3:5432", "10.1.0.2:40000", 9, 7)]);
        let expected = ["web 10.1.0.2 -> db 10.1.0.3:5432 established 7/9"];
        // Whichever end is looked at first.
        for (first, second) in [("a", "b"), ("b", "a")] {
            let all = [
                (first.to_owned(), at_web.clone()),
                (second.to_owned(), at_db.clone()),
            ];
            assert_eq!(written(&join(&known(), &[], &all.into())), expected);
        }
    }

    #[test]
    fn the_caller_is_told_from_the_server_even_when_nobody_listens_any_more() {
        let only = |own: Sockets| join(&known(), &[], &[("x".to_owned(), own)].into());
        let caller = only(sockets(
            &[],
            vec![socket("10.1.0.3:40000", "10.1.0.2:8080", 1, 2)],
        ));
        assert_eq!(
            written(&caller),
            ["db 10.1.0.3 -> web 10.1.0.2:8080 established 1/2"]
        );
        let server = only(sockets(
            &[],
            vec![socket("10.1.0.2:8080", "10.1.0.3:40000", 2, 1)],
        ));
        assert_eq!(written(&server), written(&caller));
        let high = only(sockets(
            &[50000],
            vec![socket("10.1.0.2:50000", "10.1.0.3:40000", 2, 1)],
        ));
        assert_eq!(
            written(&high),
            ["db 10.1.0.3 -> web 10.1.0.2:50000 established 1/2"]
        );
    }

    #[test]
    fn a_published_port_joins_what_caller_host_and_server_know() {
        let outside = entry(
            ("203.0.113.9:5000", "192.0.2.1:8080"),
            ("10.1.0.2:80", "203.0.113.9:5000"),
        );
        let hairpin = entry(
            ("10.1.0.3:40000", "192.0.2.1:8080"),
            ("10.1.0.2:80", "10.1.0.1:40000"),
        );
        let at_db = sockets(&[], vec![socket("10.1.0.3:40000", "192.0.2.1:8080", 5, 6)]);
        let at_web = sockets(
            &[80],
            vec![
                socket("10.1.0.2:80", "10.1.0.1:40000", 6, 5),
                socket("10.1.0.2:80", "203.0.113.9:5000", 3, 4),
            ],
        );
        let all = [("db".to_owned(), at_db), ("web".to_owned(), at_web)];
        assert_eq!(
            written(&join(&known(), &[outside, hairpin], &all.into())),
            [
                "db 10.1.0.3 -> web 10.1.0.2:80 via 192.0.2.1:8080 as 10.1.0.1:40000 established 5/6",
                "outside 203.0.113.9 -> web 10.1.0.2:80 via 192.0.2.1:8080 established 4/3",
            ]
        );
    }

    #[test]
    fn the_way_out_is_behind_the_hosts_address_and_what_the_host_does_itself_is_not_shown() {
        let out = entry(
            ("10.1.0.2:40000", "198.51.100.1:443"),
            ("198.51.100.1:443", "192.0.2.1:40000"),
        );
        let own = entry(
            ("192.0.2.1:40001", "198.51.100.1:443"),
            ("198.51.100.1:443", "192.0.2.1:40001"),
        );
        let local = Entry {
            counters: Some(
                [Counter {
                    packets: 1,
                    bytes: 60,
                }; 2],
            ),
            ..entry(
                ("127.0.0.1:40000", "127.0.0.1:8080"),
                ("10.1.0.2:80", "10.1.0.1:40000"),
            )
        };
        assert_eq!(
            written(&join(&known(), &[out, own, local], &BTreeMap::new())),
            [
                "web 10.1.0.2 -> outside 198.51.100.1:443 as 192.0.2.1:40000 established ?/?",
                "host 127.0.0.1 -> web 10.1.0.2:80 via 127.0.0.1:8080 as 10.1.0.1:40000 established 60/60",
            ]
        );
    }

    #[test]
    fn protocols_without_ports_and_without_states_are_flows_too() {
        let ping = Entry {
            protocol: 1,
            tcp: None,
            replied: false,
            ..entry(("10.1.0.2:0", "10.2.0.5:0"), ("10.2.0.5:0", "10.1.0.2:0"))
        };
        let flows = join(&known(), &[ping], &BTreeMap::new());
        assert_eq!(
            serde_json::to_value(&flows).unwrap(),
            serde_json::json!([{
                "protocol": "icmp",
                "from": {"kind": "container", "container": "web", "network": "shop", "address": "10.1.0.2"},
                "to": {"kind": "container", "container": "api", "network": "back", "address": "10.2.0.5"},
                "state": "unanswered",
            }])
        );
    }
}
