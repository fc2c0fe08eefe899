//! What a later version brings. A configuration that asks for it is refused by name: running without it in silence would
//! take a protection or a limit away from whoever asked.

use oci_spec::runtime::{Linux, Process};

use crate::error::{Error, Result};

pub(super) fn process(process: &Process) -> Result<()> {
    refuse_first(
        "process",
        [
            (
                "apparmorProfile",
                is_text(process.apparmor_profile()),
                "this version cannot confine a process with AppArmor",
            ),
            (
                "selinuxLabel",
                is_text(process.selinux_label()),
                "this version cannot confine a process with SELinux",
            ),
        ],
    )
}

pub(super) fn linux(linux: &Linux) -> Result<()> {
    let listener = linux
        .seccomp()
        .as_ref()
        .and_then(|seccomp| seccomp.listener_path().as_ref());
    refuse_first(
        "linux",
        [
            (
                "intelRdt",
                linux.intel_rdt().is_some(),
                "this version cannot limit caches and memory bandwidth",
            ),
            (
                "seccomp.listenerPath",
                listener.is_some_and(|path| !path.as_os_str().is_empty()),
                "this version cannot hand system calls to a listener",
            ),
        ],
    )
}

/// Engines write an empty string for "none".
fn is_text(value: &Option<String>) -> bool {
    value.as_ref().is_some_and(|text| !text.is_empty())
}

/// `fields` are name, whether config.json asks for it, and why it cannot have it.
fn refuse_first<const N: usize>(section: &str, fields: [(&str, bool, &str); N]) -> Result<()> {
    match fields.into_iter().find(|(_, asked, _)| *asked) {
        Some((field, _, why)) => Err(Error::unsupported(format_args!("{section}.{field}"), why)),
        None => Ok(()),
    }
}
