//! `linux.mountLabel`: the SELinux label that files of the container's mounts have.
//!
//! A new file system takes it as an option, `context=LABEL`, under which every file has that label whatever is stored
//! (mount(8), "context"). crun's annotation `run.oci.mount_context_type` chooses another of the four. mqueue knows the
//! option and ignores it, so its root is labelled by an extended attribute after. procfs, sysfs and cgroup have labels of
//! their own by the policy, and bind mounts show what is stored.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::statfs::{FsType, statfs};

use super::options::CONTEXT_OPTIONS;
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::xattr;

/// Chooses the option that carries the label.
pub const CONTEXT_TYPE_ANNOTATION: &str = "run.oci.mount_context_type";

/// Where the kernel's SELinux is, when it is enabled, and what is mounted there (selinuxfs(5), linux/magic.h).
const SELINUX: &str = "/sys/fs/selinux";
const SELINUX_MAGIC: FsType = FsType(0xf97c_ff8c);

/// A label and the option that carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountLabel {
    option: CString,
    label: CString,
}

/// How a file system gets a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Labelled {
    Option,
    Attribute,
    Not,
}

impl Labelled {
    pub(super) fn of(fs_type: &str) -> Labelled {
        match fs_type {
            "proc" | "sysfs" | "cgroup" | "cgroup2" => Labelled::Not,
            "mqueue" => Labelled::Attribute,
            _ => Labelled::Option,
        }
    }
}

impl MountLabel {
    /// From `linux.mountLabel`, where engines write an empty string for "none", and the annotations.
    pub(super) fn plan(
        label: Option<&str>,
        annotations: Option<&HashMap<String, String>>,
    ) -> Result<Option<MountLabel>> {
        let option = annotations
            .and_then(|all| all.get(CONTEXT_TYPE_ANNOTATION))
            .map_or("context", String::as_str);
        if !CONTEXT_OPTIONS.contains(&option) {
            let why = format_args!("{option:?} is none of {}", CONTEXT_OPTIONS.join(", "));
            return Err(Error::invalid(
                format_args!("annotations[{CONTEXT_TYPE_ANNOTATION:?}]"),
                why,
            ));
        }
        let Some(label) = label.filter(|label| !label.is_empty()) else {
            return Ok(None);
        };
        let text = |text: &str| {
            CString::new(text).map_err(|_| Error::invalid("linux.mountLabel", "contains a NUL byte"))
        };
        Ok(Some(MountLabel {
            option: text(option)?,
            label: text(label)?,
        }))
    }

    /// The option for the data of a new file system.
    pub(super) fn as_option(&self) -> (CString, Option<CString>) {
        (self.option.clone(), Some(self.label.clone()))
    }

    /// Labels the root of a mount.
    pub(super) fn set_on(&self, mount: &OwnedFd) -> Result<()> {
        // The mount is not attached: its descriptor is the only name that it has.
        let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
        xattr::set(
            Path::new(&path),
            c"security.selinux",
            self.label.as_bytes_with_nul(),
        )
        .os(
            "linux.mountLabel: set",
            format_args!("{:?} on a mount", self.label),
        )
    }
}

/// Refuses a label where nothing would enforce it.
///
/// # Errors
/// SELinux is not enabled.
pub(super) fn require_selinux() -> Result<()> {
    let enabled = statfs(SELINUX).is_ok_and(|found| found.filesystem_type() == SELINUX_MAGIC);
    match enabled {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Unsupported,
            "linux.mountLabel: a mount label is given, but SELinux is not enabled on this host",
        )
        .hint("remove linux.mountLabel, or run the host with SELinux")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "system_u:object_r:container_file_t:s0:c1,c2";

    fn annotation(value: &str) -> HashMap<String, String> {
        HashMap::from([(CONTEXT_TYPE_ANNOTATION.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_mount_label_is_the_option_context_unless_an_annotation_says_otherwise() {
        let option = |annotations: Option<&HashMap<String, String>>| {
            let label = MountLabel::plan(Some(LABEL), annotations).unwrap().unwrap();
            label.as_option()
        };
        let value = Some(CString::new(LABEL).unwrap());
        assert_eq!(option(None), (c"context".to_owned(), value.clone()));
        for kind in ["context", "fscontext", "defcontext", "rootcontext"] {
            let expected = (CString::new(kind).unwrap(), value.clone());
            assert_eq!(option(Some(&annotation(kind))), expected);
        }
    }

    #[test]
    fn an_unknown_kind_of_context_is_refused_by_name() {
        let error = MountLabel::plan(None, Some(&annotation("nocontext"))).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("annotations[\"run.oci.mount_context_type\"]: "),
            "{error}"
        );
    }

    #[test]
    fn an_empty_label_is_none() {
        assert_eq!(MountLabel::plan(Some(""), None).unwrap(), None);
        assert_eq!(MountLabel::plan(None, None).unwrap(), None);
    }

    #[test]
    fn file_systems_with_labels_of_their_own_get_none() {
        for (fs_type, expected) in [
            ("proc", Labelled::Not),
            ("sysfs", Labelled::Not),
            ("cgroup2", Labelled::Not),
            ("mqueue", Labelled::Attribute),
            ("tmpfs", Labelled::Option),
            ("overlay", Labelled::Option),
        ] {
            assert_eq!(Labelled::of(fs_type), expected, "{fs_type}");
        }
    }
}
