//! The rest of `linux`: paths inside the container, the seccomp listener, and what is not supported yet.

use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxSeccomp, Spec};

use super::namespaces::Namespaces;
use super::not_absolute;
use crate::error::{Error, Result};

pub(super) fn check(spec: &Spec, namespaces: &Namespaces) -> Result<()> {
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    unsupported(linux)?;
    restricted_paths("maskedPaths", linux.masked_paths(), namespaces)?;
    restricted_paths("readonlyPaths", linux.readonly_paths(), namespaces)?;
    linux.seccomp().as_ref().map_or(Ok(()), seccomp_listener)
}

fn restricted_paths(property: &str, paths: &Option<Vec<String>>, namespaces: &Namespaces) -> Result<()> {
    let paths = paths.as_deref().unwrap_or_default();
    if !paths.is_empty() && !namespaces.has(LinuxNamespaceType::Mount) {
        let field = format!("linux.{property}");
        return Err(
            Error::invalid(field, "needs a mount namespace").hint("add \"mount\" to linux.namespaces")
        );
    }
    match paths.iter().position(|path| !path.starts_with('/')) {
        Some(index) => Err(not_absolute(
            format_args!("linux.{property}[{index}]"),
            Path::new(&paths[index]),
        )),
        None => Ok(()),
    }
}

fn seccomp_listener(seccomp: &LinuxSeccomp) -> Result<()> {
    let path = seccomp
        .listener_path()
        .as_ref()
        .filter(|path| !path.as_os_str().is_empty());
    if path.is_some() {
        let why = "this version cannot hand system calls to a listener";
        return Err(Error::unsupported("linux.seccomp.listenerPath", why));
    }
    if seccomp
        .listener_metadata()
        .as_ref()
        .is_some_and(|data| !data.is_empty())
    {
        let why = "is only allowed with listenerPath";
        return Err(Error::invalid("linux.seccomp.listenerMetadata", why));
    }
    Ok(())
}

fn unsupported(linux: &Linux) -> Result<()> {
    let fields = [
        (
            linux
                .mount_label()
                .as_ref()
                .is_some_and(|label| !label.is_empty()),
            "mountLabel",
            "this version cannot label mounts for SELinux",
        ),
        (
            linux.intel_rdt().is_some(),
            "intelRdt",
            "this version cannot limit caches and memory bandwidth",
        ),
        (
            linux.memory_policy().is_some(),
            "memoryPolicy",
            "this version cannot set a NUMA memory policy",
        ),
        (
            linux
                .net_devices()
                .as_ref()
                .is_some_and(|devices| !devices.is_empty()),
            "netDevices",
            "this version cannot move network devices into a container",
        ),
        (
            linux.personality().is_some(),
            "personality",
            "this version cannot change the execution domain",
        ),
    ];
    match fields.into_iter().find(|(given, ..)| *given) {
        Some((_, field, why)) => Err(Error::unsupported(format_args!("linux.{field}"), why)),
        None => Ok(()),
    }
}
