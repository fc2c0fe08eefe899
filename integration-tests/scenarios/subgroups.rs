//! Getting into groups that make it hard: a container with groups of its own, one at its limit of processes, one in the
//! cgroup namespace of another.

use std::fs;

use serde_json::json;

use crate::harness::{Container, Host, cgroup_v2, skip};

/// Moves itself into a group of its own and hands controllers down to it, as systemd in a container does. From then on
/// the container's own group takes no processes.
fn with_subgroups(container: Container<'_>) -> Container<'_> {
    let script = "set -e; cd /sys/fs/cgroup; mkdir init; echo $$ >init/cgroup.procs
        echo '+memory +pids' >cgroup.subtree_control; echo ready; sleep 1000 & wait";
    container.sh(script).edit(|config| {
        for mount in config["mounts"].as_array_mut().unwrap() {
            if mount["type"] == "cgroup" {
                mount["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
            }
        }
    })
}

#[test]
fn exec_joins_the_first_process_in_a_container_that_made_groups_of_its_own() {
    let host = Host::new();
    if !cgroup_v2() {
        skip!("only v2 keeps processes out of inner groups");
    }
    let web = with_subgroups(host.container("web")).running();
    web.wait_for_stdout("ready");
    for _ in 0..2 {
        let seen = web.exec(["cat", "/proc/self/cgroup"]).succeeds();
        assert_eq!(seen.stdout, "0::/init\n");
    }
    web.verb("exec")
        .args(["-d", web.id(), "sleep", "1000"])
        .output()
        .succeeds();
    web.verb("pause").args([web.id()]).output().succeeds();
    assert_eq!(web.status(), "paused");
    web.verb("resume").args([web.id()]).output().succeeds();
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    web.delete().succeeds();
}

#[test]
fn a_group_that_hands_controllers_down_takes_no_container() {
    let host = Host::new();
    if !cgroup_v2() {
        skip!("only v2 keeps processes out of inner groups");
    }
    let name = host.unique("inner");
    let group = std::path::Path::new("/sys/fs/cgroup").join(&name);
    fs::create_dir_all(group.join("leaf")).unwrap();
    fs::write(group.join("cgroup.subtree_control"), "+memory").unwrap();
    let web = host
        .container("web")
        .edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/{name}")));
    web.run().exits(1).fails_with(&["cgroup", "busy"]);
    for directory in [group.join("leaf"), group] {
        let _ = fs::remove_dir(directory);
    }
}

#[test]
fn an_exec_gets_into_a_container_at_its_limit_of_processes() {
    let host = Host::new();
    let full = host
        .container("full")
        .sh("sleep 1000 & echo ready; wait")
        .edit(|config| config["linux"]["resources"]["pids"] = json!({"limit": 2}))
        .running();
    full.wait_for_stdout("ready");
    assert_eq!(full.exec(["echo", "in"]).succeeds().stdout, "in\n");
    // It is under the limit all the same.
    let forking = full.exec(["sh", "-c", "true & wait"]);
    assert!(forking.stderr.contains("fork"), "{forking}");
}

#[test]
fn no_processes_at_all_is_a_limit_too() {
    let host = Host::new();
    let alone = host
        .container("alone")
        .edit(|config| config["linux"]["resources"]["pids"] = json!({"limit": 0}));
    let alone = alone.sh("echo alive; true & wait");
    let output = alone.run();
    assert_eq!(output.stdout, "alive\n", "{output}");
    assert!(output.stderr.contains("fork"), "{output}");
}

#[test]
fn a_container_in_the_cgroup_namespace_of_another_has_a_group_of_its_own() {
    let host = Host::new();
    let first = host.container("first").sleeping().running();
    let namespace = format!("/proc/{}/ns/cgroup", first.pid());
    let second = host
        .container("second")
        .sleeping()
        .namespace(json!({"type": "cgroup", "path": namespace}))
        .running();
    assert_ne!(first.cgroup("pids"), second.cgroup("pids"));
    assert!(second.cgroup("pids").to_string_lossy().contains(second.id()));
    let seen = second.exec(["cat", "/proc/self/cgroup"]).succeeds();
    assert!(seen.stdout.contains("/../"), "{seen}");
}

#[test]
fn exec_runs_in_the_subgroup_that_it_is_told() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let directory = web.cgroup("memory").join("inner");
    fs::create_dir(&directory).unwrap();
    let option = if cgroup_v2() {
        "--cgroup=inner"
    } else {
        "--cgroup=memory:/inner"
    };
    // Seen from the host: the container sees its own group as the root.
    let pid_file = host.dir().join("pid");
    let options = [option, "--detach", "--pid-file", pid_file.to_str().unwrap()];
    web.exec_with(&options, ["sleep", "1000"]).succeeds();
    let pid = fs::read_to_string(&pid_file).unwrap();
    let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
    assert!(
        members.lines().any(|member| member == pid),
        "{pid} in {members:?}"
    );
    if !cgroup_v2() {
        let own = fs::read_to_string(web.cgroup("cpu").join("cgroup.procs")).unwrap();
        assert!(own.lines().any(|member| member == pid), "{pid} in {own:?}");
    }
}

#[test]
fn exec_refuses_a_subgroup_that_is_missing_or_elsewhere() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let refused = |option: &str, texts: &[&str]| {
        web.exec_with(&["--cgroup", option], ["true"])
            .exits(255)
            .fails_with(texts);
    };
    refused("nowhere", &["--cgroup", "does not exist"]);
    refused("../other", &["--cgroup", "not below"]);
    refused("nothing:inner", &["--cgroup", "nothing"]);
}
