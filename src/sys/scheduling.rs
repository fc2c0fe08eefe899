//! When and where a process runs: scheduling policy, I/O priority, CPUs, memory nodes, execution domain.

use std::mem::size_of;

use nix::errno::Errno;
use nix::unistd::Pid;

/// `struct sched_attr` of linux/sched/types.h with the utilization hints of Linux 5.3; the kernel reads `size` bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Filled in by [`set_scheduler`].
    pub size: u32,
    /// `SCHED_OTHER` and the like.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// 1 to 99, for `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// In nanoseconds, for `SCHED_DEADLINE`, as the next two.
    pub runtime: u64,
    /// See `runtime`.
    pub deadline: u64,
    /// See `runtime`.
    pub period: u64,
    /// Utilization of a CPU to reckon with, of 1024.
    pub util_min: u32,
    /// See `util_min`.
    pub util_max: u32,
}

/// Sets how a process is scheduled (sched_setattr(2)).
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE, and for `SCHED_DEADLINE` on a part of the CPUs; `EBUSY` when the CPUs' time does not
/// suffice for `SCHED_DEADLINE`; `EINVAL` for what the policy or the kernel does not know.
pub fn set_scheduler(pid: Pid, attributes: &Attributes) -> nix::Result<()> {
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        ..*attributes
    };
    // SAFETY: the pointer is to a struct that says its own size and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, pid.as_raw(), &raw const attributes, 0) };
    Errno::result(result).map(drop)
}

/// Sets the I/O priority of a process group: class 1 (real time) to 3 (idle), level 0 to 7 (ioprio_set(2)).
///
/// # Errors
/// `EPERM` for the real-time class without CAP_SYS_NICE, `ESRCH` when there is no such group.
pub fn set_io_priority(group: Pid, class: u32, level: u32) -> nix::Result<()> {
    const IOPRIO_WHO_PGRP: libc::c_int = 2;
    const IOPRIO_CLASS_SHIFT: u32 = 13;
    let priority = class << IOPRIO_CLASS_SHIFT | level;
    // SAFETY: integers only.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PGRP, group.as_raw(), priority) };
    Errno::result(result).map(drop)
}

/// Sets the CPUs that the calling thread may run on, a bit each from CPU 0 on (sched_setaffinity(2)). Bits of CPUs that
/// the machine does not have are of no account.
///
/// # Errors
/// `EINVAL` when none of them is there and allowed by the control group.
pub fn set_affinity(mask: &[u64]) -> nix::Result<()> {
    // SAFETY: pointer and length in bytes describe the slice, which the kernel only reads.
    let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) };
    Errno::result(result).map(drop)
}

/// The CPUs that the calling thread may run on, as [`set_affinity`] takes them.
///
/// # Errors
/// `EINVAL` on a machine with more than 65536 CPUs.
pub fn affinity() -> nix::Result<Vec<u64>> {
    let mut mask = vec![0_u64; 1024];
    let bytes = size_of_val(mask.as_slice());
    // SAFETY: pointer and length in bytes describe the vector, which the kernel writes.
    let result = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, bytes, mask.as_mut_ptr()) };
    let written = Errno::result(result)?;
    mask.truncate(usize::try_from(written).unwrap_or(0).div_ceil(size_of::<u64>()));
    Ok(mask)
}

/// Sets the memory policy of the calling thread and what it starts (set_mempolicy(2)): an `MPOL_*` mode with its flags,
/// and a bit for each node.
///
/// # Errors
/// `ENOSYS` on a kernel without NUMA, `EINVAL` for a mode or flag that it does not know and for nodes that are not there.
pub fn set_memory_policy(mode: libc::c_int, nodes: &[u64]) -> nix::Result<()> {
    // The kernel reads one bit less than it is told.
    let (pointer, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        nodes => (nodes.as_ptr(), nodes.len() * u64::BITS as usize + 1),
    };
    // SAFETY: the pointer is null with a length of zero, or to a slice that has the bits that are read.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) };
    Errno::result(result).map(drop)
}

/// The execution domain of programs of this machine (linux/personality.h).
pub const PER_LINUX: libc::c_ulong = 0;
/// The execution domain of programs of its 32-bit predecessor: uname(2) says `i686`.
pub const PER_LINUX32: libc::c_ulong = 8;

/// Sets the execution domain of the calling process (personality(2)).
///
/// # Errors
/// `EINVAL` when the kernel refuses.
pub fn set_personality(domain: libc::c_ulong) -> nix::Result<()> {
    // SAFETY: an integer only.
    Errno::result(unsafe { libc::syscall(libc::SYS_personality, domain) }).map(drop)
}
