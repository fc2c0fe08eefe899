//! Links of one container: a veth pair into the bridge, encoded by hand-picked messages in two sends.

use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Parseable as _};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::namespace::{self, NamespaceId};
use super::netlink::{Netlink, Request, absent};
use super::routes::Defaults;
use super::sysctl;
use crate::error::{Error, Kind, Result};
use crate::net::Attached;
use crate::net::address::lease::{Lease, Links, Liveness};
use crate::net::address::prefix::Prefix;
use crate::net::address::subnet::Subnet;
use crate::net::definition::Definition;

/// The device group that marks our bridges (`ip link show group 28018`; "mr" in ASCII). Unlike an alias it is there from
/// the moment of creation. A bridge without it is somebody else's, never used and never deleted.
pub(in crate::net) const GROUP: u32 = 0x6d72;

/// The loopback interface of every namespace (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// What is known about an interface.
pub(in crate::net) struct Link {
    pub(in crate::net) index: u32,
    /// The other end of a veth pair, in its own namespace.
    peer: Option<u32>,
    /// The other end's namespace is there, and not about to go.
    is_kept: bool,
    pub(in crate::net) up: bool,
    /// The bridge that it is a port of.
    pub(in crate::net) controller: Option<u32>,
    /// A bridge that carries [`GROUP`].
    pub(in crate::net) is_our_bridge: bool,
}

/// The host's side of things: its links, seen through one socket.
pub(in crate::net) struct Host {
    netlink: Netlink,
    pub(in crate::net) netns: std::fs::File,
    pub(in crate::net) netns_id: NamespaceId,
    pub(in crate::net) boot_id: String,
}

impl Host {
    /// The calling thread's network namespace is the host's.
    pub(in crate::net) fn open() -> Result<Self> {
        let netns = namespace::current()?;
        Ok(Self {
            netlink: Netlink::open(NETLINK_ROUTE)?,
            netns_id: NamespaceId::of(&netns)?,
            netns,
            boot_id: boot_id()?,
        })
    }

    /// The interface of this name, if there is one.
    pub(in crate::net) fn link(&mut self, name: &str) -> Result<Option<Link>> {
        match self.netlink.exchange(&[get(name)]) {
            Ok(answers) => answers.first().map(|answer| parse(name, answer)).transpose(),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the veth pair: the host's end in the bridge and up, the other in the container's namespace. Then brings up
    /// loopback and the container's end with its addresses, and with those default routes that are to lead there.
    ///
    /// # Errors
    /// The first message that the kernel refused. The pair may exist then; [`Links::delete`] removes it.
    pub(in crate::net) fn connect(
        &mut self,
        lease: &Lease,
        definition: &Definition,
        bridge: u32,
        defaults: Defaults,
        netns: BorrowedFd<'_>,
    ) -> Result<()> {
        let name = &lease.host_interface;
        let create = Request::change(
            libc::RTM_NEWLINK,
            NLM_F_CREATE | NLM_F_EXCL,
            &pair(lease, definition.mtu, bridge, netns),
            "create veth",
            format!("{name} to {} in the container", lease.interface),
        );
        // An echo saves the question for the link, which would make the kernel catch up with every port's state first.
        let peer = match self.netlink.exchange(&[create.echoed()])?.first() {
            Some(echo) if !echo.is_empty() => parse(name, echo)?.peer,
            _ => self.link(name)?.and_then(|link| link.peer),
        };
        let peer = peer.ok_or_else(|| {
            Error::new(
                Kind::Os,
                format_args!("create veth {name}: the kernel does not say where its other end is"),
            )
        })?;
        // The pair has no carrier until its other end is up: no IPv6 packet has left it yet.
        let switches = sysctl::Interfaces::open()?;
        switches.disable_ipv6(name)?;

        let mut inside = namespace::visit(netns, &self.netns, || {
            match lease.address6 {
                Some(_) => switches.static_ipv6(&lease.interface)?,
                None => switches.disable_ipv6(&lease.interface)?,
            }
            Netlink::open(NETLINK_ROUTE)
        })?;
        let name = &lease.interface;
        let mut batch = vec![
            Request::change(libc::RTM_SETLINK, 0, &up(LOOPBACK), "bring up", "lo"),
            Request::change(libc::RTM_SETLINK, 0, &up(peer), "bring up", name),
            add_address(peer, lease.address, &definition.ipv4, name),
        ];
        if defaults.ipv4 {
            batch.push(default_route(definition.ipv4.gateway, peer, name));
        }
        if let (Some(address), Some(subnet)) = (lease.address6, &definition.ipv6) {
            batch.push(add_address(peer, address, subnet, name));
            if defaults.ipv6 {
                batch.push(default_route(subnet.gateway, peer, name));
            }
        }
        inside.exchange(&batch).map(drop)
    }

    /// Puts a link back into the bridge of this index, and brings it up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in crate::net) fn enslave(&mut self, link: u32, bridge: u32, name: &str) -> Result<()> {
        let mut message = up(link);
        message.attributes = vec![LinkAttribute::Controller(bridge)];
        let request = Request::change(libc::RTM_SETLINK, 0, &message, "put into its bridge", name);
        self.netlink.exchange(&[request]).map(drop)
    }

    /// Deletes the link of a container that has ended when something still keeps its namespace: a connection whose end is
    /// never acknowledged does, for a minute and a half. A link that goes in a moment is left to the kernel, because to
    /// delete it takes 25 ms.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in crate::net) fn delete_kept(&mut self, interface: &str) -> Result<()> {
        match self.link(interface)? {
            Some(link) if link.is_kept => self.delete(interface),
            _ => Ok(()),
        }
    }

    /// Lets the default routes of a container lead where they belong among the networks that it is on, after it left
    /// one. `netns` is its namespace.
    pub(in crate::net) fn restore_defaults(
        &mut self,
        attached: &[Attached],
        netns: BorrowedFd<'_>,
    ) -> Result<()> {
        let mut inside = namespace::visit(netns, &self.netns, || Netlink::open(NETLINK_ROUTE))?;
        let mut batch = Vec::new();
        for (on, defaults) in attached.iter().zip(Defaults::of(attached)) {
            let gateways = [
                defaults.ipv4.then_some(IpAddr::V4(on.gateway)),
                on.gateway6.filter(|_| defaults.ipv6).map(IpAddr::V6),
            ];
            for gateway in gateways.into_iter().flatten() {
                let name = &on.interface;
                let answers = inside.exchange(&[get(name)])?;
                if let Some(link) = answers.first().map(|answer| parse(name, answer)).transpose()? {
                    batch.push(default_route(gateway, link.index, name));
                }
            }
        }
        match batch.is_empty() {
            true => Ok(()),
            false => inside.exchange(&batch).map(drop),
        }
    }
}

impl Links for Host {
    fn liveness(&mut self, lease: &Lease) -> Result<Liveness> {
        if lease.boot_id != self.boot_id {
            return Ok(Liveness::Gone);
        }
        if lease.host_netns != self.netns_id {
            return Ok(Liveness::Elsewhere);
        }
        // Names of links are never used twice, unlike inodes of namespaces: the link tells of its namespace.
        let live = self.exists(&lease.host_interface)?
            || lease
                .process
                .is_some_and(|process| process.is_alive().unwrap_or(true));
        Ok(match live {
            true => Liveness::Live,
            false => Liveness::Gone,
        })
    }

    fn exists(&mut self, interface: &str) -> Result<bool> {
        Ok(self.link(interface)?.is_some())
    }

    fn delete(&mut self, interface: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(interface.to_owned())];
        let request = Request::change(libc::RTM_DELLINK, 0, &message, "delete link", interface);
        match self.netlink.exchange(&[request]) {
            Err(error) if !absent(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

fn boot_id() -> Result<String> {
    use crate::error::OsContext as _;
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(PATH).os("read", PATH)?.trim().to_owned())
}

pub(in crate::net) fn get(name: &str) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]),
    ];
    Request::query(libc::RTM_GETLINK, &message, "look up interface", name)
}

pub(in crate::net) fn parse(name: &str, answer: &[u8]) -> Result<Link> {
    let message = LinkMessage::parse(answer)
        .map_err(|error| Error::new(Kind::Os, format_args!("look up interface {name}: {error}")))?;
    let mut link = Link {
        index: message.header.index,
        peer: None,
        is_kept: false,
        up: message.header.flags.contains(LinkFlags::Up),
        controller: None,
        is_our_bridge: false,
    };
    let (mut is_bridge, mut is_ours) = (false, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Link(index) => link.peer = Some(*index),
            // Negative once the kernel has begun to take that namespace down (NETNSA_NSID_NOT_ASSIGNED).
            LinkAttribute::LinkNetNsId(id) => link.is_kept = *id >= 0,
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            LinkAttribute::LinkInfo(info) => {
                is_bridge = info.contains(&LinkInfo::Kind(InfoKind::Bridge));
            }
            LinkAttribute::Group(group) => is_ours = *group == GROUP,
            _ => {}
        }
    }
    link.is_our_bridge = is_bridge && is_ours;
    Ok(link)
}

fn pair(lease: &Lease, mtu: Option<u32>, bridge: u32, netns: BorrowedFd<'_>) -> LinkMessage {
    // A veth has one queue in use whatever it has. The kernel makes one for each processor unless told, and taking the
    // others out of use waits for all processors, for each end.
    let mut both = vec![LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)];
    both.extend(mtu.map(LinkAttribute::Mtu));
    // The kernel creates the peer down, whatever flags it is given.
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(lease.interface.clone()),
        LinkAttribute::Address(lease.mac.octets().to_vec()),
        LinkAttribute::NetNsFd(netns.as_raw_fd()),
    ];
    peer.attributes.extend(both.clone());

    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes = vec![
        LinkAttribute::IfName(lease.host_interface.clone()),
        LinkAttribute::Controller(bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    message.attributes.extend(both);
    message
}

pub(in crate::net) fn up(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

fn add_address<P: Prefix>(index: u32, address: P::Address, subnet: &Subnet<P>, interface: &str) -> Request {
    let address: IpAddr = address.into();
    let mut message = AddressMessage::default();
    message.header.prefix_len = subnet.subnet.length();
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    match (address, P::address(subnet.subnet.last()).into()) {
        (IpAddr::V4(_), IpAddr::V4(broadcast)) => {
            message.header.family = AddressFamily::Inet;
            message.attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        // The lease says that nobody else has it: no second of silence to find out (duplicate address detection).
        _ => {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
        }
    }
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    Request::change(libc::RTM_NEWADDR, flags, &message, "add address to", interface)
}

/// Takes the place of the default route that there is.
fn default_route(gateway: impl Into<IpAddr>, index: u32, interface: &str) -> Request {
    let (family, gateway) = match gateway.into() {
        IpAddr::V4(gateway) => (AddressFamily::Inet, RouteAddress::Inet(gateway)),
        IpAddr::V6(gateway) => (AddressFamily::Inet6, RouteAddress::Inet6(gateway)),
    };
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![RouteAttribute::Gateway(gateway), RouteAttribute::Oif(index)];
    let (flags, stage) = (NLM_F_CREATE | NLM_F_REPLACE, "set default route through");
    Request::change(libc::RTM_NEWROUTE, flags, &message, stage, interface)
}
