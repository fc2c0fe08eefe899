//! The map in Graphviz' language, for `dot -Tsvg`: networks are clusters around a bridge, containers on several networks
//! stand between them.

use std::fmt::Write as _;

use super::{Allowed, Container, Side, Topology, Why, published_at};

impl Topology {
    /// A directed graph. See <https://graphviz.org/doc/info/lang.html>.
    pub fn dot(&self) -> String {
        let mut dot = String::from(
            "digraph minirun {\n  \
             rankdir=LR; compound=true; fontname=\"sans-serif\"; node [shape=box, style=\"rounded,filled\", \
             fillcolor=white, fontname=\"sans-serif\", fontsize=11]; edge [fontname=\"sans-serif\", fontsize=9];\n",
        );
        let mut line = |text: String| {
            // Writing to a string does not fail.
            let _ = writeln!(dot, "  {text}");
        };
        for side in [Side::Outside, Side::Host] {
            let used = |flow: &Allowed| flow.from == side || flow.to == side;
            if self.flows.iter().any(used) {
                let label = side.to_string();
                line(format!(
                    "{} [label={}, shape=ellipse];",
                    id(&side),
                    quoted(&label)
                ));
            }
        }
        for network in &self.networks {
            let name = &network.name;
            line(format!("subgraph {} {{", quoted(&format!("cluster {name}"))));
            let title = [vec![name.as_str()], network.remarks()].concat().join(", ");
            let style = if network.internal {
                "rounded,dashed"
            } else {
                "rounded"
            };
            line(format!("  label={}; style=\"{style}\";", quoted(&title)));
            let bridge = format!("{}\n{}", network.bridge, network.subnets.join("\n"));
            line(format!(
                "  {} [label={}, fillcolor=lightgrey];",
                quoted(&format!("network {name}")),
                quoted(&bridge)
            ));
            for (container, _) in self.members(name) {
                if container.on.len() == 1 {
                    line(format!("  {}", node(container)));
                }
            }
            line("}".to_owned());
        }
        for container in &self.containers {
            if container.on.len() > 1 {
                line(node(container));
            }
            for place in &container.on {
                let addresses: Vec<String> = place.addresses.iter().map(ToString::to_string).collect();
                line(format!(
                    "{} -> {} [dir=none, style=dashed, color=grey, label={}];",
                    quoted(&format!("container {}", container.id)),
                    quoted(&format!("network {}", place.network)),
                    quoted(&addresses.join("\n")),
                ));
            }
        }
        for flow in &self.flows {
            for from in ends(&flow.from) {
                for to in ends(&flow.to) {
                    line(edge(flow, &from, &to));
                }
            }
        }
        dot.push_str("}\n");
        dot
    }
}

fn node(container: &Container) -> String {
    let mut label = vec![container.id.clone()];
    label.extend(
        container
            .ports
            .iter()
            .map(|port| format!("{} → {}/{}", published_at(port), port.container, port.protocol)),
    );
    let name = quoted(&format!("container {}", container.id));
    format!("{name} [label={}];", quoted(&label.join("\n")))
}

fn edge(flow: &Allowed, from: &str, to: &str) -> String {
    let ports = match flow.ports.is_empty() {
        true => "all".to_owned(),
        false => flow.ports.join(", "),
    };
    let (label, color) = match &flow.why {
        Why::Published { at } => (format!("{at} → {ports}"), "darkgreen"),
        Why::Rule { .. } => match &flow.limit {
            Some(limit) => (format!("{ports}\nat most {limit}"), "blue"),
            None => (ports, "blue"),
        },
        Why::Within => ("within".to_owned(), "grey40"),
        Why::Egress | Why::Linked | Why::Access => (ports, "grey40"),
    };
    format!(
        "{from} -> {to} [label={}, color={color}, fontcolor={color}];",
        quoted(&label)
    )
}

/// The nodes of one side.
fn ends(side: &Side) -> Vec<String> {
    match side {
        Side::Containers { containers, .. } => {
            let names = containers
                .iter()
                .map(|container| quoted(&format!("container {container}")));
            names.collect()
        }
        side => vec![id(side)],
    }
}

fn id(side: &Side) -> String {
    match side {
        Side::Network { network } => quoted(&format!("network {network}")),
        side => quoted(&side.to_string()),
    }
}

/// A string in double quotes; a line break is `\n` in it.
fn quoted(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{text}\"")
}
