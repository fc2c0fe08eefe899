//! The features document (features.md): what this binary can do, whatever the host can.
//!
//! What the specification side knows stands here; what another room knows is handed in by the caller from that room's
//! own tables, so that the document cannot claim more than the code does.

use std::collections::HashMap;

use oci_spec::runtime::{
    Apparmor, Arch, Cgroup, Features, IDMap, IntelRdt, LinuxFeature, LinuxNamespaceType, LinuxSeccompAction,
    MemoryPolicy, MountExtensions, NetDevices, Seccomp, Selinux,
};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::OCI_VERSION;

/// The oldest version of the specification that `ociVersion` may name.
const OLDEST_VERSION: &str = "1.0.0";

/// What the other rooms can do. Lists are printed in the order given.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The kinds of hooks, in the order in which they run.
    pub hooks: &'a [&'a str],
    /// The kinds of namespaces that a container can make or join.
    pub namespaces: &'a [LinuxNamespaceType],
    /// Options of `mounts[].options` that are not passed on to the file system.
    pub mount_options: &'a [&'a str],
    /// Names of capabilities: `CAP_CHOWN`.
    pub capabilities: &'a [&'a str],
    /// Actions that the seccomp compiler takes.
    pub seccomp_actions: &'a [LinuxSeccompAction],
    /// Operators of `args` that it takes: `SCMP_CMP_NE`.
    pub seccomp_operators: &'a [&'a str],
    /// Architectures for which it has tables of system calls.
    pub seccomp_archs: &'a [Arch],
    /// Flags that it understands: `SECCOMP_FILTER_FLAG_LOG`.
    pub seccomp_known_flags: &'a [&'a str],
    /// Those of them that it acts on.
    pub seccomp_supported_flags: &'a [&'a str],
    /// Whether mounts can be id-mapped.
    pub id_mapped_mounts: bool,
    /// Whether devices of the host can be moved into a container's network namespace.
    pub net_devices: bool,
    /// Whether shares of caches and memory bandwidth are given, by all of `linux.intelRdt`.
    pub intel_rdt: bool,
    /// Whether profiles of AppArmor are applied.
    pub apparmor: bool,
    /// Whether labels of SELinux are set.
    pub selinux: bool,
    /// Modes of memory policies: `MPOL_BIND`.
    pub memory_policy_modes: &'a [&'a str],
    /// Flags of memory policies: `MPOL_F_STATIC_NODES`.
    pub memory_policy_flags: &'a [&'a str],
    /// Whether the `rdma` controller's limits are applied.
    pub cgroup_rdma: bool,
    /// Annotations of config.json that change what the runtime does; a trailing dot stands for a prefix.
    pub unsafe_annotations: &'a [&'a str],
    /// Whether control groups can be systemd's.
    pub systemd: bool,
}

impl Known<'_> {
    /// The document, as JSON indented by four.
    pub fn document(&self) -> String {
        let features = self.features();
        let mut json = Vec::new();
        let mut serializer = Serializer::with_formatter(&mut json, PrettyFormatter::with_indent(b"    "));
        // Strings, booleans and lists into memory: neither the document nor the writer can refuse.
        let _ = features.serialize(&mut serializer);
        String::from_utf8(json).unwrap_or_default()
    }

    fn features(&self) -> Features {
        let mut features = Features::default();
        features
            .set_oci_version_min(OLDEST_VERSION.to_owned())
            .set_oci_version_max(OCI_VERSION.to_owned())
            .set_hooks(Some(owned(self.hooks)))
            .set_mount_options(Some(owned(self.mount_options)))
            .set_linux(Some(self.linux()))
            .set_annotations(Some(HashMap::from([(
                "io.minirun.version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            )])))
            .set_potentially_unsafe_config_annotations(Some(owned(self.unsafe_annotations)));
        features
    }

    fn linux(&self) -> LinuxFeature {
        let mut linux = LinuxFeature::default();
        linux
            .set_namespaces(Some(self.namespaces.to_vec()))
            .set_capabilities(Some(owned(self.capabilities)))
            .set_cgroup(Some(self.cgroup()))
            .set_seccomp(Some(self.seccomp()))
            .set_apparmor(Some(Apparmor::default().set_enabled(Some(self.apparmor)).clone()))
            .set_selinux(Some(Selinux::default().set_enabled(Some(self.selinux)).clone()))
            .set_intel_rdt(Some(intel_rdt(self.intel_rdt)))
            .set_memory_policy(Some(self.memory_policy()))
            .set_mount_extensions(Some(mount_extensions(self.id_mapped_mounts)))
            .set_net_devices(Some(
                NetDevices::default().set_enabled(Some(self.net_devices)).clone(),
            ));
        linux
    }

    fn cgroup(&self) -> Cgroup {
        let mut cgroup = Cgroup::default();
        cgroup
            .set_v1(Some(true))
            .set_v2(Some(true))
            .set_systemd(Some(self.systemd))
            // Nobody has tried a user's manager with it yet.
            .set_systemd_user(Some(false))
            .set_rdma(Some(self.cgroup_rdma));
        cgroup
    }

    fn memory_policy(&self) -> MemoryPolicy {
        let mut policy = MemoryPolicy::default();
        policy
            .set_modes(Some(owned(self.memory_policy_modes)))
            .set_flags(Some(owned(self.memory_policy_flags)));
        policy
    }

    fn seccomp(&self) -> Seccomp {
        let mut seccomp = Seccomp::default();
        seccomp
            .set_enabled(Some(true))
            .set_actions(Some(self.seccomp_actions.to_vec()))
            .set_operators(Some(owned(self.seccomp_operators)))
            .set_archs(Some(self.seccomp_archs.to_vec()))
            .set_known_flags(Some(owned(self.seccomp_known_flags)))
            .set_supported_flags(Some(owned(self.seccomp_supported_flags)));
        seccomp
    }
}

fn mount_extensions(id_mapped: bool) -> MountExtensions {
    let idmap = IDMap::default().set_enabled(Some(id_mapped)).clone();
    MountExtensions::default().set_idmap(Some(idmap)).clone()
}

fn intel_rdt(supported: bool) -> IntelRdt {
    let supported = Some(supported);
    let mut rdt = IntelRdt::default();
    rdt.set_enabled(supported)
        .set_schemata(supported)
        .set_monitoring(supported);
    rdt
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KNOWN: Known = Known {
        hooks: &["createRuntime", "poststop"],
        namespaces: &[LinuxNamespaceType::Cgroup, LinuxNamespaceType::Mount],
        mount_options: &["bind", "ro"],
        capabilities: &["CAP_CHOWN"],
        seccomp_actions: &[LinuxSeccompAction::ScmpActAllow],
        seccomp_operators: &["SCMP_CMP_NE"],
        seccomp_archs: &[Arch::ScmpArchX86_64],
        seccomp_known_flags: &["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"],
        seccomp_supported_flags: &["SECCOMP_FILTER_FLAG_LOG"],
        id_mapped_mounts: true,
        net_devices: true,
        intel_rdt: true,
        apparmor: true,
        selinux: true,
        memory_policy_modes: &["MPOL_BIND"],
        memory_policy_flags: &["MPOL_F_STATIC_NODES"],
        cgroup_rdma: true,
        unsafe_annotations: &["minirun."],
        systemd: true,
    };

    #[test]
    fn the_document_says_what_the_rooms_say() {
        let document: Value = serde_json::from_str(&KNOWN.document()).unwrap();
        assert_eq!(
            document,
            json!({
                "ociVersionMin": "1.0.0",
                "ociVersionMax": "1.3.0",
                "hooks": ["createRuntime", "poststop"],
                "mountOptions": ["bind", "ro"],
                "linux": {
                    "namespaces": ["cgroup", "mount"],
                    "capabilities": ["CAP_CHOWN"],
                    "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": true},
                    "seccomp": {
                        "enabled": true,
                        "actions": ["SCMP_ACT_ALLOW"],
                        "operators": ["SCMP_CMP_NE"],
                        "archs": ["SCMP_ARCH_X86_64"],
                        "knownFlags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"],
                        "supportedFlags": ["SECCOMP_FILTER_FLAG_LOG"]
                    },
                    "apparmor": {"enabled": true},
                    "selinux": {"enabled": true},
                    "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
                    "memoryPolicy": {"modes": ["MPOL_BIND"], "flags": ["MPOL_F_STATIC_NODES"]},
                    "mountExtensions": {"idmap": {"enabled": true}},
                    "netDevices": {"enabled": true}
                },
                "annotations": {"io.minirun.version": env!("CARGO_PKG_VERSION")},
                "potentiallyUnsafeConfigAnnotations": ["minirun."]
            })
        );
    }

    #[test]
    fn the_document_is_indented_by_four() {
        assert!(
            KNOWN
                .document()
                .starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n")
        );
    }
}
