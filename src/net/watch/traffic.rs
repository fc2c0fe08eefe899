//! What containers have sent and received, from the counters that the kernel keeps for every interface anyway: they cost
//! the way of the packets nothing. `ip -s link show dev mr...`

use netlink_packet_core::Parseable as _;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, Stats64};
use netlink_sys::protocols::NETLINK_ROUTE;
use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::net::kernel::netlink::{Netlink, Request, absent};

/// What passed a container's interface since it was made, as the container sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// To the network.
    pub sent: Meter,
    /// From the network.
    pub received: Meter,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Meter {
    /// Frames.
    pub packets: u64,
    /// Bytes, headers of Ethernet included.
    pub bytes: u64,
    /// Frames that got lost on the link itself, not in the firewall.
    pub dropped: u64,
}

/// What passed these interfaces, the host's ends of containers' links; `None` for one that is gone.
///
/// # Errors
/// When the kernel refuses.
pub fn traffic<'a>(host_interfaces: impl IntoIterator<Item = &'a str>) -> Result<Vec<Option<Traffic>>> {
    let mut netlink = Netlink::open(NETLINK_ROUTE)?;
    host_interfaces
        .into_iter()
        .map(|interface| match netlink.exchange(&[get(interface)]) {
            Ok(answers) => answers.first().map(|answer| parse(interface, answer)).transpose(),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        })
        .map(|found| found.map(Option::flatten))
        .collect()
}

fn get(name: &str) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    Request::query(libc::RTM_GETLINK, &message, "read counters of interface", name)
}

fn parse(name: &str, answer: &[u8]) -> Result<Option<Traffic>> {
    let message = LinkMessage::parse(answer).map_err(|error| {
        Error::new(
            Kind::Os,
            format_args!("read counters of interface {name}: {error}"),
        )
    })?;
    Ok(message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(statistics) => Some(from_inside(statistics)),
        _ => None,
    }))
}

/// What the host's end receives, the container has sent.
fn from_inside(statistics: &Stats64) -> Traffic {
    Traffic {
        sent: Meter {
            packets: statistics.rx_packets,
            bytes: statistics.rx_bytes,
            dropped: statistics.rx_dropped,
        },
        received: Meter {
            packets: statistics.tx_packets,
            bytes: statistics.tx_bytes,
            dropped: statistics.tx_dropped,
        },
    }
}
