//! What is known of a container, written before the first side effect and again when something was added.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::cgroup::systemd::Scope;
use crate::net::{Attachment, Dns};
use crate::process::Process;
use crate::resctrl;
use crate::spec::id::Id;
use crate::spec::state::{State, Status};

/// The record. It names everything that may exist because of this container, so that it can all be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The container id.
    pub id: Id,
    /// `ociVersion` of config.json.
    pub oci_version: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// RFC 3339 in UTC, with nanoseconds.
    pub created: String,
    /// Who made it.
    pub owner: String,
    /// `annotations` of config.json.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The runtime that is creating the container; gone once it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<Process>,
    /// The container's first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Process>,
    /// The leader of the process group of a hook that is running in the runtime's namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<Process>,
    /// The control group.
    pub cgroup: Cgroup,
    /// Its place in resctrl; named before anything is made there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<resctrl::Group>,
    /// systemd's unit, if the group is its.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Whether other processes than this container's own may be in its pid namespace.
    #[serde(default)]
    pub shares_pid_namespace: bool,
    /// Whether its processes share the session keyring of whoever calls the runtime.
    #[serde(default)]
    pub shares_keyring: bool,
    /// Its own name on its networks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// How it finds names.
    #[serde(default)]
    pub dns: Dns,
    /// Networks that the container joins, by name: written before the first address is leased.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// What it got there.
    #[serde(default)]
    pub attachment: Attachment,
}

impl Record {
    /// The name of the session keyring of the container's processes; `None` when they share the caller's.
    pub fn keyring(&self) -> Option<String> {
        (!self.shares_keyring).then(|| format!("_ses.{}", self.id))
    }

    /// The state document, but for status and pid.
    pub fn state(&self) -> State {
        State {
            oci_version: self.oci_version.clone(),
            id: self.id.to_string(),
            pid: 0,
            status: Status::Stopped,
            bundle: self.bundle.to_string_lossy().into_owned(),
            rootfs: self.rootfs.to_string_lossy().into_owned(),
            created: self.created.clone(),
            annotations: self.annotations.clone(),
            owner: self.owner.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A binary may be replaced under containers that run: what the first versions wrote is read by every later one, and what
    /// a later one adds does not keep an earlier one from stopping the container.
    const OF_THE_FIRST_VERSIONS: &str = r#"{
        "id": "web", "ociVersion": "1.2.0", "bundle": "/srv/web", "rootfs": "/srv/web/rootfs",
        "created": "2026-01-02T03:04:05.678901234Z", "owner": "root",
        "init": {"pid": 4242, "start_time": 987654},
        "cgroup": {"version": "1", "groups": [
            {"controllers": "memory", "mount": "/sys/fs/cgroup/memory", "path": "minirun/web"}
        ]},
        "ofALaterVersion": true,
        "attachment": [{
            "network": "shop", "interface": "eth0", "hostInterface": "mrv0123456789",
            "address": "10.186.1.2", "prefix": 24, "gateway": "10.186.1.1", "mac": "02:42:0a:ba:01:02",
            "names": ["web"], "ports": [{"host": 8080, "container": 80, "protocol": "tcp"}]
        }]
    }"#;

    #[test]
    fn a_record_of_the_first_versions_is_read_and_what_a_later_one_adds_is_passed_over() {
        let record: Record = serde_json::from_str(OF_THE_FIRST_VERSIONS).unwrap();
        assert_eq!(record.id.to_string(), "web");
        assert_eq!(record.init.map(|init| init.pid), Some(4242));
        assert!(matches!(record.cgroup, Cgroup::V1(_)));
        assert_eq!(record.attachment.networks[0].ports[0].host, 8080);
        let again = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&again).unwrap(), record);
    }
}
