//! /etc/hosts, /etc/hostname and /etc/resolv.conf of a container that joins a network.
//!
//! They are made empty beside the record before the clone, so that they can be mounted while the address is still being
//! leased, and filled in place before the program starts. A bundle that mounts its own keeps its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{OsContext, Result};
use crate::net::{self, Attachment, Dirs, hosts, resolv_conf};
use crate::rootfs::ExtraBind;

const FILES: [(&str, &str); 3] = [
    ("hosts", "/etc/hosts"),
    ("hostname", "/etc/hostname"),
    ("resolv.conf", "/etc/resolv.conf"),
];

/// What to mount, for files in `directory` that do not exist yet.
pub fn binds(directory: &Path) -> Vec<ExtraBind> {
    let bind = |(name, destination): (&str, &str)| ExtraBind {
        source: directory.join(name),
        destination: PathBuf::from(destination),
        read_only: false,
    };
    FILES.map(bind).into()
}

/// Makes them, empty, to be read by everybody in the container whatever our caller's umask is.
///
/// # Errors
/// Those of creating a file.
pub fn create(directory: &Path) -> Result<()> {
    for (name, _) in FILES {
        let path = directory.join(name);
        fs::write(&path, "")
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o644)))
            .os("create", path.display())?;
    }
    Ok(())
}

/// Fills them.
///
/// # Errors
/// Those of writing a file, and of reading the host's resolv.conf and the network's leases.
pub fn fill(directory: &Path, dirs: &Dirs, id: &str, hostname: &str, attachment: &Attachment) -> Result<()> {
    let contents = [
        hosts(dirs, id, hostname, attachment)?,
        net::hostname(hostname),
        resolv_conf(),
    ];
    for ((name, _), content) in FILES.into_iter().zip(contents) {
        let path = directory.join(name);
        fs::write(&path, content).os("write", path.display())?;
    }
    Ok(())
}
