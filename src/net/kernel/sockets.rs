//! The connections that the processes of one network namespace have open: `ss -tun` inside a container.
//!
//! Packets between two containers on one bridge never pass the host's connection tracking; what the two ends know of each
//! other is all there is. The messages are the kernel's sock_diag(7), their numbers from linux/inet_diag.h, linux/tcp.h
//! and net/tcp_states.h.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use nix::errno::Errno;

use super::conntrack::{Counter, TcpState, protocol_number};
use super::namespace;
use super::netlink::{Netlink, Request, find};
use crate::error::{Error, Result};
use crate::net::Protocol;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_INFO: u16 = 2;
/// TCP_LISTEN; sockets of UDP that have no peer are TCP_CLOSE.
const LISTEN: u8 = 10;
const CLOSE: u8 = 7;

/// What one namespace has open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// With a peer.
    pub connected: Vec<Socket>,
    /// Ports at which somebody waits for others, sorted.
    pub served: Vec<(Protocol, u16)>,
}

/// A socket with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// This end.
    pub local: SocketAddr,
    /// The other end, as this one knows it.
    pub remote: SocketAddr,
    /// For TCP.
    pub tcp: Option<TcpState>,
    /// For TCP: what was sent and received, segments and bytes of payload.
    pub counters: Option<[Counter; 2]>,
}

/// The sockets of the namespace `netns`, TCP and UDP, IPv4 and IPv6, without those that talk to themselves.
///
/// `home` is the calling thread's own namespace, to which it returns.
///
/// # Errors
/// Unsupported when the kernel has no such list to show; when the namespace cannot be entered or the kernel refuses.
pub fn dump(netns: BorrowedFd<'_>, home: impl AsFd) -> Result<Sockets> {
    let mut netlink = namespace::visit(netns, home, || Netlink::open(NETLINK_SOCK_DIAG))?;
    let mut sockets = Sockets::default();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            let listed = netlink.dump(list(family, protocol), |message| {
                sockets.add(protocol, message);
                Ok(())
            });
            listed.map_err(|error| match error.errno() {
                Some(Errno::ENOENT) => Error::unsupported(
                    "listing containers' sockets",
                    "the kernel has no modules tcp_diag and udp_diag",
                ),
                _ => error,
            })?;
        }
    }
    sockets.served.sort_unstable();
    sockets.served.dedup();
    Ok(sockets)
}

impl Sockets {
    /// Whether somebody waits for others at this port.
    pub fn serves(&self, protocol: Protocol, port: u16) -> bool {
        self.served.binary_search(&(protocol, port)).is_ok()
    }

    pub(in crate::net) fn add(&mut self, protocol: Protocol, message: &[u8]) -> Option<()> {
        let (&family, &state) = (message.first()?, message.get(1)?);
        let (local, remote) = (
            end(family, message.get(4..)?, 0)?,
            end(family, message.get(4..)?, 1)?,
        );
        if state == LISTEN || protocol == Protocol::Udp && state == CLOSE {
            self.served.push((protocol, local.port()));
        } else if !local.ip().is_loopback() && remote.port() != 0 {
            const MESSAGE: usize = 72;
            self.connected.push(Socket {
                protocol,
                local,
                remote,
                tcp: (protocol == Protocol::Tcp).then(|| tcp_state(state)).flatten(),
                counters: find(message.get(MESSAGE..)?, INET_DIAG_INFO).and_then(counters),
            });
        }
        Some(())
    }
}

/// `struct inet_diag_req_v2`: sockets in any state.
fn list(family: u8, protocol: Protocol) -> Request {
    let wanted = 1u8 << (INET_DIAG_INFO - 1);
    let mut payload = vec![family, protocol_number(protocol), wanted, 0];
    payload.extend(u32::MAX.to_ne_bytes());
    // struct inet_diag_sockid, which a list does not look at.
    payload.extend([0; 48]);
    Request::raw(
        SOCK_DIAG_BY_FAMILY,
        0,
        payload,
        "list",
        "sockets of the container",
    )
}

/// One end in `struct inet_diag_sockid`: two ports and two addresses of 16 bytes, in network order. What an IPv6 socket
/// calls `::ffff:10.0.0.1` is an IPv4 address on the wire.
fn end(family: u8, id: &[u8], index: usize) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*id.get(2 * index..)?.first_chunk()?);
    let bytes = id.get(4 + 16 * index..)?;
    let address = match i32::from(family) {
        libc::AF_INET => IpAddr::from(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        _ => IpAddr::from(Ipv6Addr::from(*bytes.first_chunk::<16>()?)).to_canonical(),
    };
    Some(SocketAddr::new(address, port))
}

/// The states of net/tcp_states.h.
fn tcp_state(state: u8) -> Option<TcpState> {
    Some(match state {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        // 12: before there is a socket.
        3 | 12 => TcpState::SynReceived,
        // FIN_WAIT1, FIN_WAIT2 and CLOSING, where both ends have sent a FIN.
        4 | 5 | 11 => TcpState::FinWait,
        6 => TcpState::TimeWait,
        7 => TcpState::Close,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        _ => return None,
    })
}

/// From `struct tcp_info`, as Linux has it since 4.19. What was sent is tcpi_bytes_sent without what was repeated:
/// tcpi_bytes_acked counts the SYN of who called, and of nobody else.
fn counters(info: &[u8]) -> Option<[Counter; 2]> {
    const BYTES_RECEIVED: usize = 128;
    const SEGS_OUT: usize = 136;
    const SEGS_IN: usize = 140;
    const BYTES_SENT: usize = 200;
    const BYTES_RETRANS: usize = 208;
    let bytes = |at: usize| Some(u64::from_ne_bytes(*info.get(at..)?.first_chunk()?));
    let packets = |at: usize| Some(u32::from_ne_bytes(*info.get(at..)?.first_chunk()?));
    Some([
        Counter {
            packets: packets(SEGS_OUT)?.into(),
            bytes: bytes(BYTES_SENT)?.saturating_sub(bytes(BYTES_RETRANS)?),
        },
        Counter {
            packets: packets(SEGS_IN)?.into(),
            bytes: bytes(BYTES_RECEIVED)?,
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct inet_diag_msg` of a socket in this state, between these ends.
    fn message(family: i32, state: u8, local: (&[u8], u16), remote: (&[u8], u16)) -> Vec<u8> {
        let mut bytes = vec![family as u8, state, 0, 0];
        bytes.extend([local.1.to_be_bytes(), remote.1.to_be_bytes()].concat());
        for address in [local.0, remote.0] {
            let mut padded = address.to_vec();
            padded.resize(16, 0);
            bytes.extend(padded);
        }
        bytes.resize(72, 0);
        bytes
    }

    fn added(protocol: Protocol, message: &[u8]) -> Sockets {
        let mut sockets = Sockets::default();
        sockets.add(protocol, message);
        sockets
    }

    #[test]
    fn an_ipv4_connection_of_an_ipv6_socket_is_shown_as_what_it_is_on_the_wire() {
        let mapped = |last| [&[0; 10][..], &[0xff, 0xff, 10, 0, 0, last]].concat();
        let (own, other) = (mapped(1), mapped(2));
        let sockets = added(
            Protocol::Tcp,
            &message(libc::AF_INET6, 1, (&own, 80), (&other, 4000)),
        );
        let [socket] = &sockets.connected[..] else {
            panic!("{sockets:?}")
        };
        assert_eq!(socket.local, "10.0.0.1:80".parse().unwrap());
        assert_eq!(socket.remote, "10.0.0.2:4000".parse().unwrap());
        assert_eq!((socket.tcp, socket.counters), (Some(TcpState::Established), None));
    }

    #[test]
    fn an_ipv6_connection_keeps_its_addresses() {
        let address = |last| [&[0xfd][..], &[0; 14], &[last]].concat();
        let (own, other) = (address(1), address(2));
        let sockets = added(
            Protocol::Udp,
            &message(libc::AF_INET6, 1, (&own, 5353), (&other, 53)),
        );
        let [socket] = &sockets.connected[..] else {
            panic!("{sockets:?}")
        };
        assert_eq!(socket.remote, "[fd00::2]:53".parse().unwrap());
        assert_eq!(socket.tcp, None);
    }

    #[test]
    fn servers_and_those_who_talk_to_themselves_are_no_connections() {
        let any = [0; 4];
        let serving =
            |protocol, state| added(protocol, &message(libc::AF_INET, state, (&any, 53), (&any, 0))).served;
        assert_eq!(serving(Protocol::Tcp, LISTEN), [(Protocol::Tcp, 53)]);
        assert_eq!(serving(Protocol::Udp, CLOSE), [(Protocol::Udp, 53)]);
        let own = message(libc::AF_INET, 1, (&[127, 0, 0, 1], 4000), (&[127, 0, 0, 11], 53));
        assert_eq!(added(Protocol::Udp, &own), Sockets::default());
    }

    #[test]
    fn a_message_that_is_cut_off_anywhere_is_skipped() {
        let whole = message(libc::AF_INET, 1, (&[10, 0, 0, 1], 80), (&[10, 0, 0, 2], 4000));
        for length in 0..whole.len() {
            assert_eq!(
                added(Protocol::Tcp, &whole[..length]),
                Sockets::default(),
                "{length} bytes"
            );
        }
    }
}
