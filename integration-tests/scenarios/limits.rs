//! Limits: what config.json asks for stands in the cgroup's files, and holds.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Container, Host, cgroup_v2, has_controller, skip};

const MIB: i64 = 1 << 20;

impl Container<'_> {
    fn resources(self, change: impl FnOnce(&mut Value)) -> Self {
        self.edit(|config| change(&mut config["linux"]["resources"]))
    }
}

/// The file and value under v1, the file and value under v2.
#[track_caller]
fn assert_file(container: &Container<'_>, controller: &str, v1: (&str, &str), v2: (&str, &str)) {
    let (file, value) = if cgroup_v2() { v2 } else { v1 };
    assert_eq!(container.cgroup_file(controller, file), value, "{file}");
}

#[test]
fn a_memory_limit_stands_in_the_cgroup() {
    let host = Host::new();
    let web = host.container("web").sleeping().resources(|resources| {
        resources["memory"] = json!({"limit": 64 * MIB, "reservation": 32 * MIB});
    });
    let web = web.running();
    assert_file(
        &web,
        "memory",
        ("memory.limit_in_bytes", "67108864"),
        ("memory.max", "67108864"),
    );
    assert_file(
        &web,
        "memory",
        ("memory.soft_limit_in_bytes", "33554432"),
        ("memory.low", "33554432"),
    );
}

#[test]
fn a_process_over_the_memory_limit_is_killed() {
    let host = Host::new();
    // tail keeps what it has read until a newline comes.
    let greedy = host
        .container("greedy")
        .args(["tail", "/dev/zero"])
        .resources(|resources| {
            resources["memory"] = json!({"limit": 16 * MIB, "swap": 16 * MIB});
        });
    greedy.run().exits(137);
}

#[test]
fn an_exec_is_under_the_memory_limit_too() {
    let host = Host::new();
    let web = host.container("web").sleeping().resources(|resources| {
        resources["memory"] = json!({"limit": 16 * MIB, "swap": 16 * MIB});
    });
    let web = web.running();
    web.exec(["tail", "/dev/zero"]).exits(137);
    assert_eq!(web.status(), "running");
}

#[test]
fn a_swap_limit_counts_memory_and_swap_together() {
    let host = Host::new();
    let web = host.container("web").sleeping().resources(|resources| {
        resources["memory"] = json!({"limit": 64 * MIB, "swap": 96 * MIB});
    });
    let web = web.running();
    let (controller, file, value) = if cgroup_v2() {
        ("memory", "memory.swap.max", 32 * MIB)
    } else {
        ("memory", "memory.memsw.limit_in_bytes", 96 * MIB)
    };
    if !web.cgroup(controller).join(file).exists() {
        skip!("the kernel does not account swap");
    }
    assert_eq!(web.cgroup_file(controller, file), value.to_string());
}

#[test]
fn minus_one_is_unlimited() {
    let host = Host::new();
    let web = host.container("web").sleeping().resources(|resources| {
        resources["memory"] = json!({"limit": -1});
        resources["pids"] = json!({"limit": -1});
        resources["cpu"] = json!({"quota": -1, "period": 100_000});
    });
    let web = web.running();
    assert_file(&web, "pids", ("pids.max", "max"), ("pids.max", "max"));
    assert_file(&web, "cpu", ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000"));
    assert_file(
        &web,
        "memory",
        ("memory.limit_in_bytes", "9223372036854771712"),
        ("memory.max", "max"),
    );
}

#[test]
fn a_cpu_quota_stands_in_the_cgroup_and_throttles() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("while :; do :; done")
        .resources(|resources| {
            resources["cpu"] = json!({"quota": 5_000, "period": 50_000});
        });
    let web = web.running();
    assert_file(
        &web,
        "cpu",
        ("cpu.cfs_quota_us", "5000"),
        ("cpu.max", "5000 50000"),
    );
    crate::harness::wait_until("the loop is throttled", || {
        let statistics = web.cgroup_file("cpu", "cpu.stat");
        let throttled = statistics
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "))
            .unwrap();
        throttled.parse::<u64>().unwrap() > 2
    });
}

#[test]
fn cpu_shares_become_a_weight_on_v2() {
    let host = Host::new();
    for (shares, weight) in [(1024, "100"), (2, "1"), (262_144, "10000")] {
        let web = host
            .container("web")
            .sleeping()
            .resources(|resources| resources["cpu"] = json!({"shares": shares}));
        assert_file(
            &web.running(),
            "cpu",
            ("cpu.shares", &shares.to_string()),
            ("cpu.weight", weight),
        );
    }
}

#[test]
fn a_cpu_burst_stands_in_the_cgroup() {
    let host = Host::new();
    let web = host.container("web").sleeping().resources(|resources| {
        resources["cpu"] = json!({"quota": 50_000, "period": 100_000, "burst": 20_000});
    });
    let web = web.running();
    assert_file(
        &web,
        "cpu",
        ("cpu.cfs_burst_us", "20000"),
        ("cpu.max.burst", "20000"),
    );
}

#[test]
fn an_idle_cpu_group_stands_in_the_cgroup() {
    let host = Host::new();
    let web = host
        .container("web")
        .sleeping()
        .resources(|resources| resources["cpu"] = json!({"idle": 1}));
    assert_file(&web.running(), "cpu", ("cpu.idle", "1"), ("cpu.idle", "1"));
}

#[test]
fn a_cpuset_binds_the_process() {
    let host = Host::new();
    let web = host
        .container("web")
        .sleeping()
        .resources(|resources| resources["cpu"] = json!({"cpus": "0", "mems": "0"}));
    let web = web.running();
    assert_file(&web, "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0"));
    assert_file(&web, "cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0"));
    let seen = web
        .exec(["grep", "Cpus_allowed_list", "/proc/self/status"])
        .succeeds();
    assert_eq!(seen.stdout, "Cpus_allowed_list:\t0\n");
}

#[test]
fn a_limit_of_processes_holds() {
    let host = Host::new();
    let limited = |name: &str| {
        host.container(name)
            .resources(|resources| resources["pids"] = json!({"limit": 8}))
    };
    let web = limited("web").sleeping().running();
    assert_file(&web, "pids", ("pids.max", "8"), ("pids.max", "8"));
    let many = limited("many").sh("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all");
    let output = many.run();
    assert!(output.code != 0 && output.stderr.contains("fork"), "{output}");
}

#[test]
fn a_block_weight_stands_in_the_cgroup() {
    let host = Host::new();
    let web = host
        .container("web")
        .sleeping()
        .resources(|resources| resources["blockIO"] = json!({"weight": 500}));
    let web = web.created();
    let files: &[(&str, &str)] = if cgroup_v2() {
        &[("io.bfq.weight", "default 500"), ("io.weight", "default 4950")]
    } else {
        &[("blkio.bfq.weight", "500"), ("blkio.weight", "500")]
    };
    let controller = if cgroup_v2() { "io" } else { "blkio" };
    let Some((file, value)) = files
        .iter()
        .find(|(file, _)| web.cgroup(controller).join(file).exists())
    else {
        skip!("the kernel has no block weights");
    };
    assert_eq!(web.cgroup_file(controller, file), *value);
}

#[test]
fn a_block_throttle_stands_in_the_cgroup() {
    let host = Host::new();
    let Some(device) = block_device() else {
        skip!("the host has no block device")
    };
    let (major, minor) = device.split_once(':').unwrap();
    let rate = json!([{"major": major.parse::<u32>().unwrap(), "minor": minor.parse::<u32>().unwrap(), "rate": 1_048_576}]);
    let web = host.container("web").sleeping().resources(|resources| {
        resources["blockIO"] = json!({"throttleReadBpsDevice": rate});
    });
    let web = web.running();
    let (v1, v2) = (
        format!("{device} 1048576"),
        format!("{device} rbps=1048576 wbps=max riops=max wiops=max"),
    );
    let controller = if cgroup_v2() { "io" } else { "blkio" };
    assert_file(
        &web,
        controller,
        ("blkio.throttle.read_bps_device", &v1),
        ("io.max", &v2),
    );
}

/// MAJOR:MINOR of some whole disk.
fn block_device() -> Option<String> {
    let entries = fs::read_dir("/sys/block").ok()?;
    let mut devices = entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok());
    devices.next().map(|device| device.trim().to_owned())
}

#[test]
fn a_huge_page_limit_stands_in_the_cgroup() {
    let host = Host::new();
    if !has_controller("hugetlb") {
        skip!("needs the hugetlb controller");
    }
    let web = host.container("web").sleeping().resources(|resources| {
        resources["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4 * MIB}]);
    });
    let web = web.running();
    assert_file(
        &web,
        "hugetlb",
        ("hugetlb.2MB.limit_in_bytes", "4194304"),
        ("hugetlb.2MB.max", "4194304"),
    );
}

#[test]
fn unified_keys_are_written_on_v2_and_refused_on_v1() {
    let host = Host::new();
    let web = host.container("web").sleeping().resources(|resources| {
        resources["unified"] = json!({"memory.high": "50331648", "pids.max": "17"});
    });
    if cgroup_v2() {
        let web = web.running();
        assert_eq!(web.cgroup_file("memory", "memory.high"), "50331648");
        assert_eq!(web.cgroup_file("pids", "pids.max"), "17");
    } else {
        web.run().exits(1).fails_with(&["unified"]);
    }
}

#[test]
fn a_unified_key_that_is_no_file_of_the_cgroup_is_refused_by_name() {
    let host = Host::new();
    for key in ["../memory.max", "memory/max", "nosuch.max", "memory.nosuch"] {
        let web = host
            .container("web")
            .resources(|resources| resources["unified"] = json!({key: "1"}));
        let refused = web.run().exits(1);
        assert!(!cgroup_v2() || refused.stderr.contains(key), "{refused}");
    }
}

/// The kernel's log, which no default rule allows, with the capability to read it: what is refused, rules refuse.
fn with_kmsg(container: Container<'_>) -> Container<'_> {
    let node = json!({"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666});
    container.push("/linux/devices", node).edit(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SYSLOG"]);
        }
    })
}

fn kmsg_rule(allow: bool, access: &str) -> Value {
    json!({"allow": allow, "type": "c", "major": 1, "minor": 11, "access": access})
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_opened() {
    let host = Host::new();
    let closed = with_kmsg(host.container("closed").sh(": </dev/kmsg"));
    closed.run().exits(1).fails_with(&["Operation not permitted"]);
    let open = with_kmsg(host.container("open").sh(": </dev/kmsg && echo opened"));
    let open = open.push("/linux/resources/devices", kmsg_rule(true, "r"));
    assert_eq!(open.run().succeeds().stdout, "opened\n");
}

#[test]
fn device_rules_tell_reading_from_writing() {
    let host = Host::new();
    let half = with_kmsg(
        host.container("half")
            .sh(": </dev/kmsg && echo read; (: >/dev/kmsg) || echo refused"),
    );
    let half = half.push("/linux/resources/devices", kmsg_rule(true, "r"));
    assert_eq!(half.run().succeeds().stdout, "read\nrefused\n");
}

#[test]
fn device_rules_count_in_their_order() {
    let host = Host::new();
    let container = with_kmsg(host.container("order").sh(": </dev/kmsg"));
    let rules = json!([{"allow": true, "access": "rwm"}, kmsg_rule(false, "rwm")]);
    let container = container.resources(|resources| resources["devices"] = rules);
    container.run().exits(1).fails_with(&["Operation not permitted"]);
}

#[test]
fn a_list_that_allows_all_allows_all() {
    let host = Host::new();
    let container = with_kmsg(host.container("open").sh(": </dev/kmsg && echo opened"));
    let container =
        container.resources(|resources| resources["devices"] = json!([{"allow": true, "access": "rwm"}]));
    assert_eq!(container.run().succeeds().stdout, "opened\n");
}

#[test]
fn the_default_devices_work_under_a_list_that_denies_all() {
    let host = Host::new();
    let script = "head -c 1 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c; echo >/dev/null; echo >/dev/full 2>/dev/null || echo full";
    assert_eq!(
        host.container("dev").sh(script).run().succeeds().stdout,
        "1\n1\nfull\n"
    );
}

#[test]
fn a_device_node_can_be_made_and_not_opened() {
    let host = Host::new();
    let caps = json!(["CAP_MKNOD"]);
    let container = host
        .container("mknod")
        .sh("mknod /tmp/kmsg c 1 11 && echo made; head -c 1 /tmp/kmsg")
        .edit(|config| {
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = caps.clone();
            }
        });
    let output = container.run().exits(1).fails_with(&["Operation not permitted"]);
    assert_eq!(output.stdout, "made\n");
}

#[test]
fn an_absolute_cgroups_path_is_the_cgroup() {
    let host = Host::new();
    let path = format!("/{}/nested/leaf", host.unique("parent"));
    let web = host
        .container("web")
        .sleeping()
        .edit(|config| config["linux"]["cgroupsPath"] = json!(path));
    let web = web.running();
    assert!(
        web.cgroup("pids").ends_with(path.trim_start_matches('/')),
        "{:?}",
        web.cgroup("pids")
    );
    assert!(web.cgroup("memory").is_dir());
    let top = web.cgroup("pids").ancestors().nth(2).unwrap().to_owned();
    web.delete_force().succeeds();
    // What stands above the container's own cgroup may be an engine's: the scenario removes what is left of it.
    let name = top.file_name().unwrap().to_str().unwrap();
    host.sh(&format!(
        "find /sys/fs/cgroup -depth -type d -path '*/{name}*' -exec rmdir {{}} +"
    ));
}

#[test]
fn the_same_cgroup_is_in_every_hierarchy() {
    let host = Host::new();
    if cgroup_v2() {
        skip!("v2 has one hierarchy");
    }
    let web = host.container("web").sleeping().running();
    for controller in ["cpu", "cpuset", "memory", "pids", "devices", "freezer", "blkio"] {
        if has_controller(controller) {
            assert!(
                web.cgroup(controller).to_string_lossy().contains(web.id()),
                "{controller}"
            );
        }
    }
}

#[test]
fn cgroups_that_the_container_made_go_with_it() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let cgroup = web.cgroup("memory");
    fs::create_dir_all(cgroup.join("inner/most")).unwrap();
    web.delete_force().succeeds();
    assert!(!cgroup.exists());
}

#[test]
fn a_container_of_its_own_cgroup_namespace_sees_itself_at_the_root() {
    let host = Host::new();
    let report = host.container("web").probe();
    for line in report.section("cgroup") {
        assert!(line.ends_with(":/"), "{line}");
    }
}

#[test]
fn an_exec_joins_the_cgroup() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    for line in web.probe_by_exec().section("cgroup") {
        assert!(line.ends_with(":/"), "{line}");
    }
}
