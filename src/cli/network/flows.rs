//! `minirun network flows`.

use std::collections::BTreeMap;

use super::Format;
use crate::cli::table;
use crate::error::{Error, Kind, Result};
use crate::net::flows::{End, Flow, State, Who};
use crate::net::{self, Dirs, observe};

/// Show who talks to whom now
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only connections of this container
    id: Option<String>,
    /// With connections that are over and wait for late packets only
    #[arg(short, long)]
    all: bool,
    /// Shape of the list: a line for all connections of the same kind, or a JSON array with every one
    #[arg(short, long, default_value = "table")]
    format: Format,
}

pub(super) fn run(dirs: &Dirs, args: &Args) -> Result<()> {
    if let Some(id) = &args.id {
        check_joined(dirs, id)?;
    }
    let mut flows = observe::flows(dirs)?;
    flows.retain(|flow| {
        (args.all || !flow.state.is_over())
            && (args.id.as_ref()).is_none_or(|id| [&flow.from, &flow.to].iter().any(|end| is(end, id)))
    });
    match args.format {
        Format::Json => println!("{:#}", serde_json::json!(flows)),
        Format::Table => table::print(
            [
                "FROM",
                "ADDRESS",
                "TO",
                "ADDRESS",
                "PORT",
                "VIA",
                "STATE",
                "CONNECTIONS",
                "SENT",
                "RECEIVED",
            ],
            rows(&flows),
        ),
    }
    Ok(())
}

/// An empty list would say that a mistyped container is silent.
fn check_joined(dirs: &Dirs, id: &str) -> Result<()> {
    let networks = net::list(dirs)?;
    let mut members = networks.iter().flat_map(|network| &network.containers);
    match members.any(|member| member.container == id) {
        true => Ok(()),
        false => Err(
            Error::new(Kind::NotFound, format_args!("container {id} is on no network"))
                .hint("minirun network topology shows who is"),
        ),
    }
}

fn is(end: &End, id: &str) -> bool {
    matches!(&end.who, Who::Container { container, .. } if container == id)
}

/// What connections of one line have in common: everything but the caller's port.
type Line = ([String; 6], State);

/// One line for all connections of the same kind: a busy server has thousands.
fn rows(flows: &[Flow]) -> Vec<[String; 10]> {
    let mut lines: BTreeMap<Line, Vec<&Flow>> = BTreeMap::new();
    for flow in flows {
        lines.entry(line(flow)).or_default().push(flow);
    }
    lines
        .into_iter()
        .map(|(([from, at, to, there, port, via], state), flows)| {
            let sum = |of: fn(&Flow) -> Option<u64>| {
                let known: Vec<u64> = flows.iter().filter_map(|flow| of(flow)).collect();
                match known.is_empty() {
                    true => "-".to_owned(),
                    false => known.iter().sum::<u64>().to_string(),
                }
            };
            let sent = sum(|flow| flow.sent.map(|sent| sent.bytes));
            let received = sum(|flow| flow.received.map(|received| received.bytes));
            let count = flows.len().to_string();
            [
                from,
                at,
                to,
                there,
                port,
                via,
                state.to_string(),
                count,
                sent,
                received,
            ]
        })
        .collect()
}

fn line(flow: &Flow) -> Line {
    let port = match flow.to.port {
        Some(port) => format!("{port}/{}", flow.protocol),
        None => flow.protocol.clone(),
    };
    let texts = [
        flow.from.who.to_string(),
        flow.from.address.to_string(),
        flow.to.who.to_string(),
        flow.to.address.to_string(),
        port,
        flow.via.map_or_else(|| "-".to_owned(), |via| via.to_string()),
    ];
    (texts, flow.state)
}
