//! Extended attributes: setxattr(2) and getxattr(2), as far as labels, and marks without a value, need them.

use std::path::Path;

use std::ffi::CStr;

use nix::NixPath;
use nix::errno::Errno;

/// Sets the attribute `name` of `path` to an empty value.
///
/// # Errors
/// `EOPNOTSUPP` when the file system has no such attributes, `EPERM` for `trusted.` without CAP_SYS_ADMIN.
pub fn mark(path: &Path, name: &CStr) -> nix::Result<()> {
    set(path, name, b"")
}

/// Sets the attribute `name` of `path`.
///
/// # Errors
/// `EOPNOTSUPP` when the file system or the kernel has no such attribute, `EPERM` without the privilege for it.
pub fn set(path: &Path, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: both strings end in NUL, and they and the value live until the call returns; the length is the value's.
    let result = path.with_nix_path(|path| unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    })?;
    Errno::result(result).map(drop)
}

/// Whether `path` has the attribute `name`; any failure to tell means no.
pub fn is_marked(path: &Path, name: &CStr) -> bool {
    // SAFETY: both strings end in NUL and live until the call returns; a size of zero writes nothing.
    let result = path.with_nix_path(|path| unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0)
    });
    matches!(result, Ok(size) if size >= 0)
}
