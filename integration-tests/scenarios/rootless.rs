//! Containers of an ordinary user, who has no privilege at all; and of root of a user namespace.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;

use crate::harness::{Container, Host, cgroup_v2, find_in_path, skip};

/// Nobody on the machine has this id.
const USER: u32 = 471_100;

/// A bundle of the user's.
fn users<'h>(host: &'h Host, name: &str) -> Container<'h> {
    host.container(name).of_user(USER)
}

#[track_caller]
fn assert_no_state_is_left(container: &Container<'_>) {
    let state = container.runtime_dir().join("minirun");
    let left: Vec<_> = fs::read_dir(&state).unwrap().flatten().collect();
    // The events of all containers outlive each.
    let left: Vec<_> = left.iter().filter(|entry| entry.path().is_dir()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_ordinary_user_runs_the_bundle_that_spec_rootless_writes() {
    let host = Host::new();
    let web = users(&host, "web")
        .sh("id -u; cat /proc/self/uid_map; grep CapEff /proc/self/status; echo mine >/mine");
    let seen = web.run().succeeds().stdout;
    let words: Vec<_> = seen.split_whitespace().collect();
    assert_eq!(words[..4], ["0", "0", &USER.to_string(), "1"], "{seen}");
    assert_eq!(fs::metadata(web.rootfs().join("mine")).unwrap().uid(), USER);
    assert_no_state_is_left(&web);
}

#[test]
fn an_ordinary_users_state_is_private_and_kept_below_xdg_runtime_dir() {
    let host = Host::new();
    let web = users(&host, "web").sleeping().running();
    let state = web.runtime_dir().join("minirun");
    let metadata = fs::metadata(&state).unwrap();
    // Sticky: what is old is not removed.
    assert_eq!(
        (metadata.permissions().mode() & 0o7777, metadata.uid()),
        (0o1700, USER)
    );
    assert!(state.join(web.id()).join("record.json").exists());
}

#[test]
fn every_verb_works_on_an_ordinary_users_container() {
    let host = Host::new();
    let web = users(&host, "web").sleeping().created();
    assert_eq!(web.status(), "created");
    web.start().succeeds();
    assert_eq!(web.status(), "running");
    let inside = web.exec([
        "sh",
        "-c",
        "id -u; readlink /proc/1/ns/pid; readlink /proc/self/ns/pid",
    ]);
    let lines: Vec<_> = inside.succeeds().stdout.lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "0");
    assert_eq!(lines[1], lines[2]);
    let ps = web
        .verb("ps")
        .args(["--format", "json", web.id()])
        .output()
        .succeeds();
    let pids: Vec<i64> = serde_json::from_str(&ps.stdout).unwrap();
    assert!(pids.contains(&web.pid()) && pids.len() == 2, "{pids:?}");
    let list = web.verb("list").args(["--quiet"]).output().succeeds().stdout;
    assert_eq!(list.trim(), web.id());
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    web.delete().succeeds();
    assert_no_state_is_left(&web);
}

#[test]
fn an_ordinary_user_executes_in_a_container_that_has_not_started() {
    let host = Host::new();
    let web = users(&host, "web").sleeping().created();
    let script = "id -u; readlink /proc/self/ns/pid; pwd; touch /mine; readlink /proc/1/exe || echo hidden";
    let inside = web.exec(["sh", "-c", script]).succeeds().stdout;
    let [id, namespace, directory, runtime] = inside.lines().collect::<Vec<_>>()[..] else {
        panic!("{inside}")
    };
    assert_eq!([id, directory, runtime], ["0", "/", "hidden"]);
    assert_eq!(fs::metadata(web.rootfs().join("mine")).unwrap().uid(), USER);
    web.exec_with(&["--detach"], ["sleep", "1000"]).succeeds();
    assert_eq!(web.status(), "created");
    web.start().succeeds();
    assert_eq!(web.status(), "running");
    let first = web.exec(["readlink", "/proc/1/ns/pid"]).succeeds().stdout;
    assert_eq!(first.trim(), namespace);
    web.delete_force().succeeds();
    assert_no_state_is_left(&web);
}

#[test]
fn ps_knows_an_ordinary_users_processes_that_came_by_exec() {
    let host = Host::new();
    let web = users(&host, "web").sleeping().running();
    web.exec_with(&["--detach"], ["sh", "-c", "sleep 1000 & wait"])
        .succeeds();
    let pids = || {
        let ps = web
            .verb("ps")
            .args(["--format", "json", web.id()])
            .output()
            .succeeds();
        serde_json::from_str::<Vec<i64>>(&ps.stdout).unwrap().len()
    };
    crate::harness::wait_until("both shells and their sleeps are seen", || pids() == 4);
}

#[test]
fn delete_by_force_ends_an_ordinary_users_container_with_all_its_processes() {
    let host = Host::new();
    let web = users(&host, "web").sh("sleep 1000 & sleep 1000 & wait").running();
    web.delete_force().succeeds();
    assert_no_state_is_left(&web);
}

#[test]
fn an_ordinary_users_container_without_its_own_pid_namespace_is_killed_whole() {
    let host = Host::new();
    let web = users(&host, "web")
        .without_namespace("pid")
        .edit(|config| {
            // A procfs of its own takes a pid namespace of its own.
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/proc");
            mounts.push(
                json!({"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"]}),
            );
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
        })
        .sh("sleep 1000 & sleep 1000 & wait")
        .running();
    web.delete_force().succeeds();
}

#[test]
fn an_ordinary_users_hooks_run_and_may_fail_the_container() {
    let host = Host::new();
    let web = users(&host, "web").sh("true").edit(|config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]});
    });
    web.run()
        .exits(1)
        .fails_with(&["createRuntime hook #0", "exit status 3"]);
    assert_no_state_is_left(&web);
}

#[test]
fn an_ordinary_users_limit_without_a_delegated_group_is_refused_by_its_field() {
    let host = Host::new();
    let web = users(&host, "web").edit(|config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
    });
    web.run()
        .exits(1)
        .fails_with(&["linux.resources.memory", "no control group is delegated"]);
    assert!(!web.runtime_dir().join("minirun").join(web.id()).exists());
}

#[test]
fn an_ordinary_users_device_rules_alone_are_no_limit() {
    let host = Host::new();
    let web = users(&host, "web").sh("echo ran").edit(|config| {
        config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    });
    assert_eq!(web.run().succeeds().stdout, "ran\n");
}

#[test]
fn pausing_a_container_without_a_control_group_is_refused_clearly() {
    let host = Host::new();
    let web = users(&host, "web").sleeping().running();
    web.verb("pause")
        .args([web.id()])
        .output()
        .exits(1)
        .fails_with(&["it has no control group"]);
    assert_eq!(web.status(), "running");
}

#[test]
fn rootless_false_asks_for_the_control_group() {
    let host = Host::new();
    let web = users(&host, "web");
    let strict = host
        .command_as(USER, &host.for_everybody(host.binary()))
        .env("XDG_RUNTIME_DIR", web.runtime_dir().to_str().unwrap())
        .args(["--rootless", "false", "run"])
        .args(web.bundle_and_id());
    strict.output().exits(1).fails_with(&["create cgroup"]);
    assert_no_state_is_left(&web);
}

#[test]
fn an_ordinary_user_is_told_what_a_configuration_for_root_lacks() {
    let host = Host::new();
    let web = users(&host, "web").without_namespace("user").edit(|config| {
        let linux = config["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    });
    web.run()
        .exits(1)
        .fails_with(&["rootless container requires user namespaces", "spec --rootless"]);
}

#[test]
fn networks_of_ours_are_refused_to_an_ordinary_user() {
    let host = Host::new();
    let web = users(&host, "web")
        .namespace(json!({"type": "network"}))
        .sh("cat /proc/net/dev");
    web.run_bundle(&[])
        .exits(1)
        .fails_with(&["--network", "need root's privileges", "--network none"]);
    // A network namespace of its own has loopback and nothing else.
    let alone = web.run().succeeds().stdout;
    assert_eq!(alone.lines().skip(2).count(), 1, "{alone}");
    let list = web.verb("network").args(["ls"]).output();
    list.exits(1)
        .fails_with(&["permission denied", "need root's privileges"]);
}

#[test]
fn an_ordinary_user_without_a_runtime_directory_is_told_so() {
    let host = Host::new();
    let list = host
        .command_as(USER, &host.for_everybody(host.binary()))
        .args(["list"]);
    list.output().exits(1).fails_with(&["XDG_RUNTIME_DIR", "--root"]);
}

#[test]
fn ranges_of_subordinate_ids_are_mapped_by_newuidmap() {
    if find_in_path("newuidmap").is_none() {
        skip!("needs newuidmap of the package uidmap");
    }
    let host = Host::new();
    let passwd =
        fs::read_to_string("/etc/passwd").unwrap() + &format!("somebody:x:{USER}:{USER}::/:/bin/sh\n");
    let range = format!("{USER}:600000:1000\n");
    // newuidmap asks for the user's name.
    let files = [("passwd", &passwd), ("subuid", &range), ("subgid", &range)];
    for (file, text) in files {
        let own = host.dir().join(file);
        fs::write(&own, text).unwrap();
        host.sh(&format!("mount -o bind {} /etc/{file}", own.display()));
    }
    let web = users(&host, "web")
        .edit(|config| {
            let mappings = json!([
                {"containerID": 0, "hostID": USER, "size": 1},
                {"containerID": 1, "hostID": 600_000, "size": 1000},
            ]);
            config["linux"]["uidMappings"] = mappings.clone();
            config["linux"]["gidMappings"] = mappings;
            config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [5]});
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = json!(["CAP_CHOWN"]);
            }
        })
        .sh("id -G; touch /file; chown 7:8 /file; cat /proc/self/setgroups");
    let seen = web.run().succeeds().stdout;
    assert_eq!(
        seen.split_whitespace().collect::<Vec<_>>(),
        ["0", "5", "allow"],
        "{seen}"
    );
    let file = fs::metadata(web.rootfs().join("file")).unwrap();
    assert_eq!((file.uid(), file.gid()), (600_006, 600_007));

    let greedy = users(&host, "greedy").edit(|config| {
        let mappings = json!([{"containerID": 0, "hostID": 700_000, "size": 10}]);
        config["linux"]["uidMappings"] = mappings.clone();
        config["linux"]["gidMappings"] = mappings;
    });
    greedy
        .run()
        .exits(1)
        .fails_with(&["linux.gidMappings", "newgidmap", "/etc/subgid"]);
    host.sh("umount /etc/passwd; umount /etc/subuid; umount /etc/subgid");
}

#[test]
fn an_ordinary_users_own_binary_runs_from_sealed_memory() {
    let host = Host::new();
    let own = host.dir().join("own-minirun");
    fs::copy(host.binary(), &own).unwrap();
    std::os::unix::fs::chown(&own, Some(USER), Some(USER)).unwrap();
    let web = users(&host, "web").under(&own).sleeping().created();
    let binary = fs::read_link(format!("/proc/{}/exe", web.pid())).unwrap();
    assert!(
        binary.to_str().unwrap().starts_with("/memfd:"),
        "{}",
        binary.display()
    );
}

#[test]
fn root_of_a_user_namespace_runs_containers() {
    let host = Host::new();
    let (inner, outer) = (users(&host, "inner"), users(&host, "outer"));
    // As `podman unshare` does: root of a namespace that an ordinary user made, and no control groups of his own.
    let unshare = find_in_path("unshare").unwrap();
    let inner = inner.sh("echo ran as $(id -u)").edit(|config| {
        let mappings = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        config["linux"]["uidMappings"] = mappings.clone();
        config["linux"]["gidMappings"] = mappings;
    });
    let program = host.for_everybody(host.binary());
    let run = host
        .command_as(USER, &unshare)
        .env("XDG_RUNTIME_DIR", outer.runtime_dir().to_str().unwrap())
        .env("USER", "somebody")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            program.to_str().unwrap(),
            "run",
        ])
        .args(inner.bundle_and_id());
    assert_eq!(run.output().succeeds().stdout, "ran as 0\n");
}

#[test]
fn a_delegated_group_holds_an_ordinary_users_container() {
    if !cgroup_v2() {
        skip!("an ordinary user's session has a control group of its own on cgroup v2");
    }
    let host = Host::new();
    let top = format!("/sys/fs/cgroup/{}", host.unique("delegated"));
    host.sh(&format!(
        "mkdir -p {top}/session; echo '+memory +pids' >{top}/cgroup.subtree_control
         chown {USER} {top} {top}/cgroup.procs {top}/cgroup.subtree_control {top}/session {top}/session/cgroup.procs"
    ));
    let web = users(&host, "web").sleeping().edit(|config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}});
    });
    let join = format!("echo 0 >{top}/session/cgroup.procs");
    web.complete_create(web.verb("create").after(&join)).succeeds();
    web.start().succeeds();
    assert!(web.cgroup("").starts_with(&top), "{}", web.cgroup("").display());
    assert_eq!(web.cgroup_file("", "memory.max"), (64 << 20).to_string());
    assert_eq!(web.cgroup_file("", "pids.max"), "20");
    web.verb("pause").args([web.id()]).output().succeeds();
    assert_eq!(web.status(), "paused");
    web.verb("resume").args([web.id()]).output().succeeds();
    web.delete_force().succeeds();
    host.sh(&format!("rmdir {top}/session {top}"));
}

#[test]
fn an_ordinary_user_sees_the_same_under_runc() {
    let Some(runc) = find_in_path("runc") else {
        skip!("runc is not installed");
    };
    let host = Host::new();
    let script = "id; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; \
         grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/self/status; ls -ln /dev | awk '{print $1, $3, $4, $NF}'; env; \
         awk '{print $2, $3}' /proc/self/mounts | grep -v cgroup | sort";
    let report = |container: Container<'_>| container.sh(script).run().succeeds().stdout;
    let theirs = users(&host, "theirs");
    let theirs = theirs.under(&host.for_everybody(&runc));
    assert_eq!(report(users(&host, "ours")), report(theirs));
}
