//! The system calls that netd may make while it serves (seccomp(2)): what the event loop needs, and no other.
//!
//! Should a packet ever find a way into this process, there is no program to start, no file to write (the user is nobody)
//! and no socket but those of the internet. A call that is not on the list fails with EPERM.

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, c_long,
    sock_filter,
};
use nix::errno::Errno;

use crate::error::{OsContext as _, Result};
use crate::sys::seccomp;

/// `AUDIT_ARCH_*` of linux/audit.h; other architectures go without the filter.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};

/// Where `struct seccomp_data` has the number, the architecture and the lower half of the first argument.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const FIRST_ARGUMENT_AT: u32 = 16;

/// The frequent ones first. Names that only some architectures have are in [`OLD`].
const ALLOWED: [c_long; 47] = [
    // Events and packets.
    libc::SYS_epoll_pwait,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_epoll_ctl,
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_shutdown,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_flock,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    // resolv.conf.
    libc::SYS_openat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_lseek,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    // Signals, and the end.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(target_arch = "x86_64")]
const OLD: [c_long; 5] = [
    libc::SYS_epoll_wait,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_poll,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: [c_long; 0] = [];

/// Puts the filter on this process, for good. Kernels without seccomp go without.
///
/// # Errors
/// When the kernel refuses the filter.
pub(super) fn confine() -> Result<()> {
    let Some(architecture) = ARCHITECTURE else {
        return Ok(());
    };
    match seccomp::load(&program(architecture), 0) {
        Err(Errno::ENOSYS | Errno::EINVAL) => {
            crate::log::debug("netd: this kernel has no seccomp filters");
            Ok(())
        }
        result => result.os("limit", "netd's system calls"),
    }
}

fn program(architecture: u32) -> Vec<sock_filter> {
    let load = |at| statement(BPF_LD | BPF_W | BPF_ABS, at);
    let mut program = vec![load(ARCHITECTURE_AT), when(architecture), deny(), load(NUMBER_AT)];
    for number in OLD.iter().chain(&ALLOWED) {
        program.extend([unless(*number as u32), allow()]);
    }
    // Sockets of the internet alone.
    program.extend([when(libc::SYS_socket as u32), deny(), load(FIRST_ARGUMENT_AT)]);
    for family in [libc::AF_INET, libc::AF_INET6] {
        program.extend([unless(family as u32), allow()]);
    }
    program.push(deny());
    program
}

/// Passes over the next instruction unless the accumulator is `value`.
fn unless(value: u32) -> sock_filter {
    jump(value, 0, 1)
}

/// Passes over the next instruction when the accumulator is `value`.
fn when(value: u32) -> sock_filter {
    jump(value, 1, 0)
}

fn jump(value: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: (BPF_JMP | BPF_JEQ | BPF_K) as u16,
        jt,
        jf,
        k: value,
    }
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

fn allow() -> sock_filter {
    statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
}

fn deny() -> sock_filter {
    statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | Errno::EPERM as u32)
}
