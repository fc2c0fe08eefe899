//! What running containers use: processor, memory, network, block devices, processes.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use super::record::Record;
use super::store::Store;
pub use crate::cgroup::Statistics;
use crate::error::Result;
use crate::log;
use crate::net::{self, Traffic};
use crate::spec::id::Id;
use crate::spec::state::Status;

/// What one container has used since it was made, and has now.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The container.
    pub id: Id,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// When this was read.
    pub time: SystemTime,
    /// As `time`, for intervals.
    pub at: Instant,
    /// The control group's counters.
    pub statistics: Statistics,
    /// What passed its interfaces on networks of ours, by the interface's name in the container.
    pub traffic: Vec<(String, Traffic)>,
}

impl Usage {
    /// Memory in bytes that cannot be taken back at once: without the page cache that is not in use.
    pub fn memory(&self) -> u64 {
        let memory = &self.statistics.memory;
        let inactive = ["total_inactive_file", "inactive_file"];
        let reclaimable = inactive.iter().find_map(|name| memory.raw.get(*name)).copied();
        memory.usage.usage.saturating_sub(reclaimable.unwrap_or(0))
    }

    /// The limit of memory in bytes, unless there is none: the kernel says so with a number that no machine has.
    pub fn memory_limit(&self) -> Option<u64> {
        let limit = self.statistics.memory.usage.limit;
        (1..1 << 60).contains(&limit).then_some(limit)
    }

    /// Bytes read from and written to block devices.
    pub fn block_io(&self) -> (u64, u64) {
        let sum = |operation: &str| {
            let entries = self.statistics.blkio.io_service_bytes_recursive.iter();
            let matching = entries.filter(|entry| entry.op.eq_ignore_ascii_case(operation));
            matching.map(|entry| entry.value).sum()
        };
        (sum("read"), sum("write"))
    }

    /// Bytes received and sent on networks of ours.
    pub fn network(&self) -> (u64, u64) {
        let bytes = |of: fn(&Traffic) -> u64| self.traffic.iter().map(|(_, traffic)| of(traffic)).sum();
        (
            bytes(|traffic| traffic.received.bytes),
            bytes(|traffic| traffic.sent.bytes),
        )
    }

    /// Processors in use between an earlier reading and this one; 1 is one processor all the time. Nothing when the
    /// container was made anew in between.
    pub fn processors_since(&self, earlier: &Usage) -> Option<f64> {
        let used = |usage: &Usage| usage.statistics.cpu.usage.total;
        let nanoseconds = used(self).checked_sub(used(earlier))?;
        let interval = self.at.checked_duration_since(earlier.at)?.as_nanos();
        (interval > 0).then(|| nanoseconds as f64 / interval as f64)
    }
}

/// Reads what these containers use, in this order; those that do not run are left out. One that ends meanwhile is, too.
///
/// # Errors
/// When the kernel's counters of interfaces cannot be read.
pub fn usage(store: &Store, ids: &[Id]) -> Result<Vec<Usage>> {
    let mut found = Vec::new();
    let mut links = Vec::new();
    for id in ids {
        let Some((record, statistics)) = running(store, id) else {
            continue;
        };
        let (time, at) = (SystemTime::now(), Instant::now());
        links.push(record.attachment.networks.len());
        found.push((record, statistics, time, at));
    }
    let interfaces = found.iter().flat_map(|(record, ..)| &record.attachment.networks);
    let mut counted = match links.iter().sum::<usize>() {
        0 => Vec::new(),
        _ => net::traffic(interfaces.map(|attached| attached.host_interface.as_str()))?,
    }
    .into_iter();
    let usages = found.into_iter().map(|(record, statistics, time, at)| {
        let networks = record.attachment.networks.iter();
        let traffic = networks
            .zip(&mut counted)
            .filter_map(|(attached, traffic)| Some((attached.interface.clone(), traffic?)));
        Usage {
            traffic: traffic.collect(),
            id: record.id,
            annotations: record.annotations,
            time,
            at,
            statistics,
        }
    });
    Ok(usages.collect())
}

fn running(store: &Store, id: &Id) -> Option<(Record, Statistics)> {
    let read = || -> Result<Option<(Record, Statistics)>> {
        let (entry, record) = store.read(id)?;
        match entry.status(&record)? {
            Status::Stopped | Status::Creating => Ok(None),
            Status::Created | Status::Running | Status::Paused => {
                let statistics = record.cgroup.statistics()?;
                Ok(Some((record, statistics)))
            }
        }
    };
    read().unwrap_or_else(|error| {
        // It has ended since it was listed.
        log::debug(format_args!("{id}: {error}"));
        None
    })
}
