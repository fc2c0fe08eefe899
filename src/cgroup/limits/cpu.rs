//! linux.resources.cpu: shares, quota and period, burst, idle, real-time, and cpuset.

use oci_spec::runtime::LinuxCpu;

use super::{Planner, only_v1};
use crate::error::{Error, Result};

/// The kernel's bounds of a period and a quota, in microseconds (kernel/sched/core.c).
const SHORTEST: u64 = 1_000;
const LONGEST_PERIOD: u64 = 1_000_000;

impl Planner<'_> {
    pub(super) fn cpu(&mut self, cpu: &LinuxCpu) -> Result<()> {
        self.weight(cpu)?;
        self.bandwidth(cpu)?;
        self.realtime(cpu)?;
        for (field, name, list) in [
            ("linux.resources.cpu.cpus", "cpuset.cpus", cpu.cpus()),
            ("linux.resources.cpu.mems", "cpuset.mems", cpu.mems()),
        ] {
            let Some(list) = list.as_deref().map(str::trim).filter(|list| !list.is_empty()) else {
                continue;
            };
            check_list(field, list)?;
            self.add(self.write(field, name, list)?);
        }
        Ok(())
    }

    fn weight(&mut self, cpu: &LinuxCpu) -> Result<()> {
        const SHARES: &str = "linux.resources.cpu.shares";
        const IDLE: &str = "linux.resources.cpu.idle";
        if let Some(idle) = cpu.idle() {
            if !matches!(idle, 0 | 1) {
                return Err(Error::invalid(IDLE, format_args!("{idle} is neither 0 nor 1")));
            }
            self.add(self.write(IDLE, "cpu.idle", idle)?);
        }
        let shares = cpu.shares().unwrap_or(0);
        if shares == 0 || cpu.idle() == Some(1) {
            return Ok(()); // unset; and an idle group has the smallest weight of all, the kernel takes no other
        }
        if self.is_v2() {
            self.add(self.write(SHARES, "cpu.weight", weight_of_shares(shares))?);
            return Ok(());
        }
        // The kernel would clamp without a word.
        if shares < 2 {
            return Err(Error::invalid(
                SHARES,
                format_args!("the minimum allowed cpu-shares is 2, not {shares}"),
            ));
        }
        if shares > 262_144 {
            let why = format!("the maximum allowed cpu-shares is 262144, not {shares}");
            return Err(Error::invalid(SHARES, why));
        }
        self.add(self.write(SHARES, "cpu.shares", shares)?);
        Ok(())
    }

    fn bandwidth(&mut self, cpu: &LinuxCpu) -> Result<()> {
        const QUOTA: &str = "linux.resources.cpu.quota";
        const PERIOD: &str = "linux.resources.cpu.period";
        const BURST: &str = "linux.resources.cpu.burst";
        let quota = cpu.quota().filter(|&quota| quota != 0);
        if let Some(period) = cpu
            .period()
            .filter(|period| !(SHORTEST..=LONGEST_PERIOD).contains(period))
        {
            let why = format!("{period} is not between {SHORTEST} and {LONGEST_PERIOD} microseconds");
            return Err(Error::invalid(PERIOD, why));
        }
        if let Some(quota) = quota.filter(|&quota| quota != -1 && quota < SHORTEST.cast_signed()) {
            let why = format!("{quota} is neither -1 (unlimited) nor at least {SHORTEST} microseconds");
            return Err(Error::invalid(QUOTA, why));
        }
        if let (Some(burst), Some(quota @ 0..)) = (cpu.burst(), quota)
            && burst > quota.unsigned_abs()
        {
            return Err(Error::invalid(
                BURST,
                format_args!("{burst} is more than the quota of {quota}"),
            ));
        }
        let mut writes = Vec::new();
        if self.is_v2() {
            let quota_text = quota.map(|quota| {
                if quota < 0 {
                    "max".to_owned()
                } else {
                    quota.to_string()
                }
            });
            // A quota alone leaves the period as it is.
            let value = match (quota_text, cpu.period()) {
                (Some(quota), Some(period)) => Some(format!("{quota} {period}")),
                (None, Some(period)) => Some(format!("max {period}")),
                (quota, None) => quota,
            };
            if let Some(value) = value {
                let field = if quota.is_some() { QUOTA } else { PERIOD };
                writes.push(self.write(field, "cpu.max", value)?);
            }
            if let Some(burst) = cpu.burst() {
                writes.push(self.write(BURST, "cpu.max.burst", burst)?);
            }
        } else {
            if let Some(period) = cpu.period() {
                writes.push(self.write(PERIOD, "cpu.cfs_period_us", period)?);
            }
            if let Some(quota) = quota {
                writes.push(self.write(QUOTA, "cpu.cfs_quota_us", quota)?);
            }
            if let Some(burst) = cpu.burst() {
                writes.push(self.write(BURST, "cpu.cfs_burst_us", burst)?);
            }
        }
        self.add_together(writes);
        Ok(())
    }

    fn realtime(&mut self, cpu: &LinuxCpu) -> Result<()> {
        const RUNTIME: &str = "linux.resources.cpu.realtimeRuntime";
        const PERIOD: &str = "linux.resources.cpu.realtimePeriod";
        let period = cpu.realtime_period().filter(|&period| period != 0);
        let runtime = cpu.realtime_runtime().filter(|&runtime| runtime != 0);
        if let Some(runtime) = runtime.filter(|&runtime| runtime < -1) {
            return Err(Error::invalid(
                RUNTIME,
                format_args!("{runtime} is less than -1 (unlimited)"),
            ));
        }
        let mut writes = Vec::new();
        if let Some(period) = period {
            if self.is_v2() {
                return Err(only_v1(PERIOD));
            }
            writes.push(self.write(PERIOD, "cpu.rt_period_us", period)?);
        }
        if let Some(runtime) = runtime {
            if self.is_v2() {
                return Err(only_v1(RUNTIME));
            }
            writes.push(self.write(RUNTIME, "cpu.rt_runtime_us", runtime)?);
        }
        self.add_together(writes);
        Ok(())
    }
}

/// cpu.weight (1 to 10000) of cpu.shares (2 to 262144): a curve through both ends and through the defaults, 1024 and 100,
/// so that a container with default shares weighs as much as a process without any.
/// Formula: 10 ^ ((l^2 + 125 l) / 612 - 7/34), l = log2(shares), rounded up.
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let weight = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0);
    // 1024 means 100 on every mathematics library, not 101 on those that round the power up.
    (weight - 1e-6).ceil() as u64
}

/// The kernel's list format: `0-3,7`, also with strides (`0-31:2/8`). What is in range, only the kernel knows.
fn check_list(field: &str, list: &str) -> Result<()> {
    match list
        .chars()
        .find(|letter| !matches!(letter, '0'..='9' | ',' | '-' | ':' | '/' | ' '))
    {
        None => Ok(()),
        Some(letter) => Err(Error::invalid(
            field,
            format_args!("{list:?} is not a list of numbers and ranges such as 0-3,7: {letter:?}"),
        )),
    }
}
