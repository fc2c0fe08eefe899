//! /etc/hosts, /etc/hostname and /etc/resolv.conf of a container that joins a network.
//!
//! They are made empty beside the record before the clone, so that they can be mounted while the address is still being
//! leased, and filled in place before the program starts. A bundle that mounts its own keeps its own.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::network::Network;
use crate::error::{OsContext, Result};
use crate::net::{self, Attached, Attachment};
use crate::rootfs::ExtraBind;

const FILES: [(&str, &str); 3] = [
    ("hosts", "/etc/hosts"),
    ("hostname", "/etc/hostname"),
    ("resolv.conf", "/etc/resolv.conf"),
];

/// What to mount, for files in `directory` that do not exist yet.
pub fn binds_to_be(directory: &Path) -> Vec<ExtraBind> {
    let bind = |(name, destination): (&str, &str)| ExtraBind {
        source: directory.join(name),
        destination: PathBuf::from(destination),
        read_only: false,
    };
    FILES.map(bind).into()
}

/// What to mount of another container's files, as far as it has any.
pub fn binds(directory: &Path) -> Vec<ExtraBind> {
    let mut binds = binds_to_be(directory);
    binds.retain(|bind| bind.source.exists());
    binds
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
/// Those of writing a file.
pub fn fill(directory: &Path, hostname: &str, attachment: &Attachment, network: &Network) -> Result<()> {
    let contents = [
        net::hosts(hostname, attachment, &network.hosts),
        net::hostname(hostname),
        net::resolv_conf(&network.dns),
    ];
    for ((name, _), content) in FILES.into_iter().zip(contents) {
        let path = directory.join(name);
        fs::write(&path, content).os("write", path.display())?;
    }
    Ok(())
}

/// Adds the lines of a network that the container has joined to its /etc/hosts, if we made that.
///
/// # Errors
/// Those of writing a file.
pub fn add_hosts(directory: &Path, hostname: &str, attached: &Attached) -> Result<()> {
    change_hosts(directory, |text| text + &net::own_lines(hostname, attached))
}

/// Takes the lines of a network that the container has left out of its /etc/hosts. Whatever the container wrote there
/// itself stays.
///
/// # Errors
/// Those of writing a file.
pub fn remove_hosts(directory: &Path, hostname: &str, attached: &Attached) -> Result<()> {
    let gone = net::own_lines(hostname, attached);
    change_hosts(directory, |text| {
        let left = text.split_inclusive('\n').filter(|line| !gone.contains(*line));
        left.collect()
    })
}

/// In place: the file is mounted in the container.
fn change_hosts(directory: &Path, change: impl FnOnce(String) -> String) -> Result<()> {
    let path = directory.join(FILES[0].0);
    match fs::read_to_string(&path) {
        Ok(text) => fs::write(&path, change(text)).os("write", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).os("read", path.display()),
    }
}
