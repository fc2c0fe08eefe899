//! Options that the mount API cannot carry: fsconfig(2) takes values of at most 255 bytes, and the list of layers of an
//! overlay is easily longer. These file systems are made by mount(2).
//!
//! mount(2) wants a path for the new mount, and no path of the container may be one. So the mount is first made on top of
//! the container's root, whose path on the host is the runtime's own, opened there, and then moved like any other.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, fstat};

use super::mount_plan::FileSystem;
use super::options::CONTEXT_OPTIONS;
use super::root_fd::RootFd;
use crate::error::{Error, OsContext, Result};
use crate::sys::mount::{Change, LONGEST_OPTION_VALUE, attribute, set_attributes};

/// Whether a file system needs this way.
pub(super) fn needed(fs: &FileSystem) -> bool {
    let values = fs.data.iter().filter_map(|(_, value)| value.as_ref());
    values
        .map(|value| value.as_bytes().len())
        .any(|length| length > LONGEST_OPTION_VALUE)
}

/// A mount of a new file system, on top of the container's root. `place` is the path of that root on the host.
pub(super) fn new_mount(fs: &FileSystem, root: &RootFd, place: &CStr) -> Result<OwnedFd> {
    let stage = "mount file system";
    let fs_type = fs.fs_type.to_string_lossy();
    let flags = fs
        .flags
        .iter()
        .fold(MsFlags::empty(), |flags, name| flags | superblock_flag(name));
    let data = joined(&fs.data);
    let target = format!("/proc/self/fd/{}", root.as_fd().as_raw_fd());
    let source = fs.source.as_deref();
    nix::mount::mount(
        source,
        target.as_str(),
        Some(fs.fs_type.as_c_str()),
        flags,
        Some(data.as_slice()),
    )
    .os(stage, &fs_type)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mounted = open(place, flags, Mode::empty()).os("open", place.to_string_lossy())?;
    if fstat(&mounted).os(stage, &fs_type)?.st_dev == fstat(root).os(stage, &fs_type)?.st_dev {
        let why = "an option longer than 255 bytes needs a root of its own, not / or a path to the same file system";
        return Err(Error::unsupported("root.path", why));
    }
    let change = Change {
        set: fs.attributes,
        clear: attribute::ATIME,
        propagation: None,
    };
    set_attributes(&mounted, false, change).os("mount_setattr", &fs_type)?;
    Ok(mounted)
}

fn superblock_flag(name: &CStr) -> MsFlags {
    match name.to_bytes() {
        b"ro" => MsFlags::MS_RDONLY,
        b"sync" => MsFlags::MS_SYNCHRONOUS,
        b"dirsync" => MsFlags::MS_DIRSYNC,
        b"lazytime" => MsFlags::MS_LAZYTIME,
        b"mand" => MsFlags::MS_MANDLOCK,
        _ => MsFlags::empty(),
    }
}

/// `key=value,key`, as mount(2) takes it.
fn joined(data: &[(CString, Option<CString>)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in data {
        if !text.is_empty() {
            text.push(b',');
        }
        text.extend_from_slice(key.as_bytes());
        let Some(value) = value else { continue };
        // Labels have commas in them, which only quotes keep from ending the option.
        let is_label = CONTEXT_OPTIONS
            .iter()
            .any(|name| name.as_bytes() == key.as_bytes());
        text.push(b'=');
        text.extend(is_label.then_some(b'"'));
        text.extend_from_slice(value.as_bytes());
        text.extend(is_label.then_some(b'"'));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted_because_they_have_commas() {
        let option =
            |key: &str, value: &str| (CString::new(key).unwrap(), Some(CString::new(value).unwrap()));
        let data = [
            option("lowerdir", "/a:/b"),
            option("context", "u:r:t:s0:c1,c2"),
            (c"xino".to_owned(), None),
        ];
        assert_eq!(joined(&data), b"lowerdir=/a:/b,context=\"u:r:t:s0:c1,c2\",xino");
    }
}
