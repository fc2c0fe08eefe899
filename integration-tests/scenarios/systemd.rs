//! Control groups that systemd makes, and what is said where it does not run.

use std::path::Path;

use serde_json::json;

use crate::harness::{Container, Host, cgroup_v2, skip};

fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn create(container: &Container<'_>, host: &Host) -> crate::harness::Output {
    container.complete_create(host.runtime().args(["--systemd-cgroup", "create"]))
}

#[test]
fn systemd_cgroup_is_refused_where_systemd_does_not_run() {
    if systemd_runs() {
        skip!("systemd runs here");
    }
    let host = Host::new();
    let web = host.container("web");
    create(&web, &host)
        .exits(1)
        .fails_with(&["systemd not running on this host", "cgroupfs"]);
    assert!(!host.path("/run/minirun").join(web.id()).exists());
    // conmon gives the flag to some verbs and not to others: it says nothing about a container that exists.
    let web = web.sleeping().running();
    let exec = host
        .runtime()
        .args(["--systemd-cgroup", "exec", web.id(), "true"]);
    exec.output().succeeds();
}

#[test]
fn a_cgroups_path_of_the_other_driver_is_refused_under_systemd() {
    let host = Host::new();
    let web = host
        .container("web")
        .edit(|config| config["linux"]["cgroupsPath"] = json!("/shop/web"));
    create(&web, &host)
        .exits(1)
        .fails_with(&["linux.cgroupsPath", "slice:prefix:name"]);
}

#[test]
fn systemd_makes_the_scope_with_its_limits_and_takes_it_back() {
    if !systemd_runs() || !cgroup_v2() {
        skip!("needs systemd and cgroup v2");
    }
    let host = Host::new();
    let name = host.unique("scope");
    let web = host.container("web").sleeping().edit(|config| {
        config["linux"]["cgroupsPath"] = json!(format!("minirun.slice:test:{name}"));
        config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}});
        config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "7"});
    });
    create(&web, &host).succeeds();
    let unit = format!("test-{name}.scope");
    let show = |property: &str| {
        let shown = host.sh(&format!("systemctl show --value -p {property} {unit}"));
        shown.stdout.trim().to_owned()
    };
    assert_eq!(
        (show("ActiveState"), show("Slice")),
        ("active".into(), "minirun.slice".into())
    );
    assert_eq!(
        (show("MemoryMax"), show("TasksMax"), show("Delegate")),
        ("67108864".into(), "20".into(), "yes".into())
    );
    assert_eq!(show("TimeoutStopUSec"), "7s");
    assert_eq!(web.cgroup_file("", "memory.max"), "67108864");
    assert!(web.cgroup("").ends_with(format!("minirun.slice/{unit}")));
    web.start().succeeds();
    web.exec(["true"]).succeeds();
    web.verb("update")
        .args(["--memory", "50331648", web.id()])
        .output()
        .succeeds();
    assert_eq!(
        (show("MemoryMax"), web.cgroup_file("", "memory.max")),
        ("50331648".into(), "50331648".into())
    );
    let group = web.cgroup("");
    web.delete_force().succeeds();
    assert!(!group.exists());
    assert_eq!(show("ActiveState"), "inactive");
}
