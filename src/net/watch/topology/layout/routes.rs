//! The ways of arrows that rules allow: along tracks below the cards of a lane, between the columns to another lane, or up
//! to the outside.

use std::collections::BTreeMap;

use super::graph::{End, Link, lane_of};
use super::{Area, Arrow, Drawing, HEADER, Kind, PADDING, PILL, Pill, Plan, TRACK, card_height, text_width};

/// The track of a link below the cards of a lane.
pub(super) struct Track {
    pub(super) lane: usize,
    link: usize,
    pub(super) y: i32,
}

impl Plan<'_> {
    /// Gives each link that begins in this lane a track; returns how many there are.
    pub(super) fn in_lane(&self, lane: usize, tracks: &mut Vec<Track>) -> i32 {
        let mut spans: Vec<(i32, i32, usize)> = Vec::new();
        for (index, link) in self.links.iter().enumerate() {
            if lane_of(link.from) == Some(lane) && link.to != End::Outside {
                let (from, to) = (self.exit(index, link.from, true), self.turn(index, link));
                let label = text_width(&link.label, 11) / 2 + 6;
                let middle = (from + to) / 2;
                spans.push((
                    from.min(to).min(middle - label),
                    from.max(to).max(middle + label),
                    index,
                ));
            }
        }
        // Short ones next to the cards.
        spans.sort_by_key(|(from, to, index)| (to - from, *index));
        let mut rows: Vec<Vec<(i32, i32)>> = Vec::new();
        for (from, to, link) in spans {
            let free = |row: &Vec<(i32, i32)>| row.iter().all(|(a, b)| to + 10 < *a || from > b + 10);
            let row = rows.iter().position(free).unwrap_or(rows.len());
            if row == rows.len() {
                rows.push(Vec::new());
            }
            if let Some(row) = rows.get_mut(row) {
                row.push((from, to));
            }
            tracks.push(Track {
                lane,
                link,
                y: row as i32 * TRACK - 4,
            });
        }
        rows.len() as i32
    }

    /// Where a link leaves or enters the foot of a card: all that do share its width, in the order of their other ends.
    fn exit(&self, link: usize, end: End, is_from: bool) -> i32 {
        let End::Card { node, .. } = end else {
            return self.everybody;
        };
        let mut sharing: Vec<(i32, usize, bool)> = Vec::new();
        for (index, other) in self.links.iter().enumerate() {
            if other.from == end && other.to != End::Outside {
                sharing.push((self.center(other.to), index, true));
            }
            if other.to == end && lane_of(other.from) == lane_of(end) {
                sharing.push((self.center(other.from), index, false));
            }
        }
        sharing.sort();
        let at = sharing
            .iter()
            .position(|(_, index, from)| (*index, *from) == (link, is_from));
        let (x, width) = self.nodes.get(node).map_or((0, 0), |node| (node.x, node.width));
        // The stem has the left.
        let (x, width) = (x + 30, width - 42);
        x + width * (at.unwrap_or(0) as i32 + 1) / (sharing.len() as i32 + 1)
    }

    /// Where a link leaves its track.
    fn turn(&self, index: usize, link: &Link) -> i32 {
        match (lane_of(link.from) == lane_of(link.to), link.to) {
            // To another lane: between the columns, then from the left into the card.
            (false, End::Card { node, .. }) => {
                let x = self.nodes.get(node).map_or(0, |node| node.x);
                x - 12 - 5 * (index as i32 % 4)
            }
            _ => self.exit(index, link.to, false),
        }
    }

    fn center(&self, end: End) -> i32 {
        match end {
            End::Card { node, .. } => self.nodes.get(node).map_or(0, |node| node.x + node.width / 2),
            End::Everybody(_) | End::Outside => 0,
        }
    }

    pub(super) fn arrows(&self, tracks: &[Track], drawing: &mut Drawing<'_>) {
        for track in tracks {
            let Some(link) = self.links.get(track.link) else {
                continue;
            };
            let (from, to) = (
                self.exit(track.link, link.from, true),
                self.turn(track.link, link),
            );
            let mut points = Vec::new();
            self.leave(link.from, from, track.y, drawing, &mut points);
            points.push((from, track.y));
            match link.to {
                End::Card { node, lane } if lane_of(link.from) != Some(lane) => {
                    let Some(top) = drawing.lanes.get(lane).map(|lane| lane.area.y + PADDING) else {
                        continue;
                    };
                    let y = top + 16 + 6 * (track.link as i32 % 3);
                    let x = self.nodes.get(node).map_or(0, |node| node.x);
                    points.extend([(to, track.y), (to, y), (x, y)]);
                }
                end => {
                    points.push((to, track.y));
                    let mut way = Vec::new();
                    self.leave(end, to, track.y, drawing, &mut way);
                    points.extend(way);
                }
            }
            drawing.arrows.push(Arrow {
                points,
                kind: Kind::Rule,
                label: Some(((from + to) / 2, track.y - 5, link.label.clone())),
            });
        }
        self.rules_to_the_outside(drawing);
    }

    /// From the foot of a card to its track; everybody has a pill on the track itself.
    fn leave(&self, end: End, x: i32, track: i32, drawing: &mut Drawing<'_>, points: &mut Vec<(i32, i32)>) {
        match end {
            End::Card { node, lane } => {
                let Some(node) = self.nodes.get(node) else { return };
                let Some(lane) = drawing.lanes.get(lane) else {
                    return;
                };
                let height = card_height(&node.lines(&lane.network.name));
                points.push((x, lane.area.y + PADDING + height));
            }
            End::Everybody(_) => {
                let text = "every container".to_owned();
                let width = text_width(&text, 11) + 20;
                drawing.pills.push(Pill {
                    area: Area {
                        x: x - width,
                        y: track - PILL / 2,
                        width,
                        height: PILL,
                    },
                    text,
                    kind: Kind::Rule,
                });
            }
            End::Outside => {}
        }
    }

    /// Straight up from the first card of a column, or from the lane through the margin's edge.
    fn rules_to_the_outside(&self, drawing: &mut Drawing<'_>) {
        let mut count = BTreeMap::new();
        for link in self.links.iter().filter(|link| link.to == End::Outside) {
            let nth = count
                .entry(link.from)
                .and_modify(|count| *count += 1)
                .or_insert(0);
            let (x, y) = match link.from {
                End::Card { node, .. } => {
                    let Some(node) = self.nodes.get(node) else {
                        continue;
                    };
                    let Some(lane) = node.lanes.first().and_then(|lane| drawing.lanes.get(*lane)) else {
                        continue;
                    };
                    (node.x + node.width - 16 - 14 * *nth, lane.area.y + PADDING)
                }
                End::Everybody(lane) => {
                    let Some(lane) = drawing.lanes.get(lane) else {
                        continue;
                    };
                    (lane.area.x + HEADER - 24 - 14 * *nth, lane.area.y)
                }
                End::Outside => continue,
            };
            let (top, label) = (
                drawing.outside.bottom(),
                drawing.outside.bottom() + 18 + 14 * *nth,
            );
            let offset = text_width(&link.label, 11) / 2 + 8;
            drawing.arrows.push(Arrow {
                points: vec![(x, y), (x, top)],
                kind: Kind::Rule,
                label: Some((x + offset, label, link.label.clone())),
            });
        }
    }
}
