//! The same profile through libseccomp, in the way that runc calls it, as a second opinion in tests.

use libc::sock_filter;
use libseccomp::{ScmpArch, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

use super::interpret::{self, Call};
use super::{ARM_FAMILY, X86_FAMILY, rules};
use crate::security::seccomp::arch::{Abi, Machine, X32_BIT};
use crate::security::seccomp::syscalls::Syscall;

/// libseccomp's program, and what runc puts in front of it.
pub(super) struct Oracle {
    pub(super) program: Vec<sock_filter>,
    big_endian: bool,
    /// The ABIs with runc's ENOSYS stub, and the largest number up to which the filter proper is asked.
    newest: Vec<(Abi, u32)>,
}

impl Oracle {
    pub(super) fn new(seccomp: &LinuxSeccomp, machine: Machine) -> Self {
        let big_endian = machine.is_big_endian();
        Self {
            program: rules::export(&filter(seccomp, machine), big_endian),
            big_endian,
            newest: newest(seccomp, machine),
        }
    }

    pub(super) fn verdict(&self, call: &Call) -> u32 {
        if self.stub_hides(call) {
            return libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        }
        interpret::run(&self.program, call, self.big_endian)
    }

    fn stub_hides(&self, call: &Call) -> bool {
        let is_x32 = call.number & X32_BIT != 0;
        self.newest.iter().any(|(abi, newest)| match abi {
            _ if abi.audit() != call.audit => false,
            Abi::X86_64 if is_x32 => false,
            Abi::X32 if !is_x32 => false,
            Abi::S390x if call.number == 0 => true,
            _ => call.number > *newest,
        })
    }
}

/// Builds the filter. libseccomp starts with the architecture of the machine that the test runs on.
pub(super) fn filter(seccomp: &LinuxSeccomp, machine: Machine) -> ScmpFilterContext {
    let mut context = rules::context(seccomp);
    let native = arch(machine.native());
    if native != ScmpArch::native() {
        context.remove_arch(ScmpArch::native()).unwrap();
        context.add_arch(native).unwrap();
    }
    for abi in listed(seccomp, machine) {
        context.add_arch(arch(abi)).unwrap();
    }
    rules::add(&mut context, seccomp);
    context
}

/// Names that libseccomp does not know and the tables here do would only show the age of the library.
pub(super) fn without_names_unknown_to_libseccomp(seccomp: &LinuxSeccomp) -> LinuxSeccomp {
    let mut seccomp = seccomp.clone();
    let knows = |name: &str, abi: Abi, number| {
        let theirs = ScmpSyscall::from_name_by_arch(name, arch(abi)).map(ScmpSyscall::as_raw_syscall);
        theirs.is_ok_and(|theirs| theirs < 0 && abi.multiplexes() || theirs as u32 == number)
    };
    let known = |name: &String| {
        let call = Syscall::named(name);
        let number = |abi| Some((abi, call?.number(abi)?));
        let mut numbers = X86_FAMILY
            .iter()
            .chain(&ARM_FAMILY)
            .filter_map(|abi| number(*abi));
        ScmpSyscall::from_name(name).is_ok() && numbers.all(|(abi, number)| knows(name, abi, number))
    };
    let syscalls = seccomp.syscalls().iter().flatten().filter_map(|syscall| {
        let names: Vec<String> = syscall
            .names()
            .iter()
            .filter(|name| known(name))
            .cloned()
            .collect();
        let mut syscall: LinuxSyscall = syscall.clone();
        syscall.set_names(names);
        (!syscall.names().is_empty()).then_some(syscall)
    });
    let syscalls: Vec<LinuxSyscall> = syscalls.collect();
    seccomp.set_syscalls(Some(syscalls));
    seccomp
}

fn arch(abi: Abi) -> ScmpArch {
    match abi {
        Abi::X86_64 => ScmpArch::X8664,
        Abi::X86 => ScmpArch::X86,
        Abi::X32 => ScmpArch::X32,
        Abi::Aarch64 => ScmpArch::Aarch64,
        Abi::Arm => ScmpArch::Arm,
        Abi::Riscv64 => ScmpArch::Riscv64,
        Abi::Ppc64le => ScmpArch::Ppc64Le,
        Abi::S390x => ScmpArch::S390X,
        Abi::Loongarch64 => ScmpArch::Loongarch64,
    }
}

fn listed(seccomp: &LinuxSeccomp, machine: Machine) -> Vec<Abi> {
    let listed = seccomp
        .architectures()
        .iter()
        .flatten()
        .filter_map(|arch: &Arch| Abi::of(*arch, machine));
    listed.filter(|abi| machine.can_report(*abi)).collect()
}

fn newest(seccomp: &LinuxSeccomp, machine: Machine) -> Vec<(Abi, u32)> {
    use LinuxSeccompAction::{ScmpActAllow, ScmpActLog, ScmpActTrace};
    if matches!(seccomp.default_action(), ScmpActAllow | ScmpActLog | ScmpActTrace) {
        return Vec::new();
    }
    let names = || seccomp.syscalls().iter().flatten().flat_map(LinuxSyscall::names);
    let newest = |abi| {
        let number = |name: &String| ScmpSyscall::from_name_by_arch(name, arch(abi)).ok();
        names().filter_map(number).map(ScmpSyscall::as_raw_syscall).max()
    };
    let newest = listed(seccomp, machine)
        .into_iter()
        .map(|abi| (abi, newest(abi).unwrap_or(0)));
    newest
        .filter(|(_, newest)| *newest > 0)
        .map(|(abi, newest)| (abi, newest as u32))
        .collect()
}
