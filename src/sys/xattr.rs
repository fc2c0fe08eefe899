//! Extended attributes: setxattr(2) and getxattr(2), as far as a mark without a value needs them.

use std::path::Path;

use std::ffi::CStr;

use nix::NixPath;
use nix::errno::Errno;

/// Sets the attribute `name` of `path` to an empty value.
///
/// # Errors
/// `EOPNOTSUPP` when the file system has no such attributes, `EPERM` for `trusted.` without CAP_SYS_ADMIN.
pub fn mark(path: &Path, name: &CStr) -> nix::Result<()> {
    // SAFETY: both strings end in NUL and live until the call returns; a length of zero reads no value.
    let result = path.with_nix_path(|path| unsafe {
        libc::setxattr(path.as_ptr(), name.as_ptr(), c"".as_ptr().cast(), 0, 0)
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
