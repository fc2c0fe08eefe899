//! Published ports: what a user writes, and the host's sockets that keep a port ours.
//!
//! A published port is an element of the firewall, which redirects packets before any socket sees them. So that nobody
//! else opens the port meanwhile, and is never reached there, sockets are bound to it for as long as it is published:
//! without SO_REUSEADDR and without listening, so that they hold the port, and refuse whoever the firewall does not
//! redirect. Somebody has to keep them open; that is not this file's business.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::Port;
use super::address::lease::Leases;
use super::definition::{self, Dirs};
use super::policy::Protocol;
use crate::error::{Error, Kind, Result};
use crate::process::Process;
use crate::sys;

/// A wish to publish ports: `[IP:][HOST:]CONTAINER[/tcp|udp|sctp]`, where both may be ranges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Publish {
    /// The host's address to publish on; every address otherwise. `0.0.0.0` and `::` mean every address of their family.
    pub address: Option<IpAddr>,
    /// The host's ports; any free ones otherwise.
    pub host: Option<PortRange>,
    /// The container's ports. Of one port and several of the host, the first free one of the host is taken.
    pub container: PortRange,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest, at least 1.
    pub first: u16,
    /// The highest, not below `first`.
    pub last: u16,
}

const FORM: &str = "write [IP:][HOST:]CONTAINER[/tcp|udp|sctp]: 8080:80, 127.0.0.1:8080:80, [::1]:8080:80/udp, 8000-8010:8000-8010";

impl FromStr for Publish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|why| Error::invalid(format_args!("publish {text:?}"), why).hint(FORM))
    }
}

fn parse(text: &str) -> std::result::Result<Publish, String> {
    let (rest, protocol) = match text.split_once('/') {
        Some((rest, protocol)) => (rest, protocol.parse()?),
        None => (text, Protocol::Tcp),
    };
    let (address, ports) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let (address, ports) = bracketed.split_once("]:").ok_or("\"[\" without \"]:\"")?;
            let address: Ipv6Addr = address
                .parse()
                .map_err(|_| format!("{address:?} is not an IPv6 address"))?;
            (Some(IpAddr::V6(address)), ports)
        }
        None => match rest.split(':').count() {
            3 => {
                let (address, ports) = rest.split_once(':').unwrap_or_default();
                let address: Ipv4Addr = address
                    .parse()
                    .map_err(|_| format!("{address:?} is not an IPv4 address"))?;
                (Some(IpAddr::V4(address)), ports)
            }
            1 | 2 => (None, rest),
            _ => return Err("too many colons; an IPv6 address goes into brackets".to_owned()),
        },
    };
    if let Some(IpAddr::V6(address)) = address
        && (address.is_unicast_link_local() || address.to_ipv4_mapped().is_some())
    {
        return Err(format!("{address} cannot be published on"));
    }
    let (host, container) = match ports.split_once(':') {
        Some(("", container)) => (None, container.parse::<PortRange>()?),
        Some((host, container)) => (Some(host.parse::<PortRange>()?), container.parse()?),
        None => (None, ports.parse()?),
    };
    if let Some(host) = host {
        let (have, want) = (host.count(), container.count());
        if want > 1 && have != want {
            return Err(format!(
                "{have} ports of the host for {want} of the container: as many on both sides, or one in the container"
            ));
        }
    }
    Ok(Publish {
        address,
        host,
        container,
        protocol,
    })
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let port = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let port = digits.parse::<u16>().ok().filter(|port| plain && *port > 0);
            port.ok_or_else(|| format!("{digits:?} is not a port from 1 to 65535"))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        match first <= last {
            true => Ok(Self { first, last }),
            false => Err(format!("{text:?} ends before it starts")),
        }
    }
}

impl PortRange {
    fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    fn ports(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

impl Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        if let Some(host) = self.host {
            write!(f, "{host}")?;
        }
        if self.host.is_some() || self.address.is_some() {
            f.write_str(":")?;
        }
        write!(f, "{}/{}", self.container, self.protocol)
    }
}

impl TryFrom<String> for Publish {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Publish> for String {
    fn from(publish: Publish) -> Self {
        publish.to_string()
    }
}

/// Chooses the host's ports and binds the sockets that hold them, in the calling thread's network namespace. `ipv6`:
/// whether the container has an IPv6 address, so that it is published there too. `owner` is asked only when a port is
/// taken: which container has it?
///
/// # Errors
/// Exists when a port is taken, by whom if we know; InvalidConfig for an IPv6 address without IPv6 in the container or
/// an address that the host does not have.
pub(super) fn hold(
    wishes: &[Publish],
    ipv6: bool,
    owner: &dyn Fn(&Port) -> Option<String>,
) -> Result<(Vec<Port>, Vec<OwnedFd>)> {
    let (mut ports, mut sockets) = (Vec::new(), Vec::new());
    for wish in wishes {
        let alternatives = |container: u16| match wish.host {
            None => vec![0],
            Some(host) if wish.container.count() == 1 => host.ports().collect(),
            Some(host) => vec![host.first + (container - wish.container.first)],
        };
        for container in wish.container.ports() {
            let (port, held) = first_free(
                wish,
                container,
                &alternatives(container),
                ipv6,
                |port| match ports.iter().any(|earlier| overlap(earlier, port)) {
                    true => Some("this container itself: it is published twice".to_owned()),
                    false => owner(port).map(|owner| format!("container {owner}")),
                },
            )?;
            ports.push(port);
            sockets.extend(held);
        }
    }
    Ok((ports, sockets))
}

/// Binds the sockets of ports that are published already.
///
/// # Errors
/// As [`hold`].
pub(super) fn hold_again(ports: &[Port], ipv6: bool) -> Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    for port in ports {
        sockets.extend(open(port, ipv6).map_err(|errno| failed(port, errno, |_| None))?.1);
    }
    Ok(sockets)
}

/// Which container of this host has published a port that overlaps with this one. Reads every lease: for an error's text.
pub(super) fn owner(dirs: &Dirs, port: &Port) -> Option<String> {
    let names = definition::names(dirs).ok()?;
    names.iter().find_map(|name| {
        let mut leases = Leases::new(name, dirs.network(name)).all().ok()?;
        leases.find_map(|lease| {
            let lease = lease.ok()?;
            let has = lease.ports.iter().any(|theirs| overlap(theirs, port));
            // Of a container that died without being deleted the ports are free.
            let lives = |process: Process| process.is_alive().unwrap_or(true);
            (has && lease.process.is_none_or(lives)).then_some(lease.container)
        })
    })
}

/// Whether two sockets cannot have these ports at once.
fn overlap(a: &Port, b: &Port) -> bool {
    let meet = match (a.address, b.address) {
        (None, _) | (_, None) => true,
        (Some(a), Some(b)) => {
            a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
        }
    };
    meet && (a.host, a.protocol) == (b.host, b.protocol)
}

fn first_free(
    wish: &Publish,
    container: u16,
    alternatives: &[u16],
    ipv6: bool,
    owner: impl Fn(&Port) -> Option<String>,
) -> Result<(Port, Vec<OwnedFd>)> {
    if wish.address.is_some_and(|address| address.is_ipv6()) && !ipv6 {
        return Err(Error::invalid(
            format_args!("publish {wish}"),
            "the container has no IPv6 address",
        )
        .hint("give its network IPv6 (minirun network create --ipv6)"));
    }
    let mut port = Port {
        address: wish.address,
        host: 0,
        container,
        protocol: wish.protocol,
    };
    let mut failure = Errno::EADDRINUSE;
    for host in alternatives {
        port.host = *host;
        match open(&port, ipv6) {
            Ok((host, sockets)) => return Ok((Port { host, ..port }, sockets)),
            Err(errno) => failure = errno,
        }
        if failure != Errno::EADDRINUSE {
            break;
        }
    }
    match alternatives {
        [_] => Err(failed(&port, failure, owner)),
        _ => Err(failed(&port, failure, |_| None).during(format_args!("publish {wish}: no free port"))),
    }
}

/// `EADDRINUSE`, with the name of the one who has it.
fn failed(port: &Port, errno: Errno, owner: impl Fn(&Port) -> Option<String>) -> Error {
    let address = port
        .address
        .map_or_else(|| "every address".to_owned(), |address| address.to_string());
    let what = format!("publish port {}/{} of {address}", port.host, port.protocol);
    match errno {
        Errno::EADDRINUSE => {
            let by = owner(port);
            let error = Error::new(
                Kind::Exists,
                format_args!(
                    "{what}: taken by {}",
                    by.as_deref().unwrap_or("a process of the host")
                ),
            );
            let list = match port.protocol {
                Protocol::Tcp => "ss -ltnp",
                Protocol::Udp => "ss -lunp",
                Protocol::Sctp => "ss -lSnp",
            };
            match by {
                Some(_) => error,
                None => error.hint(format_args!("`{list} sport = :{}` shows which", port.host)),
            }
        }
        Errno::EADDRNOTAVAIL => {
            Error::invalid(what, "the host does not have this address").hint("see `ip addr`")
        }
        errno => Error::os("bind", what, errno),
    }
}

/// Binds the sockets of one port; port 0 is any free one. Returns the port.
fn open(port: &Port, ipv6: bool) -> nix::Result<(u16, Vec<OwnedFd>)> {
    let addresses: &[IpAddr] = match port.address {
        Some(address) => &[address],
        None if ipv6 => &[
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ],
        None => &[IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
    };
    // A port that is free on the first address may be taken on the second; with any port allowed that is no reason to
    // give up.
    const ATTEMPTS: usize = 16;
    let mut result = Err(Errno::EADDRINUSE);
    for _ in 0..ATTEMPTS {
        result = open_all(addresses, port.host, port.protocol);
        if port.host != 0 || !matches!(result, Err(Errno::EADDRINUSE)) {
            break;
        }
    }
    result
}

fn open_all(addresses: &[IpAddr], mut port: u16, protocol: Protocol) -> nix::Result<(u16, Vec<OwnedFd>)> {
    let mut sockets = Vec::new();
    for address in addresses {
        let (kind, number) = match protocol {
            Protocol::Tcp => (libc::SOCK_STREAM, libc::IPPROTO_TCP),
            Protocol::Udp => (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
            Protocol::Sctp => (libc::SOCK_STREAM, libc::IPPROTO_SCTP),
        };
        let socket = match sys::socket::bound(SocketAddr::from((*address, port)), kind, number) {
            // A kernel without SCTP has no server of it either; the firewall forwards it all the same.
            Err(Errno::EPROTONOSUPPORT) if protocol == Protocol::Sctp && port != 0 => continue,
            socket => socket?,
        };
        // What nobody will read takes no memory to speak of.
        setsockopt(&socket, sockopt::RcvBuf, &0)?;
        let (socket, bound) = bound_port(socket)?;
        port = bound;
        sockets.push(socket);
    }
    Ok((port, sockets))
}

/// getsockname(2), which is the same for all kinds of sockets, by the standard library's one for UDP.
fn bound_port(socket: OwnedFd) -> nix::Result<(OwnedFd, u16)> {
    let socket = UdpSocket::from(socket);
    let address = socket
        .local_addr()
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL)))?;
    Ok((socket.into(), address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn wishes(texts: &[&str]) -> Vec<Publish> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn nobody(_: &Port) -> Option<String> {
        None
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        for (text, again) in [
            ("80", "80/tcp"),
            (":80", "80/tcp"),
            ("8080:80", "8080:80/tcp"),
            ("8080:80/udp", "8080:80/udp"),
            ("127.0.0.1:8080:80/sctp", "127.0.0.1:8080:80/sctp"),
            ("127.0.0.1::80", "127.0.0.1::80/tcp"),
            ("[::1]:8080:80", "[::1]:8080:80/tcp"),
            ("[::]::80", "[::]::80/tcp"),
            ("8000-8010:8000-8010", "8000-8010:8000-8010/tcp"),
            ("8000-8010:80", "8000-8010:80/tcp"),
            ("8000-8010", "8000-8010/tcp"),
        ] {
            let publish: Publish = text.parse().unwrap();
            assert_eq!(publish.to_string(), again);
            assert_eq!(again.parse::<Publish>().unwrap(), publish);
        }
    }

    #[test]
    fn what_cannot_be_a_port_says_why_and_how_to_write_it() {
        for (text, why) in [
            ("", "not a port"),
            ("0:80", "not a port"),
            ("80:0", "not a port"),
            ("80:", "not a port"),
            ("65536:80", "not a port"),
            ("+80:80", "not a port"),
            ("80:80/icmp", "not tcp, udp or sctp"),
            ("90-80:80", "ends before"),
            ("8000-8001:80-82", "2 ports of the host for 3"),
            ("localhost:80:80", "not an IPv4 address"),
            ("::1:80:80", "brackets"),
            ("[127.0.0.1]:80:80", "not an IPv6 address"),
            ("[fe80::1]:80:80", "cannot be published on"),
            ("[::1:80:80", "without"),
        ] {
            let error = text.parse::<Publish>().unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains("CONTAINER"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_taken_port_is_refused_with_its_owners_name_and_the_next_of_a_range_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let one = wishes(&[&format!("127.0.0.1:{port}:80")]);
        let error = hold(&one, false, &nobody).unwrap_err();
        assert_eq!(error.kind(), Kind::Exists);
        assert!(error.to_string().contains("ss -ltnp"), "{error}");
        let error = hold(&one, false, &|_| Some("db".to_owned())).unwrap_err();
        assert!(error.to_string().contains("taken by container db"), "{error}");
        // Its UDP twin is another port.
        hold(&wishes(&[&format!("127.0.0.1:{port}:80/udp")]), false, &nobody).unwrap();
        let last = port.saturating_add(20);
        let (ports, _held) =
            hold(&wishes(&[&format!("127.0.0.1:{port}-{last}:80")]), false, &nobody).unwrap();
        assert!(ports[0].host > port, "{ports:?}");
    }

    #[test]
    fn a_held_port_can_be_had_by_nobody_else_until_it_is_let_go() {
        let (ports, held) = hold(&wishes(&["80", "81/udp"]), true, &nobody).unwrap();
        assert_eq!(held.len(), 4, "two families each");
        assert!(TcpListener::bind(("0.0.0.0", ports[0].host)).is_err());
        assert!(TcpListener::bind(("::1", ports[0].host)).is_err());
        assert!(UdpSocket::bind(("127.0.0.1", ports[1].host)).is_err());
        // Held, not served.
        assert!(std::net::TcpStream::connect(("127.0.0.1", ports[0].host)).is_err());
        drop(held);
        assert_eq!(hold_again(&ports, true).unwrap().len(), 4);
    }

    #[test]
    fn publishing_twice_or_where_it_cannot_be_is_refused() {
        let (ports, held) = hold(&wishes(&["80"]), false, &nobody).unwrap();
        drop(held);
        let port = ports[0].host;
        let twice = wishes(&[&format!("{port}:80"), &format!("127.0.0.1:{port}:81")]);
        let error = hold(&twice, false, &nobody).unwrap_err().to_string();
        assert!(error.contains("published twice"), "{error}");
        let error = hold(&wishes(&["[::1]:80:80"]), false, &nobody).unwrap_err();
        assert!(error.to_string().contains("no IPv6 address"), "{error}");
        let error = hold(&wishes(&["198.51.100.77:80:80"]), false, &nobody).unwrap_err();
        assert!(
            error.to_string().contains("does not have this address"),
            "{error}"
        );
    }
}
