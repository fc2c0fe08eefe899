//! Calls on the own process that nix lacks, or that libc would spread over other threads.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Errors
/// `ENOSYS` before Linux 5.11.
pub fn close_on_exec_from(first: RawFd) -> nix::Result<()> {
    // SAFETY: integers only; descriptors stay open until execve, so no owner in this process is affected.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(result).map(drop)
}

/// Closes every descriptor from `first` on: what the caller forgot to close, before this program has opened any.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_from(first: RawFd) -> nix::Result<()> {
    // SAFETY: integers only. Called at the start of the program, when no value in it owns a descriptor from `first` on.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    Errno::result(result).map(drop)
}

/// Makes a child that goes on here as well (fork(2)): its pid in the parent, `None` in the child.
///
/// The caller is this process' only thread, or the child does not rely on what other threads were doing.
///
/// # Errors
/// `EAGAIN` at a limit of processes, `ENOMEM`.
pub fn fork() -> nix::Result<Option<Pid>> {
    // SAFETY: as documented; the child has copies of all memory, and locks of the C library are its to use.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Sets real, effective and saved user id of this thread, which is the only one.
///
/// # Errors
/// Those of setresuid(2); `EINVAL` when the user namespace does not map the id.
pub fn set_user(uid: u32) -> nix::Result<()> {
    // SAFETY: integers only. The libc function would signal all threads; there is one.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Sets real, effective and saved group id of this thread, which is the only one.
///
/// # Errors
/// Those of setresgid(2).
pub fn set_group(gid: u32) -> nix::Result<()> {
    // SAFETY: as in `set_user`.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets the supplementary groups of this thread, which is the only one.
///
/// # Errors
/// Those of setgroups(2).
pub fn set_groups(groups: &[u32]) -> nix::Result<()> {
    // SAFETY: pointer and length describe the slice.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Joins a new session keyring called `name` and lets its possessor search it (keyctl(2)).
///
/// # Errors
/// `ENOSYS` on kernels without keyrings, `EDQUOT` when the user has too many.
pub fn join_session_keyring(name: &CStr) -> nix::Result<()> {
    const POSSESSOR_SEARCH: u32 = 0x0800_0000;
    const USER_SEARCH: u32 = 0x0008_0000;
    const POSSESSOR_ALL: u32 = 0x3f00_0000;
    const USER_VIEW_READ_LINK: u32 = 0x0013_0000;
    // SAFETY: the name is a C string that lives through the call.
    let key = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    let key = Errno::result(key)?;
    let permissions = POSSESSOR_ALL | POSSESSOR_SEARCH | USER_VIEW_READ_LINK | USER_SEARCH;
    // SAFETY: integers only.
    Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, key, permissions) })
        .map(drop)
}

/// Sets the default action of every signal: execve hands on what is ignored, be it by the caller or, as SIGPIPE, by
/// Rust's start-up code.
pub fn default_signals() {
    // The kernel's struct sigaction (handler, flags, restorer, mask): all zero means SIG_DFL.
    let default = [0_u64; 4];
    let mask_bytes = size_of::<u64>();
    for signal in 1..=libc::SIGRTMAX() {
        // Not libc's sigaction, which keeps the first real-time signals to itself. SIGKILL and SIGSTOP stay as they are.
        // SAFETY: the kernel reads at most 32 bytes, and SIG_DFL installs no handler.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, 0, mask_bytes) };
    }
}

/// The type of a namespace file as its `CLONE_NEW*` flag (ioctl_ns(2), `NS_GET_NSTYPE`).
///
/// # Errors
/// `ENOTTY` when the descriptor is no namespace.
pub fn namespace_type(namespace: BorrowedFd<'_>) -> nix::Result<libc::c_int> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: this request takes no argument.
    Errno::result(unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) })
}

/// Sets the real user id alone: access(2) then answers for that user while we keep the privileges of the effective one.
///
/// # Errors
/// Those of setresuid(2).
pub fn set_real_user(uid: u32) -> nix::Result<()> {
    const UNCHANGED: u32 = u32::MAX;
    // SAFETY: as in `set_user`.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, UNCHANGED, UNCHANGED) }).map(drop)
}

/// Whether this process is in another user namespace than the initial one: root there is nobody outside.
pub fn in_user_namespace() -> bool {
    // The initial namespace maps every id to itself (user_namespaces(7)).
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Sets the NIS domain name of this UTS namespace (setdomainname(2)).
///
/// # Errors
/// `EINVAL` when it is longer than 64 bytes.
pub fn set_domain_name(name: &str) -> nix::Result<()> {
    // SAFETY: pointer and length describe the string.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}
