//! `intel_rdt` of runc's `events`.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::file;
use super::mount::Mount;

/// Shares and counters; what the host does not have is left out, and of a container without a group all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_info: Option<CacheInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_schema: Option<String>,
    /// One for each L3 cache.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mbm_stats: Vec<Traffic>,
    /// One for each L3 cache.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmt_stats: Vec<Occupancy>,
}

/// What the processor can do with its L3 cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct CacheInfo {
    cbm_mask: String,
    min_cbm_bits: u64,
    num_closids: u64,
}

/// What it can do with the memory bandwidth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct BandwidthInfo {
    bandwidth_gran: u64,
    delay_linear: u64,
    min_bandwidth: u64,
    num_closids: u64,
}

/// Bytes since the group was made, behind one L3 cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Traffic {
    #[serde(skip_serializing_if = "Option::is_none")]
    mbm_total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mbm_local_bytes: Option<u64>,
}

/// Bytes in one L3 cache now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Occupancy {
    llc_occupancy: u64,
}

impl Statistics {
    /// `counted` is the directory of a group whose counters are the container's.
    pub(super) fn read(mount: &Mount, class: &Path, counted: Option<&Path>) -> Statistics {
        let info =
            |resource: &str, name: &str| file::get(&mount.path().join("info").join(resource).join(name)).ok();
        let number = |resource: &str, name: &str| info(resource, name)?.parse().ok();
        let top = file::get(&mount.path().join("schemata")).unwrap_or_default();
        let own = file::get(&class.join("schemata")).unwrap_or_default();
        let caches = counted.map(caches).unwrap_or_default();
        Statistics {
            l3_cache_info: info("L3", "cbm_mask").map(|cbm_mask| CacheInfo {
                cbm_mask,
                min_cbm_bits: number("L3", "min_cbm_bits").unwrap_or(0),
                num_closids: number("L3", "num_closids").unwrap_or(0),
            }),
            l3_cache_schema_root: line(&top, "L3:"),
            l3_cache_schema: line(&own, "L3:"),
            mem_bw_info: number("MB", "bandwidth_gran").map(|bandwidth_gran| BandwidthInfo {
                bandwidth_gran,
                delay_linear: number("MB", "delay_linear").unwrap_or(0),
                min_bandwidth: number("MB", "min_bandwidth").unwrap_or(0),
                num_closids: number("MB", "num_closids").unwrap_or(0),
            }),
            mem_bw_schema_root: line(&top, "MB:"),
            mem_bw_schema: line(&own, "MB:"),
            mbm_stats: caches
                .iter()
                .map(|cache| Traffic {
                    mbm_total_bytes: counter(cache, "mbm_total_bytes"),
                    mbm_local_bytes: counter(cache, "mbm_local_bytes"),
                })
                .filter(|traffic| traffic.mbm_total_bytes.is_some() || traffic.mbm_local_bytes.is_some())
                .collect(),
            cmt_stats: caches
                .iter()
                .filter_map(|cache| counter(cache, "llc_occupancy"))
                .map(|llc_occupancy| Occupancy { llc_occupancy })
                .collect(),
        }
    }
}

/// The directories of a group's counters, one for each L3 cache, in the order of their numbers.
fn caches(group: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(group.join("mon_data")).into_iter().flatten();
    let mut caches: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("mon_L3_"))
        })
        .collect();
    caches.sort();
    caches
}

/// A counter; one that cannot be read now says so in a word.
fn counter(cache: &Path, name: &str) -> Option<u64> {
    file::get(&cache.join(name)).ok()?.parse().ok()
}

fn line(schemata: &str, resource: &str) -> Option<String> {
    let mut lines = schemata.lines().map(str::trim);
    lines.find(|line| line.starts_with(resource)).map(str::to_owned)
}
