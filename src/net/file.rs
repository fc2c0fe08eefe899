//! Files that are complete or absent, never half written; and the locks.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, OsContext, Result};

/// A lock that is held until it is dropped or its holder dies (flock(2)).
pub(super) type Lock = Flock<File>;

/// Waits for the lock of this file, made when it is missing, with its directory.
pub(super) fn lock(path: &Path) -> Result<Lock> {
    loop {
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path);
        let mut file = match opened {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                path.parent().map_or(Ok(()), directory)?;
                continue;
            }
            result => result.os("open lock", path.display())?,
        };
        let lock = loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(lock) => break lock,
                Err((again, Errno::EINTR)) => file = again,
                Err((_, errno)) => return Err(Error::os("lock", path.display(), errno)),
            }
        };
        // Whoever removes a network removes its lock too: what was waited for may be nobody's by now.
        let held = lock.metadata().os("stat", path.display())?;
        if is_same(&held, path) {
            return Ok(lock);
        }
    }
}

/// Whether `path` is a name of this file.
pub(super) fn is_same(file: &fs::Metadata, path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|other| (other.dev(), other.ino()) == (file.dev(), file.ino()))
}

/// Makes a directory and its parents, for root alone.
pub(super) fn directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .os("make directory", path.display())
}

/// Whether a replaced file must survive a power failure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// State of this boot, on a tmpfs.
    UntilReboot,
    /// Written through to the disk, the name too.
    Durable,
}

/// The name under which [`replace`] writes a file; who is killed meanwhile leaves it there.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Removes what killed commands were writing in this directory, which need not exist. The caller holds the lock of those who
/// write there.
pub(super) fn sweep(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_temporary = entry.file_name().as_encoded_bytes().ends_with(b".new");
        // A network may have such a name, and its directory with it.
        if is_temporary && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Puts `value` as JSON in place of the file, by a temporary name and rename. The caller holds a lock that keeps other
/// writers out.
pub(super) fn replace(path: &Path, value: &impl Serialize, durability: Durability) -> Result<()> {
    let temporary = temporary(path);
    let file = create(&temporary, value, durability)?;
    if durability == Durability::Durable {
        file.sync_all().os("sync", temporary.display())?;
    }
    fs::rename(&temporary, path).os("rename into place", path.display())?;
    if durability == Durability::Durable
        && let Some(parent) = path.parent()
    {
        sync_directory(parent)?;
    }
    Ok(())
}

/// Writes the names in a directory through to the disk.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .os("sync directory", path.display())
}

/// Writes `value` as JSON to a new file at this path. What stood there is unlinked first, not overwritten: a killed
/// predecessor may have linked it into place under another name.
pub(super) fn create(path: &Path, value: &impl Serialize, durability: Durability) -> Result<File> {
    remove(path)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .os("create", path.display())?;
    let json = match durability {
        // What people read and edit; the rest is written with every container.
        Durability::Durable => serde_json::to_vec_pretty(value),
        Durability::UntilReboot => serde_json::to_vec(value),
    };
    let mut json =
        json.map_err(|error| Error::new(Kind::Os, format_args!("encode {}: {error}", path.display())))?;
    json.push(b'\n');
    let written = file.write_all(&json).os("write", path.display());
    if written.is_err() {
        // The disk is full: leave nothing; the error to report is the write's.
        let _ = fs::remove_file(path);
    }
    written.map(|()| file)
}

/// The JSON value in a file; `None` when there is no such file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result.os("read", path.display())?,
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Error::invalid(path.display(), with_field::<T>(&bytes, &error)))
}

/// The error with the path of the field that it is about, for which all is read once more.
fn with_field<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> String {
    let again = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(bytes));
    match again.map_err(|error| error.path().to_string()) {
        Err(field) if field != "." => format!("{field}: {error}"),
        _ => error.to_string(),
    }
}

/// Removes a file that may be gone already; says whether it was there.
pub(super) fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        result => result.os("remove", path.display()).map(|()| true),
    }
}
