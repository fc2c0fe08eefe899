//! `linux.sysctl`: kernel parameters of the container's own namespaces.
//!
//! They are written by the container's first process, which is in those namespaces, through the host's procfs before any
//! mount of the container can stand in its place.

use nix::unistd::write;
use oci_spec::runtime::Spec;

use super::namespaces::Opened;
use crate::error::{Error, OsContext, Result};
use crate::spec::sysctl::{self, Sysctl};
use crate::sys::procfs;

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
        let root = procfs::root().os("linux.sysctl: open", "/proc")?;
        for Sysctl {
            path, value, field, ..
        } in &self.0
        {
            procfs::open_for_writing(&root, &format!("sys/{path}"))
                .and_then(|file| write(&file, value.as_bytes()))
                .os(
                    format_args!("{field}: write {value:?} to"),
                    format_args!("/proc/sys/{path}"),
                )?;
        }
        Ok(())
    }
}
