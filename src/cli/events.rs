//! `minirun events`.

use std::os::fd::AsFd as _;

use super::container_events::{self, Interval};
use super::follow;
use super::when::When;
use crate::container::events::{self, Event, Subject};
use crate::container::store::Store;
use crate::error::{Error, Result};
use crate::spec::id::Id;
use crate::tail::{Tail, Watch};

/// Show what happens to containers and networks, or one container's statistics
///
/// Without an id: what happens to all, as it happens. It is recorded from the first time that anybody asks for it, here or
/// by a stack. With an id, as in runc: one container's statistics again and again, and when the kernel kills a process of
/// it for want of memory, as lines of JSON until it ends.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container whose statistics to show
    id: Option<Id>,
    /// How often statistics are shown: 5s, 100ms, 1m30s
    #[arg(long, value_name = "DURATION", default_value = "5s", requires = "id")]
    interval: Interval,
    /// Show the statistics once and end
    #[arg(long, requires = "id")]
    stats: bool,
    /// Begin with those since then: 2026-01-02T03:04:05Z, seconds since 1970, or how long ago (10m)
    #[arg(long, value_name = "TIME", conflicts_with = "id")]
    since: Option<When>,
    /// End then; in the past: show and end
    #[arg(long, value_name = "TIME", conflicts_with = "id")]
    until: Option<When>,
    /// Only events of this kind: type=container|network, action=NAME, container=ID, network=NAME, label=NAME[=VALUE]
    ///
    /// Of several of one kind one has to match, of different kinds all.
    #[arg(
        short,
        long,
        value_name = "KEY=VALUE",
        allow_hyphen_values = true,
        conflicts_with = "id"
    )]
    filter: Vec<Filter>,
    /// Shape of the lines
    #[arg(long, default_value = "text", conflicts_with = "id")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// What an event has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Type(Subject),
    /// As JSON has it.
    Action(String),
    Container(String),
    Network(String),
    /// Name, and value if it matters.
    Label(String, Option<String>),
}

impl std::str::FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Filter> {
        let wrong = |why: &str| Err(Error::invalid(format_args!("--filter {text:?}"), why));
        let Some((key, value)) = text.split_once('=').filter(|(_, value)| !value.is_empty()) else {
            return wrong("is not KEY=VALUE");
        };
        Ok(match key {
            "type" => match value {
                "container" => Filter::Type(Subject::Container),
                "network" => Filter::Type(Subject::Network),
                _ => return wrong("type is container or network"),
            },
            "action" | "event" => {
                let known = serde_json::from_value::<events::Action>(value.into()).is_ok();
                if !known {
                    return wrong(
                        "there is no such action; these are create, start, kill, pause, unpause, die, oom, delete, \
                         health_status, connect and disconnect",
                    );
                }
                Filter::Action(value.to_owned())
            }
            "container" | "id" => Filter::Container(value.to_owned()),
            "network" => Filter::Network(value.to_owned()),
            "label" => match value.split_once('=') {
                Some((name, value)) => Filter::Label(name.to_owned(), Some(value.to_owned())),
                None => Filter::Label(value.to_owned(), None),
            },
            _ => return wrong("filters are type, action, container, network and label"),
        })
    }
}

impl Filter {
    fn matches(&self, event: &Event) -> bool {
        let attribute = |name: &str| event.attributes.get(name).map(String::as_str);
        match self {
            Filter::Type(subject) => event.subject == *subject,
            Filter::Action(action) => action_name(event) == *action,
            Filter::Container(id) => match event.subject {
                Subject::Container => event.id == *id,
                Subject::Network => attribute("container") == Some(id),
            },
            Filter::Network(name) => event.subject == Subject::Network && event.id == *name,
            Filter::Label(name, value) => {
                attribute(name).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
        }
    }
}

/// Whether the event is wanted: of the filters of each kind one has to match.
fn is_wanted(filters: &[Filter], event: &Event) -> bool {
    filters.iter().all(|filter| {
        let kind = std::mem::discriminant(filter);
        let mut same = filters
            .iter()
            .filter(|other| std::mem::discriminant(*other) == kind);
        // Labels are of different kinds when they have different names.
        match filter {
            Filter::Label(name, _) => {
                same.any(|other| matches!(other, Filter::Label(n, _) if n == name) && other.matches(event))
            }
            _ => same.any(|other| other.matches(event)),
        }
    })
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    if let Some(id) = &args.id {
        return container_events::run(store, id, args.interval, args.stats);
    }
    show(store, args.since, args.until, &args.filter, args.format).map(|()| 0)
}

/// Prints events until `until`, or for ever.
pub(super) fn show(
    store: &Store,
    since: Option<When>,
    until: Option<When>,
    filters: &[Filter],
    format: Format,
) -> Result<()> {
    events::begin(store.root())?;
    let path = events::path(store.root());
    let watch = Watch::directory(store.root())?;
    // Those that happen from now on, unless older ones are asked for.
    let mut tail = Tail::open(&path, since.is_none().then_some(0))?;
    let (since, end) = (since.map(When::text), until.map(When::text));
    loop {
        let mut out = Vec::new();
        while let Some(line) = tail.next_line()? {
            // A later version may know more actions.
            let Ok(event) = serde_json::from_slice::<Event>(&line) else {
                continue;
            };
            let is_early = since.as_ref().is_some_and(|since| event.time < *since);
            let is_late = end.as_ref().is_some_and(|end| event.time >= *end);
            if is_early || is_late || !is_wanted(filters, &event) {
                continue;
            }
            match format {
                Format::Text => out.extend(text(&event).as_bytes()),
                Format::Json => out.extend(line),
            }
            out.push(b'\n');
        }
        if follow::print(&out)?.is_break() {
            return Ok(());
        }
        let remaining = until.map(When::remaining);
        if remaining.is_some_and(|remaining| remaining.is_zero())
            || follow::wait(&[watch.as_fd()], remaining)?.is_break()
        {
            return Ok(());
        }
        if !watch.drain()? {
            return Ok(());
        }
    }
}

/// `2026-01-02T03:04:05.000000006Z container start web (minirun.network=default)`
fn text(event: &Event) -> String {
    let subject = match event.subject {
        Subject::Container => "container",
        Subject::Network => "network",
    };
    let mut text = format!("{} {subject} {} {}", event.time, action_name(event), event.id);
    if !event.attributes.is_empty() {
        let attributes = event
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        text += &format!(" ({})", attributes.collect::<Vec<_>>().join(", "));
    }
    // What a container calls itself must not steer a terminal.
    text.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

fn action_name(event: &Event) -> String {
    let name = serde_json::to_value(event.action).ok();
    name.as_ref()
        .and_then(|name| name.as_str())
        .unwrap_or_default()
        .to_owned()
}
