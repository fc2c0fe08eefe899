//! What is done once per network: its bridge, and looking around on the host before. Through rtnetlink.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;

use futures_util::TryStreamExt as _;
use ipnet::Ipv4Net;
use nix::errno::Errno;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, RouteMessageBuilder};

use super::definition::Definition;
use super::endpoint::Mac;
use super::link::{GROUP, Host, Link};
use super::sysctl;
use super::taken::Taken;
use crate::error::{Error, Kind, OsContext as _, Result};

/// Brings the network's bridge up, with the gateway's address. Whatever of it exists already stays; that it is up says
/// that it is complete. Returns its index.
///
/// # Errors
/// When the kernel refuses, or an interface of that name exists and is no bridge of ours.
pub(super) fn bring_up(host: &mut Host, definition: &Definition) -> Result<u32> {
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
    sysctl::disable_ipv6(name)?;
    connected(|handle| async move {
        let subnet = definition.ipv4;
        handle
            .address()
            .add(link.index, IpAddr::V4(subnet.gateway), subnet.subnet.prefix_len())
            .replace()
            .execute()
            .await
            .map_err(|error| failed("add address to bridge", name, error))?;
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
pub(super) fn existing(host: &mut Host, definition: &Definition) -> Result<Option<Link>> {
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

/// The IPv4 addresses and routes of this host.
pub(super) fn taken() -> Result<Vec<Taken>> {
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
            for attribute in message.attributes {
                if let AddressAttribute::Local(IpAddr::V4(address)) = attribute
                    && let Ok(net) = Ipv4Net::new(address, length)
                {
                    let by = format!("address {address}/{length} of interface {}", name(index));
                    let net = net.trunc().into();
                    taken.push(Taken { net, by });
                }
            }
        }

        let query = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let mut routes = pin!(handle.route().get(query).execute());
        while let Some(message) = routes
            .try_next()
            .await
            .map_err(|error| failed("list", "routes", error))?
        {
            let length = message.header.destination_prefix_length;
            let (mut destination, mut index) = (None, None);
            for attribute in message.attributes {
                match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(address),
                    RouteAttribute::Oif(oif) => index = Some(oif),
                    _ => {}
                }
            }
            if let Some(address) = destination
                && let Ok(net) = Ipv4Net::new(address, length)
            {
                let by = match index {
                    Some(index) => format!("the route to {net} through interface {}", name(index)),
                    None => format!("the route to {net}"),
                };
                let net = net.into();
                taken.push(Taken { net, by });
            }
        }
        Ok(taken)
    })
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
