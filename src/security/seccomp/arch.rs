//! Architectures: which of them a machine's kernel can report to a filter, and what differs between them.
//!
//! A filter sees an audit architecture and a number. x86_64 and x32 share one audit architecture; bit 30 of the number
//! tells them apart. A kernel only ever reports the few architectures whose programs it can run, so a program leaves
//! out the others that a profile lists.

use oci_spec::runtime::Arch;

/// Set in every system call number of an x32 program (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// A calling convention with its own system call numbers, in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    Riscv64,
    Ppc64le,
    S390x,
    Loongarch64,
}

impl Abi {
    /// `None` for the names of the specification that minirun has no table for.
    pub(super) fn of(arch: Arch, machine: Machine) -> Option<Self> {
        match arch {
            Arch::ScmpArchNative => Some(machine.native()),
            Arch::ScmpArchX86_64 => Some(Self::X86_64),
            Arch::ScmpArchX86 => Some(Self::X86),
            Arch::ScmpArchX32 => Some(Self::X32),
            Arch::ScmpArchAarch64 => Some(Self::Aarch64),
            Arch::ScmpArchArm => Some(Self::Arm),
            Arch::ScmpArchRiscv64 => Some(Self::Riscv64),
            Arch::ScmpArchPpc64le => Some(Self::Ppc64le),
            Arch::ScmpArchS390x => Some(Self::S390x),
            Arch::ScmpArchLoongarch64 => Some(Self::Loongarch64),
            _ => None,
        }
    }

    /// `AUDIT_ARCH_*` of linux/audit.h: the ELF machine, bit 31 for 64 bits, bit 30 for little endian.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
            Self::Riscv64 => 0xc000_00f3,
            Self::Ppc64le => 0xc000_0015,
            Self::S390x => 0x8000_0016,
            Self::Loongarch64 => 0xc000_0102,
        }
    }

    /// Arguments are 32 bits wide: values are compared by their lower half, so that -1 matches however it was widened.
    pub(super) fn has_32_bit_arguments(self) -> bool {
        matches!(self, Self::X86 | Self::X32 | Self::Arm)
    }

    /// socketcall(2) and ipc(2), which carry many calls behind one number.
    pub(super) fn multiplexes(self) -> bool {
        matches!(self, Self::X86 | Self::Ppc64le | Self::S390x)
    }
}

/// A processor that minirun runs on, named by its native ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine(Abi);

impl Machine {
    #[cfg(test)]
    pub(super) const X86_64: Self = Self(Abi::X86_64);
    #[cfg(test)]
    pub(super) const AARCH64: Self = Self(Abi::Aarch64);
    #[cfg(test)]
    pub(super) const S390X: Self = Self(Abi::S390x);

    /// The machine this binary was built for; `None` when there is no table for it.
    pub(super) const fn host() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self(Abi::X86_64))
        } else if cfg!(target_arch = "x86") {
            Some(Self(Abi::X86))
        } else if cfg!(target_arch = "aarch64") {
            Some(Self(Abi::Aarch64))
        } else if cfg!(target_arch = "arm") {
            Some(Self(Abi::Arm))
        } else if cfg!(target_arch = "riscv64") {
            Some(Self(Abi::Riscv64))
        } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
            Some(Self(Abi::Ppc64le))
        } else if cfg!(target_arch = "s390x") {
            Some(Self(Abi::S390x))
        } else if cfg!(target_arch = "loongarch64") {
            Some(Self(Abi::Loongarch64))
        } else {
            None
        }
    }

    pub(super) fn native(self) -> Abi {
        self.0
    }

    /// A 32-bit build may run under a 64-bit kernel, hence the symmetry.
    pub(super) fn can_report(self, abi: Abi) -> bool {
        const X86: [Abi; 3] = [Abi::X86_64, Abi::X86, Abi::X32];
        const ARM: [Abi; 2] = [Abi::Aarch64, Abi::Arm];
        let family = |family: &[Abi]| family.contains(&self.0) && family.contains(&abi);
        self.0 == abi || family(&X86) || family(&ARM)
    }

    /// An architecture without a table whose programs this machine's kernel may run all the same: 31-bit s390.
    pub(super) fn can_report_without_table(self, arch: Arch) -> bool {
        self.0 == Abi::S390x && arch == Arch::ScmpArchS390
    }

    pub(super) fn is_big_endian(self) -> bool {
        self.0 == Abi::S390x
    }
}
