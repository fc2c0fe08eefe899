//! Containers' numbers in the text format of Prometheus (<https://prometheus.io/docs/instrumenting/exposition_formats/>):
//! base units, `_total` for what only grows, one block a metric.

use std::fmt::Write as _;

use crate::container::usage::Usage;
use crate::net::Traffic;

/// The whole page.
pub(super) fn page(containers: &[Usage]) -> String {
    let mut page = Page(String::new());
    page.metric(
        "minirun_containers",
        "gauge",
        "Containers that run or are created.",
    );
    page.line("minirun_containers", "", containers.len());

    let counters: [Metric; 4] = [
        ("cpu_seconds_total", "Processor time used.", |usage| {
            Some(super::seconds(usage.statistics.cpu.usage.total))
        }),
        (
            "cpu_periods_total",
            "Periods in which the processor quota counted.",
            |usage| Some(usage.statistics.cpu.throttling.periods as f64),
        ),
        (
            "cpu_throttled_periods_total",
            "Periods in which the quota was used up.",
            |usage| Some(usage.statistics.cpu.throttling.throttled_periods as f64),
        ),
        (
            "cpu_throttled_seconds_total",
            "Time for which the quota stopped the container.",
            |usage| Some(super::seconds(usage.statistics.cpu.throttling.throttled_time)),
        ),
    ];
    let gauges: [Metric; 4] = [
        (
            "memory_bytes",
            "Memory in use, without page cache that is not.",
            |usage| Some(usage.memory() as f64),
        ),
        (
            "memory_limit_bytes",
            "Limit of memory, where there is one.",
            |usage| usage.memory_limit().map(|limit| limit as f64),
        ),
        ("pids", "Processes and threads.", |usage| {
            Some(usage.statistics.pids.current as f64)
        }),
        (
            "pids_limit",
            "Limit of processes and threads, where there is one.",
            |usage| {
                let limit = usage.statistics.pids.limit;
                (limit > 0).then_some(limit as f64)
            },
        ),
    ];
    for (kind, metrics) in [("counter", counters), ("gauge", gauges)] {
        for (name, help, value) in metrics {
            page.of_containers(name, kind, help, containers, |usage, add| {
                if let Some(value) = value(usage) {
                    add("", value);
                }
            });
        }
    }

    let block_io = "Bytes read from and written to block devices.";
    page.of_containers(
        "blkio_bytes_total",
        "counter",
        block_io,
        containers,
        |usage, add| {
            let (read, written) = usage.block_io();
            add(",operation=\"read\"", read as f64);
            add(",operation=\"write\"", written as f64);
        },
    );

    let network: [Meter; 6] = [
        ("receive_bytes_total", "Bytes received.", |traffic| {
            traffic.received.bytes
        }),
        ("receive_packets_total", "Packets received.", |traffic| {
            traffic.received.packets
        }),
        (
            "receive_dropped_total",
            "Packets lost on their way in.",
            |traffic| traffic.received.dropped,
        ),
        ("transmit_bytes_total", "Bytes sent.", |traffic| {
            traffic.sent.bytes
        }),
        ("transmit_packets_total", "Packets sent.", |traffic| {
            traffic.sent.packets
        }),
        (
            "transmit_dropped_total",
            "Packets lost on their way out.",
            |traffic| traffic.sent.dropped,
        ),
    ];
    for (name, help, value) in network {
        let name = format!("network_{name}");
        page.of_containers(&name, "counter", help, containers, |usage, add| {
            for (interface, traffic) in &usage.traffic {
                add(
                    &format!(",interface=\"{}\"", escaped(interface)),
                    value(traffic) as f64,
                );
            }
        });
    }
    page.0
}

/// The end of its name, what it is, and its value where there is one.
type Metric = (&'static str, &'static str, fn(&Usage) -> Option<f64>);

/// As [`Metric`], of one interface.
type Meter = (&'static str, &'static str, fn(&Traffic) -> u64);

struct Page(String);

impl Page {
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // A String takes everything.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// A metric `minirun_container_<name>`; `values` adds a container's further labels and values.
    fn of_containers(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        containers: &[Usage],
        values: impl Fn(&Usage, &mut dyn FnMut(&str, f64)),
    ) {
        let name = format!("minirun_container_{name}");
        self.metric(&name, kind, help);
        for usage in containers {
            let labels = labels(usage);
            values(usage, &mut |further, value| {
                self.line(&name, &format!("{{{labels}{further}}}"), value);
            });
        }
    }
}

/// Which container it is, and of which stack.
fn labels(usage: &Usage) -> String {
    let mut labels = format!("id=\"{}\"", escaped(usage.id.as_str()));
    for name in ["project", "service"] {
        if let Some(value) = usage.annotations.get(&format!("minirun.compose.{name}")) {
            let _ = write!(labels, ",{name}=\"{}\"", escaped(value));
        }
    }
    labels
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::container::usage::Statistics;
    use crate::net;

    fn web() -> Usage {
        let mut statistics = Statistics::default();
        statistics.cpu.usage.total = 2_500_000_000;
        statistics.memory.usage.usage = 4096;
        statistics.memory.usage.limit = u64::MAX;
        statistics.memory.raw.insert("inactive_file".to_owned(), 1096);
        let received = net::Meter {
            packets: 3,
            bytes: 300,
            dropped: 0,
        };
        let traffic = Traffic {
            received,
            sent: net::Meter::default(),
        };
        Usage {
            id: "shop-web-1".parse().unwrap(),
            annotations: BTreeMap::from([("minirun.compose.service".to_owned(), "we\"b\n".to_owned())]),
            time: SystemTime::now(),
            at: Instant::now(),
            statistics,
            traffic: vec![("eth0".to_owned(), traffic)],
        }
    }

    #[test]
    fn every_metric_is_described_once_and_in_base_units() {
        let page = page(&[web(), web()]);
        for line in [
            "minirun_containers 2",
            "# TYPE minirun_container_cpu_seconds_total counter",
            "minirun_container_cpu_seconds_total{id=\"shop-web-1\",service=\"we\\\"b\\n\"} 2.5",
            "minirun_container_memory_bytes{id=\"shop-web-1\",service=\"we\\\"b\\n\"} 3000",
            "minirun_container_network_receive_bytes_total{id=\"shop-web-1\",service=\"we\\\"b\\n\",interface=\"eth0\"} 300",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in {page}");
        }
        // No limit is no number.
        assert!(!page.contains("memory_limit_bytes{"), "{page}");
        let mut names: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let described = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), described);
    }
}
