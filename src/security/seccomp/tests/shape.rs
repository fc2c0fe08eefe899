//! Programs that come near the limits of classic BPF.

use super::*;
use crate::security::seccomp::syscalls::Syscall;

/// Rules on as many calls as there are, each with a comparison of its own.
fn profile_with_conditions(rules_per_call: u64) -> LinuxSeccomp {
    let entries: Vec<_> = Syscall::all()
        .enumerate()
        .flat_map(|(index, (name, _))| {
            (0..rules_per_call).map(move |rule| {
                json!({ "names": [name], "action": if index % 2 == 0 { "SCMP_ACT_ERRNO" } else { "SCMP_ACT_LOG" },
                    "errnoRet": if index % 2 == 0 { json!(index) } else { json!(null) },
                    "args": [{ "index": rule, "value": index as u64 * 7, "op": "SCMP_CMP_EQ" }] })
            })
        })
        .collect();
    profile(
        json!({ "defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": entries }),
    )
}

#[test]
fn jumps_over_more_than_255_instructions_arrive() {
    let seccomp = profile_with_conditions(1);
    let program = Program::compile_for(&seccomp, Machine::X86_64).unwrap();
    assert!(
        program.instructions.len() > 1500,
        "{} instructions",
        program.instructions.len()
    );
    for call in calls(&seccomp, Abi::X86_64) {
        let meant = meaning::Meaning::new(&seccomp, Abi::X86_64, true).verdict(&call);
        if call.number < 1 << 30 {
            assert_eq!(
                interpret::run(&program.instructions, &call, false),
                meant,
                "{call:x?}"
            );
        }
    }
}

#[test]
fn a_program_longer_than_the_kernel_takes_is_an_error() {
    let error = Program::compile_for(&profile_with_conditions(4), Machine::X86_64).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("linux.seccomp: the filter has ") && text.contains("at most 4096"),
        "{text}"
    );
}

#[test]
fn an_allow_list_without_holes_takes_a_handful_of_instructions() {
    let names: Vec<&str> = Syscall::all().map(|(name, _)| name).collect();
    let seccomp = profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_AARCH64"],
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
    }));
    let program = Program::compile_for(&seccomp, Machine::AARCH64).unwrap();
    assert!(
        program.instructions.len() < 20,
        "{} instructions",
        program.instructions.len()
    );
}

#[test]
fn a_default_without_rules_still_tells_architectures_apart() {
    let program = Program::compile_for(
        &profile(json!({ "defaultAction": "SCMP_ACT_ALLOW" })),
        Machine::AARCH64,
    )
    .unwrap();
    let verdict = |audit| {
        interpret::run(
            &program.instructions,
            &Call {
                number: 1,
                audit,
                arguments: [0; 6],
            },
            false,
        )
    };
    assert_eq!(verdict(Abi::Aarch64.audit()), libc::SECCOMP_RET_ALLOW);
    assert_eq!(verdict(Abi::Arm.audit()), libc::SECCOMP_RET_KILL_THREAD);
}

#[test]
fn the_kernel_sees_that_a_call_without_conditions_is_always_allowed() {
    let allowed = ["read", "getpid", "accept", "accept4", "openat", "futex", "clone3"];
    let by_argument = ["personality", "clone", "socket"];
    let condition = json!([{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }]);
    for architectures in [&ALL[..1], &ALL[..3]] {
        let seccomp = profile(json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures,
            "syscalls": [
                { "names": allowed, "action": "SCMP_ACT_ALLOW" },
                { "names": by_argument, "action": "SCMP_ACT_ALLOW", "args": condition },
            ],
        }));
        let program = Program::compile_for(&seccomp, Machine::X86_64).unwrap();
        let verdict = |name: &str| {
            let number = Syscall::named(name).unwrap().number(Abi::X86_64).unwrap();
            interpret::run_without_arguments(&program.instructions, number, Abi::X86_64.audit())
        };
        for name in allowed {
            assert_eq!(verdict(name), Some(libc::SECCOMP_RET_ALLOW), "{name}");
        }
        for name in by_argument {
            assert_eq!(verdict(name), None, "{name}");
        }
    }
}
