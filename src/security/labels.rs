//! AppArmor profile and SELinux label of the process (`process.apparmorProfile`, `process.selinuxLabel`).
//!
//! Both are written to files below /proc/self/attr, to hold from the next execve on. The files are opened while the
//! host's procfs is in sight and nothing of the container can stand in its place, and written when the process is being
//! settled. A label that cannot be set is an error: the program would run with more rights than it was meant to have.

use std::fs;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::statfs::statfs;
use nix::unistd::write;
use oci_spec::runtime::Process;

use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::procfs;

/// Whether profiles of AppArmor are applied, for `features`.
pub const APPARMOR: bool = true;

/// Whether labels of SELinux are set, for `features`.
pub const SELINUX: bool = true;

const APPARMOR_FIELD: &str = "process.apparmorProfile";
const SELINUX_FIELD: &str = "process.selinuxLabel";

/// Since Linux 5.8; the older file belongs to whichever module is the first.
const APPARMOR_EXEC: &str = "self/attr/apparmor/exec";
const EXEC: &str = "self/attr/exec";
const KEYCREATE: &str = "self/attr/keycreate";

/// What the process is to be confined by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    apparmor: Option<String>,
    selinux: Option<String>,
}

impl Labels {
    /// Translates a process; pure. Engines write an empty string for "none".
    pub fn plan(process: &Process) -> Labels {
        let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        Labels {
            apparmor: text(process.apparmor_profile()),
            selinux: text(process.selinux_label()),
        }
    }

    /// Whether the host has what they need; a process is unconfined where there is no AppArmor. Makes no system call
    /// when nothing is asked for.
    ///
    /// # Errors
    /// `Unsupported` by field when it has not.
    pub fn check(&self) -> Result<()> {
        let missing = |field: &str, value: &str, module: &str, file: &str| {
            let why = format_args!(
                "{field}: {value:?} cannot be set, as {module} is not enabled on this host: `/proc/{file}`"
            )
            .to_string();
            Err(Error::new(Kind::Unsupported, why).hint("leave the property out to run unconfined"))
        };
        match &self.apparmor {
            Some(profile) if profile != UNCONFINED && !has_apparmor() => {
                return missing(APPARMOR_FIELD, profile, "AppArmor", APPARMOR_EXEC);
            }
            _ => {}
        }
        match &self.selinux {
            Some(label) if !has_selinux() => missing(SELINUX_FIELD, label, "SELinux", EXEC),
            _ => Ok(()),
        }
    }

    /// In the process, while the runtime's procfs is in sight: opens what [`Opened::apply`] writes.
    ///
    /// # Errors
    /// When /proc is no procfs, or something is mounted over the files.
    pub fn open(&self) -> Result<Opened<'_>> {
        let apparmor = self
            .apparmor
            .as_deref()
            .filter(|profile| *profile != UNCONFINED || has_apparmor());
        let selinux = self.selinux.as_deref();
        let mut opened = Opened::default();
        if apparmor.is_none() && selinux.is_none() {
            return Ok(opened);
        }
        let root = procfs::root().os("open procfs on", "/proc")?;
        let open = |field: &str, path: &'static str| {
            procfs::open_for_writing(&root, path)
                .map(|file| (file, path))
                .os(format_args!("{field}: open"), format_args!("`/proc/{path}`"))
        };
        if let Some(profile) = apparmor {
            let file = match open(APPARMOR_FIELD, APPARMOR_EXEC) {
                Err(error) if error.errno() == Some(Errno::ENOENT) => open(APPARMOR_FIELD, EXEC),
                opened => opened,
            };
            opened
                .writes
                .push(Write::new(APPARMOR_FIELD, file?, format!("exec {profile}")));
        }
        if let Some(label) = selinux {
            opened.writes.push(Write::new(
                SELINUX_FIELD,
                open(SELINUX_FIELD, EXEC)?,
                label.to_owned(),
            ));
            opened.keys = Some((open(SELINUX_FIELD, KEYCREATE)?.0, label));
        }
        Ok(opened)
    }
}

/// The profile of a process that AppArmor does not confine.
const UNCONFINED: &str = "unconfined";

fn has_apparmor() -> bool {
    match fs::read("/sys/module/apparmor/parameters/enabled") {
        Ok(enabled) => enabled.starts_with(b"Y"),
        // Without a sysfs the file in procfs is the best that can be had; writing to it tells.
        Err(_) => fs::exists(format!("/proc/{APPARMOR_EXEC}")).unwrap_or(false),
    }
}

fn has_selinux() -> bool {
    const SELINUX_MAGIC: u32 = 0xf97c_ff8c;
    statfs("/sys/fs/selinux").is_ok_and(|found| found.filesystem_type().0 as u32 == SELINUX_MAGIC)
}

/// Files to write, each with what goes into it.
#[derive(Debug, Default)]
pub struct Opened<'a> {
    writes: Vec<Write>,
    keys: Option<(OwnedFd, &'a str)>,
}

#[derive(Debug)]
struct Write {
    field: &'static str,
    file: OwnedFd,
    path: &'static str,
    text: String,
}

impl Write {
    fn new(field: &'static str, (file, path): (OwnedFd, &'static str), text: String) -> Write {
        Write {
            field,
            file,
            path,
            text,
        }
    }
}

impl Opened<'_> {
    /// Keyrings that the process makes from here on get its label.
    ///
    /// # Errors
    /// When SELinux does not know the label.
    pub fn label_keys(&self) -> Result<()> {
        let Some((file, label)) = &self.keys else {
            return Ok(());
        };
        written(SELINUX_FIELD, file, KEYCREATE, label)
    }

    /// The program that is executed next is confined.
    ///
    /// # Errors
    /// When the kernel does not know the profile or the label, or does not let us change to it.
    pub fn apply(&self) -> Result<()> {
        self.writes
            .iter()
            .try_for_each(|write| written(write.field, &write.file, write.path, &write.text))
    }
}

fn written(field: &str, file: &OwnedFd, path: &str, text: &str) -> Result<()> {
    write(file, text.as_bytes()).map(drop).map_err(|errno| {
        let error = Error::os(
            format_args!("{field}: write {text:?} to"),
            format_args!("`/proc/{path}`"),
            errno,
        );
        match errno {
            Errno::ENOENT => error.hint("is the profile loaded?"),
            Errno::EINVAL => error.hint("does the kernel's policy know it?"),
            _ => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(more: serde_json::Value) -> Labels {
        let mut process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}});
        process
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Labels::plan(&serde_json::from_value(process).unwrap())
    }

    #[test]
    fn empty_labels_ask_for_nothing() {
        let none = labels(json!({"apparmorProfile": "", "selinuxLabel": ""}));
        assert_eq!(none, Labels::default());
        none.check().unwrap();
        assert!(none.open().unwrap().writes.is_empty());
    }

    #[test]
    fn without_apparmor_every_process_is_unconfined_and_no_other_profile_can_be_had() {
        if has_apparmor() {
            return;
        }
        let unconfined = labels(json!({"apparmorProfile": "unconfined"}));
        unconfined.check().unwrap();
        assert!(unconfined.open().unwrap().writes.is_empty());
        let error = labels(json!({"apparmorProfile": "docker-default"}))
            .check()
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(
            error.to_string().contains("`/proc/self/attr/apparmor/exec`"),
            "{error}"
        );
        // Were it not checked before, the file would tell.
        let opened = labels(json!({"apparmorProfile": "docker-default"}));
        assert!(opened.open().and_then(|opened| opened.apply()).is_err());
    }
}
