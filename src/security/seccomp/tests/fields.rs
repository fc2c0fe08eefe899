//! What becomes of fields other than rules, and what is said about bad ones.

use super::*;
use crate::error::Kind;

#[track_caller]
fn assert_error(seccomp: serde_json::Value, kind: Kind, text: &str) {
    let error = Program::compile_for(&profile(seccomp), Machine::X86_64).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
}

#[test]
fn bad_values_are_refused_with_the_path_of_their_field() {
    let entry = |entry: serde_json::Value| {
        let good = json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW" });
        json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [good, entry] })
    };
    assert_error(
        entry(json!({ "names": [], "action": "SCMP_ACT_ALLOW" })),
        Kind::InvalidConfig,
        "linux.seccomp.syscalls[1].names: must name at least one system call",
    );
    assert_error(
        entry(json!({ "names": ["read", ""], "action": "SCMP_ACT_ALLOW" })),
        Kind::InvalidConfig,
        "linux.seccomp.syscalls[1].names[1]: is empty",
    );
    assert_error(
        entry(json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }, { "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }] })),
        Kind::InvalidConfig,
        "linux.seccomp.syscalls[1].args[1].index: 6 is not an argument: they are numbered from 0 to 5",
    );
    assert_error(
        entry(json!({ "names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1 })),
        Kind::InvalidConfig,
        "linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_KILL returns no error number",
    );
    assert_error(
        entry(json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 })),
        Kind::InvalidConfig,
        "linux.seccomp.syscalls[1].errnoRet: 4096 is larger than 4095",
    );
    assert_error(
        entry(json!({ "names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65_536 })),
        Kind::InvalidConfig,
        "linux.seccomp.syscalls[1].errnoRet: 65536 is larger than 65535",
    );
    assert_error(
        entry(json!({ "names": ["read"], "action": "SCMP_ACT_NOTIFY" })),
        Kind::InvalidConfig,
        "linux.seccomp.listenerPath: is required for SCMP_ACT_NOTIFY",
    );
    assert_error(
        entry(json!({ "names": ["mkdir", "write"], "action": "SCMP_ACT_NOTIFY" })),
        Kind::InvalidConfig,
        "linux.seccomp.syscalls[1].action: SCMP_ACT_NOTIFY cannot be used for the write syscall",
    );
    let relative = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "agent.sock",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] });
    assert_error(
        relative,
        Kind::InvalidConfig,
        "linux.seccomp.listenerPath: must be an absolute path, found \"agent.sock\"",
    );
    assert_error(
        json!({ "defaultAction": "SCMP_ACT_NOTIFY" }),
        Kind::InvalidConfig,
        "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default",
    );
    assert_error(
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1 }),
        Kind::InvalidConfig,
        "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW returns no error number",
    );
    assert_error(
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x" }),
        Kind::InvalidConfig,
        "linux.seccomp.listenerMetadata: is only allowed together with linux.seccomp.listenerPath",
    );
}

#[test]
fn names_that_no_architecture_knows_are_reported_and_ignored() {
    let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["made_up", "read", "READ"], "action": "SCMP_ACT_ERRNO" }] });
    let program = Program::compile_for(&profile(seccomp), Machine::X86_64).unwrap();
    assert_eq!(program.unknown_names(), ["made_up", "READ"]);
    assert!(program.warnings().is_empty());
}

#[test]
fn flags_become_the_kernels_and_absent_means_runcs_default() {
    let flags = |flags: serde_json::Value| {
        let seccomp = profile(json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": flags }));
        Program::compile_for(&seccomp, Machine::X86_64).unwrap().flags()
    };
    assert_eq!(flags(json!(null)), libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW);
    assert_eq!(flags(json!([])), 0);
    assert_eq!(
        flags(json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"])),
        libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_TSYNC
    );
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])), 0);
}

#[test]
fn architectures_that_the_kernel_never_reports_add_nothing() {
    let instructions = |architectures: serde_json::Value| {
        let seccomp = profile(
            json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures,
            "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ALLOW" }] }),
        );
        let program = Program::compile_for(&seccomp, Machine::X86_64).unwrap();
        assert!(program.warnings().is_empty());
        program.instructions().len()
    };
    let own = instructions(json!(["SCMP_ARCH_X86_64"]));
    assert_eq!(
        instructions(json!([
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_AARCH64",
            "SCMP_ARCH_MIPS",
            "SCMP_ARCH_SHEB"
        ])),
        own
    );
    assert_eq!(instructions(json!(["SCMP_ARCH_NATIVE", "SCMP_ARCH_X86_64"])), own);
    assert!(instructions(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])) > own);
}

#[test]
fn an_architecture_without_a_table_whose_programs_run_here_is_warned_about() {
    let seccomp =
        json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"] });
    let program = Program::compile_for(&profile(seccomp), Machine::S390X).unwrap();
    assert_eq!(
        program.warnings(),
        [
            "linux.seccomp.architectures[1]: SCMP_ARCH_S390 has no table of system calls in minirun; its programs will be killed"
        ]
    );
}
