//! The map as a tree for terminals.

use std::fmt::Write as _;

use super::{Allowed, Container, Network, Place, Topology, Why, published_at};

impl Topology {
    /// A tree of networks and containers, and a table of what is allowed.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for network in &self.networks {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", heading(network));
            let members = self.members(&network.name);
            let rows: Vec<[String; 4]> = members
                .iter()
                .map(|(container, place)| row(container, place))
                .collect();
            let lines = columns(&rows);
            for (index, line) in lines.iter().enumerate() {
                let branch = match index + 1 == lines.len() {
                    true => "└─",
                    false => "├─",
                };
                let _ = writeln!(text, "{branch} {line}");
            }
            text.push('\n');
        }
        if self.networks.is_empty() {
            return "no networks\n".to_owned();
        }
        let rows: Vec<[String; 4]> = self.flows.iter().map(allowed).collect();
        text.push_str("allowed connections\n");
        for line in columns(&rows) {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

fn heading(network: &Network) -> String {
    let mut parts = vec![network.name.clone(), network.subnets.join(" ")];
    parts.extend(network.remarks().into_iter().map(str::to_owned));
    parts.push(format!("bridge {}", network.bridge));
    parts.join("  ")
}

fn row(container: &Container, place: &Place) -> [String; 4] {
    let addresses: Vec<String> = place.addresses.iter().map(ToString::to_string).collect();
    let mut remarks = Vec::new();
    // Ports are published once, not per network.
    if container.on.first() == Some(place) {
        remarks.extend(container.ports.iter().map(|port| {
            format!(
                "published {} → {}/{}",
                published_at(port),
                port.container,
                port.protocol
            )
        }));
    }
    let others: Vec<&str> = container
        .on
        .iter()
        .filter(|other| other.network != place.network)
        .map(|other| other.network.as_str())
        .collect();
    if !others.is_empty() {
        remarks.push(format!("also on {}", others.join(", ")));
    }
    if container.stale {
        remarks.push("dead, not deleted".to_owned());
    }
    [
        container.id.clone(),
        addresses.join(" "),
        place.interface.clone(),
        remarks.join(", "),
    ]
}

fn allowed(flow: &Allowed) -> [String; 4] {
    let ports = match flow.ports.is_empty() {
        true => "all ports".to_owned(),
        false => flow.ports.join(", "),
    };
    let why = match &flow.why {
        Why::Published { at } => format!("published at {at}"),
        Why::Within => "within the network".to_owned(),
        Why::Egress => "egress".to_owned(),
        Why::Linked => "neither is isolated".to_owned(),
        Why::Access => "host access".to_owned(),
        Why::Rule { of, .. } => [
            Some(format!("rule of {of}")),
            flow.limit.as_ref().map(|limit| format!("at most {limit}")),
            flow.connections.map(|count| format!("{count} so far")),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", "),
    };
    [flow.from.to_string(), format!("→ {}", flow.to), ports, why]
}

/// Rows as lines with columns below each other.
fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let line: Vec<String> = cells.map(|(cell, width)| format!("{cell:width$}")).collect();
            line.join("  ").trim_end().to_owned()
        })
        .collect()
}
