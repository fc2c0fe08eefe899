//! The messages between the runtime and netd: JSON, one message a packet of an AF_UNIX SOCK_SEQPACKET connection.
//!
//! Every request gets one reply. Descriptors that a request announces come along with it, in the order pidfd, resolver's
//! UDP socket, resolver's TCP socket, ports; those that do not fit into one packet follow in further packets of one byte.

use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use ipnet::IpNet;
use nix::errno::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, OsContext as _, Result};
use crate::sys::socket::{MOST_DESCRIPTORS, receive_many, send_many};

/// The longest message in bytes.
pub(super) const LONGEST: usize = 64 * 1024;

/// How many ports' sockets one station may hand over.
pub(super) const MOST_PORTS: usize = 65_536;

/// How many stations one reply lists.
pub(super) const PAGE: usize = 128;

/// The packets that carry nothing but further descriptors.
const FURTHER: &[u8] = b"+";

/// A container on one network, as others on that network may find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Station {
    /// The container's id.
    pub container: String,
    /// The network's name; others also find the container as `<name>.<network>`.
    pub network: String,
    /// The network has no way out. Questions of a container that is on such networks only are never forwarded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// What others call it, the preferred name first: that one answers questions for the name of an address. Names that
    /// DNS cannot carry (a part above 63 letters) are passed over.
    pub names: Vec<String>,
    /// Those of `names` that are not answered with its addresses, because it is not ready. They exist nevertheless: a name
    /// that nobody else has either has no records then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unready: Vec<String>,
    /// Its addresses on this network.
    pub addresses: Vec<IpAddr>,
    /// The network's subnets: whose addresses these are is answered here, never asked elsewhere.
    #[serde(default)]
    pub pools: Vec<IpNet>,
    /// Servers for all other names, instead of the host's; with several networks the first that has any counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstream: Vec<IpAddr>,
}

/// A station that netd has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// The container's id.
    pub container: String,
    /// The network's name.
    pub network: String,
    /// netd has sockets of this container's resolver.
    pub resolver: bool,
    /// How many ports' sockets netd holds for the container.
    pub ports: usize,
    /// The station has names that are not answered with its addresses.
    #[serde(default)]
    pub unready: bool,
}

/// What the runtime asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Request {
    /// Answer for this station from now on, in place of an earlier one of the same container on the same network.
    Register {
        station: Station,
        pidfd: bool,
        resolver: bool,
        ports: usize,
    },
    /// Forget it; its container's sockets too when this was the container's last network.
    Unregister { container: String, network: String },
    /// List stations, without the first `after`.
    Stations { after: usize },
    /// Keep this connection open until netd ends, which is how the other side learns of it.
    Watch,
}

impl Request {
    /// How many descriptors come with it.
    pub(super) fn descriptors(&self) -> usize {
        match self {
            Request::Register {
                pidfd,
                resolver,
                ports,
                ..
            } => usize::from(*pidfd) + 2 * usize::from(*resolver) + ports,
            Request::Unregister { .. } | Request::Stations { .. } | Request::Watch => 0,
        }
    }
}

/// What netd answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Reply {
    /// It holds from now on.
    Done,
    /// A page of the list; there is more after a full one.
    Stations(Vec<Known>),
    /// Nothing has changed.
    Refused(String),
}

/// Sends one message with its descriptors.
pub(super) fn send(socket: BorrowedFd<'_>, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let text = encode(message)?;
    let (first, rest) = fds.split_at(fds.len().min(MOST_DESCRIPTORS));
    send_many(socket, &text, first).os("send a message to", "netd")?;
    for further in rest.chunks(MOST_DESCRIPTORS) {
        send_many(socket, FURTHER, further).os("send descriptors to", "netd")?;
    }
    Ok(())
}

/// A message's bytes.
pub(super) fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(message)
        .map_err(|error| Error::new(Kind::Os, format_args!("encode a message for netd: {error}")))?;
    match text.len() <= LONGEST {
        true => Ok(text),
        false => Err(Error::invalid(
            "netd",
            format_args!(
                "a message of {} bytes is too long: at most {LONGEST}; give fewer names",
                text.len()
            ),
        )),
    }
}

/// Receives one packet: its message and descriptors; `None` at the end of the connection.
pub(super) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> nix::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; LONGEST];
    let (length, fds) = receive_many(socket, &mut buffer)?;
    if length == 0 {
        return Ok(None);
    }
    let message = buffer
        .get(..length)
        .and_then(|text| serde_json::from_slice(text).ok());
    message.map(|message| Some((message, fds))).ok_or(Errno::EBADMSG)
}

/// Receives the descriptors of one further packet; `None` at the end of the connection.
pub(super) fn receive_further(socket: BorrowedFd<'_>) -> nix::Result<Option<Vec<OwnedFd>>> {
    let mut buffer = [0; FURTHER.len() + 1];
    let (length, fds) = receive_many(socket, &mut buffer)?;
    Ok((length > 0).then_some(fds))
}
