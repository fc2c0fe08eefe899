//! `minirun network connect` and `disconnect`.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::container::connect;
use crate::container::store::Store;
use crate::error::Result;
use crate::net::{Endpoint, Mac};
use crate::spec::id::Id;

/// Connect a running container to a further network
#[derive(Debug, clap::Args)]
pub(super) struct ConnectArgs {
    /// The network: NAME[:ip=,ip6=,mac=,alias=,interface=,priority=]
    network: Endpoint,
    /// The container's id
    container: Id,
    /// IPv4 address to have
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// IPv6 address to have
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// Ethernet address to have
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<Mac>,
    /// Further name on this network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
}

/// Take a running container off a network
#[derive(Debug, clap::Args)]
pub(super) struct DisconnectArgs {
    /// The network's name
    network: String,
    /// The container's id
    container: Id,
}

pub(super) fn connect(store: &Store, args: &ConnectArgs) -> Result<()> {
    let mut endpoint = args.network.clone();
    endpoint.ip = args.ip.or(endpoint.ip);
    endpoint.ip6 = args.ip6.or(endpoint.ip6);
    endpoint.mac = args.mac_address.or(endpoint.mac);
    endpoint.aliases.extend(args.alias.iter().cloned());
    connect::connect(store, &args.container, &endpoint)
}

pub(super) fn disconnect(store: &Store, args: &DisconnectArgs) -> Result<()> {
    connect::disconnect(store, &args.container, &args.network)
}
