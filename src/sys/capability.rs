//! The calling thread's capability sets as bit masks (capabilities(7)); bit n is capability number n.

use nix::errno::Errno;

/// `struct __user_cap_header_struct` of linux/capability.h.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct`; version 3 has two, for the lower and the upper 32 bits.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;

/// The permitted set.
///
/// # Errors
/// None that a kernel since 2.6.26 returns.
pub fn permitted() -> nix::Result<u64> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 writes the header and two data structures.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Sets three sets in one call. What ambient capabilities are then not both permitted and inheritable are lost.
///
/// # Errors
/// `EPERM` for a permitted capability that is not yet permitted, an effective one that is not permitted, or an
/// inheritable one that is neither inheritable yet nor in the bounding set.
pub fn set(effective: u64, permitted: u64, inheritable: u64) -> nix::Result<()> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let half = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads two data structures.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// Whether a capability is in the bounding set.
///
/// # Errors
/// `EINVAL` when the kernel does not know the capability.
pub fn is_in_bounding_set(capability: u32) -> nix::Result<bool> {
    // SAFETY: integers only.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0, 0, 0) };
    Errno::result(result).map(|set| set != 0)
}

/// Takes a capability out of the bounding set, for good.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP, `EINVAL` when the kernel does not know the capability.
pub fn drop_from_bounding_set(capability: u32) -> nix::Result<()> {
    // SAFETY: integers only.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
    Errno::result(result).map(drop)
}
