//! `minirun network create`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::{Error, Result};
use crate::net::{self, Dirs, Stance, Wish};

/// Create a network; its bridge comes with the first container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The new network's name
    name: String,
    /// Subnet, one of each family at most; a free IPv4 one otherwise
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<IpNet>,
    /// The host's address in the subnet of its family; the first otherwise
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// Part of the subnet that addresses are given from unasked
    #[arg(long, value_name = "CIDR")]
    ip_range: Vec<IpNet>,
    /// Give containers IPv6 addresses, from a subnet of our own unless --subnet names one
    #[arg(long)]
    ipv6: bool,
    /// No way out: containers reach each other only
    #[arg(long)]
    internal: bool,
    /// Let its containers and those of other networks that say so reach each other
    #[arg(long)]
    no_isolation: bool,
    /// Let its containers open connections to services of the host
    #[arg(long)]
    host_access: bool,
    /// Whether containers of the network may talk to each other where no rule speaks
    #[arg(long, value_name = "allow|deny", default_value = "allow")]
    within: Stance,
    /// Whether its containers may open connections to the outside where no rule speaks
    #[arg(long, value_name = "allow|deny", default_value = "allow")]
    egress: Stance,
    /// Largest packet in bytes
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Name of the bridge's interface on the host
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
    /// A word of your own: KEY or KEY=VALUE
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// The only kind there is
    #[arg(short, long, default_value = "bridge", value_parser = ["bridge"], hide = true)]
    driver: String,
}

pub(super) fn run(dirs: &Dirs, args: &Args) -> Result<()> {
    let wish = Wish {
        name: args.name.clone(),
        subnets: args.subnet.clone(),
        gateways: args.gateway.clone(),
        ranges: args.ip_range.clone(),
        ipv6: args.ipv6,
        internal: args.internal,
        isolated: !args.no_isolation,
        host_access: args.host_access,
        within: args.within,
        egress: args.egress,
        mtu: args.mtu,
        bridge: args.bridge.clone(),
        labels: labels(&args.label)?,
    };
    println!("{}", net::create(dirs, wish)?.name);
    Ok(())
}

fn labels(given: &[String]) -> Result<BTreeMap<String, String>> {
    given
        .iter()
        .map(|label| {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            match key.is_empty() {
                true => Err(Error::invalid("--label", format_args!("{label:?} has no key"))),
                false => Ok((key.to_owned(), value.to_owned())),
            }
        })
        .collect()
}
