//! Parity with runc: the same bundle, the same probe, the same answer. Intended differences are named here.

use serde_json::json;

use crate::harness::{Container, Host, Report, skip};

/// The report without what belongs to one run: namespace numbers, mount ids, device numbers, the bundle's path.
fn comparable(report: &Report, host: &Host) -> Report {
    let mut report = report.clone();
    let outside = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/{}/ns/{kind}", host.pid())).unwrap();
        link.to_string_lossy().into_owned()
    };
    for line in report.0.get_mut("namespaces").unwrap() {
        let (kind, link) = line.split_once(' ').unwrap();
        *line = format!("{kind} {}", if link == outside(kind) { "host's" } else { "new" });
    }
    for line in report.0.get_mut("mounts").unwrap() {
        *line = comparable_mount(line);
    }
    report
}

/// `root mount-point options [propagation] - type source super-options` of a line of mountinfo.
fn comparable_mount(line: &str) -> String {
    let mut fields: Vec<String> = line.split(' ').skip(3).map(str::to_owned).collect();
    if fields[1] == "/" || fields[0].contains("/mt") {
        fields[0] = "BUNDLE-OR-CGROUP".into();
    }
    for field in &mut fields {
        if let Some((kind @ ("shared" | "master"), _)) = field.split_once(':') {
            *field = kind.to_owned();
        }
    }
    fields.join(" ")
}

/// Runs one configuration under both, and compares section by section.
#[track_caller]
fn same_under_runc(host: &Host, configure: impl Fn(Container<'_>) -> Container<'_>) {
    let Some(peer) = host.peer("runc", "peer") else {
        skip!("runc is not installed")
    };
    let theirs = comparable(&configure(peer).probe(), host);
    let ours = comparable(&configure(host.container("ours")).probe(), host);
    let names: std::collections::BTreeSet<&String> = theirs.0.keys().chain(ours.0.keys()).collect();
    let differences: Vec<String> = names
        .into_iter()
        .filter(|name| theirs.section(name) != ours.section(name))
        .map(|name| {
            format!(
                "{name}\n  runc: {:#?}\n  ours: {:#?}",
                theirs.section(name),
                ours.section(name)
            )
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_default_configuration() {
    let host = Host::new();
    same_under_runc(&host, |container| container);
}

#[test]
fn an_ordinary_user_with_capabilities_and_limits() {
    let host = Host::new();
    same_under_runc(&host, |container| {
        container.edit(|config| {
            config["process"]["user"] =
                json!({"uid": 1000, "gid": 1000, "additionalGids": [2000], "umask": 0o027});
            config["process"]["capabilities"]["ambient"] = json!(["CAP_NET_BIND_SERVICE"]);
            config["process"]["capabilities"]["inheritable"] = json!(["CAP_NET_BIND_SERVICE"]);
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]);
            config["process"]["cwd"] = json!("/tmp");
            config["process"]["oomScoreAdj"] = json!(100);
        })
    });
}

#[test]
fn a_user_namespace() {
    let host = Host::new();
    same_under_runc(&host, |container| container.user_namespace());
}

#[test]
fn a_read_only_root_without_network_namespace() {
    let host = Host::new();
    same_under_runc(&host, |container| {
        container
            .without_namespace("network")
            .edit(|config| config["root"]["readonly"] = json!(true))
    });
}

#[test]
fn the_callers_pid_and_cgroup_namespaces() {
    let host = Host::new();
    same_under_runc(&host, |container| {
        container
            .without_namespace("ipc")
            .without_namespace("uts")
            .edit(|config| {
                config.as_object_mut().unwrap().remove("hostname");
            })
    });
}

#[test]
fn mounts_of_many_kinds() {
    let host = Host::new();
    same_under_runc(&host, |container| {
        container
            .push("/mounts", json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", "size=1m"]}))
            .push("/mounts", json!({"destination": "/host", "type": "bind", "source": "/usr", "options": ["rbind", "ro", "nosuid"]}))
            .push("/mounts", json!({"destination": "/etc/passwd", "type": "bind", "source": "/etc/passwd", "options": ["bind", "rprivate", "noexec"]}))
    });
}
