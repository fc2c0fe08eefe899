//! `--pid-file`: the process id in decimal, no newline, complete from the moment that the file exists.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use nix::unistd::Pid;

use crate::error::{Error, Kind, OsContext, Result};

/// Writes `pid` beside `path` and renames it there.
///
/// # Errors
/// Those of creating a file in that directory.
pub fn write(path: &Path, pid: Pid) -> Result<()> {
    let name = path.file_name().ok_or_else(|| {
        Error::new(
            Kind::InvalidConfig,
            format_args!("--pid-file {} has no file name", path.display()),
        )
    })?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    let temporary = path.with_file_name(hidden);
    let _ = fs::remove_file(&temporary);
    File::create_new(&temporary)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .and_then(|()| fs::rename(&temporary, path))
        .os("--pid-file: write", path.display())
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_number_and_nothing_else() {
        let directory = std::env::temp_dir().join(format!("minirun-pid-file-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("init.pid");
        write(&path, Pid::from_raw(42)).unwrap();
        write(&path, Pid::from_raw(43)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "43");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
