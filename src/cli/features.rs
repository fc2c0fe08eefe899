//! `minirun features`: every room is asked for its own list, next to the code that acts on it.

use crate::cgroup::Limits;
use crate::cgroup::systemd;
use crate::container;
use crate::error::Result;
use crate::init::hooks::Point;
use crate::init::{memory_policy, namespaces};
use crate::net;
use crate::resctrl;
use crate::rootfs;
use crate::security::seccomp::known as seccomp;
use crate::security::{capabilities, labels};
use crate::spec::features::Known;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run() -> Result<u8> {
    let capabilities = capabilities::names();
    let capabilities: Vec<&str> = capabilities.iter().map(String::as_str).collect();
    let (modes, flags) = (memory_policy::modes(), memory_policy::flags());
    let modes: Vec<&str> = modes.iter().map(String::as_str).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let known = Known {
        hooks: &Point::ALL.map(Point::name),
        namespaces: &namespaces::kinds(),
        mount_options: &rootfs::MOUNT_OPTIONS,
        capabilities: &capabilities,
        seccomp_actions: &seccomp::ACTIONS,
        seccomp_operators: &seccomp::OPERATORS,
        seccomp_archs: &seccomp::ARCHITECTURES,
        seccomp_known_flags: &seccomp::KNOWN_FLAGS,
        seccomp_supported_flags: &seccomp::SUPPORTED_FLAGS,
        id_mapped_mounts: rootfs::ID_MAPPED_MOUNTS,
        net_devices: net::DEVICES,
        intel_rdt: resctrl::SUPPORTED,
        apparmor: labels::APPARMOR,
        selinux: labels::SELINUX,
        memory_policy_modes: &modes,
        memory_policy_flags: &flags,
        cgroup_rdma: Limits::RDMA,
        unsafe_annotations: &[
            container::ANNOTATION_PREFIX,
            rootfs::CONTEXT_TYPE_ANNOTATION,
            systemd::ANNOTATION_PREFIX,
        ],
        systemd: systemd::SUPPORTED,
    };
    println!("{}", known.document());
    Ok(0)
}
