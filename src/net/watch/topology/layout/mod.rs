//! Where things go in the picture. Pure arithmetic in whole pixels.
//!
//! From top to bottom: the outside, this host, and a lane for every network. A container that an arrow touches, or that is
//! on several networks, has a column of its own: one card in each of its lanes, tied together by a stem. So nothing that
//! goes up or down its column meets another card. Below the cards of a lane run the tracks of the arrows within it. To the
//! right of all columns stand, in rows, the containers that have none.

mod graph;
mod routes;

use std::collections::BTreeMap;

use self::graph::{End, Link, Node};
use super::{Allowed, Network, Side, Topology, Why};

const MARGIN: i32 = 24;
/// Between the left margin and the lanes: one for each line from a lane to the host or the outside.
const CHANNEL: i32 = 16;
const HEADER: i32 = 200;
const GAP: i32 = 56;
const PADDING: i32 = 18;
const TRACK: i32 = 28;
const LINE: i32 = 16;
/// Room for the name on a card, and below its last line.
const TITLE: i32 = 28;
const FOOT: i32 = 10;
const PILL: i32 = 22;
const BAND: i32 = 40;
/// "every container", where an arrow begins or ends that is for all of a lane.
const EVERYBODY: i32 = 128;
/// Between cards in rows.
const CLOSE: i32 = 14;

/// Everything to be painted.
pub(super) struct Drawing<'a> {
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) outside: Area,
    pub(super) host: Area,
    pub(super) lanes: Vec<Lane<'a>>,
    pub(super) stems: Vec<Area>,
    pub(super) cards: Vec<Card>,
    pub(super) pills: Vec<Pill>,
    pub(super) arrows: Vec<Arrow>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
    pub(super) height: i32,
}

impl Area {
    fn bottom(&self) -> i32 {
        self.y + self.height
    }
}

pub(super) struct Lane<'a> {
    pub(super) area: Area,
    pub(super) network: &'a Network,
}

pub(super) struct Card {
    pub(super) area: Area,
    /// The whole name, and what is written.
    pub(super) name: String,
    pub(super) title: String,
    pub(super) lines: Vec<String>,
    /// Several containers.
    pub(super) stacked: bool,
    pub(super) stale: bool,
}

/// A short text with a border: a published port on the host, or "every container".
pub(super) struct Pill {
    pub(super) area: Area,
    pub(super) text: String,
    pub(super) kind: Kind,
}

pub(super) struct Arrow {
    pub(super) points: Vec<(i32, i32)>,
    pub(super) kind: Kind,
    /// The middle of its foot, and the text.
    pub(super) label: Option<(i32, i32, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Published,
    Rule,
    Open,
}

/// The width of a text, on the safe side: fonts differ.
pub(super) fn text_width(text: &str, size: i32) -> i32 {
    text.chars().count() as i32 * size * 64 / 100
}

impl Drawing<'_> {
    pub(super) fn new(topology: &Topology) -> Drawing<'_> {
        let lane_of: BTreeMap<&str, usize> = topology
            .networks
            .iter()
            .enumerate()
            .map(|(index, network)| (network.name.as_str(), index))
            .collect();
        let mut nodes = graph::nodes(topology, &lane_of);
        let links = graph::links(topology, &lane_of, &nodes);
        let mut columns = graph::columns(&mut nodes, &links);
        graph::arrange(&mut columns, &nodes, &links);
        Plan {
            topology,
            nodes,
            links,
            columns,
            everybody: 0,
        }
        .draw()
    }
}

/// What is to be drawn, in order.
struct Plan<'a> {
    topology: &'a Topology,
    nodes: Vec<Node<'a>>,
    links: Vec<Link>,
    columns: Vec<usize>,
    /// The right end of "every container".
    everybody: i32,
}

/// The containers without a column: where their rows begin, the width of a card, how many stand in a row.
struct Rows {
    x: i32,
    width: i32,
    count: usize,
}

impl<'a> Plan<'a> {
    fn draw(mut self) -> Drawing<'a> {
        let topology = self.topology;
        let open: Vec<&Allowed> = topology
            .flows
            .iter()
            .filter(|flow| matches!(flow.why, Why::Egress | Why::Access))
            .collect();
        let left = MARGIN + CHANNEL * open.len() as i32;
        let everybody = |link: &Link| {
            [link.from, link.to]
                .iter()
                .any(|end| matches!(end, End::Everybody(_)))
        };
        let everybody = self
            .links
            .iter()
            .any(|link| everybody(link) && link.to != End::Outside);
        self.everybody = left + HEADER + PADDING + EVERYBODY;
        let mut x = match everybody {
            true => self.everybody + GAP,
            false => left + HEADER + PADDING,
        };
        for index in &self.columns {
            if let Some(node) = self.nodes.get_mut(*index) {
                node.x = x;
                x += node.width + GAP;
            }
        }
        let rest = self.rest();
        let widest = rest.iter().flatten().filter_map(|index| self.nodes.get(*index));
        let rows = Rows {
            x,
            width: widest.map(|node| node.width).max().unwrap_or(0),
            // A little wider than high.
            count: rest
                .iter()
                .map(Vec::len)
                .max()
                .unwrap_or(0)
                .saturating_mul(2)
                .isqrt()
                .max(3),
        };
        let most = rest
            .iter()
            .map(|rest| rest.len().min(rows.count))
            .max()
            .unwrap_or(0) as i32;
        let right = match most {
            0 => x - GAP,
            most => x + most * (rows.width + CLOSE) - CLOSE,
        }
        .max(left + 2 * HEADER);

        let area = |y, height| Area {
            x: MARGIN,
            y,
            width: right + PADDING - MARGIN,
            height,
        };
        let outside = area(MARGIN, BAND);
        let deepest = self.columns.iter().filter_map(|index| self.nodes.get(*index));
        let deepest = deepest.map(|node| node.ports().len()).max().unwrap_or(0) as i32;
        let host = area(outside.bottom() + GAP, (deepest * (PILL + 6) + 12).max(BAND));
        let mut drawing = Drawing {
            width: right + PADDING + MARGIN,
            height: 0,
            outside,
            host,
            lanes: Vec::new(),
            stems: Vec::new(),
            cards: Vec::new(),
            pills: Vec::new(),
            arrows: Vec::new(),
        };

        let mut y = host.bottom() + GAP;
        let mut tracks = Vec::new();
        for (lane, network) in topology.networks.iter().enumerate() {
            let here = self.in_lane(lane, &mut tracks);
            let cards = self.columns.iter().filter_map(|index| self.nodes.get(*index));
            let cards = cards.filter(|node| node.lanes.contains(&lane));
            let tallest = cards
                .map(|node| card_height(&node.lines(&network.name)))
                .max()
                .unwrap_or(0);
            let gutter = y + PADDING + tallest;
            let tracks_end = gutter + if here > 0 { here * TRACK + 14 } else { 0 };
            for track in tracks.iter_mut().filter(|track| track.lane == lane) {
                track.y += gutter + TRACK;
            }
            let plain = rest.get(lane).map(Vec::as_slice).unwrap_or_default();
            let bottom = self
                .rows(plain, network, y + PADDING, &rows, &mut drawing)
                .max(tracks_end);
            let height = (bottom + PADDING - y).max(header_height(network));
            let area = Area {
                x: left,
                y,
                width: right + PADDING - left,
                height,
            };
            drawing.lanes.push(Lane { area, network });
            y = area.bottom() + GAP / 2;
        }
        drawing.height = y - GAP / 2 + MARGIN + LINE + 14;
        self.cards(&mut drawing);
        self.published(&mut drawing);
        self.ways_out(&open, left, &mut drawing);
        self.arrows(&tracks, &mut drawing);
        drawing
    }

    /// The nodes without a column, by lane.
    fn rest(&self) -> Vec<Vec<usize>> {
        let all = 0..self.nodes.len();
        let rest: Vec<usize> = all.filter(|index| !self.columns.contains(index)).collect();
        let lanes = 0..self.topology.networks.len();
        let is_on = |index: &usize, lane: usize| {
            let node = self.nodes.get(*index);
            node.is_some_and(|node| node.lanes.first() == Some(&lane))
        };
        lanes
            .map(|lane| rest.iter().copied().filter(|index| is_on(index, lane)).collect())
            .collect()
    }

    /// Puts the containers without a column into rows; returns where they end.
    fn rows(
        &self,
        plain: &[usize],
        network: &Network,
        y: i32,
        rows: &Rows,
        drawing: &mut Drawing<'_>,
    ) -> i32 {
        let mut top = y;
        for row in plain.chunks(rows.count) {
            let nodes = row.iter().filter_map(|index| self.nodes.get(*index));
            let mut tallest = 0;
            let mut x = rows.x;
            for node in nodes {
                let mut lines = node.lines(&network.name);
                lines.extend(node.ports().into_iter().map(|(_, text)| text));
                let area = Area {
                    x,
                    y: top,
                    width: rows.width,
                    height: card_height(&lines),
                };
                tallest = tallest.max(area.height);
                x += rows.width + CLOSE;
                drawing.cards.push(card(node, area, lines));
            }
            top += tallest + CLOSE;
        }
        if plain.is_empty() { y } else { top - CLOSE }
    }

    /// The cards in their columns, and the stems between those of one container.
    fn cards(&self, drawing: &mut Drawing<'_>) {
        for index in &self.columns {
            let Some(node) = self.nodes.get(*index) else {
                continue;
            };
            let mut above: Option<Area> = None;
            for lane in &node.lanes {
                let Some(Lane { area, network }) = drawing.lanes.get(*lane) else {
                    continue;
                };
                let lines = node.lines(&network.name);
                let area = Area {
                    x: node.x,
                    y: area.y + PADDING,
                    width: node.width,
                    height: card_height(&lines),
                };
                if let Some(above) = above {
                    drawing.stems.push(Area {
                        x: node.x + 10,
                        y: above.bottom(),
                        width: 8,
                        height: area.y - above.bottom(),
                    });
                }
                above = Some(area);
                drawing.cards.push(card(node, area, lines));
            }
        }
    }

    /// From the outside through a port of the host to the first card of a column.
    fn published(&self, drawing: &mut Drawing<'_>) {
        for index in &self.columns {
            let Some(node) = self.nodes.get(*index) else {
                continue;
            };
            let ports = node.ports();
            let Some(lane) = node.lanes.first().and_then(|lane| drawing.lanes.get(*lane)) else {
                continue;
            };
            let (x, top) = (node.x + node.width / 2, lane.area.y + PADDING);
            if ports.is_empty() {
                continue;
            }
            if ports.iter().any(|(from_outside, _)| *from_outside) {
                drawing.arrows.push(Arrow {
                    points: vec![(x, drawing.outside.bottom()), (x, drawing.host.y + 6)],
                    kind: Kind::Published,
                    label: None,
                });
            }
            let mut y = drawing.host.y + 9;
            for (_, text) in ports {
                let width = text_width(&text, 11) + 20;
                drawing.pills.push(Pill {
                    area: Area {
                        x: x - width / 2,
                        y,
                        width,
                        height: PILL,
                    },
                    text,
                    kind: Kind::Published,
                });
                y += PILL + 6;
            }
            drawing.arrows.push(Arrow {
                points: vec![(x, y - 6), (x, top)],
                kind: Kind::Published,
                label: None,
            });
        }
    }

    /// From whole lanes to the outside, or to the host, through the left margin.
    fn ways_out(&self, open: &[&Allowed], left: i32, drawing: &mut Drawing<'_>) {
        for (index, flow) in open.iter().enumerate() {
            let Side::Network { network } = &flow.from else {
                continue;
            };
            let Some(lane) = drawing.lanes.iter().find(|lane| lane.network.name == *network) else {
                continue;
            };
            let x = left - CHANNEL * (open.len() - index) as i32 + CHANNEL / 2;
            let y = lane.area.y + 24 + 12 * (index as i32 % 3);
            let end = match flow.why {
                Why::Access => drawing.host.bottom(),
                _ => drawing.outside.bottom(),
            };
            drawing.arrows.push(Arrow {
                points: vec![(left, y), (x, y), (x, end)],
                kind: Kind::Open,
                label: None,
            });
        }
    }
}

fn card(node: &Node<'_>, area: Area, lines: Vec<String>) -> Card {
    Card {
        area,
        name: node.name.clone(),
        title: node.title(),
        lines,
        stacked: node.containers.len() > 1,
        stale: node.containers.iter().any(|container| container.stale),
    }
}

fn card_height(lines: &[String]) -> i32 {
    TITLE + LINE * lines.len() as i32 + FOOT
}

fn header_height(network: &Network) -> i32 {
    let lines = network.subnets.len() + network.gateways.len();
    44 + LINE * lines as i32 + (PILL + 4) * network.remarks().len() as i32 + PADDING
}
