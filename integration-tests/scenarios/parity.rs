//! Parity with runc: the same bundle, the same probe, the same answer. Intended differences are named in `comparable.rs`.

#[path = "parity/comparable.rs"]
mod comparable;
#[path = "parity/generated.rs"]
mod generated;
#[path = "parity/profile.rs"]
mod profile;
#[path = "parity/table.rs"]
mod table;

use serde_json::{Value, json};

use self::comparable::{comparable, differences};
use self::table::Case;
use crate::harness::{Container, Host, PROBE, Random, Report, has_controller, skip, skipped};

/// A bundle of runc's and one of ours, configured alike; None, and the scenario is skipped, where there is no runc.
fn pair<'h>(
    host: &'h Host,
    configure: impl Fn(Container<'h>) -> Container<'h>,
) -> Option<[Container<'h>; 2]> {
    let Some(peer) = host.peer("runc", "peer") else {
        skipped("runc is not installed");
        return None;
    };
    Some([configure(peer), configure(host.container("ours"))])
}

/// Runs the probe in both and compares section by section.
#[track_caller]
fn same_under_runc<'h>(host: &'h Host, configure: impl Fn(Container<'h>) -> Container<'h>) {
    if let Some(pair) = pair(host, configure) {
        let [theirs, ours] = pair.map(|container| comparable(&container.probe(), host));
        let found = differences(&theirs, &ours);
        assert!(found.is_empty(), "{found}");
    }
}

/// Runs the same process in both, for its exit code and output.
#[track_caller]
fn same_output_under_runc<'h>(host: &'h Host, configure: impl Fn(Container<'h>) -> Container<'h>) {
    if let Some(pair) = pair(host, configure) {
        let [theirs, ours] = pair.map(|container| container.run());
        assert_eq!((theirs.code, &theirs.stdout), (ours.code, &ours.stdout), "{ours}");
    }
}

/// All cases of a table on one host; what differs is told case by case. `script` is run after the probe.
#[track_caller]
fn all_same_under_runc(cases: Vec<Case>, script: &str) {
    let host = Host::new();
    let mut found = Vec::new();
    for (number, Case { name, changes }) in cases.into_iter().enumerate() {
        let Some(peer) = host.peer("runc", &format!("peer{number}")) else {
            skip!("runc is not installed")
        };
        let bundles = [peer, host.container(&format!("ours{number}"))];
        let [theirs, ours] = bundles.map(|container| {
            let path = format!("/{}", container.id());
            let container = container.sh(&format!("{PROBE}\n{script}")).edit(|config| {
                config["linux"]["cgroupsPath"] = json!(path);
                for (pointer, value) in &changes {
                    table::set(config, pointer, value.clone());
                }
            });
            container.run()
        });
        if (theirs.code, ours.code) != (0, 0) {
            found.push(format!(
                "{name}: runc {}: {}, ours {}: {}",
                theirs.code, theirs.stderr, ours.code, ours.stderr
            ));
            continue;
        }
        let [theirs, ours] = [theirs, ours].map(|output| comparable(&Report::parse(&output.stdout), &host));
        let different = differences(&theirs, &ours);
        if !different.is_empty() {
            found.push(format!("{name}: {different}"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

#[test]
fn every_property_of_the_process() {
    all_same_under_runc(table::process(), "");
}

#[test]
fn every_resource_limit_of_the_process() {
    all_same_under_runc(table::limits_of_the_process(), "");
}

#[test]
fn every_option_of_a_mount() {
    all_same_under_runc(
        table::mounts(),
        "section mnt; ls -la /mnt | sed 1,3d; stat -c '%A %u:%g' /mnt",
    );
}

#[test]
fn every_parameter_of_a_namespace() {
    let names = "net/core/somaxconn net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range net/ipv4/ip_forward \
                 kernel/shmmax kernel/msgmax kernel/msgmnb fs/mqueue/msg_max";
    let script = format!("section sysctl; cd /proc/sys; cat {names}");
    all_same_under_runc(table::namespaces(), &script);
}

#[test]
fn every_property_of_the_root() {
    all_same_under_runc(table::root(), "section etc; ls /etc; head -n 1 /etc/passwd; :");
}

#[test]
fn every_limit_of_the_cgroup() {
    all_same_under_runc(table::resources(has_controller), "");
}

#[test]
fn every_action_of_a_filter() {
    let script =
        "section filtered; for mode in 777 700; do (mkdir -m $mode /tmp/made-$mode) 2>&1; echo $?; done";
    all_same_under_runc(table::filters(), script);
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
fn the_callers_ipc_and_uts_namespaces() {
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
fn the_callers_cgroup_namespace() {
    let host = Host::new();
    same_under_runc(&host, |container| {
        let path = format!("/{}", container.id());
        container
            .without_namespace("cgroup")
            .edit(|config| config["linux"]["cgroupsPath"] = json!(path))
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

/// What Docker's `--privileged` gives: all devices and capabilities, nothing masked or read-only.
#[test]
fn a_privileged_container() {
    let host = Host::new();
    let all = capabilities_of_the_host();
    same_under_runc(&host, |container| {
        container.edit(|config| {
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = json!(all);
            }
            config["process"]["noNewPrivileges"] = json!(false);
            config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
            config["linux"]["maskedPaths"] = Value::Null;
            config["linux"]["readonlyPaths"] = Value::Null;
        })
    });
}

/// All but one device: the default rules, which let every node be made, come behind it.
#[test]
fn a_device_list_that_takes_one_device_from_all() {
    let host = Host::new();
    let script = "(: </dev/kmsg) 2>/dev/null && echo kmsg; (: </dev/zero) && echo zero; \
                  mknod /tmp/loop b 7 0 && (: </tmp/loop) 2>/dev/null && echo loop; \
                  mknod /tmp/zero c 1 5 && head -c 1 /tmp/zero | wc -c";
    same_output_under_runc(&host, |container| {
        container.sh(script).edit(|config| {
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = json!(["CAP_MKNOD", "CAP_SYSLOG"]);
            }
            config["linux"]["devices"] = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]);
            config["linux"]["resources"]["devices"] = json!([
                {"allow": true, "access": "rwm"},
                {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm"},
            ]);
        })
    });
}

#[test]
fn dockers_default_configuration_with_its_seccomp_profile() {
    let host = Host::new();
    let Some(profile) = profile::debian() else {
        skip!("needs {}", profile::PATH)
    };
    let docker: Value = serde_json::from_str(include_str!("../fixtures/docker-config.json")).unwrap();
    let docker_container = |config: &mut Value| {
        let granted = &docker["process"]["capabilities"]["bounding"];
        let seccomp = profile::for_capabilities(&profile, granted);
        *config = docker.clone();
        config["linux"]["seccomp"] = seccomp;
    };
    same_under_runc(&host, |container| container.edit(docker_container));

    // What the filter allows, refuses with EPERM, and does not know (ENOSYS).
    let script = "for command in 'unshare -m true' 'mount -t tmpfs none /mnt' 'chroot / true' 'swapoff /none' \
                  'hwclock -w' 'nsenter -t 1 -u true' 'ionice -c 3 true' 'ip link' 'ping -c 1 127.0.0.1'
                  do $command >/tmp/said 2>&1; echo $command: $?; sed 's/[0-9.]* ms//;s/= .*//' /tmp/said; done";
    same_output_under_runc(&host, |container| container.edit(docker_container).sh(script));
}

/// What exec finds, with the options that change it.
#[test]
fn exec_in_a_running_container() {
    let host = Host::new();
    let running = pair(&host, |container| {
        let container = container.sleeping().edit(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [2000]});
            config["process"]["cwd"] = json!("/tmp");
            config["process"]["oomScoreAdj"] = json!(50);
        });
        container.running()
    });
    let Some([peer, ours]) = running else { return };
    let options: [&[&str]; 5] = [
        &[],
        &["--user", "0:0", "--env", "ADDED=1"],
        &["--user", "1000", "--cwd", "/etc", "--additional-gids", "5"],
        &["--cap", "CAP_SYS_CHROOT", "--cap", "CAP_KILL", "--user", "0"],
        &["--no-new-privs"],
    ];
    for options in options {
        let theirs = comparable(&peer.probe_by_exec_with(options), &host);
        let ours = comparable(&ours.probe_by_exec_with(options), &host);
        let found = differences(&theirs, &ours);
        assert!(found.is_empty(), "exec {options:?}: {found}");
    }
}

/// The whole process of an exec, as engines give it. The limit's two values are equal: Go raises runc's own soft limit to
/// the hard one while runc sets it (opencontainers/runc#4195).
#[test]
fn exec_of_a_process_document() {
    let host = Host::new();
    let Some(pair) = pair(&host, |container| container.sleeping().running()) else {
        return;
    };
    let [theirs, ours] = pair.map(|container| {
        let document = json!({
            "args": ["sh", "-c", PROBE], "cwd": "/var", "env": ["PATH=/bin", "A=b"],
            "user": {"uid": 1000, "gid": 2000, "additionalGids": [5]},
            "capabilities": {"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": [], "inheritable": []},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}], "noNewPrivileges": true
        });
        let path = container.bundle().join("process.json");
        std::fs::write(&path, document.to_string()).unwrap();
        let output = container.verb("exec").args(["--process", path.to_str().unwrap(), container.id()]).output();
        comparable(&Report::parse(&output.succeeds().stdout), &host)
    });
    let found = differences(&theirs, &ours);
    assert!(found.is_empty(), "{found}");
}

#[test]
fn generated_configurations() {
    let mut random = Random::seeded("generated_configurations");
    for number in 1..=20 {
        let host = Host::new();
        let change = generated::change(&mut random);
        let Some(pair) = pair(&host, |container| generated::apply(container, &change)) else {
            return;
        };
        let [theirs, ours] = pair.map(|container| comparable(&container.probe(), &host));
        let found = differences(&theirs, &ours);
        assert!(found.is_empty(), "configuration {number}: {found}\n{change:#}");
    }
}

/// The names of all capabilities that this kernel has and this process may give.
fn capabilities_of_the_host() -> Vec<String> {
    let bounding = caps::read(None, caps::CapSet::Bounding).unwrap();
    let mut names: Vec<String> = bounding.iter().map(ToString::to_string).collect();
    names.sort();
    names
}
