//! Packets inside a bridge, which the firewall does not see unless the kernel's module br_netfilter shows them to it.
//!
//! A policy between containers of one network needs that, with connections followed. It is switched on for the network's
//! own bridge, so that other networks, other programs' bridges and the host's switches stay as they were.

use std::fs;
use std::path::Path;

use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, LinkAttribute, LinkInfo,
    LinkMessage,
};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::nft;
use crate::error::{Error, Kind, OsContext as _, Result};
use crate::net::definition::Definition;
use crate::net::kernel::netlink::{Netlink, Request};

const SWITCHES: &str = "/proc/sys/net/bridge";

/// Whether all bridges show their IPv4 packets to the firewall.
pub(super) fn sees_ipv4() -> bool {
    is_on("bridge-nf-call-iptables")
}

/// Whether all bridges show their IPv6 packets to the firewall.
pub(super) fn sees_ipv6() -> bool {
    is_on("bridge-nf-call-ip6tables")
}

fn is_on(switch: &str) -> bool {
    fs::read_to_string(Path::new(SWITCHES).join(switch)).is_ok_and(|value| value.trim() != "0")
}

/// Shows the packets inside the network's bridge to the firewall, or no longer.
///
/// # Errors
/// When the kernel cannot: its module br_netfilter is missing.
pub(super) fn watch(definition: &Definition, on: bool) -> Result<()> {
    if !Path::new(SWITCHES).exists() {
        if !on {
            return Ok(());
        }
        load_module(definition)?;
    }
    let data = vec![InfoBridge::NfCallIpTables(on), InfoBridge::NfCallIp6Tables(on)];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(definition.bridge.clone()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(data)),
        ]),
    ];
    change(
        &message,
        "show packets to the firewall of bridge",
        &definition.bridge,
    )
}

/// Lets the bridge send a packet back to the link it came from. A container that reaches itself through its published
/// port needs that where bridged packets are redirected inside the bridge.
pub(super) fn hairpin(interface: &str) -> Result<()> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(interface.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ]),
    ];
    change(&message, "set hairpin mode of", interface)
}

fn change(message: &LinkMessage, stage: &'static str, subject: &str) -> Result<()> {
    let request = Request::change(libc::RTM_NEWLINK, 0, message, stage, subject);
    Netlink::open(NETLINK_ROUTE)?.exchange(&[request]).map(drop)
}

/// The module comes with everything switched on for every bridge of the host. Nobody relied on that a moment ago.
fn load_module(definition: &Definition) -> Result<()> {
    let because = |error: Error| {
        error
            .during(format_args!(
                "network {}: a policy within a network needs the kernel module br_netfilter",
                definition.name
            ))
            .hint("load it, or allow everything within the network")
    };
    nft::output("modprobe", &["br_netfilter"]).map_err(because)?;
    if !Path::new(SWITCHES).exists() {
        return Err(because(Error::new(
            Kind::Unsupported,
            format_args!("{SWITCHES} does not appear"),
        )));
    }
    for switch in [
        "bridge-nf-call-iptables",
        "bridge-nf-call-ip6tables",
        "bridge-nf-call-arptables",
    ] {
        let path = Path::new(SWITCHES).join(switch);
        fs::write(&path, "0").os("write", path.display())?;
    }
    crate::log::warn(format_args!(
        "network {} needs the kernel module br_netfilter: loaded it, and switched it off for all bridges but the network's own",
        definition.name
    ));
    Ok(())
}
