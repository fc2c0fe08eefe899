//! Reading and writing resctrl's files, with the kernel's own words about why it refused.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;

use super::mount::Mount;
use crate::error::{Error, OsContext, Result};

/// Holds others off, as the kernel's documentation recommends to everybody who looks first and changes then. The lock goes
/// with every copy of the file.
pub(super) fn lock(mount: &Mount) -> Result<File> {
    let file = File::open(mount.path()).os("open", mount.path().display())?;
    file.lock().os("lock", mount.path().display())?;
    Ok(file)
}

/// The whole content, without the last line's end.
pub(super) fn get(path: &Path) -> Result<String> {
    let content = fs::read_to_string(path).os("read", path.display())?;
    Ok(content.trim_end().to_owned())
}

/// Writes in one call, which the kernel takes as a whole or not at all.
pub(super) fn set(mount: &Mount, path: &Path, value: &str) -> Result<()> {
    let written = fs::write(path, value);
    explained(
        mount,
        written,
        format_args!("write {:?} to", value.trim_end()),
        path,
    )
}

/// Makes a group.
pub(super) fn make(mount: &Mount, path: &Path) -> Result<()> {
    explained(mount, fs::create_dir(path), "make resctrl group", path).map_err(|error| match error.errno() {
        Some(Errno::ENOSPC) => error.hint(
            "there are only as many groups as the processor has numbers for: closID names one that containers can share",
        ),
        _ => error,
    })
}

/// Removes a group; it may be gone already. Threads in it go back to where it came from.
pub(super) fn remove(mount: &Mount, path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => explained(mount, removed, "remove resctrl group", path),
    }
}

fn explained(
    mount: &Mount,
    result: io::Result<()>,
    stage: impl std::fmt::Display,
    path: &Path,
) -> Result<()> {
    result.os(stage, path.display()).map_err(|error| {
        // What the last call that changed something ended with, this one.
        match get(&mount.path().join("info/last_cmd_status")) {
            Ok(status) if status != "ok" => because(error, &status),
            _ => error,
        }
    })
}

fn because(error: Error, status: &str) -> Error {
    // Every step of a call may leave a line.
    error.hint(format_args!("resctrl says: {}", status.replace('\n', ", ")))
}
