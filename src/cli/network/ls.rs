//! `minirun network ls`.

use super::Format;
use crate::cli::table;
use crate::error::Result;
use crate::net::{self, Description, Dirs};

/// List networks
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Shape of the list
    #[arg(short, long, default_value = "table")]
    format: Format,
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
    /// Only networks with this label: KEY or KEY=VALUE
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
}

pub(super) fn run(dirs: &Dirs, args: &Args) -> Result<()> {
    let mut networks = net::list(dirs)?;
    networks.retain(|network| args.label.iter().all(|label| has(network, label)));
    if args.quiet {
        networks
            .iter()
            .for_each(|network| println!("{}", network.definition.name));
        return Ok(());
    }
    match args.format {
        Format::Json => println!("{:#}", serde_json::json!(networks)),
        Format::Table => table::print(
            ["NAME", "SUBNET", "BRIDGE", "CONTAINERS", "REMARKS"],
            networks.iter().map(row),
        ),
    }
    Ok(())
}

fn has(network: &Description, label: &str) -> bool {
    let (key, value) = match label.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (label, None),
    };
    let known = network.definition.labels.get(key);
    known.is_some_and(|known| value.is_none_or(|value| value == known))
}

fn row(network: &Description) -> [String; 5] {
    let definition = &network.definition;
    let subnets: Vec<String> = [
        Some(definition.ipv4.subnet.to_string()),
        definition.ipv6.map(|ipv6| ipv6.subnet.to_string()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let remarks: Vec<&str> = [
        (definition.internal, "internal"),
        (!definition.isolated, "not isolated"),
        (definition.host_access, "host access"),
        (definition.policy.within == net::Stance::Deny, "within: deny"),
        (definition.policy.egress == net::Stance::Deny, "egress: deny"),
        (!definition.policy.rules.is_empty(), "rules"),
    ]
    .into_iter()
    .filter_map(|(holds, remark)| holds.then_some(remark))
    .collect();
    [
        definition.name.clone(),
        subnets.join(", "),
        definition.bridge.clone(),
        network.containers.len().to_string(),
        remarks.join(", "),
    ]
}
