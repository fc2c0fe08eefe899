//! What the caller may do, and where his containers' state is.

use std::env::var_os;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::Command;
use super::args::NAMES;
use crate::container::caller::{Caller, Rootless};
use crate::container::store::RUN;
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::process::in_user_namespace;

/// `--rootless`, in the words of the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Flag {
    True,
    False,
    Auto,
}

/// `--cgroup-manager`, crun's words for `--systemd-cgroup` and its opposites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum CgroupManager {
    Cgroupfs,
    Systemd,
    Disabled,
}

/// Who calls.
pub(super) fn caller(flag: Flag, systemd: bool, manager: Option<CgroupManager>) -> Caller {
    Caller {
        is_root: geteuid().is_root(),
        rootless: match flag {
            Flag::True => Rootless::True,
            Flag::False => Rootless::False,
            Flag::Auto => Rootless::Auto,
        },
        systemd: systemd || manager == Some(CgroupManager::Systemd),
        without_cgroups: manager == Some(CgroupManager::Disabled),
    }
}

/// Refuses what only root can do.
pub(super) fn check(command: &Command, caller: Caller) -> Result<()> {
    let what = match command {
        _ if caller.is_root => return Ok(()),
        Command::Compose(_) => "stacks",
        Command::Network(_) | Command::Netd(_) => "networks",
        _ => return Ok(()),
    };
    Err(Error::new(
        Kind::Os,
        format_args!("permission denied: {what} of minirun's need root's privileges"),
    )
    .hint("use sudo"))
}

/// The directory of the records: what `--root` says, or the caller's default, which is called as the program is.
pub(super) fn root(given: Option<&Path>, caller: Caller, name: &str) -> Result<PathBuf> {
    let root = match given {
        Some(root) => std::path::absolute(root).os("--root", root.display())?,
        None => default_root(caller, name)?,
    };
    if root.parent().is_none() {
        return Err(Error::invalid("--root", "must not be the root directory"));
    }
    Ok(root)
}

/// Whether root's records are here when nobody says where.
pub(super) fn is_default_root(root: &Path) -> bool {
    NAMES.iter().any(|name| Path::new(RUN).join(name) == root)
}

fn default_root(caller: Caller, name: &str) -> Result<PathBuf> {
    let runtime_directory = || {
        let directory = var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        directory.filter(|directory| directory.is_absolute())
    };
    if caller.is_root {
        // Root of a user namespace that an ordinary user made for himself keeps that user's name and directory.
        let is_user = || var_os("USER").is_some_and(|name| !name.is_empty() && name != "root");
        let user = runtime_directory().filter(|_| is_user() && in_user_namespace());
        return Ok(user.unwrap_or_else(|| RUN.into()).join(name));
    }
    let by_convention =
        || Some(PathBuf::from(format!("/run/user/{}", geteuid()))).filter(|path| path.is_dir());
    match runtime_directory().or_else(by_convention) {
        Some(directory) => Ok(directory.join(name)),
        None => Err(Error::new(
            Kind::Os,
            "permission denied: an ordinary user's containers have their state below XDG_RUNTIME_DIR, which is not set",
        )
        .hint("set it, give --root DIR, or use sudo")),
    }
}
