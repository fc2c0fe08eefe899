//! What the compiler takes, for the features document. The tests hold these lists to the code that acts on them.

use oci_spec::runtime::{Arch, LinuxSeccompAction as Action};

/// Actions of rules: all of the specification.
pub const ACTIONS: [Action; 9] = [
    Action::ScmpActAllow,
    Action::ScmpActErrno,
    Action::ScmpActKill,
    Action::ScmpActKillProcess,
    Action::ScmpActKillThread,
    Action::ScmpActLog,
    Action::ScmpActNotify,
    Action::ScmpActTrace,
    Action::ScmpActTrap,
];

/// Comparisons of arguments.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// Architectures with a table of system calls.
pub const ARCHITECTURES: [Arch; 9] = [
    Arch::ScmpArchAarch64,
    Arch::ScmpArchArm,
    Arch::ScmpArchLoongarch64,
    Arch::ScmpArchPpc64le,
    Arch::ScmpArchRiscv64,
    Arch::ScmpArchS390x,
    Arch::ScmpArchX32,
    Arch::ScmpArchX86,
    Arch::ScmpArchX86_64,
];

/// Flags that a profile may have.
pub const KNOWN_FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// Those of them that reach the kernel; the last one on a filter with a listener.
pub const SUPPORTED_FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxSeccomp;
    use serde_json::{Value, json};

    use super::super::Program;
    use super::super::arch::{Abi, Machine};
    use super::super::profile;
    use super::*;

    /// The profile that the document describes; `None` when a word in it is none of the specification's.
    fn profile(document: Value) -> Option<LinuxSeccomp> {
        serde_json::from_value(document).ok()
    }

    #[test]
    fn the_actions_are_those_that_compile() {
        let words = [
            "SCMP_ACT_ALLOW",
            "SCMP_ACT_ERRNO",
            "SCMP_ACT_KILL",
            "SCMP_ACT_KILL_PROCESS",
            "SCMP_ACT_KILL_THREAD",
            "SCMP_ACT_LOG",
            "SCMP_ACT_NOTIFY",
            "SCMP_ACT_TRACE",
            "SCMP_ACT_TRAP",
        ];
        let compiles = |word: &&str| {
            let rule = json!({"names": ["read"], "action": word});
            let profile = profile(
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], "listenerPath": "/run/agent.sock"}),
            );
            Program::compile(&profile.unwrap()).is_ok()
        };
        let compiling: Vec<&str> = words.into_iter().filter(compiles).collect();
        assert_eq!(serde_json::to_value(ACTIONS).unwrap(), json!(compiling));
    }

    #[test]
    fn every_operator_compiles() {
        for operator in OPERATORS {
            let args = json!([{"index": 0, "value": 1, "valueTwo": 1, "op": operator}]);
            let rule = json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": args});
            let profile = profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
            assert!(Program::compile(&profile.unwrap()).is_ok(), "{operator}");
        }
    }

    #[test]
    fn the_architectures_are_those_with_a_table() {
        let machine = Machine::host().unwrap();
        assert!(
            ARCHITECTURES
                .into_iter()
                .all(|arch| Abi::of(arch, machine).is_some())
        );
        for arch in [Arch::ScmpArchMips, Arch::ScmpArchPpc64, Arch::ScmpArchS390] {
            assert!(Abi::of(arch, machine).is_none());
        }
        let native = Abi::of(Arch::ScmpArchNative, machine);
        assert!(
            ARCHITECTURES
                .into_iter()
                .any(|arch| Abi::of(arch, machine) == native)
        );
    }

    #[test]
    fn the_supported_flags_are_the_known_ones_that_reach_the_kernel() {
        let reaches_kernel = |flag: &&str| {
            let profile = profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag]}));
            profile::read(&profile.unwrap()).unwrap().flags != 0
        };
        let reaching: Vec<&str> = KNOWN_FLAGS.into_iter().filter(reaches_kernel).collect();
        assert_eq!(reaching, SUPPORTED_FLAGS);
    }
}
