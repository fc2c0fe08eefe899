//! `minirun stats`: a table that is kept up to date, lines of JSON, or a page for Prometheus.

mod metrics;
mod server;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{follow, table};
use crate::container::store::Store;
use crate::container::usage::{Usage, usage};
use crate::error::{Error, OsContext as _, Result};
use crate::log::Rfc3339;
use crate::spec::id::Id;

/// How often the numbers are read.
const INTERVAL: Duration = Duration::from_secs(1);

/// Show what containers use
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these containers; all that run otherwise
    ids: Vec<Id>,
    #[command(flatten)]
    show: Show,
}

/// How it is shown.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Show it once; the processor's share is that of one second
    #[arg(long)]
    no_stream: bool,
    /// A table, or an object for each container and second
    #[arg(long, default_value = "table")]
    format: Format,
    /// Serve the numbers at http://ADDRESS/metrics in the text format of Prometheus
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["no_stream", "format"])]
    metrics: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    for id in &args.ids {
        store.read(id)?;
    }
    let all = || match args.ids.as_slice() {
        [] => store.ids(),
        ids => Ok(ids.to_vec()),
    };
    show(store, &args.show, all).map(|()| 0)
}

/// Shows what the containers that `ids` lists each time use, until nobody wants to know.
pub(super) fn show(store: &Store, how: &Show, ids: impl Fn() -> Result<Vec<Id>>) -> Result<()> {
    let read = || usage(store, &ids()?);
    if let Some(address) = how.metrics {
        return server::serve(address, || read().map(|all| metrics::page(&all)));
    }
    let host_memory = host_memory()?;
    let mut earlier = read()?;
    loop {
        // A share of the processor needs two readings.
        if wait(INTERVAL)?.is_break() {
            return Ok(());
        }
        let now = read()?;
        let rows: Vec<Row<'_>> = now
            .iter()
            .map(|usage| {
                let before = earlier.iter().find(|before| before.id == usage.id);
                Row {
                    usage,
                    processors: before.and_then(|before| usage.processors_since(before)),
                    memory_limit: usage.memory_limit().unwrap_or(host_memory),
                }
            })
            .collect();
        let text = match how.format {
            Format::Json => rows.iter().map(|row| row.json().to_string() + "\n").collect(),
            Format::Table => {
                // From the top of the terminal, over what was there.
                let is_live = !how.no_stream && std::io::stdout().is_terminal();
                let clear = if is_live { "\x1b[H\x1b[J" } else { "" };
                format!("{clear}{}", table::text(HEADING, rows.iter().map(Row::cells)))
            }
        };
        if follow::print(text.as_bytes())?.is_break() || how.no_stream {
            return Ok(());
        }
        earlier = now;
    }
}

/// Waits for so long, or until nobody reads the output any more.
fn wait(time: Duration) -> Result<std::ops::ControlFlow<()>> {
    let end = Instant::now() + time;
    loop {
        let remaining = end.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Ok(std::ops::ControlFlow::Continue(()));
        }
        if follow::wait(&[], Some(remaining))?.is_break() {
            return Ok(std::ops::ControlFlow::Break(()));
        }
    }
}

const HEADING: [&str; 7] = [
    "CONTAINER",
    "CPU %",
    "MEM USAGE / LIMIT",
    "MEM %",
    "NET I/O",
    "BLOCK I/O",
    "PIDS",
];

/// What is shown of a container.
struct Row<'a> {
    usage: &'a Usage,
    /// In use since the last reading, if there was one.
    processors: Option<f64>,
    /// Bytes; the host's memory when there is no limit.
    memory_limit: u64,
}

impl Row<'_> {
    fn memory_percent(&self) -> f64 {
        self.usage.memory() as f64 * 100.0 / self.memory_limit as f64
    }

    fn cells(&self) -> [String; 7] {
        let (received, sent) = self.usage.network();
        let (read, written) = self.usage.block_io();
        [
            self.usage.id.to_string(),
            match self.processors {
                Some(processors) => format!("{:.2}%", processors * 100.0),
                None => "--".to_owned(),
            },
            format!("{} / {}", binary(self.usage.memory()), binary(self.memory_limit)),
            format!("{:.2}%", self.memory_percent()),
            format!("{} / {}", decimal(received), decimal(sent)),
            format!("{} / {}", decimal(read), decimal(written)),
            self.usage.statistics.pids.current.to_string(),
        ]
    }

    /// Numbers in base units: seconds, bytes, percent of one processor.
    fn json(&self) -> serde_json::Value {
        let Usage { statistics, .. } = self.usage;
        let (received, sent) = self.usage.network();
        let (read, written) = self.usage.block_io();
        json!({
            "time": Rfc3339(self.usage.time).to_string(),
            "id": self.usage.id,
            "cpu": {
                "percent": self.processors.map(|processors| processors * 100.0),
                "seconds": seconds(statistics.cpu.usage.total),
                "throttledSeconds": seconds(statistics.cpu.throttling.throttled_time),
            },
            "memory": {
                "bytes": self.usage.memory(),
                "limitBytes": self.usage.memory_limit(),
                "percent": self.memory_percent(),
            },
            "network": {"receivedBytes": received, "sentBytes": sent},
            "blockIo": {"readBytes": read, "writtenBytes": written},
            "pids": statistics.pids.current,
        })
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// `12.3MiB`: memory, as `docker stats` shows it.
fn binary(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// `1.2MB`: traffic, as `docker stats` shows it.
fn decimal(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB"])
}

/// At most four digits.
fn scaled(bytes: u64, step: f64, units: &[&str]) -> String {
    let mut number = bytes as f64;
    let mut units = units.iter().peekable();
    while let Some(unit) = units.next() {
        if number < step || units.peek().is_none() {
            let decimals = match number {
                _ if number.fract() == 0.0 => 0,
                ..10.0 => 2,
                ..100.0 => 1,
                _ => 0,
            };
            return format!("{number:.decimals$}{unit}");
        }
        number /= step;
    }
    bytes.to_string()
}

/// Bytes.
fn host_memory() -> Result<u64> {
    const PATH: &str = "/proc/meminfo";
    let text = std::fs::read_to_string(PATH).os("read", PATH)?;
    let kilobytes = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()
    });
    kilobytes
        .map(|kilobytes: u64| kilobytes * 1024)
        .ok_or_else(|| Error::invalid(PATH, "has no MemTotal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_unit_that_people_read_best() {
        for (bytes, expected) in [
            (0, "0B"),
            (999, "999B"),
            (1024, "1KiB"),
            (1536, "1.50KiB"),
            (13_000_000, "12.4MiB"),
            (300_000_000, "286MiB"),
            (64 << 30, "64GiB"),
            (u64::MAX, "16777216TiB"),
        ] {
            assert_eq!(binary(bytes), expected, "{bytes}");
        }
        assert_eq!(decimal(1_234_567), "1.23MB");
        assert_eq!(decimal(1_000), "1kB");
    }
}
