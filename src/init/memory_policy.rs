//! `linux.memoryPolicy`: from which NUMA nodes the container's processes get their memory (set_mempolicy(2)).

use nix::errno::Errno;
use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};

use crate::error::{Error, Result};
use crate::spec::list;
use crate::sys::scheduling;

/// Modes by the words of config.json and linux/mempolicy.h's numbers.
const MODES: [(Mode, libc::c_int); 7] = [
    (Mode::MpolDefault, 0),
    (Mode::MpolPreferred, 1),
    (Mode::MpolBind, 2),
    (Mode::MpolInterleave, 3),
    (Mode::MpolLocal, 4),
    (Mode::MpolPreferredMany, 5),
    (Mode::MpolWeightedInterleave, 6),
];

const FLAGS: [(Flag, libc::c_int); 3] = [
    (Flag::MpolFNumaBalancing, libc::MPOL_F_NUMA_BALANCING),
    (Flag::MpolFRelativeNodes, libc::MPOL_F_RELATIVE_NODES),
    (Flag::MpolFStaticNodes, libc::MPOL_F_STATIC_NODES),
];

/// The words for the modes, for `features`.
pub fn modes() -> Vec<String> {
    MODES.iter().map(|(mode, _)| mode.to_string()).collect()
}

/// The words for the flags, for `features`.
pub fn flags() -> Vec<String> {
    FLAGS.iter().map(|(flag, _)| flag.to_string()).collect()
}

/// A policy to set.
#[derive(Debug, PartialEq, Eq)]
pub struct MemoryPolicy {
    mode: libc::c_int,
    nodes: Vec<u64>,
}

impl MemoryPolicy {
    /// Translates `linux.memoryPolicy`; pure.
    ///
    /// # Errors
    /// When `nodes` is no list, or not what the mode takes.
    pub fn plan(policy: &LinuxMemoryPolicy) -> Result<MemoryPolicy> {
        const FIELD: &str = "linux.memoryPolicy.nodes";
        let ranges = list::parse(policy.nodes().as_deref().unwrap_or_default())
            .map_err(|why| Error::invalid(FIELD, why))?;
        let mode = policy.mode();
        match (mode, ranges.is_empty()) {
            (Mode::MpolDefault | Mode::MpolLocal, false) => {
                return Err(Error::invalid(FIELD, format_args!("{mode} takes no nodes")));
            }
            (
                Mode::MpolBind
                | Mode::MpolInterleave
                | Mode::MpolWeightedInterleave
                | Mode::MpolPreferredMany,
                true,
            ) => return Err(Error::invalid(FIELD, format_args!("is required for {mode}"))),
            _ => {}
        }
        let asked = policy.flags().as_deref().unwrap_or_default();
        if asked.contains(&Flag::MpolFStaticNodes) && asked.contains(&Flag::MpolFRelativeNodes) {
            let why = "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other";
            return Err(Error::invalid("linux.memoryPolicy.flags", why));
        }
        let flags = FLAGS.iter().filter(|(flag, _)| asked.contains(flag));
        let mode = MODES
            .iter()
            .find(|(known, _)| *known == mode)
            .map_or(0, |(_, number)| *number);
        Ok(MemoryPolicy {
            mode: flags.fold(mode, |mode, (_, flag)| mode | flag),
            nodes: list::mask(&ranges),
        })
    }

    /// Sets it on the calling process.
    ///
    /// # Errors
    /// When the kernel has no NUMA, no such node, or does not know the mode or a flag.
    pub fn apply(&self) -> Result<()> {
        scheduling::set_memory_policy(self.mode, &self.nodes).map_err(|errno| {
            let error = Error::os("set", "linux.memoryPolicy", errno);
            match errno {
                Errno::ENOSYS => error.hint("this kernel is built without NUMA"),
                Errno::EINVAL => error.hint(
                    "are the nodes online and allowed by linux.resources.cpu.mems, \
                     and does the kernel know the mode with these flags?",
                ),
                _ => error,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(policy: Value) -> std::result::Result<MemoryPolicy, String> {
        MemoryPolicy::plan(&serde_json::from_value(policy).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_mode_and_flag_has_the_kernels_number() {
        for (number, mode) in modes().iter().enumerate() {
            let nodes = if matches!(number, 0 | 4) { "" } else { "0,65" };
            let planned = plan(json!({"mode": mode, "nodes": nodes})).unwrap();
            assert_eq!(planned.mode, number as libc::c_int, "{mode}");
            assert_eq!(planned.nodes, if nodes.is_empty() { vec![] } else { vec![1, 2] });
        }
        for (flag, bit) in flags().iter().zip([13, 14, 15]) {
            let planned = plan(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]})).unwrap();
            assert_eq!(planned.mode, 2 | 1 << bit, "{flag}");
        }
    }

    #[test]
    fn nodes_must_fit_the_mode() {
        for (policy, expected) in [
            (json!({"mode": "MPOL_BIND"}), "nodes: is required for MPOL_BIND"),
            (
                json!({"mode": "MPOL_INTERLEAVE", "nodes": " "}),
                "nodes: is required for MPOL_INTERLEAVE",
            ),
            (
                json!({"mode": "MPOL_LOCAL", "nodes": "0"}),
                "nodes: MPOL_LOCAL takes no nodes",
            ),
            (
                json!({"mode": "MPOL_BIND", "nodes": "x"}),
                "nodes: \"x\" is not a list of numbers and ranges such as 0-3,7: \"x\"",
            ),
            (
                json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
                "flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
            ),
        ] {
            assert_eq!(
                plan(policy).unwrap_err(),
                format!("linux.memoryPolicy.{expected}")
            );
        }
        // The kernel takes a preferred policy without nodes for a local one.
        assert!(plan(json!({"mode": "MPOL_PREFERRED"})).unwrap().nodes.is_empty());
    }
}
