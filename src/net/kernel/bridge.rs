//! What is done once per network: its bridge, and looking around on the host before. Through rtnetlink.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, RouteMessageBuilder};

use super::link::{GROUP, Host, Link};
use super::sysctl;
use crate::error::{Error, Kind, OsContext as _, Result};
use crate::net::address::taken::Taken;
use crate::net::definition::Definition;
use crate::net::endpoint::Mac;

/// Brings the network's bridge up, with the gateway's addresses. Whatever of it exists already stays; that it is up says
/// that it is complete. Returns its index.
///
/// # Errors
/// When the kernel refuses, or an interface of that name exists and is no bridge of ours.
pub(in crate::net) fn bring_up(host: &mut Host, definition: &Definition) -> Result<u32> {
    let name = definition.bridge.as_str();
    let link = match existing(host, definition)? {
        Some(link) => link,
        None => {
            connected(|handle| async move { create(&handle, definition).await })?;
            existing(host, definition)?.ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format_args!("bridge {name} vanished while it was being set up"),
                )
            })?
        }
    };
    let switches = sysctl::Interfaces::open()?;
    match definition.ipv6 {
        Some(_) => switches.static_ipv6(name)?,
        None => switches.disable_ipv6(name)?,
    }
    let mut gateways = vec![(
        IpAddr::V4(definition.ipv4.gateway),
        definition.ipv4.subnet.prefix_len(),
    )];
    gateways.extend(
        definition
            .ipv6
            .map(|ipv6| (IpAddr::V6(ipv6.gateway), ipv6.subnet.prefix_len())),
    );
    connected(|handle| async move {
        for (gateway, length) in gateways {
            let mut request = handle.address().add(link.index, gateway, length).replace();
            if gateway.is_ipv6() {
                // The network's definition says that it is ours alone.
                request.message_mut().header.flags = AddressHeaderFlags::Nodad;
            }
            request
                .execute()
                .await
                .map_err(|error| failed("add address to bridge", name, error))?;
        }
        handle
            .link()
            .set(LinkUnspec::new_with_index(link.index).up().build())
            .execute()
            .await
            .map_err(|error| failed("bring up bridge", name, error))
    })?;
    Ok(link.index)
}

/// The network's bridge, if it exists.
///
/// # Errors
/// When an interface of that name is not a bridge of ours.
pub(in crate::net) fn existing(host: &mut Host, definition: &Definition) -> Result<Option<Link>> {
    let link = host.link(&definition.bridge)?;
    if link.as_ref().is_some_and(|link| !link.is_our_bridge) {
        return Err(Error::new(
            Kind::Exists,
            format_args!(
                "network {}: interface {} exists and was not made by minirun",
                definition.name, definition.bridge
            ),
        )
        .hint("rename or remove it, or give the network's bridge another name"));
    }
    Ok(link)
}

/// The names of all bridges on this host that carry our mark.
///
/// # Errors
/// When the kernel's list cannot be read.
pub(in crate::net) fn ours() -> Result<Vec<String>> {
    connected(|handle| async move {
        let mut names = Vec::new();
        let mut links = pin!(handle.link().get().execute());
        while let Some(message) = links
            .try_next()
            .await
            .map_err(|error| failed("list", "interfaces", error))?
        {
            let is_bridge = |attribute: &LinkAttribute| match attribute {
                LinkAttribute::LinkInfo(info) => info.contains(&LinkInfo::Kind(InfoKind::Bridge)),
                _ => false,
            };
            let attributes = &message.attributes;
            if attributes.contains(&LinkAttribute::Group(GROUP)) && attributes.iter().any(is_bridge) {
                names.extend(attributes.iter().find_map(|attribute| match attribute {
                    LinkAttribute::IfName(name) => Some(name.clone()),
                    _ => None,
                }));
            }
        }
        Ok(names)
    })
}

async fn create(handle: &Handle, definition: &Definition) -> Result<()> {
    // With an address of its own the bridge does not change it when ports come and go.
    let mac = Mac::random()?.octets().to_vec();
    let mut message = rtnetlink::LinkMessageBuilder::<LinkBridge>::new(&definition.bridge)
        .address(mac)
        .link_group(GROUP);
    if let Some(mtu) = definition.mtu {
        message = message.mtu(mtu);
    }
    handle
        .link()
        .add(message.build())
        .execute()
        .await
        .map_err(|error| failed("create bridge", &definition.bridge, error))
}

/// The addresses and routes of this host.
pub(in crate::net) fn taken() -> Result<Vec<Taken>> {
    connected(|handle| async move {
        let names = interface_names(&handle).await?;
        let name = |index: u32| names.get(&index).map_or("?", String::as_str);
        let mut taken = Vec::new();

        let mut addresses = pin!(handle.address().get().execute());
        while let Some(message) = addresses
            .try_next()
            .await
            .map_err(|error| failed("list", "addresses", error))?
        {
            let (index, length) = (message.header.index, message.header.prefix_len);
            // IPv6 has Local only on links with a peer.
            let address = message
                .attributes
                .iter()
                .fold(None, |found, attribute| match attribute {
                    AddressAttribute::Local(address) => Some(*address),
                    AddressAttribute::Address(address) => found.or(Some(*address)),
                    _ => found,
                });
            if let Some(address) = address
                && let Ok(net) = IpNet::new(address, length)
            {
                let by = format!("address {address}/{length} of interface {}", name(index));
                let net = net.trunc();
                taken.push(Taken { net, by });
            }
        }

        for query in [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ] {
            let mut routes = pin!(handle.route().get(query).execute());
            while let Some(message) = routes
                .try_next()
                .await
                .map_err(|error| failed("list", "routes", error))?
            {
                taken.extend(route(&message, name));
            }
        }
        Ok(taken)
    })
}

fn route<'a>(message: &RouteMessage, name: impl Fn(u32) -> &'a str) -> Option<Taken> {
    let (mut destination, mut index) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some((*address).into()),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                destination = Some((*address).into())
            }
            RouteAttribute::Oif(oif) => index = Some(*oif),
            _ => {}
        }
    }
    let net = IpNet::new(destination?, message.header.destination_prefix_length).ok()?;
    let by = match index {
        Some(index) => format!("the route to {net} through interface {}", name(index)),
        None => format!("the route to {net}"),
    };
    Some(Taken { net, by })
}

async fn interface_names(handle: &Handle) -> Result<HashMap<u32, String>> {
    let mut names = HashMap::new();
    let mut links = pin!(handle.link().get().execute());
    while let Some(message) = links
        .try_next()
        .await
        .map_err(|error| failed("list", "interfaces", error))?
    {
        for attribute in message.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                names.insert(message.header.index, name);
            }
        }
    }
    Ok(names)
}

/// Runs `work` with a connection to the kernel, on this thread.
fn connected<T, F: Future<Output = Result<T>>>(work: impl FnOnce(Handle) -> F) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .os("start", "event loop for netlink")?;
    runtime.block_on(async {
        let (connection, handle, _messages) = rtnetlink::new_connection().os("open", "netlink socket")?;
        tokio::spawn(connection);
        work(handle).await
    })
}

fn failed(stage: &str, subject: &str, error: rtnetlink::Error) -> Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            Error::os(stage, subject, Errno::from_raw(message.raw_code().abs()))
        }
        error => Error::new(Kind::Os, format_args!("{stage} {subject}: {error}")),
    }
}
