use libseccomp::{ScmpArch, ScmpSyscall};

use super::*;

/// All with a table, but for loongarch64, which libseccomp has only since 2.6.
const ARCHITECTURES: [(Abi, ScmpArch); 8] = [
    (Abi::X86_64, ScmpArch::X8664),
    (Abi::X86, ScmpArch::X86),
    (Abi::X32, ScmpArch::X32),
    (Abi::Aarch64, ScmpArch::Aarch64),
    (Abi::Arm, ScmpArch::Arm),
    (Abi::Riscv64, ScmpArch::Riscv64),
    (Abi::Ppc64le, ScmpArch::Ppc64Le),
    (Abi::S390x, ScmpArch::S390X),
];

#[test]
fn every_number_agrees_with_libseccomp() {
    let mut compared = 0;
    for (abi, arch) in ARCHITECTURES {
        for (name, call) in Syscall::all() {
            let theirs = ScmpSyscall::from_name_by_arch(name, arch).map(ScmpSyscall::as_raw_syscall);
            // A negative number says that the architecture lacks the call, or that libseccomp multiplexes it.
            let Some(theirs) = theirs.ok().and_then(|number| u32::try_from(number).ok()) else {
                continue;
            };
            assert_eq!(call.number(abi), Some(theirs), "{name} on {arch:?}");
            compared += 1;
        }
    }
    assert!(compared > 2500, "only {compared} numbers were compared");
}

#[test]
fn every_call_that_libseccomp_knows_is_in_the_table() {
    for (abi, arch) in ARCHITECTURES {
        let base = if abi == Abi::X32 {
            super::super::arch::X32_BIT
        } else {
            0
        };
        for number in (base..base + 600).chain(0xf_0000..0xf_0010) {
            let Ok(name) = ScmpSyscall::from_raw_syscall(number as i32).get_name_by_arch(arch) else {
                continue;
            };
            let ours = Syscall::named(&name).and_then(|call| call.number(abi));
            assert_eq!(ours, Some(number), "{name} on {arch:?}");
        }
    }
}

#[test]
fn names_are_sorted_and_every_one_is_found() {
    let mut previous = "";
    for (name, call) in Syscall::all() {
        assert!(previous < name, "{previous} stands before {name}");
        assert_eq!(Syscall::named(name), Some(call));
        previous = name;
    }
    assert_eq!(Syscall::named("no_such_call"), None);
    assert_eq!(Syscall::named(""), None);
}

#[test]
fn numbers_that_do_not_fit_the_table_are_restored() {
    let number = |name, abi| Syscall::named(name).unwrap().number(abi);
    assert_eq!(number("set_tls", Abi::Arm), Some(0xf_0005));
    assert_eq!(number("execve", Abi::X32), Some(0x4000_0000 | 520));
    assert_eq!(number("open", Abi::Aarch64), None);
}

#[test]
fn every_multiplexed_call_is_found_in_its_row() {
    for (name, multiplexer, operation) in MULTIPLEXED {
        let found = Syscall::named(name).unwrap().multiplexer();
        assert_eq!(found, Some((multiplexer, u64::from(operation))), "{name}");
    }
    let rows = Syscall::all().filter(|(_, call)| call.multiplexer().is_some());
    assert_eq!(rows.count(), MULTIPLEXED.len());
}
