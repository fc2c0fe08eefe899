//! linux.resources.memory.

use oci_spec::runtime::LinuxMemory;

use super::{Planner, Usage, Write, only_v1};
use crate::error::{Error, Result};

const LIMIT: &str = "linux.resources.memory.limit";
const SWAP: &str = "linux.resources.memory.swap";
const RESERVATION: &str = "linux.resources.memory.reservation";
const SWAPPINESS: &str = "linux.resources.memory.swappiness";
const OOM_KILLER: &str = "linux.resources.memory.disableOOMKiller";
const HIERARCHY: &str = "linux.resources.memory.useHierarchy";

impl Planner<'_> {
    pub(super) fn memory(&mut self, memory: &LinuxMemory) -> Result<()> {
        let limit = bytes(LIMIT, memory.limit())?;
        let mut swap = bytes(SWAP, memory.swap())?;
        // Unlimited memory with a limit on swap left from before would be no lifted limit.
        if limit == Some(-1) && swap.is_none() {
            swap = Some(-1);
        }
        if let Some(with_swap @ 0..) = swap {
            match limit {
                Some(limit @ 0..) if with_swap >= limit => {}
                Some(0..) => {
                    return Err(Error::invalid(
                        SWAP,
                        "memory+swap limit should be >= memory limit",
                    ));
                }
                _ => {
                    return Err(Error::invalid(
                        SWAP,
                        "unable to set swap limit without memory limit",
                    ));
                }
            }
        }
        let check = memory.check_before_update() == Some(true);
        if self.is_v2() {
            self.memory_v2(limit, swap, check)?
        } else {
            self.memory_v1(limit, swap, check)?
        }
        if let Some(reservation) = bytes(RESERVATION, memory.reservation())? {
            let write = if self.is_v2() {
                self.write(RESERVATION, "memory.low", or_max(reservation))?
            } else {
                self.write(RESERVATION, "memory.soft_limit_in_bytes", reservation)?
            };
            self.add(write);
        }
        self.memory_behaviour(memory)
    }

    fn memory_v1(&mut self, limit: Option<i64>, swap: Option<i64>, check: bool) -> Result<()> {
        let mut writes = Vec::new();
        if let Some(limit) = limit {
            let usage = Usage {
                current: "memory.usage_in_bytes",
                peak: "memory.max_usage_in_bytes",
                check,
            };
            writes.push(Write {
                usage: Some(usage),
                ..self.write(LIMIT, "memory.limit_in_bytes", limit)?
            });
        }
        if let Some(swap) = swap {
            writes.push(Write {
                // Without swap accounting nothing is limited, which is what -1 asks for.
                optional: swap == -1,
                ..self.write(SWAP, "memory.memsw.limit_in_bytes", swap)?
            });
        }
        self.add_together(writes);
        Ok(())
    }

    fn memory_v2(&mut self, limit: Option<i64>, swap: Option<i64>, check: bool) -> Result<()> {
        if let Some(swap) = swap {
            // Version 2 counts swap alone, the specification counts both together.
            let alone = if swap == -1 { -1 } else { swap - limit.unwrap_or(0) };
            self.add(Write {
                // Without swap there is nothing to limit and nothing to forbid.
                optional: matches!(alone, -1 | 0),
                ..self.write(SWAP, "memory.swap.max", or_max(alone))?
            });
        }
        if let Some(limit) = limit {
            let usage = Usage {
                current: "memory.current",
                peak: "memory.peak",
                check,
            };
            self.add(Write {
                usage: Some(usage),
                ..self.write(LIMIT, "memory.max", or_max(limit))?
            });
        }
        Ok(())
    }

    fn memory_behaviour(&mut self, memory: &LinuxMemory) -> Result<()> {
        if let Some(swappiness) = memory.swappiness() {
            if swappiness > 100 {
                return Err(Error::invalid(
                    SWAPPINESS,
                    format_args!("{swappiness} is not between 0 and 100"),
                ));
            }
            if self.is_v2() {
                return Err(only_v1(SWAPPINESS));
            }
            self.add(self.write(SWAPPINESS, "memory.swappiness", swappiness)?);
        }
        if memory.disable_oom_killer() == Some(true) {
            if self.is_v2() {
                return Err(only_v1(OOM_KILLER));
            }
            self.add(self.write(OOM_KILLER, "memory.oom_control", 1)?);
        }
        match memory.use_hierarchy() {
            Some(true) if !self.is_v2() => self.add(self.write(HIERARCHY, "memory.use_hierarchy", 1)?),
            Some(false) => self.warn(format!(
                "{HIERARCHY} is ignored: memory is always counted by hierarchy"
            )),
            _ => {}
        }
        #[allow(deprecated)] // the specification still has it
        let kernel = memory.kernel();
        for (field, value) in [("kernel", kernel), ("kernelTCP", memory.kernel_tcp())] {
            if value.is_some_and(|value| value != 0) {
                self.warn(format!(
                    "linux.resources.memory.{field} is ignored: Linux has no separate limit for kernel memory any more"
                ));
            }
        }
        Ok(())
    }
}

/// A size, -1 for unlimited; 0 is how engines say that it is not set.
fn bytes(field: &str, value: Option<i64>) -> Result<Option<i64>> {
    match value {
        Some(value) if value < -1 => Err(Error::invalid(
            field,
            format_args!("{value} is less than -1 (unlimited)"),
        )),
        value => Ok(value.filter(|&value| value != 0)),
    }
}

fn or_max(value: i64) -> String {
    if value == -1 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}
