//! The map as a picture: plain SVG 1.1 without scripts, fonts or anything else from elsewhere.

use std::fmt::Write as _;

use super::Topology;
use super::layout::{Area, Arrow, Card, Drawing, Kind, Lane, Pill, text_width};

/// Fill and border of lanes, in turn.
const LANES: [(&str, &str); 5] = [
    ("#eef4fb", "#a9c3e0"),
    ("#eef8f1", "#a8d0b5"),
    ("#fdf5ea", "#e2c79c"),
    ("#f6f0fa", "#c9b3da"),
    ("#eff6f6", "#a9cccc"),
];

const STYLE: &str = "text { font-family: system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; \
    font-size: 12px; fill: #22303c; }\n\
    .name { font-size: 16px; font-weight: 600; } .title { font-size: 13px; font-weight: 600; }\n\
    .address { font-family: ui-monospace, 'SF Mono', Menlo, 'DejaVu Sans Mono', monospace; font-size: 11px; fill: #51606d; }\n\
    .small { font-size: 11px; fill: #51606d; } .white { fill: #ffffff; }\n\
    .label { font-size: 11px; paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; }\n\
    .arrow { fill: none; stroke-width: 1.6; stroke-linejoin: round; }\n";

impl Topology {
    /// A document that a browser shows by itself.
    pub fn svg(&self) -> String {
        let drawing = Drawing::new(self);
        let mut svg = Svg(String::new());
        let (width, height) = (drawing.width, drawing.height);
        svg.line(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">"
        ));
        svg.line(format_args!("<title>Networks of this host</title>"));
        svg.line(format_args!("<style>\n{STYLE}</style>"));
        svg.line(format_args!("<defs>"));
        for kind in [Kind::Published, Kind::Rule, Kind::Open] {
            svg.line(format_args!(
                "<marker id=\"{}\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" \
                 orient=\"auto\"><path d=\"M0 0 10 5 0 10z\" fill=\"{}\"/></marker>",
                marker(kind),
                color(kind)
            ));
        }
        svg.line(format_args!("</defs>"));
        svg.line(format_args!(
            "<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>"
        ));
        let x = drawing
            .lanes
            .first()
            .map_or(drawing.outside.x, |lane| lane.area.x)
            + 18;
        svg.band(&drawing.outside, x, "outside", "#34495e");
        svg.band(&drawing.host, x, "this host", "#5d7387");
        for (index, lane) in drawing.lanes.iter().enumerate() {
            svg.lane(lane, index);
        }
        for stem in &drawing.stems {
            svg.rect(stem, 0, "fill=\"#c3ced8\"");
        }
        for arrow in &drawing.arrows {
            svg.arrow(arrow);
        }
        for card in &drawing.cards {
            svg.card(card);
        }
        for pill in &drawing.pills {
            svg.pill(pill);
        }
        // Above all that they might touch.
        for arrow in &drawing.arrows {
            if let Some((x, y, text)) = &arrow.label {
                let color = color(arrow.kind);
                svg.text(
                    *x,
                    *y,
                    "label",
                    &format!("text-anchor=\"middle\" style=\"fill: {color}\""),
                    text,
                );
            }
        }
        svg.legend(&drawing);
        svg.line(format_args!("</svg>"));
        svg.0
    }
}

struct Svg(String);

impl Svg {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn rect(&mut self, area: &Area, radius: i32, paint: &str) {
        let Area { x, y, width, height } = area;
        self.line(format_args!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{radius}\" {paint}/>"
        ));
    }

    fn text(&mut self, x: i32, y: i32, class: &str, more: &str, text: &str) {
        let space = if more.is_empty() { "" } else { " " };
        self.line(format_args!(
            "<text x=\"{x}\" y=\"{y}\" class=\"{class}\"{space}{more}>{}</text>",
            escaped(text)
        ));
    }

    fn band(&mut self, area: &Area, x: i32, name: &str, fill: &str) {
        self.rect(area, 8, &format!("fill=\"{fill}\""));
        self.text(x, area.y + 25, "title white", "", name);
    }

    fn lane(&mut self, lane: &Lane<'_>, index: usize) {
        let (fill, border) = LANES.get(index % LANES.len()).copied().unwrap_or_default();
        let network = lane.network;
        let dashes = if network.internal {
            " stroke-dasharray=\"7 5\""
        } else {
            ""
        };
        let paint = format!("fill=\"{fill}\" stroke=\"{border}\" stroke-width=\"1.5\"{dashes}");
        self.rect(&lane.area, 12, &paint);
        let (x, mut y) = (lane.area.x + 18, lane.area.y + 32);
        self.text(x, y, "name", "", &network.name);
        for subnet in &network.subnets {
            y += 18;
            self.text(x, y, "address", "", subnet);
        }
        for gateway in &network.gateways {
            y += 16;
            self.text(x, y, "small", "", &format!("gateway {gateway}"));
        }
        y += 10;
        for remark in network.remarks() {
            let area = Area {
                x,
                y,
                width: text_width(remark, 11) + 18,
                height: 20,
            };
            self.rect(&area, 10, &format!("fill=\"#ffffff\" stroke=\"{border}\""));
            self.text(
                x + area.width / 2,
                y + 14,
                "small",
                "text-anchor=\"middle\"",
                remark,
            );
            y += 26;
        }
    }

    fn card(&mut self, card: &Card) {
        let paint = match card.stale {
            true => "fill=\"#f4f4f4\" stroke=\"#b9b9b9\" stroke-dasharray=\"4 3\"",
            false => "fill=\"#ffffff\" stroke=\"#8fa3b5\" stroke-width=\"1.2\"",
        };
        if card.stacked {
            for offset in [8, 4] {
                let behind = Area {
                    x: card.area.x + offset,
                    y: card.area.y - offset,
                    ..card.area
                };
                self.rect(&behind, 8, paint);
            }
        }
        self.line(format_args!("<g><title>{}</title>", escaped(&card.name)));
        self.rect(&card.area, 8, paint);
        let (x, mut y) = (card.area.x + 14, card.area.y + 22);
        self.text(x, y, "title", "", &card.title);
        for line in &card.lines {
            y += 16;
            self.text(x, y, "address", "", line);
        }
        self.line(format_args!("</g>"));
    }

    fn pill(&mut self, pill: &Pill) {
        let color = color(pill.kind);
        let paint = format!("fill=\"#ffffff\" stroke=\"{color}\" stroke-width=\"1.5\"");
        self.rect(&pill.area, pill.area.height / 2, &paint);
        self.text(
            pill.area.x + pill.area.width / 2,
            pill.area.y + 15,
            "small",
            &format!("text-anchor=\"middle\" style=\"fill: {color}\""),
            &pill.text,
        );
    }

    fn arrow(&mut self, arrow: &Arrow) {
        let points: Vec<String> = arrow.points.iter().map(|(x, y)| format!("{x} {y}")).collect();
        self.line(format_args!(
            "<polyline class=\"arrow\" points=\"{}\" stroke=\"{}\" marker-end=\"url(#{})\"/>",
            points.join(" "),
            color(arrow.kind),
            marker(arrow.kind)
        ));
    }

    fn legend(&mut self, drawing: &Drawing<'_>) {
        let (mut x, y) = (drawing.outside.x, drawing.height - 20);
        for (kind, text) in [
            (Kind::Published, "published port"),
            (Kind::Rule, "allowed by a rule"),
            (Kind::Open, "whole network: way out, or to the host"),
        ] {
            self.arrow(&Arrow {
                points: vec![(x, y - 4), (x + 30, y - 4)],
                kind,
                label: None,
            });
            self.text(x + 38, y, "small", "", text);
            x += 38 + text_width(text, 11) + 24;
        }
    }
}

fn color(kind: Kind) -> &'static str {
    match kind {
        Kind::Published => "#1e8449",
        Kind::Rule => "#2563a8",
        Kind::Open => "#8a97a3",
    }
}

fn marker(kind: Kind) -> &'static str {
    match kind {
        Kind::Published => "published",
        Kind::Rule => "rule",
        Kind::Open => "open",
    }
}

/// Text for between tags; characters that XML 1.0 does not allow become U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
