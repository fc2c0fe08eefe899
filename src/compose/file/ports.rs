//! `ports` and `expose`.

use super::keys;
use super::node::At;
use crate::error::Result;
use crate::net::{PortRange, Ports, Publish};

/// One of `ports`: `[IP:][HOST:]CONTAINER[/PROTOCOL]`, or a mapping.
pub(super) fn publish(at: &At<'_>) -> Result<Publish> {
    if at.node.text().is_some() {
        let text = at.word("a port")?;
        return text.parse().map_err(|error: crate::error::Error| {
            error.during(format_args!("{}: {}", at.node.place, at.path))
        });
    }
    let fields = at.fields(keys::PORT)?;
    let range = |at: &At<'_>| at.parsed("a port", str::parse::<PortRange>);
    let protocol = fields.read("protocol", |at| at.parsed("tcp, udp or sctp", str::parse))?;
    let address = match fields.get("host_ip").filter(|at| at.node.text() != Some("")) {
        Some(at) => Some(at.number("an IP address")?),
        None => None,
    };
    let target = fields.required("target")?;
    let container = range(&target)?;
    if container.first != container.last {
        return Err(target.error("expected one port; write ranges as HOST-HOST:CONTAINER-CONTAINER"));
    }
    let published = fields.get("published").filter(|at| at.node.text() != Some(""));
    let publish = Publish {
        address,
        host: published.as_ref().map(range).transpose()?,
        container,
        protocol: protocol.unwrap_or(crate::net::Protocol::Tcp),
    };
    // The long form can say nothing that the short one cannot, and its rules are there.
    let text = publish.to_string();
    text.parse()
        .map_err(|error: crate::error::Error| error.during(format_args!("{}: {}", at.node.place, at.path)))
}

/// One of `expose`: `PORT[-PORT][/PROTOCOL]`.
pub(super) fn expose(at: &At<'_>) -> Result<Ports> {
    let ports = at.parsed("a port", str::parse)?;
    match ports {
        Ports::All => Err(at.error("\"all\" is not a port")),
        ports => Ok(ports),
    }
}
