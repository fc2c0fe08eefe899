//! Resource limits (getrlimit(2)).
//!
//! RLIMIT_NOFILE is set in two steps. A low limit would keep the set-up from opening what it needs, so the limit itself
//! comes last; but a hard limit above our own takes privilege, so that is raised while there still is some.

use std::collections::HashSet;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType};

use crate::error::{Error, OsContext, Result};

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

    /// While there is privilege: every limit but RLIMIT_NOFILE, whose hard limit is only raised.
    ///
    /// # Errors
    /// `EPERM` for a hard limit above our own without CAP_SYS_RESOURCE.
    pub fn raise(&self) -> Result<()> {
        for limit in &self.0 {
            if limit.resource != Resource::RLIMIT_NOFILE {
                limit.set(limit.soft, limit.hard)?;
                continue;
            }
            let (soft, hard) = getrlimit(limit.resource).os("read", limit.kind)?;
            if limit.hard > hard {
                limit.set(soft, limit.hard)?;
            }
        }
        Ok(())
    }

    /// At last: RLIMIT_NOFILE itself.
    ///
    /// # Errors
    /// Those of setrlimit(2).
    pub fn apply(&self) -> Result<()> {
        let files = self
            .0
            .iter()
            .filter(|limit| limit.resource == Resource::RLIMIT_NOFILE);
        files
            .into_iter()
            .try_for_each(|limit| limit.set(limit.soft, limit.hard))
    }
}

impl Limit {
    fn set(&self, soft: u64, hard: u64) -> Result<()> {
        setrlimit(self.resource, soft, hard).map_err(|errno| {
            let Limit { index, kind, .. } = self;
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
