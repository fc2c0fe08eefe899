//! The counters that `events` shows beyond those that `stats` needs: runc's whole document.

use std::path::Path;

use serde::Serialize;

use super::parse::blkio_v1;
use super::{Blkio, BlkioEntry, Counter, Statistics, counter_v1, number, text};
use crate::cgroup::{Cgroup, V1};
use crate::error::Result;

/// Processors and memory nodes; version 2 says nothing of the kind, and all is empty or 0 there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // the fields are runc's, which has the kernel's
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

impl Cgroup {
    /// [`Cgroup::statistics`] and the counters that only `events` shows.
    ///
    /// # Errors
    /// The directories do not exist.
    pub fn full_statistics(&self) -> Result<Statistics> {
        let mut statistics = self.statistics()?;
        statistics.cpuset = Some(Cpuset::default());
        statistics.memory.kernel = Some(Counter::default());
        statistics.memory.kernel_tcp = Some(Counter::default());
        if let Cgroup::V1(v1) = self {
            add_v1(&mut statistics, v1);
        }
        Ok(statistics)
    }
}

fn add_v1(statistics: &mut Statistics, cgroup: &V1) {
    if let Some(directory) = cgroup.directory_of("cpuacct") {
        let usage = &mut statistics.cpu.usage;
        (usage.percpu_user, usage.percpu_kernel) = usage_all(&text(&directory, "cpuacct.usage_all"));
    }
    if let Some(directory) = cgroup.directory_of("cpuset") {
        statistics.cpuset = Some(cpuset(&directory));
    }
    if let Some(directory) = cgroup.directory_of("memory") {
        statistics.memory.kernel = Some(counter_v1(&directory, "memory.kmem"));
        statistics.memory.kernel_tcp = Some(counter_v1(&directory, "memory.kmem.tcp"));
    }
    if let Some(directory) = cgroup.directory_of("blkio") {
        add_blkio(&mut statistics.blkio, &directory);
    }
}

/// The files of the bfq scheduler, and those that the cfq scheduler had.
fn add_blkio(blkio: &mut Blkio, directory: &Path) {
    let read = |name: &str| -> Vec<BlkioEntry> {
        let lists =
            ["blkio.bfq.", "blkio."].map(|prefix| blkio_v1(&text(directory, &format!("{prefix}{name}"))));
        lists
            .into_iter()
            .find(|list| !list.is_empty())
            .unwrap_or_default()
    };
    blkio.io_queue_recursive = read("io_queued_recursive");
    blkio.io_service_time_recursive = read("io_service_time_recursive");
    blkio.io_wait_time_recursive = read("io_wait_time_recursive");
    blkio.io_merged_recursive = read("io_merged_recursive");
    blkio.io_time_recursive = read("time_recursive");
    blkio.sectors_recursive = read("sectors_recursive");
}

fn cpuset(directory: &Path) -> Cpuset {
    let of = |name: &str| number(directory, &format!("cpuset.{name}"));
    Cpuset {
        cpus: list(&text(directory, "cpuset.cpus")),
        cpu_exclusive: of("cpu_exclusive"),
        mems: list(&text(directory, "cpuset.mems")),
        mem_hardwall: of("mem_hardwall"),
        mem_exclusive: of("mem_exclusive"),
        memory_migrate: of("memory_migrate"),
        memory_spread_page: of("memory_spread_page"),
        memory_spread_slab: of("memory_spread_slab"),
        memory_pressure: of("memory_pressure"),
        sched_load_balance: of("sched_load_balance"),
        sched_relax_domain_level: text(directory, "cpuset.sched_relax_domain_level")
            .trim()
            .parse()
            .unwrap_or(0),
    }
}

/// `0-2,7` as numbers.
fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// cpuacct.usage_all: a heading, then a processor's number, its user and its kernel time.
fn usage_all(content: &str) -> (Vec<u64>, Vec<u64>) {
    let times = |line: &str| -> Option<(u64, u64)> {
        let mut numbers = line.split_whitespace().skip(1);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    content.lines().skip(1).filter_map(times).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_processors_becomes_their_numbers() {
        assert_eq!(list("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(list("\n"), [] as [u16; 0]);
    }

    #[test]
    fn the_time_of_each_processor_is_user_and_kernel() {
        let content = "cpu user system\n0 120 30\n1 7 8\n";
        assert_eq!(usage_all(content), (vec![120, 7], vec![30, 8]));
    }
}
