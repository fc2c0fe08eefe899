//! `minirun update`.

use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};

use crate::container::store::Store;
use crate::container::update;
use crate::error::{Error, Result};
use crate::log;
use crate::resctrl::Schemas;
use crate::spec::id::Id;
use crate::spec::load;

/// Change the limits of a container
///
/// What is not given stays as it is, and so does everything when a value cannot be had.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File with linux.resources as in config.json; - is standard input
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    /// The container's id
    id: Id,
}

/// Sizes are bytes, or a number with b, k, m, g, t; -1 is unlimited.
#[derive(Debug, clap::Args)]
struct Limits {
    /// Weight in block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Period of the processor's quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Processor time that can be saved for later, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_burst: Option<u64>,
    /// Weight in processor time against other groups
    #[arg(long, visible_alias = "cpu-shares", value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// Period of real-time processes, in microseconds; cgroup v1
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<u64>,
    /// Time of real-time processes in each period, in microseconds; cgroup v1
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,
    /// Processors to run on, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// 1: run only when nothing else wants the processor
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<i64>,
    /// Most memory
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = size)]
    memory: Option<i64>,
    /// Memory that is left to it when others want some
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = size)]
    memory_reservation: Option<i64>,
    /// Most memory and swap together
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = size)]
    memory_swap: Option<i64>,
    /// Most processes and threads
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Share of the processor's L3 cache, such as L3:0=7f0;1=1f
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Share of the memory bandwidth, such as MB:0=20;1=70
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
    /// Ignored: Linux has no such limit any more
    #[arg(long, value_name = "SIZE", hide = true, allow_hyphen_values = true, value_parser = size)]
    kernel_memory: Option<i64>,
    /// Ignored: Linux has no such limit any more
    #[arg(long, value_name = "SIZE", hide = true, allow_hyphen_values = true, value_parser = size)]
    kernel_memory_tcp: Option<i64>,
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    let limits = &args.limits;
    let flags = limits.document();
    let given: LinuxResources = match &args.resources {
        Some(path) => {
            if flags != json!({}) {
                log::warn("the other limits on the command line are ignored: --resources is given");
            }
            load::load_resources(path)?
        }
        None => serde_json::from_value(flags).map_err(|error| Error::invalid("update", error))?,
    };
    // They are no resources, and count beside a document of those, as under runc.
    let schemas = Schemas {
        l3_cache: limits.l3_cache_schema.as_deref(),
        memory_bandwidth: limits.mem_bw_schema.as_deref(),
    };
    update::update(store, &args.id, &given, schemas).map(|()| 0)
}

impl Limits {
    /// linux.resources with what is given.
    fn document(&self) -> Value {
        let values = [
            ("blockIO", "weight", self.blkio_weight.map(Value::from)),
            ("cpu", "period", self.cpu_period.map(Value::from)),
            ("cpu", "quota", self.cpu_quota.map(Value::from)),
            ("cpu", "burst", self.cpu_burst.map(Value::from)),
            ("cpu", "shares", self.cpu_share.map(Value::from)),
            ("cpu", "realtimePeriod", self.cpu_rt_period.map(Value::from)),
            ("cpu", "realtimeRuntime", self.cpu_rt_runtime.map(Value::from)),
            ("cpu", "cpus", self.cpuset_cpus.clone().map(Value::from)),
            ("cpu", "mems", self.cpuset_mems.clone().map(Value::from)),
            ("cpu", "idle", self.cpu_idle.map(Value::from)),
            ("memory", "limit", self.memory.map(Value::from)),
            ("memory", "reservation", self.memory_reservation.map(Value::from)),
            ("memory", "swap", self.memory_swap.map(Value::from)),
            ("memory", "kernel", self.kernel_memory.map(Value::from)),
            ("memory", "kernelTCP", self.kernel_memory_tcp.map(Value::from)),
            ("pids", "limit", self.pids_limit.map(Value::from)),
        ];
        let mut document = json!({});
        for (group, property, value) in values {
            if let Some(value) = value {
                document[group][property] = value;
            }
        }
        document
    }
}

/// Bytes: `1048576`, `1024k`, `1m`, `1MB`, `1MiB` are the same; `-1` is unlimited.
fn size(text: &str) -> std::result::Result<i64, String> {
    let wrong = || format!("{text:?} is not a size such as 1048576, 512m or 2g");
    if text == "-1" {
        return Ok(-1);
    }
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = lower.split_at(end.unwrap_or(lower.len()));
    let power = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(wrong()),
    };
    let scale = 1024_i64.pow(power);
    match number.parse::<i64>() {
        Ok(number) => number.checked_mul(scale).ok_or_else(wrong),
        // 1.5g
        Err(_) => match number.parse::<f64>() {
            Ok(number) if number * (scale as f64) < i64::MAX as f64 => Ok((number * scale as f64) as i64),
            _ => Err(wrong()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_bytes_or_powers_of_1024() {
        for (text, bytes) in [
            ("1048576", 1 << 20),
            ("512m", 512 << 20),
            ("1MB", 1 << 20),
            ("1MiB", 1 << 20),
            ("1.5g", 3 << 29),
            ("7b", 7),
            ("-1", -1),
            ("0", 0),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "m",
            "-2",
            "1x",
            "1mm",
            "99999999999t",
            "9223372036854775807k",
            "1e3",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
