//! Reading and writing the small files of a cgroup directory.

use std::fmt::Display;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{OsContext, Result};

/// Writes `value` in one call, which is how the kernel takes a setting; the file must exist.
pub(super) fn write(path: &Path, value: &str) -> nix::Result<()> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write_to(file, value)
}

/// As [`write`], into an open file.
pub(super) fn write_to(file: impl AsFd, value: &str) -> nix::Result<()> {
    loop {
        match nix::unistd::write(file.as_fd(), value.as_bytes()) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(written) if written == value.len() => return Ok(()),
            Ok(_) => return Err(Errno::EIO),
        }
    }
}

/// The whole content.
pub(super) fn read(path: &Path) -> nix::Result<String> {
    let file = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut content = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match nix::unistd::read(file.as_fd(), &mut buffer) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(0) => break,
            Ok(length) => content.extend_from_slice(&buffer[..length]),
        }
    }
    String::from_utf8(content).map_err(|_| Errno::EILSEQ)
}

/// As [`write`]; the error names the value and the file.
pub(super) fn set(path: &Path, value: &str) -> Result<()> {
    write(path, value).os(format_args!("write {value:?} to"), path.display())
}

/// As [`read`]; the error names the file.
pub(super) fn get(path: &Path) -> Result<String> {
    read(path).os("read", path.display())
}

/// The number behind `key` in a file of lines `key number`, such as cgroup.events.
pub(super) fn keyed(content: &str, key: impl Display) -> Option<u64> {
    let key = key.to_string();
    content.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}
