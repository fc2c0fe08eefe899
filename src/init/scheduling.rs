//! How the process is scheduled: `process.scheduler`, `process.ioPriority` and `process.execCPUAffinity`.
//!
//! The runtime sets the first two on the child when all but execve is done. Before, a child with little or no right to
//! the CPU would take its time for the set-up, and one under SCHED_DEADLINE could not make the processes of hooks;
//! within a user namespace of its own it has no privilege to raise anything.

use nix::errno::Errno;
use nix::unistd::Pid;
use oci_spec::runtime as oci;

use crate::error::{Error, OsContext, Result};
use crate::spec::list;
use crate::sys::scheduling::{self, Attributes};

/// What the configuration asks for.
#[derive(Debug, Default)]
pub struct Scheduling {
    scheduler: Option<Attributes>,
    io_priority: Option<(u32, u32)>,
}

impl Scheduling {
    /// Translates `process.scheduler` and `process.ioPriority`; pure.
    ///
    /// # Errors
    /// Values out of range, and those that the policy has no use for.
    pub fn plan(process: &oci::Process) -> Result<Scheduling> {
        Ok(Scheduling {
            scheduler: process.scheduler().as_ref().map(attributes).transpose()?,
            io_priority: process.io_priority().as_ref().map(io_priority).transpose()?,
        })
    }

    /// Sets them on a process that leads its group. Makes no system call when nothing is asked for.
    ///
    /// # Errors
    /// Those of sched_setattr(2) and ioprio_set(2).
    pub fn apply(&self, process: Pid) -> Result<()> {
        if let Some((class, level)) = self.io_priority {
            scheduling::set_io_priority(process, class, level).map_err(|errno| {
                let error = Error::os(
                    "process.ioPriority: set class",
                    format_args!("{class}, priority {level}"),
                    errno,
                );
                match errno {
                    Errno::EPERM => error.hint("IOPRIO_CLASS_RT needs CAP_SYS_NICE"),
                    _ => error,
                }
            })?;
        }
        let Some(attributes) = &self.scheduler else {
            return Ok(());
        };
        scheduling::set_scheduler(process, attributes).map_err(|errno| {
            let deadline = attributes.policy == libc::SCHED_DEADLINE as u32;
            let error = Error::os("process.scheduler: set", policy_name(attributes.policy), errno);
            match errno {
                Errno::EPERM if deadline => error.hint(
                    "SCHED_DEADLINE needs CAP_SYS_NICE, and a process that may run on every CPU: \
                     is linux.resources.cpu.cpus set?",
                ),
                Errno::EPERM => error.hint("it needs CAP_SYS_NICE; on cgroup v1 a real-time policy also needs \
                     linux.resources.cpu.realtimeRuntime"),
                Errno::EBUSY if deadline => {
                    error.hint("the CPUs have not so much time left for SCHED_DEADLINE: a smaller runtime or a longer period")
                }
                Errno::EINVAL => error.hint("does this kernel know the policy and its flags?"),
                _ => error,
            }
        })
    }
}

fn attributes(scheduler: &oci::Scheduler) -> Result<Attributes> {
    use oci::LinuxSchedulerPolicy as Policy;
    let invalid = |property: &str, why: std::fmt::Arguments<'_>| {
        Err(Error::invalid(format_args!("process.scheduler.{property}"), why))
    };
    let policy = *scheduler.policy();
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return invalid("nice", format_args!("must be between -20 and 19, found {nice}"));
    }
    let priority = scheduler.priority().unwrap_or(0);
    let real_time = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    if !real_time && priority != 0 {
        return invalid(
            "priority",
            format_args!("is only for SCHED_FIFO and SCHED_RR, found {priority}"),
        );
    }
    if real_time && !(1..=99).contains(&priority) {
        return invalid(
            "priority",
            format_args!("must be between 1 and 99, found {priority}"),
        );
    }
    let time = |value: &Option<u64>| value.unwrap_or(0);
    let [runtime, deadline, period] = [
        time(scheduler.runtime()),
        time(scheduler.deadline()),
        time(scheduler.period()),
    ];
    if policy == Policy::SchedDeadline {
        if runtime == 0 {
            return invalid("runtime", format_args!("is required for SCHED_DEADLINE"));
        }
        if deadline < runtime {
            return invalid(
                "deadline",
                format_args!("{deadline} is shorter than the runtime, {runtime}"),
            );
        }
        if period != 0 && period < deadline {
            return invalid(
                "period",
                format_args!("{period} is shorter than the deadline, {deadline}"),
            );
        }
    } else {
        for (property, value) in [("runtime", runtime), ("deadline", deadline), ("period", period)] {
            if value != 0 {
                return invalid(
                    property,
                    format_args!("is only for SCHED_DEADLINE, found {value}"),
                );
            }
        }
    }
    let policy = match policy {
        Policy::SchedOther => libc::SCHED_OTHER,
        Policy::SchedFifo => libc::SCHED_FIFO,
        Policy::SchedRr => libc::SCHED_RR,
        Policy::SchedBatch => libc::SCHED_BATCH,
        Policy::SchedIso => SCHED_ISO,
        Policy::SchedIdle => libc::SCHED_IDLE,
        Policy::SchedDeadline => libc::SCHED_DEADLINE,
    };
    let flags = scheduler.flags().iter().flatten().map(flag);
    Ok(Attributes {
        policy: policy as u32,
        flags: flags.fold(0, |all, flag| all | flag as u64),
        nice,
        priority: priority.unsigned_abs(),
        runtime,
        deadline,
        period,
        ..Attributes::default()
    })
}

/// Reserved by linux/sched.h and in no kernel so far.
const SCHED_ISO: libc::c_int = 4;

fn policy_name(policy: u32) -> &'static str {
    [
        "SCHED_OTHER",
        "SCHED_FIFO",
        "SCHED_RR",
        "SCHED_BATCH",
        "SCHED_ISO",
        "SCHED_IDLE",
        "SCHED_DEADLINE",
    ]
    .get(policy as usize)
    .unwrap_or(&"an unknown policy")
}

fn flag(flag: &oci::LinuxSchedulerFlag) -> libc::c_int {
    use oci::LinuxSchedulerFlag as Flag;
    match flag {
        Flag::SchedResetOnFork => libc::SCHED_FLAG_RESET_ON_FORK,
        Flag::SchedFlagReclaim => libc::SCHED_FLAG_RECLAIM,
        Flag::SchedFlagDLOverrun => libc::SCHED_FLAG_DL_OVERRUN,
        Flag::SchedFlagKeepPolicy => libc::SCHED_FLAG_KEEP_POLICY,
        Flag::SchedFlagKeepParams => libc::SCHED_FLAG_KEEP_PARAMS,
        Flag::SchedFlagUtilClampMin => libc::SCHED_FLAG_UTIL_CLAMP_MIN,
        Flag::SchedFlagUtilClampMax => libc::SCHED_FLAG_UTIL_CLAMP_MAX,
    }
}

/// Class and level of ioprio_set(2).
fn io_priority(priority: &oci::LinuxIOPriority) -> Result<(u32, u32)> {
    let class = match priority.class() {
        oci::IOPriorityClass::IoprioClassRt => 1,
        oci::IOPriorityClass::IoprioClassBe => 2,
        oci::IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(priority.priority()) {
        Ok(level @ 0..=7) => Ok((class, level)),
        _ => Err(Error::invalid(
            "process.ioPriority.priority",
            format_args!("must be between 0 and 7, found {}", priority.priority()),
        )),
    }
}

/// The CPUs of a process of `exec`: those on which it comes into the control group, and those on which it runs.
#[derive(Debug, Default)]
pub struct Affinity {
    initial: Option<Vec<u64>>,
    last: Option<Vec<u64>>,
}

impl Affinity {
    /// Translates `process.execCPUAffinity`; pure.
    ///
    /// # Errors
    /// When one is no list of CPUs.
    pub fn plan(process: &oci::Process) -> Result<Affinity> {
        let Some(affinity) = process.exec_cpu_affinity() else {
            return Ok(Affinity::default());
        };
        let mask = |property: &str, cpus: &Option<String>| {
            let ranges = list::parse(cpus.as_deref().unwrap_or_default())
                .map_err(|why| Error::invalid(format_args!("process.execCPUAffinity.{property}"), why))?;
            Ok(Some(list::mask(&ranges)).filter(|mask| !mask.is_empty()))
        };
        Ok(Affinity {
            initial: mask("initial", affinity.initial())?,
            last: mask("final", affinity.cpu_affinity_final())?,
        })
    }

    /// Calls `clone` while the runtime is on the initial CPUs, which the clone inherits: a process on version 2 is born
    /// in the control group, so it cannot do that itself. The runtime returns to its own CPUs.
    ///
    /// # Errors
    /// When none of the CPUs is there, and those of `clone`.
    pub fn with_initial<T>(&self, clone: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(initial) = &self.initial else {
            return clone();
        };
        let own = scheduling::affinity().os("read", "the runtime's CPUs")?;
        set("initial", initial)?;
        let cloned = clone();
        // It ran on these a moment ago.
        let _ = scheduling::set_affinity(&own);
        cloned
    }

    /// Whether the process comes with CPUs of its own.
    pub fn has_initial(&self) -> bool {
        self.initial.is_some()
    }

    /// In the process, once it is in the control group.
    ///
    /// # Errors
    /// When the control group allows none of the CPUs.
    pub fn set_final(&self) -> Result<()> {
        self.last.as_ref().map_or(Ok(()), |last| set("final", last))
    }
}

fn set(property: &str, mask: &[u64]) -> Result<()> {
    scheduling::set_affinity(mask).map_err(|errno| {
        let error = Error::os(
            "set CPUs of",
            format_args!("process.execCPUAffinity.{property}"),
            errno,
        );
        match errno {
            Errno::EINVAL => error.hint("none of them is there and allowed by linux.resources.cpu.cpus"),
            _ => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn process(property: &str, value: Value) -> oci::Process {
        serde_json::from_value(json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, property: value})).unwrap()
    }

    fn scheduler(value: Value) -> std::result::Result<Attributes, String> {
        let planned = Scheduling::plan(&process("scheduler", value));
        planned
            .map(|planned| planned.scheduler.unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_policy_has_the_kernels_number() {
        for (number, policy) in ["OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE"].iter().enumerate() {
            let priority = if matches!(number, 1 | 2) { 5 } else { 0 };
            let value = json!({"policy": format!("SCHED_{policy}"), "priority": priority});
            let planned = scheduler(value).unwrap();
            assert_eq!((planned.policy, planned.priority), (number as u32, priority));
            assert_eq!(policy_name(planned.policy), format!("SCHED_{policy}"));
        }
        let value = json!({"policy": "SCHED_DEADLINE", "runtime": 10_000, "deadline": 20_000, "period": 30_000,
            "flags": ["SCHED_RESET_ON_FORK", "SCHED_FLAG_D_L_OVERRUN"]});
        let planned = scheduler(value).unwrap();
        assert_eq!((planned.policy, planned.flags), (6, 0b101));
        assert_eq!(
            (planned.runtime, planned.deadline, planned.period),
            (10_000, 20_000, 30_000)
        );
    }

    #[test]
    fn what_a_policy_has_no_use_for_is_refused_by_field() {
        for (value, expected) in [
            (
                json!({"policy": "SCHED_OTHER", "nice": 20}),
                "nice: must be between -20 and 19, found 20",
            ),
            (
                json!({"policy": "SCHED_BATCH", "nice": -21}),
                "nice: must be between -20 and 19, found -21",
            ),
            (
                json!({"policy": "SCHED_IDLE", "priority": 1}),
                "priority: is only for SCHED_FIFO and SCHED_RR, found 1",
            ),
            (
                json!({"policy": "SCHED_FIFO"}),
                "priority: must be between 1 and 99, found 0",
            ),
            (
                json!({"policy": "SCHED_RR", "priority": 100}),
                "priority: must be between 1 and 99, found 100",
            ),
            (
                json!({"policy": "SCHED_OTHER", "period": 5}),
                "period: is only for SCHED_DEADLINE, found 5",
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "deadline": 5}),
                "runtime: is required for SCHED_DEADLINE",
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 9, "deadline": 5}),
                "deadline: 5 is shorter than the runtime, 9",
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 5, "deadline": 9, "period": 8}),
                "period: 8 is shorter than the deadline, 9",
            ),
        ] {
            assert_eq!(
                scheduler(value).unwrap_err(),
                format!("process.scheduler.{expected}")
            );
        }
    }

    #[test]
    fn io_priorities_are_a_class_and_a_level() {
        let planned =
            |value| Scheduling::plan(&process("ioPriority", value)).map(|planned| planned.io_priority);
        for (class, number) in [("RT", 1), ("BE", 2), ("IDLE", 3)] {
            let value = json!({"class": format!("IOPRIO_CLASS_{class}"), "priority": 7});
            assert_eq!(planned(value).unwrap(), Some((number, 7)));
        }
        for level in [-1, 8] {
            assert_eq!(
                planned(json!({"class": "IOPRIO_CLASS_BE", "priority": level}))
                    .unwrap_err()
                    .to_string(),
                format!("process.ioPriority.priority: must be between 0 and 7, found {level}")
            );
        }
    }
}
