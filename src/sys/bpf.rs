//! bpf(2): device programs of cgroup v2 (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! The layouts are those of `union bpf_attr` in linux/bpf.h; the kernel takes a prefix of it and treats the rest as zero.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// One instruction, `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation code: class, source and operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Jump distance or offset of a memory access.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Loads a device program and returns its descriptor.
///
/// # Errors
/// `EINVAL` or `EACCES` when the verifier refuses the program, `EPERM` without CAP_BPF and CAP_SYS_ADMIN, and before
/// Linux 5.11 also when RLIMIT_MEMLOCK is used up.
pub fn load_device_program(program: &[Instruction]) -> nix::Result<OwnedFd> {
    let mut attributes = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        expected_attach_type: CGROUP_DEVICE,
        ..Load::default()
    };
    attributes.prog_name[..15].copy_from_slice(b"minirun_devices");
    // SAFETY: `insns` and `license` point at memory that lives until the call returns, with the length given.
    unsafe { descriptor(PROG_LOAD, &mut attributes) }
}

/// Attaches a device program to a cgroup, beside those of its ancestors, all of which must allow an access.
/// With `replaced` it takes the place of a program that is attached already, without a moment in between.
///
/// # Errors
/// `ENOENT` when `replaced` is not attached, `EPERM` when an ancestor forbids programs below it.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> nix::Result<()> {
    let mut attributes = Attach {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI | if replaced.is_some() { REPLACE } else { 0 },
        replace_bpf_fd: replaced.map_or(0, number),
    };
    // SAFETY: the attributes hold descriptors only.
    unsafe { call(PROG_ATTACH, &mut attributes) }.map(drop)
}

/// Detaches a device program from a cgroup.
///
/// # Errors
/// `ENOENT` when it is not attached.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> nix::Result<()> {
    let mut attributes = Attach {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: CGROUP_DEVICE,
        ..Attach::default()
    };
    // SAFETY: the attributes hold descriptors only.
    unsafe { call(PROG_DETACH, &mut attributes) }.map(drop)
}

/// The device programs attached to exactly this cgroup, at most 64 of them (the kernel's own limit).
///
/// # Errors
/// `EINVAL` on a kernel without cgroup programs.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> nix::Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; 64];
    let mut attributes = Query {
        target_fd: number(cgroup),
        attach_type: CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        ..Query::default()
    };
    // SAFETY: `prog_ids` points at as many numbers as `prog_cnt` says, alive until the call returns.
    unsafe { call(PROG_QUERY, &mut attributes) }?;
    let mut programs = Vec::new();
    for &prog_id in ids.iter().take(attributes.prog_cnt as usize) {
        let mut attributes = ById {
            prog_id,
            ..ById::default()
        };
        // SAFETY: the attributes hold numbers only.
        programs.push(unsafe { descriptor(PROG_GET_FD_BY_ID, &mut attributes) }?);
    }
    Ok(programs)
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    // An open descriptor is never negative.
    fd.as_raw_fd() as u32
}

/// # Safety
/// `attributes` is the layout that `command` reads, and every pointer in it is valid until the call returns.
unsafe fn call<T>(command: libc::c_int, attributes: &mut T) -> nix::Result<libc::c_long> {
    loop {
        // SAFETY: the caller's promise; the size is that of the value behind the pointer.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                std::ptr::from_mut(attributes),
                size_of::<T>(),
            )
        };
        match Errno::result(result) {
            // The verifier gives up with EAGAIN when a signal is pending.
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            result => return result,
        }
    }
}

/// # Safety
/// As for [`call`], and `command` returns a new descriptor.
unsafe fn descriptor<T>(command: libc::c_int, attributes: &mut T) -> nix::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { call(command, attributes) }?;
    // SAFETY: a fresh descriptor (close-on-exec, as all of bpf(2)), which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}
