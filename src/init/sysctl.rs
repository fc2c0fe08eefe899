//! `linux.sysctl`: kernel parameters of the container's own namespaces.
//!
//! They are written by the container's first process, which is in those namespaces, through the host's procfs before any
//! mount of the container can stand in its place.

use std::os::fd::OwnedFd;

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::write;
use oci_spec::runtime::Spec;

use super::namespaces::Opened;
use crate::error::{Error, Kind, OsContext, Result};
use crate::spec::sysctl::{self, Sysctl};

/// Parameters to write, sorted by path.
#[derive(Debug, Default)]
pub struct Sysctls(Vec<Sysctl>);

impl Sysctls {
    /// Translates a configuration; pure.
    ///
    /// # Errors
    /// As [`sysctl::plan`].
    pub fn plan(spec: &Spec) -> Result<Sysctls> {
        sysctl::plan(spec).map(Sysctls)
    }

    /// Refuses to write what would change the host: a namespace that is joined by path may be the runtime's own.
    ///
    /// # Errors
    /// The first parameter that would.
    pub fn check(&self, namespaces: &Opened<'_>) -> Result<()> {
        for Sysctl { namespace, field, .. } in &self.0 {
            if namespaces.is_runtimes(*namespace)? {
                return Err(Error::invalid(
                    field,
                    format_args!("not allowed in the host's {namespace} namespace"),
                ));
            }
        }
        Ok(())
    }

    /// Writes them.
    ///
    /// # Errors
    /// When the kernel has no such parameter or refuses the value.
    pub fn write(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let directory = open_proc_sys()?;
        let how = OpenHow::new().flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC).resolve(
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV,
        );
        for Sysctl {
            path, value, field, ..
        } in &self.0
        {
            openat2(&directory, path.as_str(), how)
                .and_then(|file| write(&file, value.as_bytes()))
                .os(
                    format_args!("{field}: write {value:?} to"),
                    format_args!("/proc/sys/{path}"),
                )?;
        }
        Ok(())
    }
}

fn open_proc_sys() -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let directory = openat2(AT_FDCWD, "/proc/sys", how).os("open", "/proc/sys")?;
    if fstatfs(&directory).os("statfs", "/proc/sys")?.filesystem_type() != PROC_SUPER_MAGIC {
        return Err(Error::new(Kind::Os, "linux.sysctl: /proc/sys is not on a procfs"));
    }
    Ok(directory)
}
