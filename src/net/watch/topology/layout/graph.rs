//! What is drawn: cards, and the links between them; which cards have a column, and in which order these stand.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Allowed, Container, Side, Topology, Why, published_at};
use super::text_width;

/// More columns than this make no readable picture: containers whose ports are published only go to the rows then.
const COLUMNS: usize = 16;
/// Longer texts on cards are cut.
const LONGEST: usize = 28;
/// Replicas whose addresses are listed.
const LISTED: usize = 5;

/// One card of a column, or one in the rows: a container, or several that a rule gives one name.
pub(super) struct Node<'a> {
    pub(super) name: String,
    pub(super) containers: Vec<&'a Container>,
    /// Lanes, from the top.
    pub(super) lanes: Vec<usize>,
    pub(super) links: usize,
    pub(super) x: i32,
    pub(super) width: i32,
}

/// Where a link begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Outside,
    Everybody(usize),
    Card { node: usize, lane: usize },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link {
    pub(super) from: End,
    pub(super) to: End,
    pub(super) label: String,
}

impl Node<'_> {
    /// Its published ports: whether the outside reaches it, and the text.
    pub(super) fn ports(&self) -> Vec<(bool, String)> {
        let ports = self.containers.iter().flat_map(|container| &container.ports);
        ports
            .map(|port| {
                let local = port.address.is_some_and(|address| address.is_loopback());
                let text = format!("{} → {}/{}", published_at(port), port.container, port.protocol);
                (!local, text)
            })
            .collect()
    }

    /// What is written on the card.
    pub(super) fn title(&self) -> String {
        match self.containers.len() {
            1 => shortened(&self.name),
            count => format!("{} ×{count}", shortened(&self.name)),
        }
    }

    /// The lines of its card on this network.
    pub(super) fn lines(&self, network: &str) -> Vec<String> {
        let listed = self.containers.iter().take(LISTED);
        let places = listed.filter_map(|container| container.place(network));
        let mut lines: Vec<String> = places
            .flat_map(|place| place.addresses.iter().map(ToString::to_string))
            .collect();
        if self.containers.len() > LISTED {
            lines.push(format!("and {} more", self.containers.len() - LISTED));
        }
        lines
    }

    fn widest(&self) -> i32 {
        let places = self.containers.iter().flat_map(|container| &container.on);
        let addresses = places.flat_map(|place| &place.addresses);
        let addresses = addresses.map(|address| text_width(&address.to_string(), 12) + 32);
        let ports = self.ports();
        let ports = ports.iter().map(|(_, text)| text_width(text, 11) + 28);
        let title = text_width(&self.title(), 14) + 32;
        addresses.chain(ports).fold(title.max(140), i32::max)
    }
}

fn shortened(text: &str) -> String {
    match text.chars().count() > LONGEST {
        true => text.chars().take(LONGEST - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

pub(super) fn nodes<'a>(topology: &'a Topology, lane_of: &BTreeMap<&str, usize>) -> Vec<Node<'a>> {
    let lanes = |container: &Container| -> Vec<usize> {
        let lanes = container
            .on
            .iter()
            .filter_map(|place| lane_of.get(place.network.as_str()));
        let sorted: BTreeSet<usize> = lanes.copied().collect();
        sorted.into_iter().collect()
    };
    let mut grouped: BTreeMap<&str, &str> = BTreeMap::new();
    for side in topology.flows.iter().flat_map(|flow| [&flow.from, &flow.to]) {
        if let Side::Containers { name, containers, .. } = side
            && containers.len() > 1
            && containers.iter().all(|id| !grouped.contains_key(id.as_str()))
        {
            let members = topology
                .containers
                .iter()
                .filter(|container| containers.contains(&container.id));
            let shapes: BTreeSet<_> = members
                .map(|container| (lanes(container), container.stale))
                .collect();
            if shapes.len() == 1 {
                grouped.extend(containers.iter().map(|id| (id.as_str(), name.as_str())));
            }
        }
    }
    let mut nodes: Vec<Node<'_>> = Vec::new();
    for container in &topology.containers {
        let group = grouped.get(container.id.as_str());
        let known = nodes.iter_mut().find(|node| {
            group.is_some_and(|name| node.name == **name)
                && node
                    .containers
                    .iter()
                    .all(|other| grouped.get(other.id.as_str()) == group)
        });
        match known {
            Some(node) => node.containers.push(container),
            None => nodes.push(Node {
                name: group.map_or_else(|| container.id.clone(), ToString::to_string),
                containers: vec![container],
                lanes: lanes(container),
                links: 0,
                x: 0,
                width: 0,
            }),
        }
    }
    for node in &mut nodes {
        node.width = node.widest();
    }
    nodes
}

pub(super) fn links(topology: &Topology, lane_of: &BTreeMap<&str, usize>, nodes: &[Node<'_>]) -> Vec<Link> {
    let ends = |side: &Side| -> Vec<End> {
        match side {
            Side::Outside | Side::Host => vec![End::Outside],
            Side::Network { network } => {
                let lane = lane_of.get(network.as_str());
                lane.map(|lane| End::Everybody(*lane)).into_iter().collect()
            }
            Side::Containers {
                network, containers, ..
            } => {
                let Some(lane) = lane_of.get(network.as_str()) else {
                    return Vec::new();
                };
                let found = nodes.iter().enumerate().filter(|(_, node)| {
                    node.containers
                        .iter()
                        .any(|container| containers.contains(&container.id))
                });
                found.map(|(node, _)| End::Card { node, lane: *lane }).collect()
            }
        }
    };
    let rules = topology
        .flows
        .iter()
        .filter(|flow| matches!(flow.why, Why::Rule { .. }));
    let mut links: Vec<Link> = rules
        .flat_map(|flow| {
            let (from, to) = (ends(&flow.from), ends(&flow.to));
            from.into_iter()
                .flat_map(move |from| to.clone().into_iter().map(move |to| (from, to)))
                .map(|(from, to)| Link {
                    from,
                    to,
                    label: label(flow),
                })
                .collect::<Vec<_>>()
        })
        .collect();
    links.sort();
    links.dedup();
    links
}

fn label(flow: &Allowed) -> String {
    let ports = match flow.ports.is_empty() {
        true => "all".to_owned(),
        false => flow.ports.join(", "),
    };
    match &flow.limit {
        Some(limit) => format!("{ports} ≤ {limit}"),
        None => ports,
    }
}

/// The nodes that get a column of their own.
pub(super) fn columns(nodes: &mut [Node<'_>], links: &[Link]) -> Vec<usize> {
    for link in links {
        for end in [link.from, link.to] {
            if let End::Card { node, .. } = end
                && let Some(node) = nodes.get_mut(node)
            {
                node.links += 1;
            }
        }
    }
    let which = |wanted: &dyn Fn(&Node<'_>) -> bool| -> Vec<usize> {
        let found = nodes.iter().enumerate().filter(|(_, node)| wanted(node));
        found.map(|(index, _)| index).collect()
    };
    let needs = |node: &Node<'_>| node.links > 0 || node.lanes.len() > 1;
    let all = which(&|node| needs(node) || !node.ports().is_empty());
    match all.len() > COLUMNS {
        true => which(&needs),
        false => all,
    }
}

/// Orders the columns so that arrows are short and cross few stems: from the mean lane of each, by exchanging and moving.
pub(super) fn arrange(columns: &mut Vec<usize>, nodes: &[Node<'_>], links: &[Link]) {
    let lanes = |index: usize| {
        nodes
            .get(index)
            .map(|node| node.lanes.as_slice())
            .unwrap_or_default()
    };
    let mean = |index: usize| {
        let lanes = lanes(index);
        lanes.iter().sum::<usize>() * 60 / lanes.len().max(1)
    };
    columns.sort_by_key(|index| mean(*index));
    let cost = |columns: &[usize]| -> usize {
        let at: BTreeMap<usize, usize> = columns.iter().enumerate().map(|(at, node)| (*node, at)).collect();
        let place = |end: End| match end {
            End::Card { node, lane } => Some((at.get(&node).map_or(0, |at| at + 1), lane)),
            End::Everybody(lane) => Some((0, lane)),
            End::Outside => None,
        };
        let mut cost = 0;
        for link in links {
            let (Some((from, lane)), Some((to, _))) = (place(link.from), place(link.to)) else {
                continue;
            };
            cost += 20 * from.abs_diff(to);
            // Stems of others that go through its lane, and cards of others that stand between.
            for (other, column) in &at {
                let between = (from.min(to) + 1..from.max(to)).contains(&(column + 1));
                let (first, last) = (lanes(*other).first(), lanes(*other).last());
                if between
                    && first.is_some_and(|first| *first <= lane)
                    && last.is_some_and(|last| *last >= lane)
                {
                    cost += 15;
                }
            }
        }
        // Those of one lane together, upper lanes to the left.
        let pairs = columns.windows(2);
        cost + pairs
            .map(|pair| {
                pair.first()
                    .map_or(0, |left| mean(*left))
                    .saturating_sub(pair.last().map_or(0, |right| mean(*right)))
                    / 6
            })
            .sum::<usize>()
    };
    let mut best = cost(columns);
    for _ in 0..columns.len() {
        let before = best;
        for from in 0..columns.len() {
            for to in 0..columns.len() {
                let mut moved = columns.clone();
                let node = moved.remove(from);
                moved.insert(to, node);
                let new = cost(&moved);
                if new < best {
                    (best, *columns) = (new, moved);
                }
            }
        }
        if best == before {
            break;
        }
    }
}

pub(super) fn lane_of(end: End) -> Option<usize> {
    match end {
        End::Outside => None,
        End::Everybody(lane) | End::Card { lane, .. } => Some(lane),
    }
}
