//! Whose the container's control group is (config-linux.md, "Cgroup ownership"): on cgroup v2 the directory belongs to the
//! user who runs the container's process when that user is to make groups in it.

use std::path::Path;

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

/// The uid on the host that the control group is to be given to. None leaves it as it is: the container has no cgroup
/// namespace of its own, mounts the cgroup file system read-only or not at all, or its user is unknown or root.
pub(super) fn owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let namespace = |kind: LinuxNamespaceType| {
        let mut all = linux.namespaces().iter().flatten();
        all.find(|namespace| namespace.typ() == kind)
    };
    let path = namespace(LinuxNamespaceType::Cgroup)?.path().as_deref();
    if path.is_some_and(|path| !path.as_os_str().is_empty()) || !has_writable_mount(spec) {
        return None;
    }
    let uid = spec.process().as_ref()?.user().uid();
    let owner = match namespace(LinuxNamespaceType::User) {
        None => uid,
        Some(_) => on_host(uid, linux.uid_mappings().iter().flatten())?,
    };
    (owner != 0).then_some(owner)
}

/// The last mount at a place is the one that is seen.
fn has_writable_mount(spec: &Spec) -> bool {
    let mut mounts = spec.mounts().iter().flatten().rev();
    mounts
        .find(|mount| mount.destination() == Path::new("/sys/fs/cgroup"))
        .is_some_and(|mount| {
            let mut options = mount.options().iter().flatten();
            mount.source().as_deref() == Some(Path::new("cgroup")) && !options.any(|option| option == "ro")
        })
}

fn on_host<'a>(uid: u32, mut mappings: impl Iterator<Item = &'a LinuxIdMapping>) -> Option<u32> {
    mappings.find_map(|range| {
        let offset = uid.checked_sub(range.container_id())?;
        (offset < range.size()).then(|| range.host_id().checked_add(offset))?
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config() -> Value {
        json!({
            "ociVersion": "1.3.0",
            "process": {"user": {"uid": 1000, "gid": 0}, "args": ["true"], "cwd": "/"},
            "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}],
            "linux": {"namespaces": [{"type": "cgroup"}]},
        })
    }

    fn owner_of(change: impl FnOnce(&mut Value)) -> Option<u32> {
        let mut config = config();
        change(&mut config);
        owner(&serde_json::from_value(config).unwrap())
    }

    #[test]
    fn a_writable_group_in_a_namespace_of_its_own_belongs_to_the_process_user() {
        assert_eq!(owner_of(|_| {}), Some(1000));
    }

    #[test]
    fn the_owner_is_the_users_id_on_the_host() {
        let in_user_namespace = |mapping: Value| {
            owner_of(|config| {
                config["linux"]["namespaces"] = json!([{"type": "cgroup"}, {"type": "user"}]);
                config["linux"]["uidMappings"] = mapping;
            })
        };
        let ranges = json!([
            {"containerID": 0, "hostID": 5, "size": 1}, {"containerID": 900, "hostID": 100_000, "size": 200},
        ]);
        assert_eq!(in_user_namespace(ranges), Some(100_100));
        assert_eq!(
            in_user_namespace(json!([{"containerID": 0, "hostID": 5, "size": 1}])),
            None
        );
    }

    #[test]
    fn whatever_is_not_asked_for_by_namespace_and_mount_stays_with_root() {
        let changes: [(&str, Value); 5] = [
            ("/linux/namespaces", json!([])),
            (
                "/linux/namespaces",
                json!([{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]),
            ),
            ("/mounts", json!([])),
            ("/mounts/0/options", json!(["nosuid", "ro"])),
            ("/mounts/0/source", json!("/sys/fs/cgroup")),
        ];
        for (pointer, value) in changes {
            let owner = owner_of(|config| *config.pointer_mut(pointer).unwrap() = value);
            assert_eq!(owner, None, "{pointer}");
        }
        assert_eq!(
            owner_of(|config| config["process"]["user"]["uid"] = json!(0)),
            None
        );
    }
}
