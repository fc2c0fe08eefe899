//! Resource limits (getrlimit(2)).
//!
//! They are set while there is privilege to raise hard limits. A low RLIMIT_NOFILE alone waits until the last moment, where
//! it needs no privilege: before, it would keep the set-up from opening what it needs.

use std::collections::HashSet;

use nix::sys::resource::{Resource, setrlimit};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType};

use crate::error::{Error, Result};

/// With fewer descriptors the set-up may not get through.
const ENOUGH_FILES: u64 = 64;

/// The limits of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rlimits(Vec<Limit>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    index: usize,
    kind: PosixRlimitType,
    resource: Resource,
    soft: u64,
    hard: u64,
}

impl Rlimits {
    /// Translates `process.rlimits`; pure.
    ///
    /// # Errors
    /// When a limit is given twice, or a soft one is above its hard one.
    pub fn plan(rlimits: &[PosixRlimit]) -> Result<Rlimits> {
        let mut seen = HashSet::new();
        let mut planned = Vec::with_capacity(rlimits.len());
        for (index, rlimit) in rlimits.iter().enumerate() {
            let (kind, soft, hard) = (rlimit.typ(), rlimit.soft(), rlimit.hard());
            let resource = resource(kind);
            if !seen.insert(kind.to_string()) {
                return Err(Error::invalid(
                    format_args!("process.rlimits[{index}].type"),
                    format_args!("{kind} is given twice"),
                ));
            }
            if soft > hard {
                return Err(Error::invalid(
                    format_args!("process.rlimits[{index}].soft"),
                    format_args!("{soft} is above the hard limit of {hard}"),
                ));
            }
            planned.push(Limit {
                index,
                kind,
                resource,
                soft,
                hard,
            });
        }
        Ok(Rlimits(planned))
    }

    /// While there is privilege: every limit; of a low RLIMIT_NOFILE only the hard one, where that is not low as well.
    ///
    /// # Errors
    /// `EPERM` for a hard limit above our own without CAP_SYS_RESOURCE.
    pub fn apply(&self) -> Result<()> {
        for limit in &self.0 {
            if !limit.is_low() {
                limit.set(limit.soft)?;
            } else if limit.hard >= ENOUGH_FILES {
                limit.set(ENOUGH_FILES)?;
            }
        }
        Ok(())
    }

    /// At last: a low RLIMIT_NOFILE. Makes no system call when there is none.
    ///
    /// # Errors
    /// Those of setrlimit(2).
    pub fn apply_low(&self) -> Result<()> {
        self.0
            .iter()
            .filter(|limit| limit.is_low())
            .try_for_each(|limit| limit.set(limit.soft))
    }
}

impl Limit {
    fn is_low(&self) -> bool {
        self.resource == Resource::RLIMIT_NOFILE && self.soft < ENOUGH_FILES
    }

    fn set(&self, soft: u64) -> Result<()> {
        let Limit {
            index,
            kind,
            resource,
            hard,
            ..
        } = *self;
        setrlimit(resource, soft, hard).map_err(|errno| {
            let error = Error::os(
                format_args!("process.rlimits[{index}]: set {kind} to"),
                format_args!("soft {soft}, hard {hard}"),
                errno,
            );
            if errno == nix::errno::Errno::EPERM {
                error.hint("a hard limit above the runtime's own needs CAP_SYS_RESOURCE")
            } else {
                error
            }
        })
    }
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
        PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
        PosixRlimitType::RlimitData => Resource::RLIMIT_DATA,
        PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
        PosixRlimitType::RlimitLocks => Resource::RLIMIT_LOCKS,
        PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => Resource::RLIMIT_NICE,
        PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        PosixRlimitType::RlimitRss => Resource::RLIMIT_RSS,
        PosixRlimitType::RlimitRtprio => Resource::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => Resource::RLIMIT_RTTIME,
        PosixRlimitType::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(rlimits: serde_json::Value) -> Result<Rlimits> {
        Rlimits::plan(&serde_json::from_value::<Vec<PosixRlimit>>(rlimits).unwrap())
    }

    #[test]
    fn a_limit_given_twice_is_refused_by_its_index() {
        let twice = json!([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}, {"type": "RLIMIT_NOFILE", "soft": 2, "hard": 2}]);
        let error = plan(twice).unwrap_err();
        assert_eq!(
            error.to_string(),
            "process.rlimits[1].type: RLIMIT_NOFILE is given twice"
        );
    }

    #[test]
    fn a_soft_limit_above_the_hard_one_is_refused() {
        let error = plan(json!([{"type": "RLIMIT_CORE", "soft": 5, "hard": 4}])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "process.rlimits[0].soft: 5 is above the hard limit of 4"
        );
    }

    #[test]
    fn all_sixteen_names_are_limits() {
        let names = [
            "AS",
            "CORE",
            "CPU",
            "DATA",
            "FSIZE",
            "LOCKS",
            "MEMLOCK",
            "MSGQUEUE",
            "NICE",
            "NOFILE",
            "NPROC",
            "RSS",
            "RTPRIO",
            "RTTIME",
            "SIGPENDING",
            "STACK",
        ];
        let all: Vec<_> = names
            .iter()
            .map(|name| json!({"type": format!("RLIMIT_{name}"), "soft": 1, "hard": 2}))
            .collect();
        let planned = plan(json!(all)).unwrap();
        let resources: HashSet<_> = planned.0.iter().map(|limit| limit.resource as i32).collect();
        assert_eq!(resources.len(), names.len());
    }
}
