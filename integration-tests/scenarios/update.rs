//! `update`: what is given changes, what is not stays, and nothing changes when something cannot be had.

use serde_json::{Value, json};

use crate::harness::{Container, Host, Output, cgroup_v2, skip};

const MIB: i64 = 1 << 20;

fn limited<'h>(host: &'h Host, resources: Value) -> Container<'h> {
    host.container("web").sleeping().edit(|config| {
        for (group, limits) in resources.as_object().unwrap() {
            config["linux"]["resources"][group] = limits.clone();
        }
    })
}

impl Container<'_> {
    #[track_caller]
    fn update(&self, flags: &[&str]) -> Output {
        self.verb("update")
            .args(flags.iter().copied())
            .args([self.id()])
            .output()
    }

    /// As Docker calls it.
    #[track_caller]
    fn update_resources(&self, resources: &Value) -> Output {
        self.verb("update")
            .args(["--resources=-", self.id()])
            .stdin(resources.to_string().as_bytes())
            .output()
    }

    /// The file of v1 or that of v2.
    #[track_caller]
    fn limit(&self, controller: &str, v1: &str, v2: &str) -> String {
        self.cgroup_file(controller, if cgroup_v2() { v2 } else { v1 })
    }

    fn memory(&self) -> String {
        self.limit("memory", "memory.limit_in_bytes", "memory.max")
    }

    fn pids(&self) -> String {
        self.limit("pids", "pids.max", "pids.max")
    }

    /// Quota and period.
    fn cpu(&self) -> String {
        if cgroup_v2() {
            return self.cgroup_file("cpu", "cpu.max");
        }
        ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
            .map(|file| self.cgroup_file("cpu", file))
            .join(" ")
    }
}

#[test]
fn update_changes_what_its_flags_say_and_nothing_else() {
    let host = Host::new();
    let web = limited(
        &host,
        json!({"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}}),
    )
    .running();
    web.update(&["--pids-limit", "30"]).succeeds();
    assert_eq!((web.pids().as_str(), web.memory().as_str()), ("30", "67108864"));
    web.update(&["--memory=32m", "--memory-reservation", "16MiB", "--cpu-share=512"])
        .succeeds();
    assert_eq!((web.pids().as_str(), web.memory().as_str()), ("30", "33554432"));
    let reservation = web.limit("memory", "memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(reservation, "16777216");
    let weight = web.limit("cpu", "cpu.shares", "cpu.weight");
    assert_eq!(weight, if cgroup_v2() { "59" } else { "512" });
}

#[test]
fn every_limit_has_a_flag() {
    let host = Host::new();
    let web = limited(&host, json!({})).running();
    let flags = [
        "--cpu-period=50000",
        "--cpu-quota=25000",
        "--cpu-burst=5000",
        "--cpuset-cpus=0",
        "--cpuset-mems=0",
        "--memory=64m",
        "--pids-limit=40",
        "--kernel-memory=1m",
        "--kernel-memory-tcp=1m",
    ];
    web.update(&flags).succeeds();
    assert_eq!(web.cpu(), "25000 50000");
    assert_eq!(web.limit("cpu", "cpu.cfs_burst_us", "cpu.max.burst"), "5000");
    assert_eq!(web.cgroup_file("cpuset", "cpuset.cpus"), "0");
    assert_eq!(web.cgroup_file("cpuset", "cpuset.mems"), "0");
    web.update(&["--cpu-idle", "1"]).succeeds();
    assert_eq!(web.cgroup_file("cpu", "cpu.idle"), "1");
    let refused = web.update(&["--l3-cache-schema", "L3:0=1"]);
    refused.exits(1).fails_with(&["--l3-cache-schema"]);
}

#[test]
fn update_takes_resources_from_standard_input_as_docker_gives_them() {
    let host = Host::new();
    let web = limited(&host, json!({"pids": {"limit": 20}})).running();
    // Zeros mean nothing.
    let given = json!({
        "memory": {"limit": 64 * MIB, "swap": 0, "reservation": 0, "kernel": 0},
        "cpu": {"shares": 0, "quota": 20000, "period": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0},
        "pids": {},
    });
    web.update_resources(&given).succeeds();
    assert_eq!((web.memory().as_str(), web.pids().as_str()), ("67108864", "20"));
    assert_eq!(web.cpu(), "20000 100000");
}

#[test]
fn update_takes_resources_from_a_file() {
    let host = Host::new();
    let web = limited(&host, json!({})).running();
    let file = host.dir().join("resources.json");
    std::fs::write(&file, json!({"pids": {"limit": 25}}).to_string()).unwrap();
    let output = web.update(&["--resources", file.to_str().unwrap(), "--pids-limit=9"]);
    // Said, not silent.
    assert!(output.succeeds().stderr.contains("ignored"));
    assert_eq!(web.pids(), "25");
}

#[test]
fn later_updates_know_the_earlier_ones() {
    let host = Host::new();
    let web = limited(&host, json!({"cpu": {"quota": 10000, "period": 50000}})).running();
    web.update(&["--cpu-quota=20000"]).succeeds();
    assert_eq!(web.cpu(), "20000 50000");
    web.update(&["--cpu-period=100000"]).succeeds();
    assert_eq!(web.cpu(), "20000 100000");
    let cpu = web.inspect()["limits"]["cpu"].clone();
    assert_eq!((&cpu["quota"], &cpu["period"]), (&json!(20000), &json!(100_000)));
    web.update(&["--cpu-quota=-1"]).succeeds();
    let unlimited = if cgroup_v2() { "max 100000" } else { "-1 100000" };
    assert_eq!(web.cpu(), unlimited);
}

#[test]
fn lifting_the_memory_limit_lifts_that_of_swap() {
    let host = Host::new();
    let web = limited(&host, json!({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}})).running();
    let swap = |web: &Container<'_>| web.limit("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    let file = if cgroup_v2() {
        "memory.swap.max"
    } else {
        "memory.memsw.limit_in_bytes"
    };
    if !web.cgroup("memory").join(file).exists() {
        skip!("the kernel does not account swap");
    }
    web.update(&["--memory=80m"]).succeeds();
    // Memory and swap together are what they were.
    assert_eq!(
        swap(&web),
        (if cgroup_v2() { 16 * MIB } else { 96 * MIB }).to_string()
    );
    web.update(&["--memory=-1"]).succeeds();
    let unlimited = if cgroup_v2() { "max" } else { "9223372036854771712" };
    assert_eq!(
        (web.memory().as_str(), swap(&web).as_str()),
        (unlimited, unlimited)
    );
    web.update(&["--memory=32m", "--memory-swap=48m"]).succeeds();
    assert_eq!(
        swap(&web),
        (if cgroup_v2() { 16 * MIB } else { 48 * MIB }).to_string()
    );
}

#[test]
fn a_failed_update_changes_nothing() {
    let host = Host::new();
    let resources = json!({"memory": {"limit": 64 * MIB}, "cpu": {"quota": 10000, "period": 50000}, "pids": {"limit": 20}});
    let web = limited(&host, resources).running();
    let before = (
        web.memory(),
        web.cpu(),
        web.pids(),
        web.inspect()["limits"].clone(),
    );
    // The kernel alone knows that there is no such processor, after memory and quota were written.
    let given = json!({"memory": {"limit": 32 * MIB}, "pids": {"limit": 9},
        "cpu": {"quota": 20000, "period": 100_000, "cpus": "4000"}});
    let refused = web.update_resources(&given).exits(1);
    refused.fails_with(&["linux.resources.cpu.cpus", "4000"]);
    // Refused before anything is written.
    web.update(&["--memory=16m", "--cpu-period=7"])
        .exits(1)
        .fails_with(&["linux.resources.cpu.period"]);
    let after = (
        web.memory(),
        web.cpu(),
        web.pids(),
        web.inspect()["limits"].clone(),
    );
    assert_eq!(after, before);
}

#[test]
fn an_update_that_is_no_resources_document_is_refused_by_field() {
    let host = Host::new();
    let web = limited(&host, json!({})).running();
    web.update_resources(&json!({"memory": {"limit": "64m"}}))
        .exits(1)
        .fails_with(&["linux.resources.memory.limit"]);
    web.update(&["--memory=lots"]).exits(1).fails_with(&["--memory"]);
    web.update(&["--resources=/nowhere/resources.json"])
        .exits(1)
        .fails_with(&["/nowhere/resources.json"]);
    if !cgroup_v2() {
        web.update_resources(&json!({"unified": {"memory.high": "1000000"}}))
            .exits(1)
            .fails_with(&["linux.resources.unified"]);
    }
}

#[test]
fn created_and_paused_containers_are_updated_and_stopped_ones_are_not() {
    let host = Host::new();
    let web = limited(&host, json!({})).created();
    web.update(&["--pids-limit=31"]).succeeds();
    assert_eq!(web.pids(), "31");
    web.start().succeeds();
    web.verb("pause").args([web.id()]).output().succeeds();
    web.update(&["--pids-limit=32"]).succeeds();
    assert_eq!((web.pids().as_str(), web.status().as_str()), ("32", "paused"));
    web.verb("resume").args([web.id()]).output().succeeds();
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    web.update(&["--pids-limit=33"])
        .exits(1)
        .fails_with(&["container not running"]);
    host.minirun(["update", "--pids-limit=33", "nobody"])
        .exits(1)
        .fails_with(&["does not exist"]);
}

/// The kernel's log, which no default rule allows, with the capability to read it.
fn with_kmsg<'h>(host: &'h Host, rules: &Value) -> Container<'h> {
    let node = json!({"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666});
    limited(host, json!({"devices": rules}))
        .push("/linux/devices", node)
        .edit(|config| {
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = json!(["CAP_SYSLOG", "CAP_KILL"]);
            }
        })
}

#[track_caller]
fn opens(web: &Container<'_>, device: &str) -> bool {
    web.exec(["sh", "-c", &format!(": </dev/{device}")]).code == 0
}

#[test]
fn device_rules_stay_unless_update_gives_some_and_are_replaced_then() {
    let host = Host::new();
    let allow = json!([{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]);
    let web = with_kmsg(&host, &allow).running();
    web.update(&["--pids-limit=50"]).succeeds();
    assert!(opens(&web, "kmsg"));
    let deny = json!([{"allow": false, "access": "rwm"}]);
    web.update_resources(&json!({"devices": deny})).succeeds();
    assert!(!opens(&web, "kmsg") && opens(&web, "null"));
    // From a list of what is allowed to one of what is denied, and back.
    let all = json!([{"allow": true, "access": "rwm"}]);
    web.update_resources(&json!({"devices": all})).succeeds();
    assert!(opens(&web, "kmsg"));
    let all_but = json!([{"allow": true, "access": "rwm"},
        {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rw"}]);
    web.update_resources(&json!({"devices": all_but})).succeeds();
    assert!(!opens(&web, "kmsg") && opens(&web, "null"));
    web.update_resources(&json!({"devices": allow})).succeeds();
    assert!(opens(&web, "kmsg") && opens(&web, "null"));
    assert_eq!(web.status(), "running");
}

#[test]
fn a_device_that_stays_allowed_is_never_lost_while_its_rules_are_replaced() {
    let host = Host::new();
    // Opens the device for as long as it can; the first failure ends it.
    let allow = json!([{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]);
    let more = json!([{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
        {"allow": true, "type": "c", "major": 1, "minor": 1, "access": "r"}]);
    let web = with_kmsg(&host, &allow)
        .sh("while : </dev/kmsg && : </dev/null; do :; done")
        .running();
    for _ in 0..10 {
        web.update_resources(&json!({"devices": more})).succeeds();
        web.update_resources(&json!({"devices": [{"allow": true, "access": "rwm"}]}))
            .succeeds();
        web.update_resources(&json!({"devices": allow})).succeeds();
    }
    assert_eq!(web.status(), "running");
}
