//! The rules of config.json that the types of its properties cannot say.
//!
//! Pure: what depends on the host (does the path exist, is the file of that type) is found when it is used. What one room
//! acts on alone is checked in that room's plan: mount options, device nodes, masked paths and `rootfsPropagation` in
//! `rootfs`, limits and `cgroupsPath` in `cgroup`, `intelRdt` in `resctrl`, capabilities, rlimits and seccomp rules in
//! `security`. Strings have no NUL bytes: `load` has seen to that.

mod namespaces;
mod process;

#[cfg(test)]
mod tests;

use std::path::Path;

use oci_spec::runtime::{Hook, Hooks, LinuxNamespaceType, Process, Spec};

use self::namespaces::Namespaces;
pub(super) use self::namespaces::name;
use super::{OCI_VERSION, net_device, sysctl};
use crate::error::{Error, Result};

/// The longest host and domain name, in bytes (`__NEW_UTS_LEN` of the kernel).
const MAX_HOSTNAME: usize = 64;

/// Checks a whole configuration; gives back what is odd but allowed, for the log.
///
/// # Errors
/// The first property that is wrong or not supported, by its path.
pub fn validate(spec: &Spec) -> Result<Vec<String>> {
    version(spec.version())?;
    root(spec)?;
    let namespaces = Namespaces::check(spec)?;
    uts_name("hostname", spec.hostname(), &namespaces)?;
    uts_name("domainname", spec.domainname(), &namespaces)?;
    if let Some(process) = spec.process() {
        process::check(process)?;
        namespaces.check_ids_are_mapped(process.user())?;
    }
    mount_mappings(spec)?;
    hooks(spec)?;
    annotations(spec)?;
    net_device::plan(spec)?;
    sysctl::plan(spec)?;
    let mut warnings = mount_warnings(spec);
    warnings.extend(personality_warning(spec));
    warnings.extend(monitoring_warning(spec));
    Ok(warnings)
}

/// Checks a process document, that of `exec --process` for example.
///
/// # Errors
/// The first property that is wrong or not supported, by its path in config.json (`process.args`).
pub fn process(process: &Process) -> Result<()> {
    process::check(process)
}

/// `ociVersion`: a version in SemVer 2.0.0 form (config.md, "Specification version") whose major number is ours.
fn version(version: &str) -> Result<()> {
    if version.is_empty() {
        return Err(Error::invalid("ociVersion", "is required"));
    }
    let Some(major) = semver_major(version) else {
        let why = format!("{version:?} is not a version of the form {OCI_VERSION}");
        return Err(Error::invalid("ociVersion", why));
    };
    if major != "1" {
        let why =
            format!("{version:?} is of major version {major}, which is not supported; {OCI_VERSION} is");
        return Err(Error::invalid("ociVersion", why));
    }
    Ok(())
}

/// The major number of `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]`.
fn semver_major(version: &str) -> Option<&str> {
    let (version, build) = match version.split_once('+') {
        Some((version, build)) => (version, Some(build)),
        None => (version, None),
    };
    let (core, prerelease) = match version.split_once('-') {
        Some((core, prerelease)) => (core, Some(prerelease)),
        None => (version, None),
    };
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !part.is_empty() && part.bytes().all(allowed)
    };
    let words = |text: Option<&str>| text.is_none_or(|text| text.split('.').all(word));
    let mut numbers = core.split('.');
    let major = numbers.next()?;
    let rest = numbers.clone().count() == 2 && numbers.all(number);
    (number(major) && rest && words(prerelease) && words(build)).then_some(major)
}

fn root(spec: &Spec) -> Result<()> {
    let Some(root) = spec.root() else {
        return Err(Error::invalid("root", "is required"));
    };
    if root.path().as_os_str().is_empty() {
        return Err(Error::invalid("root.path", "must not be empty"));
    }
    Ok(())
}

fn uts_name(field: &str, value: &Option<String>, namespaces: &Namespaces) -> Result<()> {
    let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else {
        return Ok(());
    };
    if !namespaces.has(LinuxNamespaceType::Uts) {
        let why = format!("unable to set {field} without a private UTS namespace");
        return Err(Error::invalid(field, why).hint("add \"uts\" to linux.namespaces"));
    }
    if value.len() > MAX_HOSTNAME {
        let why = format!("has {} bytes, more than the kernel's {MAX_HOSTNAME}", value.len());
        return Err(Error::invalid(field, why));
    }
    Ok(())
}

fn annotations(spec: &Spec) -> Result<()> {
    let has_empty_key = spec
        .annotations()
        .as_ref()
        .is_some_and(|all| all.contains_key(""));
    if has_empty_key {
        return Err(Error::invalid("annotations", "must not have an empty key"));
    }
    Ok(())
}

fn hooks(spec: &Spec) -> Result<()> {
    let Some(hooks) = spec.hooks() else {
        return Ok(());
    };
    for (name, list) in by_name(hooks) {
        for (index, hook) in list.iter().flatten().enumerate() {
            let field = |property: &str| format!("hooks.{name}[{index}].{property}");
            if !hook.path().is_absolute() {
                return Err(not_absolute(field("path"), hook.path()));
            }
            if let Some(timeout) = hook.timeout().filter(|timeout| *timeout <= 0) {
                let why = format!("must be greater than 0 seconds, found {timeout}");
                return Err(Error::invalid(field("timeout"), why));
            }
        }
    }
    Ok(())
}

/// The six lists of hooks in the order in which they run.
fn by_name(hooks: &Hooks) -> [(&'static str, &Option<Vec<Hook>>); 6] {
    // Deprecated by the specification, and yet it must still be run.
    #[allow(deprecated)]
    let prestart = hooks.prestart();
    [
        ("prestart", prestart),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ]
}

/// Mappings of id-mapped mounts follow the rules of those of a user namespace.
fn mount_mappings(spec: &Spec) -> Result<()> {
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        for (property, mappings) in [
            ("uidMappings", mount.uid_mappings()),
            ("gidMappings", mount.gid_mappings()),
        ] {
            if let Some(mappings) = mappings {
                namespaces::ranges(&format!("mounts[{index}].{property}"), mappings)?;
            }
        }
    }
    Ok(())
}

/// Relative destinations were allowed until runtime-spec 1.1 and must still be taken.
fn mount_warnings(spec: &Spec) -> Vec<String> {
    let mounts = spec.mounts().iter().flatten().enumerate();
    mounts
        .filter(|(_, mount)| !mount.destination().is_absolute())
        .map(|(index, mount)| {
            let destination = mount.destination();
            format!("mounts[{index}].destination: {destination:?} is not absolute, taken as below /")
        })
        .collect()
}

/// The specification names no flag, so there is none to act on; a warning is what runc gives.
fn personality_warning(spec: &Spec) -> Option<String> {
    let personality = spec.linux().as_ref()?.personality().as_ref()?;
    let flags = personality.flags().as_ref().filter(|flags| !flags.is_empty())?;
    Some(format!(
        "linux.personality.flags: no flag is known, ignoring {}",
        flags.join(", ")
    ))
}

/// The specification dropped both in 1.3: a group counts all that the processor can count, and none may count less.
#[allow(deprecated)]
fn monitoring_warning(spec: &Spec) -> Option<String> {
    let asked = spec.linux().as_ref()?.intel_rdt().as_ref()?;
    let old = [
        ("enableCMT", asked.enable_cmt()),
        ("enableMBM", asked.enable_mbm()),
    ];
    let (name, _) = old.into_iter().find(|(_, enable)| **enable == Some(true))?;
    (*asked.enable_monitoring() != Some(true))
        .then(|| format!("linux.intelRdt.{name}: ignored, enableMonitoring counts what this container uses"))
}

fn not_absolute(field: impl std::fmt::Display, path: &Path) -> Error {
    if path.as_os_str().is_empty() {
        return Error::invalid(field, "must not be empty");
    }
    Error::invalid(field, format_args!("must be an absolute path, found {path:?}"))
}
