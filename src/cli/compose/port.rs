//! `minirun compose port`.

use super::replica;
use crate::container::store::Store;
use crate::error::{Error, Kind, Result};

/// Print where a port of a service is published
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Number of the replica; the first that runs otherwise
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// What is spoken there
    #[arg(long, default_value = "tcp", value_parser = ["tcp", "udp", "sctp"])]
    protocol: String,
    /// The service
    service: String,
    /// The port in the container
    port: u16,
}

pub(super) fn run(store: &Store, project: &str, args: &Args) -> Result<u8> {
    let replica = replica::running(store, project, &args.service, args.index)?;
    let wanted = format!("->{}/{}", args.port, args.protocol);
    let published: Vec<&str> = replica
        .ports
        .iter()
        .filter_map(|port| port.strip_suffix(&wanted))
        .collect();
    if published.is_empty() {
        return Err(Error::new(
            Kind::NotFound,
            format_args!(
                "{}: port {}/{} is not published",
                replica.id, args.port, args.protocol
            ),
        )
        .hint(match replica.ports.as_slice() {
            [] => "the service publishes none (ports:)".to_owned(),
            ports => format!("published are {}", ports.join(", ")),
        }));
    }
    for address in published {
        println!("{address}");
    }
    Ok(0)
}
