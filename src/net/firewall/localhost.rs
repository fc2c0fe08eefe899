//! Published ports on the host's own loopback addresses.
//!
//! A connection to 127.0.0.1 is redirected to the container and gets the bridge's address as its source. Both steps
//! need the kernel to let loopback addresses out of, and answers to them in through, another link: for IPv4 there is the
//! switch `route_localnet`, set for our bridge alone, behind a guard that lets nobody outside use it. For IPv6 there is
//! no such switch, but a second local route to ::1 through the bridge does the same for the answers, which are looked up
//! on the link they came from. It has a higher metric than the one through `lo`, so nothing else ever takes it.
//!
//! When bridged packets are shown to the firewall (br_netfilter), the translation of the answer happens before IPv6's own
//! check, which knows no exception and drops packets to ::1 that do not come from `lo`. Then ::1 is not redirected:
//! clients are refused there at once and go on to 127.0.0.1.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::fs;
use std::io::ErrorKind;
use std::net::Ipv6Addr;
use std::path::Path;

use super::bridged;
use crate::error::{OsContext as _, Result};
use crate::net::definition::Definition;
use crate::net::kernel::link::Host;
use crate::net::kernel::netlink::{Netlink, Request};

/// Metrics of our routes to ::1 start here, far behind the kernel's own 0.
const METRIC: u32 = 0x6d72_0000;

/// Lets answers from containers on this network reach the host's loopback addresses.
pub(super) fn prepare(host: &mut Host, definition: &Definition) -> Result<()> {
    let name = &definition.bridge;
    let path = Path::new("/proc/sys/net/ipv4/conf")
        .join(name)
        .join("route_localnet");
    match fs::write(&path, "1") {
        // Somebody took the bridge away just now; the next attach makes it again.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result.os("write", path.display())?,
    }
    let Some(bridge) = host.link(name)? else {
        return Ok(());
    };
    if definition.ipv6.is_none() {
        return Ok(());
    }
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet6;
    route.header.destination_prefix_length = 128;
    route.header.table = libc::RT_TABLE_LOCAL;
    route.header.protocol = RouteProtocol::Static;
    route.header.scope = RouteScope::Universe;
    route.header.kind = RouteType::Local;
    route.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet6(Ipv6Addr::LOCALHOST)),
        RouteAttribute::Oif(bridge.index),
        // Of its own for every bridge: two routes of one metric would be alternatives of each other.
        RouteAttribute::Priority(METRIC.wrapping_add(bridge.index)),
    ];
    let request = Request::change(
        libc::RTM_NEWROUTE,
        NLM_F_CREATE | NLM_F_REPLACE,
        &route,
        "add local route to ::1 through",
        name,
    );
    Netlink::open(NETLINK_ROUTE)?.exchange(&[request]).map(drop)
}

/// Whether connections to ::1 can be redirected to containers of this network.
pub(super) fn redirects_ipv6(definition: &Definition) -> bool {
    definition.ipv6.is_some() && !super::is_guarded(definition) && !bridged::sees_ipv6()
}
