//! Namespaces: new ones, joined ones, ids mapped, time offsets, and refusals.

use std::fs;

use serde_json::json;

use crate::harness::{Host, skip};

fn link(pid: impl std::fmt::Display, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}"))
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

const FILES: [(&str, &str); 7] = [
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("user", "user"),
    ("uts", "uts"),
];

#[test]
fn every_namespace_of_the_config_is_new() {
    let host = Host::new();
    let web = host
        .container("web")
        .sleeping()
        .user_namespace()
        .namespace(json!({"type": "time"}))
        .running();
    for (kind, file) in FILES.into_iter().chain([("time", "time")]) {
        assert_ne!(link(web.pid(), file), link(host.pid(), file), "{kind}");
    }
}

#[test]
fn a_namespace_that_is_not_in_the_config_is_the_callers() {
    let host = Host::new();
    for (kind, file) in FILES
        .into_iter()
        .filter(|(kind, _)| !["mount", "user"].contains(kind))
    {
        let web = host.container("web").sleeping().without_namespace(kind);
        // A host name belongs to a uts namespace, and sysfs to the network namespace of its mounter.
        let web = web.edit(|config| {
            config.as_object_mut().unwrap().remove("hostname");
        });
        let web = web.running();
        assert_eq!(link(web.pid(), file), link(host.pid(), file), "{kind}");
    }
}

#[test]
fn namespaces_are_joined_by_path() {
    let host = Host::new();
    let first = host.container("first").sleeping().running();
    let mut second = host.container("second").sleeping();
    for (kind, file) in [
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("pid", "pid"),
        ("cgroup", "cgroup"),
    ] {
        second = second.namespace(json!({"type": kind, "path": format!("/proc/{}/ns/{file}", first.pid())}));
    }
    let second = second.running();
    for file in ["net", "ipc", "uts", "pid", "cgroup"] {
        assert_eq!(link(second.pid(), file), link(first.pid(), file), "{file}");
    }
    assert_ne!(link(second.pid(), "mnt"), link(first.pid(), "mnt"));
    // Not pid 1 there: deleting it must leave the first alone.
    second.delete_force().succeeds();
    assert_eq!(first.status(), "running");
}

#[test]
fn a_user_namespace_is_joined_by_path() {
    let host = Host::new();
    let first = host.container("first").sleeping().user_namespace().running();
    let path = format!("/proc/{}/ns/user", first.pid());
    let second = host.container("second").sleeping().user_namespace();
    let second = second
        .namespace(json!({"type": "user", "path": path}))
        .edit(|config| {
            let linux = config["linux"].as_object_mut().unwrap();
            linux.remove("uidMappings");
            linux.remove("gidMappings");
        });
    let second = second.running();
    assert_eq!(link(second.pid(), "user"), link(first.pid(), "user"));
}

#[test]
fn a_new_network_namespace_has_its_loopback_up() {
    let host = Host::new();
    let output = host
        .container("lo")
        .sh("ip link show lo | grep -c LOOPBACK,UP; ls /sys/class/net")
        .run()
        .succeeds();
    assert_eq!(output.stdout, "1\nlo\n");
}

#[test]
fn the_hostname_and_domainname_are_set_in_the_container_only() {
    let host = Host::new();
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let web = host
        .container("web")
        .sh("hostname; cat /proc/sys/kernel/domainname")
        .edit(|config| {
            config["hostname"] = json!("web.example");
            config["domainname"] = json!("example");
        });
    assert_eq!(web.run().succeeds().stdout, "web.example\nexample\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
}

#[test]
fn ids_are_mapped_in_a_user_namespace() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("id -u; cat /proc/self/uid_map; touch /tmp/mine; sleep 1000")
        .user_namespace()
        .running();
    web.wait_for_stdout("65536");
    let lines: Vec<String> = web
        .stdout()
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(lines, ["0", "0 100000 65536"]);
    let status = fs::read_to_string(format!("/proc/{}/status", web.pid())).unwrap();
    assert!(
        status.contains("Uid:\t100000\t100000\t100000\t100000"),
        "{status}"
    );
    assert_eq!(web.exec(["id", "-u"]).succeeds().stdout, "0\n");
    let owner = host.sh(&format!(
        "until [ -e {0} ]; do :; done; stat -c %u {0}",
        web.rootfs().join("tmp/mine").display()
    ));
    assert_eq!(owner.stdout, "100000\n");
}

#[test]
fn several_ranges_of_ids_are_mapped() {
    let host = Host::new();
    let mapping = json!([
        {"containerID": 0, "hostID": 100_000, "size": 1000},
        {"containerID": 1000, "hostID": 300_000, "size": 1},
        {"containerID": 1001, "hostID": 101_000, "size": 5000}
    ]);
    let web = host
        .container("web")
        .user_namespace()
        .sh("cat /proc/self/uid_map /proc/self/gid_map")
        .edit(|config| {
            config["linux"]["uidMappings"] = mapping.clone();
            config["linux"]["gidMappings"] = mapping;
        });
    let output = web.run().succeeds();
    let lines: Vec<String> = output
        .lines()
        .iter()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let expected = ["0 100000 1000", "1000 300000 1", "1001 101000 5000"];
    assert_eq!(lines, [expected, expected].concat());
}

#[test]
fn time_offsets_shift_the_clocks() {
    let host = Host::new();
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        skip!("the kernel has no time namespaces");
    }
    let web = host
        .container("time")
        .sh("cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime");
    let web = web.namespace(json!({"type": "time"})).edit(|config| {
        config["linux"]["timeOffsets"] = json!({
            "monotonic": {"secs": 1_000_000, "nanosecs": 5}, "boottime": {"secs": 2_000_000_000, "nanosecs": 0}
        });
    });
    let output = web.run().succeeds();
    let lines: Vec<String> = output
        .lines()
        .iter()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(lines[..2], ["monotonic 1000000 5", "boottime 2000000000 0"]);
    assert!(lines[2].parse::<u64>().unwrap() >= 2_000_000_000, "{lines:?}");
}

#[test]
fn a_path_of_another_kind_of_namespace_is_refused_by_name() {
    let host = Host::new();
    let path = format!("/proc/{}/ns/ipc", host.pid());
    let web = host
        .container("web")
        .namespace(json!({"type": "network", "path": path}));
    web.run().exits(1).fails_with(&[&path]);
}

#[test]
fn a_path_that_is_no_namespace_is_refused_by_name() {
    let host = Host::new();
    for path in ["/no/such/namespace", "/etc/passwd", "/proc"] {
        let web = host
            .container("web")
            .namespace(json!({"type": "network", "path": path}));
        web.run().exits(1).fails_with(&[path]);
    }
}

#[test]
fn contradictory_namespaces_are_refused_before_anything_is_made() {
    let host = Host::new();
    let twice = host
        .container("twice")
        .push("/linux/namespaces", json!({"type": "network"}));
    twice.run().exits(1).fails_with(&["network"]);
    let unknown = host
        .container("unknown")
        .push("/linux/namespaces", json!({"type": "dream"}));
    unknown.run().exits(1).fails_with(&["dream"]);
    let unmapped = host.container("unmapped").namespace(json!({"type": "user"}));
    unmapped.run().exits(1).fails_with(&["mapping"]);
    let mapped = host.container("mapped").edit(|config| {
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    });
    mapped.run().exits(1).fails_with(&["user"]);
    let nameless = host.container("nameless").without_namespace("uts");
    nameless.run().exits(1).fails_with(&["hostname"]);
    let timeless = host.container("timeless").edit(|config| {
        config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1, "nanosecs": 0}});
    });
    timeless.run().exits(1).fails_with(&["time"]);
}

#[test]
fn sysctls_are_set_in_the_containers_namespaces() {
    let host = Host::new();
    let web = host
        .container("sysctl")
        .sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax");
    let web = web.edit(|config| {
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "65535"});
    });
    assert_eq!(web.run().succeeds().stdout, "1\n65535\n");
}

#[test]
fn a_sysctl_of_the_whole_host_is_refused() {
    let host = Host::new();
    for name in [
        "kernel.pid_max",
        "vm.swappiness",
        "kernel.hostname",
        "net.ipv4.ip_forward/../../../kernel/pid_max",
    ] {
        let web = host
            .container("sysctl")
            .edit(|config| config["linux"]["sysctl"] = json!({name: "1"}));
        web.run().exits(1).fails_with(&["sysctl"]);
    }
    let shared = host
        .container("shared")
        .without_namespace("network")
        .edit(|config| {
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        });
    shared.run().exits(1).fails_with(&["net.ipv4.ip_forward"]);
}
