//! What a plan refuses, without any mount.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::mount_plan::{Action, BindMount, Mount};
use super::super::{CgroupMounts, ExtraBind, Plan};
use super::{mounts, plan, spec};
use crate::sys::mount::attribute;

fn planned(config: Value) -> Plan {
    plan(config, Path::new("/bundle"), &CgroupMounts::None).unwrap()
}

fn refused(config: Value) -> String {
    plan(config, Path::new("/bundle"), &CgroupMounts::None)
        .unwrap_err()
        .to_string()
}

fn bind(mount: &Mount) -> &BindMount {
    match &mount.action {
        Action::Bind(bind) => bind,
        other => panic!("not a bind mount: {other:?}"),
    }
}

#[test]
fn a_relative_bind_source_and_root_start_at_the_bundle() {
    let plan = planned(mounts(
        json!([{"destination": "/code", "source": "code", "options": ["bind"]}]),
    ));
    assert_eq!(plan.root.as_c_str(), c"/bundle/rootfs");
    assert_eq!(bind(&plan.mounts[0]).source.as_c_str(), c"/bundle/code");
}

#[test]
fn a_relative_destination_is_taken_from_the_root_with_a_warning() {
    let plan = planned(mounts(json!([{"destination": "tmp/../data/", "type": "tmpfs"}])));
    assert_eq!(plan.mounts[0].destination.path.as_c_str(), c"/data");
    assert_eq!(plan.warnings().len(), 1);
    assert!(
        plan.warnings()[0].starts_with("mounts[0].destination"),
        "{:?}",
        plan.warnings()
    );
}

#[test]
fn dots_in_a_destination_cannot_leave_the_root() {
    let plan = planned(mounts(
        json!([{"destination": "/../../etc/./x", "type": "tmpfs"}]),
    ));
    assert_eq!(plan.mounts[0].destination.path.as_c_str(), c"/etc/x");
}

#[test]
fn a_layer_over_the_root_needs_a_path_from_the_root_and_mounts_of_the_containers_own() {
    let layered = |layer: &str, namespaces: &[&str]| {
        let namespaces: Vec<Value> = namespaces.iter().map(|name| json!({"type": name})).collect();
        json!({
            "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "annotations": {"minirun.root-layer": layer},
            "linux": {"namespaces": namespaces},
        })
    };
    assert!(planned(layered("/layer", &["mount"])).layer.is_some());
    for (config, why) in [
        (layered("layer", &["mount"]), "not an absolute path"),
        (layered("/layer", &[]), "needs a mount namespace"),
        (layered("/layer", &["mount", "user"]), "a user namespace"),
    ] {
        let error = refused(config);
        assert!(
            error.starts_with("annotations[\"minirun.root-layer\"]") && error.contains(why),
            "{error}"
        );
    }
}

#[test]
fn only_options_make_a_bind_mount() {
    let plan = planned(mounts(
        json!([{"destination": "/a", "type": "tmpfs", "source": "/x", "options": ["rbind"]}]),
    ));
    assert!(bind(&plan.mounts[0]).recursive);
    let error = refused(mounts(
        json!([{"destination": "/a", "type": "bind", "source": "/x"}]),
    ));
    assert_eq!(
        error,
        "mounts[0].options: type \"bind\" needs the option bind or rbind"
    );
    let error = refused(mounts(json!([{"destination": "/a", "source": "/x"}])));
    assert_eq!(error, "mounts[0].type: is missing, and options have no bind");
    let error = refused(mounts(json!([{"destination": "/a", "options": ["bind"]}])));
    assert_eq!(error, "mounts[0].source: a bind mount needs one");
}

#[test]
fn only_chosen_files_below_proc_may_be_mounted_over() {
    let bind_at = |path: &str| mounts(json!([{"destination": path, "source": "/x", "options": ["bind"]}]));
    planned(bind_at("/proc/meminfo"));
    planned(bind_at("/proc"));
    planned(bind_at("/processes"));
    assert_eq!(
        refused(bind_at("/proc/sys/kernel")),
        "mounts[0].destination: \"/proc/sys/kernel\" cannot be mounted because it is inside /proc"
    );
    assert!(refused(bind_at("/dev/../proc/self/attr")).contains("is inside /proc"));
    let error = refused(mounts(json!([{"destination": "/proc", "type": "tmpfs"}])));
    assert!(error.contains("is not of type proc"), "{error}");
}

#[test]
fn nothing_is_mounted_over_the_root() {
    assert!(refused(mounts(json!([{"destination": "/..", "type": "tmpfs"}]))).contains("container's root"));
}

#[test]
fn id_mapped_mounts_are_for_the_runtime_to_make_and_only_binds_can_be() {
    let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let config = |option: &str| {
        mounts(json!([
            {"destination": "/a", "source": "/x", "options": ["bind"]},
            {"destination": "/b", "type": "tmpfs", "source": "/y", "options": [option],
                "uidMappings": mapping, "gidMappings": mapping},
        ]))
    };
    let planned = planned(config("rbind"));
    let fields: Vec<_> = planned.id_mapped().map(|mount| mount.field()).collect();
    assert_eq!(fields, ["mounts[1].uidMappings"]);
    for option in ["ro", "remount"] {
        assert_eq!(
            refused(config(option)),
            "mounts[1]: id-mapped mounts are only supported for bind mounts"
        );
    }
}

#[test]
fn tmpcopyup_is_for_tmpfs_only() {
    let error = refused(mounts(
        json!([{"destination": "/a", "type": "ramfs", "options": ["tmpcopyup"]}]),
    ));
    assert_eq!(
        error,
        "mounts[0].options: tmpcopyup is for tmpfs, not for \"ramfs\""
    );
}

#[test]
fn without_a_mount_namespace_nothing_of_the_hosts_mounts_may_change() {
    let without = |property: &str, value: Value| {
        let mut config = json!({"linux": {"namespaces": []}});
        match property.strip_prefix("linux.") {
            Some(name) => config["linux"][name] = value,
            None => config[property] = value,
        }
        config
    };
    planned(without("hostname", json!("h")));
    let error = refused(without(
        "mounts",
        json!([{"destination": "/proc", "type": "proc"}]),
    ));
    assert!(error.starts_with("mounts: needs a mount namespace"), "{error}");
    let error = refused(without("linux.maskedPaths", json!(["/proc/kcore"])));
    assert!(
        error.contains("unable to restrict sys entries without a private MNT namespace"),
        "{error}"
    );
    let error = refused(without("root", json!({"path": "rootfs", "readonly": true})));
    assert!(error.starts_with("root.readonly"), "{error}");
    let error = refused(without("linux.rootfsPropagation", json!("private")));
    assert!(error.starts_with("linux.rootfsPropagation"), "{error}");
}

#[test]
fn paths_to_mask_must_be_absolute() {
    assert_eq!(
        refused(json!({"linux": {"maskedPaths": ["/ok", "proc/kcore"]}})),
        "linux.maskedPaths[1]: \"proc/kcore\" is not an absolute path"
    );
    assert!(refused(json!({"linux": {"readonlyPaths": [""]}})).starts_with("linux.readonlyPaths[0]"));
}

#[test]
fn root_propagation_is_one_of_eight_words_and_only_slave_goes_without_pivot_root() {
    for word in [
        "shared",
        "rshared",
        "slave",
        "rslave",
        "private",
        "rprivate",
        "unbindable",
        "runbindable",
    ] {
        planned(json!({"linux": {"rootfsPropagation": word}}));
    }
    assert!(
        refused(json!({"linux": {"rootfsPropagation": "public"}})).starts_with("linux.rootfsPropagation")
    );
    for word in ["rshared", "private"] {
        let spec = spec(json!({"linux": {"rootfsPropagation": word}}));
        let error = Plan::new(&spec, Path::new("/bundle"), &CgroupMounts::None, &[], true).unwrap_err();
        assert!(error.to_string().contains("pivot_root"), "{error}");
    }
}

#[test]
fn an_extra_file_gives_way_to_a_mount_of_the_configuration() {
    let config = mounts(json!([{"destination": "/etc/hosts", "source": "/mine", "options": ["bind"]}]));
    let extra = |destination: &str| ExtraBind {
        source: PathBuf::from("/run/ours"),
        destination: PathBuf::from(destination),
        read_only: false,
    };
    let extras = [extra("/etc/hosts"), extra("/etc/hostname")];
    let plan = Plan::new(
        &spec(config),
        Path::new("/bundle"),
        &CgroupMounts::None,
        &extras,
        false,
    )
    .unwrap();
    let sources: Vec<_> = plan
        .mounts
        .iter()
        .map(|mount| bind(mount).source.to_str().unwrap())
        .collect();
    assert_eq!(sources, ["/mine", "/run/ours"]);
    assert_eq!(plan.mounts[1].destination.path.as_c_str(), c"/etc/hostname");
}

#[test]
fn devices_are_refused_with_the_path_of_the_field() {
    let device = |device: Value| refused(json!({"linux": {"devices": [device]}}));
    let error = device(json!({"path": "/dev/x", "type": "a"}));
    assert_eq!(error, "linux.devices[0].type: must be one of c, b, u, p");
    let error = device(json!({"path": "/dev/x", "type": "c", "major": -1, "minor": 0}));
    assert_eq!(error, "linux.devices[0].major: -1 is not a device number");
    let error = device(json!({"path": "/", "type": "c", "major": 1, "minor": 3}));
    assert_eq!(error, "linux.devices[0].path: does not name a file");
}

/// Source and whether it is read-only.
fn cgroup_v2(private: bool, options: Value) -> (String, bool) {
    let cgroups = CgroupMounts::V2 {
        own: PathBuf::from("/sys/fs/cgroup/c1"),
        hierarchy: PathBuf::from("/sys/fs/cgroup"),
        private,
    };
    let config = mounts(json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": options}]));
    let plan = plan(config, Path::new("/bundle"), &cgroups).unwrap();
    let bind = bind(&plan.mounts[0]);
    (
        bind.source.to_str().unwrap().to_owned(),
        bind.attributes.set & attribute::RDONLY != 0,
    )
}

#[test]
fn the_hosts_cgroup_tree_is_writable_only_on_demand() {
    assert_eq!(
        cgroup_v2(true, json!(["nosuid"])),
        ("/sys/fs/cgroup/c1".to_owned(), false)
    );
    assert_eq!(
        cgroup_v2(true, json!(["ro"])),
        ("/sys/fs/cgroup/c1".to_owned(), true)
    );
    assert_eq!(
        cgroup_v2(false, json!(["nosuid"])),
        ("/sys/fs/cgroup".to_owned(), true)
    );
    assert_eq!(
        cgroup_v2(false, json!(["rw"])),
        ("/sys/fs/cgroup".to_owned(), false)
    );
}

#[test]
fn a_cgroup_mount_without_a_cgroup_is_refused() {
    let error = refused(mounts(
        json!([{"destination": "/sys/fs/cgroup", "type": "cgroup"}]),
    ));
    assert_eq!(error, "mounts[0].type: the container has no cgroup");
}
