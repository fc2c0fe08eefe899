//! The id mappings of a new user namespace (user_namespaces(7)).
//!
//! Who has CAP_SETUID and CAP_SETGID writes whatever is asked. An ordinary user may map his own user id; his own group id
//! once the namespace has given up setgroups(2); and ranges that /etc/subuid and /etc/subgid give him, through the set-user-id
//! programs newuidmap(1) and newgidmap(1). Each is tried only when the one before it was refused.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, Pid, access, getegid};
use oci_spec::runtime::{LinuxIdMapping, Spec};

use crate::error::{Error, Kind, OsContext, Result};

/// Where programs are looked for besides PATH, which may be empty.
const DIRECTORIES: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// The mappings, in the form of /proc/PID/uid_map: first id inside, first id outside, how many.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct IdMaps {
    uids: String,
    gids: String,
}

impl IdMaps {
    /// Translates a validated configuration; pure.
    pub(super) fn new(spec: &Spec) -> IdMaps {
        let linux = spec.linux().as_ref();
        IdMaps {
            uids: lines(linux.and_then(|linux| linux.uid_mappings().as_deref())),
            gids: lines(linux.and_then(|linux| linux.gid_mappings().as_deref())),
        }
    }

    /// Gives them to a process that is in the new namespace.
    ///
    /// # Errors
    /// `EINVAL` for overlapping or too many ranges; ids that the caller may not map.
    pub(super) fn write(&self, child: Pid) -> Result<()> {
        let own_group = || {
            self.gids
                .split_whitespace()
                .skip(1)
                .eq([&*getegid().to_string(), "1"])
        };
        let path = format!("/proc/{child}/gid_map");
        match fs::write(&path, &self.gids) {
            Err(error) if is(&error, Errno::EPERM) && own_group() => {
                let switch = format!("/proc/{child}/setgroups");
                fs::write(&switch, "deny").os("write", switch)?;
                fs::write(&path, &self.gids)
            }
            result => result,
        }
        .or_else(|error| delegate(error, "newgidmap", child, &self.gids, "subgid"))
        .map_err(|error| error.during("linux.gidMappings"))?;
        fs::write(format!("/proc/{child}/uid_map"), &self.uids)
            .or_else(|error| delegate(error, "newuidmap", child, &self.uids, "subuid"))
            .map_err(|error| error.during("linux.uidMappings"))
    }
}

fn lines(mappings: Option<&[LinuxIdMapping]>) -> String {
    let line = |map: &LinuxIdMapping| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size());
    mappings.unwrap_or_default().iter().map(line).collect()
}

fn is(error: &std::io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// Has a refused map written by the program that knows which ids are the caller's.
fn delegate(refused: std::io::Error, program: &str, child: Pid, map: &str, file: &str) -> Result<()> {
    if !is(&refused, Errno::EPERM) {
        return Err(refused).os("write the map of process", child);
    }
    let Some(path) = find(program) else {
        return Err(Error::new(
            Kind::Os,
            format_args!(
                "permission denied: mapping other ids than one's own needs {program}, which is not installed"
            ),
        )
        .hint(format_args!(
            "install the package uidmap, and give the user a range in /etc/{file}"
        )));
    };
    let output = Command::new(&path)
        .arg(child.to_string())
        .args(map.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .os("run", path.display())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(
        Error::new(Kind::Program, format_args!("{program} failed: {}", said.trim()))
            .hint(format_args!("/etc/{file} says which ids a user may map")),
    )
}

fn find(program: &str) -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search)
        .chain(DIRECTORIES.map(PathBuf::from))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(program))
        .find(|path| access(path, AccessFlags::X_OK).is_ok())
}
