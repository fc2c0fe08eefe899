//! What the container uses, in the shape of runc's `events --stats` (`data`), so that `inspect`, `events` and `stats` print
//! the same numbers.
//!
//! Processor time, throttling and processes are read with the cgroups-rs crate. Memory, block I/O and huge pages are not: its
//! readers there panic or lose numbers on files that kernels do show (docs/decisions/cgroups-rs.md), so they are parsed here.

mod full;
mod parse;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuacct::CpuAcctController;
use cgroups_rs::fs::pid::PidController;
use nix::errno::Errno;
use serde::Serialize;

use self::full::Cpuset;
use self::parse::{all_keyed, blkio_v1, io_v2, pressure, throttling};
use super::file::{self, keyed};
use super::v1::V1;
use super::v2::V2;
use crate::error::{Error, Result};

/// All counters. A limit that is not set is the kernel's own largest number: [`u64::MAX`] on version 2, 9223372036854771712 for
/// memory on version 1; for pids it is 0, as in runc.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory in bytes.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block I/O.
    pub blkio: Blkio,
    /// Processors and memory nodes; only when all was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<Cpuset>,
    /// Huge pages by size (`2MB`).
    pub hugetlb: BTreeMap<String, Counter>,
}

/// Processor time in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // the fields are runc's
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    /// Pressure stall information, where the kernel has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Time spent, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CpuUsage {
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

/// How often the quota stopped the container; the time in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Throttling {
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_time: u64,
}

/// Use, limit, highest use, and how often the limit was hit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Counter {
    pub limit: u64,
    pub usage: u64,
    pub max: u64,
    pub failcnt: u64,
}

/// Memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Page cache.
    pub cache: u64,
    /// All memory.
    pub usage: Counter,
    /// Memory and swap together, on both versions.
    pub swap: Counter,
    /// The kernel's own memory, on version 1; only when all was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Counter>,
    /// Of that, TCP's buffers.
    #[serde(rename = "kernelTCP", skip_serializing_if = "Option::is_none")]
    pub kernel_tcp: Option<Counter>,
    /// Everything that the kernel says in memory.stat.
    pub raw: BTreeMap<String, u64>,
    /// Pressure stall information, where the kernel has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Processes and threads; a limit of 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Pids {
    pub current: u64,
    pub limit: u64,
}

/// Block I/O by device and kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    /// Bytes.
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Version 1, and only when all was asked for; as the next five.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_queue_recursive: Vec<BlkioEntry>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Of 512 bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// Pressure stall information, where the kernel has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One device, one kind of operation (`Read`, `Write`, ...).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct BlkioEntry {
    pub major: u64,
    pub minor: u64,
    pub op: String,
    pub value: u64,
}

/// The share of time in which some or all processes waited for the resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Pressure {
    pub some: PressureLine,
    pub full: PressureLine,
}

/// Averages in percent over 10, 60 and 300 seconds, and the total in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct PressureLine {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

impl Statistics {
    pub(super) fn of_v1(cgroup: &V1) -> Result<Statistics> {
        exists(
            cgroup
                .directories()
                .into_iter()
                .map(|(_, directory)| directory)
                .next(),
        )?;
        let mut statistics = Statistics::default();
        if let Some(directory) = cgroup.directory_of("cpuacct") {
            statistics.cpu.usage = cpu_usage_v1(directory);
        }
        if let Some(directory) = cgroup.directory_of("cpu") {
            statistics.cpu.throttling =
                throttling(&CpuController::new(directory.clone(), directory, false).cpu().stat);
        }
        if let Some(directory) = cgroup.directory_of("memory") {
            statistics.memory = memory_v1(&directory);
        }
        if let Some(directory) = cgroup.directory_of("pids") {
            statistics.pids = pids(directory, false);
        }
        if let Some(directory) = cgroup.directory_of("blkio") {
            let read = |kind: &str| {
                let names = [
                    format!("blkio.{kind}_recursive"),
                    format!("blkio.throttle.{kind}_recursive"),
                ];
                let lists = names.iter().map(|name| blkio_v1(&text(&directory, name)));
                lists
                    .into_iter()
                    .find(|list| !list.is_empty())
                    .unwrap_or_default()
            };
            statistics.blkio.io_service_bytes_recursive = read("io_service_bytes");
            statistics.blkio.io_serviced_recursive = read("io_serviced");
        }
        if let Some(directory) = cgroup.directory_of("hugetlb") {
            let counter = |size: &str| counter_v1(&directory, &format!("hugetlb.{size}"));
            statistics.hugetlb = hugetlb(&directory, "limit_in_bytes", counter);
        }
        Ok(statistics)
    }

    pub(super) fn of_v2(cgroup: &V2) -> Result<Statistics> {
        let directory = cgroup.directory();
        exists(Some(directory.clone()))?;
        let cpu = CpuController::new(directory.clone(), directory.clone(), true)
            .cpu()
            .stat;
        let nanoseconds = |key: &str| keyed(&cpu, key).unwrap_or(0).saturating_mul(1000);
        let (bytes, operations) = io_v2(&text(&directory, "io.stat"));
        Ok(Statistics {
            cpu: Cpu {
                usage: CpuUsage {
                    total: nanoseconds("usage_usec"),
                    kernel: nanoseconds("system_usec"),
                    user: nanoseconds("user_usec"),
                    ..CpuUsage::default()
                },
                throttling: throttling(&cpu),
                psi: pressure(&text(&directory, "cpu.pressure")),
            },
            memory: memory_v2(&directory),
            pids: pids(directory.clone(), true),
            blkio: Blkio {
                io_service_bytes_recursive: bytes,
                io_serviced_recursive: operations,
                psi: pressure(&text(&directory, "io.pressure")),
                ..Blkio::default()
            },
            hugetlb: hugetlb(&directory, "max", |size| Counter {
                limit: number(&directory, &format!("hugetlb.{size}.max")),
                usage: number(&directory, &format!("hugetlb.{size}.current")),
                max: 0,
                failcnt: keyed(&text(&directory, &format!("hugetlb.{size}.events")), "max").unwrap_or(0),
            }),
            cpuset: None,
        })
    }
}

fn exists(directory: Option<PathBuf>) -> Result<()> {
    match directory {
        Some(directory) if !directory.exists() => Err(Error::os(
            "read statistics of",
            directory.display(),
            Errno::ENOENT,
        )),
        _ => Ok(()),
    }
}

fn cpu_usage_v1(directory: PathBuf) -> CpuUsage {
    let account = CpuAcctController::new(directory.clone(), directory).cpuacct();
    let percpu = account
        .usage_percpu
        .split_whitespace()
        .filter_map(|time| time.parse().ok());
    CpuUsage {
        total: account.usage,
        percpu: percpu.collect(),
        kernel: account.usage_sys,
        user: account.usage_user,
        ..CpuUsage::default()
    }
}

fn pids(directory: PathBuf, v2: bool) -> Pids {
    let controller = PidController::new(directory.clone(), directory, v2);
    Pids {
        current: controller.get_pid_current().unwrap_or(0),
        limit: match controller.get_pid_max() {
            Ok(MaxValue::Value(limit)) => limit.try_into().unwrap_or(0),
            _ => 0,
        },
    }
}

fn memory_v1(directory: &Path) -> Memory {
    let raw = all_keyed(&text(directory, "memory.stat"));
    Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: counter_v1(directory, "memory"),
        swap: counter_v1(directory, "memory.memsw"),
        raw,
        ..Memory::default()
    }
}

fn counter_v1(directory: &Path, prefix: &str) -> Counter {
    Counter {
        limit: number(directory, &format!("{prefix}.limit_in_bytes")),
        usage: number(directory, &format!("{prefix}.usage_in_bytes")),
        max: number(directory, &format!("{prefix}.max_usage_in_bytes")),
        failcnt: number(directory, &format!("{prefix}.failcnt")),
    }
}

fn memory_v2(directory: &Path) -> Memory {
    let raw = all_keyed(&text(directory, "memory.stat"));
    let usage = Counter {
        limit: number(directory, "memory.max"),
        usage: number(directory, "memory.current"),
        max: number(directory, "memory.peak"),
        failcnt: keyed(&text(directory, "memory.events"), "max").unwrap_or(0),
    };
    let alone = |name: &str| number(directory, name);
    let swap = Counter {
        limit: usage.limit.saturating_add(alone("memory.swap.max")),
        usage: usage.usage.saturating_add(alone("memory.swap.current")),
        // The two peaks need not have come together, so this is an upper bound.
        max: usage.max.saturating_add(alone("memory.swap.peak")),
        failcnt: keyed(&text(directory, "memory.swap.events"), "max").unwrap_or(0),
    };
    Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        swap,
        raw,
        psi: pressure(&text(directory, "memory.pressure")),
        kernel: None,
        kernel_tcp: None,
    }
}

/// The page sizes are those of the limit files that the kernel shows: `hugetlb.2MB.max`.
fn hugetlb(directory: &Path, limit: &str, counter: impl Fn(&str) -> Counter) -> BTreeMap<String, Counter> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |name: &str| {
        let (size, rest) = name.strip_prefix("hugetlb.")?.split_once('.')?;
        (rest == limit).then(|| size.to_owned())
    };
    let sizes = entries.filter_map(|entry| size(entry.file_name().to_str()?));
    sizes.map(|size| (size.clone(), counter(&size))).collect()
}

/// The content, empty where the host lacks the file.
fn text(directory: &Path, name: &str) -> String {
    file::read(&directory.join(name)).unwrap_or_default()
}

/// The number in a file; `max` is [`u64::MAX`], no file is 0.
fn number(directory: &Path, name: &str) -> u64 {
    let content = text(directory, name);
    match content.trim() {
        "max" => u64::MAX,
        number => number.parse().unwrap_or(0),
    }
}
