//! `minirun logs`, and what shows the logs of a stack: `compose logs` and `compose up`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::follow;
use super::when::When;
use crate::compose::journal::{self, Entry, Reader, Selection};
use crate::container::store::Store;
use crate::error::{Error, Kind, Result};
use crate::spec::id::Id;
use crate::tail::Watch;

/// Show what a container of a stack has written
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container's id
    id: Id,
    #[command(flatten)]
    which: Which,
}

/// Which lines, and what of them.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Which {
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Only so many of each container's last lines, or all
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    tail: Lines,
    /// Only lines since then: 2026-01-02T03:04:05Z, seconds since 1970, or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only lines before then
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    until: Option<When>,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
}

/// How many lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lines(Option<usize>);

impl std::str::FromStr for Lines {
    type Err = Error;

    fn from_str(text: &str) -> Result<Lines> {
        match text {
            "all" => Ok(Lines(None)),
            number => number.parse().map(|count| Lines(Some(count))).map_err(|_| {
                Error::invalid(
                    format_args!("--tail {text:?}"),
                    "is neither a number of lines nor all",
                )
            }),
        }
    }
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    let (_, record) = store.read(&args.id)?;
    let Some(project) = record.annotations.get("minirun.compose.project") else {
        return Err(Error::new(
            Kind::NotFound,
            format_args!(
                "container {} is of no stack, so nobody keeps what it writes",
                args.id
            ),
        )
        .hint("its output went where the standard output of `minirun run` or `create` went"));
    };
    let id = args.id.to_string();
    let style = Style {
        timestamps: args.which.timestamps,
        ..Style::default()
    };
    let wanted = |container: &str| container == id;
    let mut logs = Logs::open(
        &journal::directory(project),
        &args.which.selection(),
        style,
        &wanted,
    )?;
    logs.show(args.which.follow).map(|()| 0)
}

impl Which {
    pub(super) fn selection(&self) -> Selection {
        let Lines(last) = self.tail;
        Selection {
            last,
            since: self.since.map(When::text),
            until: self.until.map(When::text),
        }
    }

    pub(super) fn follow(&self) -> bool {
        self.follow
    }

    pub(super) fn timestamps(&self) -> bool {
        self.timestamps
    }
}

/// How lines are shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Style {
    /// Each with its time.
    pub(super) timestamps: bool,
    /// Each after the replica's name, which is the container's id without this project's.
    pub(super) prefix: Option<String>,
    /// That name in a colour of the service.
    pub(super) colour: bool,
}

/// Whether standard output shows colours: <https://no-color.org>.
pub(super) fn wants_colour(no_colour: bool) -> bool {
    let is_unset = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    !no_colour && is_unset && std::io::stdout().is_terminal()
}

/// The logs in one directory.
pub(super) struct Logs<'a> {
    directory: PathBuf,
    wanted: &'a dyn Fn(&str) -> bool,
    reader: Reader,
    printer: Printer,
    watch: Option<Watch>,
}

impl<'a> Logs<'a> {
    /// Begins with what the selection leaves of what is there.
    ///
    /// # Errors
    /// Those of reading files.
    pub(super) fn open(
        directory: &Path,
        selection: &Selection,
        style: Style,
        wanted: &'a dyn Fn(&str) -> bool,
    ) -> Result<Logs<'a>> {
        let mut logs = Logs {
            directory: directory.to_owned(),
            wanted,
            reader: Reader::new(selection.clone()),
            printer: Printer::new(style),
            // Before the files are read, so that nothing is missed.
            watch: match directory.exists() {
                true => Some(Watch::directory(directory)?),
                false => None,
            },
        };
        logs.discover()?;
        // A container that comes later is read from its beginning.
        logs.reader.follow();
        Ok(logs)
    }

    /// Shows what is there, and what comes, as long as the directory is there and somebody reads.
    ///
    /// # Errors
    /// Those of reading files and of writing to standard output.
    pub(super) fn show(&mut self, follow: bool) -> Result<()> {
        let mut goes_on = self.step()?;
        while follow && goes_on.is_continue() {
            let Some(source) = self.source() else {
                return Ok(());
            };
            if follow::wait(&[source], None)?.is_break() {
                return Ok(());
            }
            goes_on = self.woken()?;
        }
        Ok(())
    }

    /// For who waits for more than logs: readable when [`Logs::woken`] has something to do.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(Watch::as_fd)
    }

    /// Shows what has come.
    ///
    /// # Errors
    /// As [`Logs::show`].
    pub(super) fn woken(&mut self) -> Result<ControlFlow<()>> {
        if let Some(watch) = &self.watch
            && !watch.drain()?
        {
            return Ok(ControlFlow::Break(()));
        }
        self.discover()?;
        let goes_on = self.step()?;
        // The stack was taken down. The kernel does not tell of the directory's end while we have its files open.
        Ok(match self.reader.is_gone() {
            true => ControlFlow::Break(()),
            false => goes_on,
        })
    }

    /// Takes in the logs of containers that have come.
    fn discover(&mut self) -> Result<()> {
        for (container, path) in journal::logs_in(&self.directory)? {
            if (self.wanted)(&container) {
                self.reader.add(&container, &path)?;
                self.printer.expect(&container);
            }
        }
        Ok(())
    }

    /// Prints all that is there.
    fn step(&mut self) -> Result<ControlFlow<()>> {
        /// Bytes that are collected for one write.
        const BATCH: usize = 64 * 1024;
        let mut out = Vec::new();
        while let Some(entry) = self.reader.next_entry()? {
            self.printer.print(&entry, &mut out);
            if out.len() >= BATCH {
                if follow::print(&out)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                out.clear();
            }
        }
        follow::print(&out)
    }
}

/// Entries as lines for people.
struct Printer {
    style: Style,
    /// Of the widest replica's name so far.
    width: usize,
    /// By service, in the order of their coming.
    colours: BTreeMap<String, usize>,
}

impl Printer {
    fn new(style: Style) -> Printer {
        Printer {
            style,
            width: 0,
            colours: BTreeMap::new(),
        }
    }

    /// Makes room for the name of a container.
    fn expect(&mut self, container: &str) {
        if let Some(project) = &self.style.prefix {
            self.width = self.width.max(replica(project, container).chars().count());
        }
    }

    fn print(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        /// Cyan, yellow, green, magenta, blue, and the same in bright (ECMA-48, SGR).
        const COLOURS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];
        if let Some(project) = &self.style.prefix {
            let replica = replica(project, &entry.container);
            let name = format!("{replica:width$}  | ", width = self.width);
            if self.style.colour {
                let next = self.colours.len();
                let service = service(project, &entry.container).to_owned();
                let index = *self.colours.entry(service).or_insert(next);
                let colour = COLOURS.get(index % COLOURS.len()).copied().unwrap_or_default();
                out.extend(format!("\x1b[{colour}m{name}\x1b[0m").as_bytes());
            } else {
                out.extend(name.as_bytes());
            }
        }
        if self.style.timestamps {
            out.extend(entry.time.as_bytes());
            out.push(b' ');
        }
        out.extend(&entry.text);
        out.push(b'\n');
    }
}

/// `web-1` of `shop-web-1`.
fn replica<'c>(project: &str, container: &'c str) -> &'c str {
    let rest = container
        .strip_prefix(project)
        .and_then(|rest| rest.strip_prefix('-'));
    rest.unwrap_or(container)
}

/// `web` of `shop-web-1`.
pub(super) fn service<'c>(project: &str, container: &'c str) -> &'c str {
    let replica = replica(project, container);
    match replica.rsplit_once('-') {
        Some((service, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => service,
        _ => replica,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::journal::Stream;

    fn entry(container: &str, text: &str) -> Entry {
        Entry {
            container: container.to_owned(),
            time: "2026-01-02T03:04:05.000000006Z".to_owned(),
            stream: Stream::Stdout,
            text: text.into(),
        }
    }

    fn printed(style: Style, entries: &[Entry]) -> String {
        let mut printer = Printer::new(style);
        for entry in entries {
            printer.expect(&entry.container);
        }
        let mut out = Vec::new();
        for entry in entries {
            printer.print(entry, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replicas_names_stand_before_their_lines_as_wide_as_the_widest() {
        let entries = [
            entry("shop-web-1", "one"),
            entry("shop-product-service-12", "two"),
        ];
        let style = Style {
            prefix: Some("shop".to_owned()),
            ..Style::default()
        };
        assert_eq!(
            printed(style, &entries),
            "web-1               | one\nproduct-service-12  | two\n"
        );
        assert_eq!(printed(Style::default(), &entries), "one\ntwo\n");
        let style = Style {
            timestamps: true,
            ..Style::default()
        };
        assert!(printed(style, &entries).starts_with("2026-01-02T03:04:05.000000006Z one\n"));
    }

    #[test]
    fn replicas_of_one_service_have_one_colour_and_services_different_ones() {
        let entries = ["shop-web-1", "shop-db-1", "shop-web-2"].map(|id| entry(id, "x"));
        let style = Style {
            prefix: Some("shop".to_owned()),
            colour: true,
            ..Style::default()
        };
        let shown = printed(style, &entries);
        let colours: Vec<&str> = shown.lines().map(|line| &line[..5]).collect();
        assert_eq!(colours, ["\x1b[36m", "\x1b[33m", "\x1b[36m"]);
    }

    #[test]
    fn a_containers_service_is_what_is_between_project_and_number() {
        assert_eq!(service("shop", "shop-product-service-12"), "product-service");
        assert_eq!(service("my-shop", "my-shop-db-1"), "db");
        assert_eq!(service("shop", "other"), "other");
    }
}
