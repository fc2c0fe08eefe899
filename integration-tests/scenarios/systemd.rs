//! Control groups that systemd makes, and what is said where it does not run.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::{Container, Host, Output, cgroup_v2, skip};

/// The emulated machine of `make test-vm` has it.
fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn create(container: &Container<'_>, host: &Host) -> Output {
    container.complete_create(host.runtime().args(["--systemd-cgroup", "create"]))
}

/// A container's scope, as systemctl tells of it.
struct Scope<'h> {
    host: &'h Host,
    name: String,
}

impl<'h> Scope<'h> {
    fn new(host: &'h Host) -> Self {
        let name = host.unique("scope");
        Scope { host, name }
    }

    fn unit(&self) -> String {
        format!("test-{}.scope", self.name)
    }

    /// A sleeping container that is going to be in the scope.
    fn container(&self) -> Container<'h> {
        self.host.container("web").sleeping().edit(|config| {
            config["linux"]["cgroupsPath"] = json!(format!("minirun.slice:test:{}", self.name));
        })
    }

    fn show(&self, property: &str) -> String {
        let unit = self.unit();
        let shown = self
            .host
            .sh(&format!("systemctl show --value -p {property} {unit}"));
        shown.stdout.trim().to_owned()
    }

    #[track_caller]
    fn assert_gone(&self) {
        assert_eq!(
            (self.show("ActiveState"), self.show("LoadState")),
            ("inactive".into(), "not-found".into())
        );
    }
}

/// Files of its group that hold limits.
fn limits(container: &Container<'_>) -> [String; 4] {
    ["memory.max", "pids.max", "cpu.max", "cpu.weight"].map(|file| container.cgroup_file("", file))
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
    let scope = Scope::new(&host);
    let web = scope.container().edit(|config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}});
        config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "7"});
    });
    create(&web, &host).succeeds();
    assert_eq!(
        (scope.show("ActiveState"), scope.show("Slice")),
        ("active".into(), "minirun.slice".into())
    );
    assert_eq!(
        (
            scope.show("MemoryMax"),
            scope.show("TasksMax"),
            scope.show("Delegate")
        ),
        ("67108864".into(), "20".into(), "yes".into())
    );
    assert_eq!(scope.show("TimeoutStopUSec"), "7s");
    assert_eq!(web.cgroup_file("", "memory.max"), "67108864");
    assert!(
        web.cgroup("")
            .ends_with(format!("minirun.slice/{}", scope.unit()))
    );
    web.start().succeeds();
    web.exec(["true"]).succeeds();
    let group = web.cgroup("");
    web.delete_force().succeeds();
    assert!(!group.exists());
    scope.assert_gone();
}

#[test]
fn systemd_keeps_the_limits_of_a_scope_when_it_reads_its_units_again() {
    if !systemd_runs() || !cgroup_v2() {
        skip!("needs systemd and cgroup v2");
    }
    let host = Host::new();
    let scope = Scope::new(&host);
    let web = scope.container().edit(|config| {
        config["linux"]["resources"] = json!({
            "memory": {"limit": 64 << 20},
            "pids": {"limit": 20},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
        });
    });
    create(&web, &host).succeeds();
    assert_eq!(
        (scope.show("CPUQuotaPerSecUSec"), scope.show("CPUWeight")),
        ("500ms".into(), "59".into())
    );
    let configured = ["67108864", "20", "50000 100000", "59"];
    assert_eq!(limits(&web), configured);
    host.sh("systemctl daemon-reload");
    assert_eq!(limits(&web), configured);

    let update = web.verb("update").args([
        "--memory=50331648",
        "--pids-limit=30",
        "--cpu-quota=25000",
        "--cpu-share=1024",
        web.id(),
    ]);
    update.output().succeeds();
    assert_eq!(
        (scope.show("MemoryMax"), scope.show("TasksMax")),
        ("50331648".into(), "30".into())
    );
    let updated = ["50331648", "30", "25000 100000", "100"];
    assert_eq!(limits(&web), updated);
    host.sh("systemctl daemon-reload");
    assert_eq!(limits(&web), updated);
}

#[test]
fn a_container_in_a_scope_is_frozen_thawed_and_entered() {
    if !systemd_runs() || !cgroup_v2() {
        skip!("needs systemd and cgroup v2");
    }
    let host = Host::new();
    let scope = Scope::new(&host);
    let web = scope.container();
    create(&web, &host).succeeds();
    web.start().succeeds();
    web.verb("pause").args([web.id()]).output().succeeds();
    assert_eq!(web.status(), "paused");
    web.verb("resume").args([web.id()]).output().succeeds();
    assert_eq!(web.status(), "running");
    assert!(scope.show("ControlGroup").ends_with(&scope.unit()));
    let file = web.bundle().join("entered");
    web.exec_with(
        &["--detach", "--pid-file", file.to_str().unwrap()],
        ["sleep", "1000"],
    )
    .succeeds();
    let entered = fs::read_to_string(file).unwrap();
    let processes = web.cgroup_file("", "cgroup.procs");
    assert!(
        processes.lines().any(|pid| pid == entered.trim()),
        "{entered} is not in {processes}"
    );
}

#[test]
fn the_scope_of_a_container_that_ended_or_never_began_goes() {
    if !systemd_runs() || !cgroup_v2() {
        skip!("needs systemd and cgroup v2");
    }
    let host = Host::new();
    let ended = Scope::new(&host);
    let web = ended.container().sh("exit 3");
    let run = host.runtime().args(["--systemd-cgroup", "run"]);
    run.args(web.bundle_and_id()).output().exits(3);
    ended.assert_gone();

    let killed = Scope::new(&host);
    let web = killed.container();
    create(&web, &host).succeeds();
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    web.delete().succeeds();
    killed.assert_gone();

    let missing = Scope::new(&host);
    let web = missing.container().args(["/no/such/program"]);
    create(&web, &host).exits(1);
    missing.assert_gone();
}

#[test]
fn a_scope_that_systemd_refuses_or_that_holds_processes_takes_no_container() {
    if !systemd_runs() || !cgroup_v2() {
        skip!("needs systemd and cgroup v2");
    }
    let host = Host::new();
    let scope = Scope::new(&host);
    let bad = scope.container().edit(|config| {
        config["annotations"] = json!({"org.systemd.property.NoSuchThing": "true"});
    });
    create(&bad, &host).exits(1).fails_with(&["NoSuchThing"]);
    assert!(!host.path("/run/minirun").join(bad.id()).exists());
    scope.assert_gone();

    let first = scope.container();
    create(&first, &host).succeeds();
    let second = scope.container();
    create(&second, &host).exits(1).fails_with(&["not empty"]);
    assert_eq!(scope.show("ActiveState"), "active");
    assert_eq!(first.status(), "created");
}
