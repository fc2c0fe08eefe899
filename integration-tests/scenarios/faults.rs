//! What fails under the runtime: no space, no descriptors, no processes, a starter that dies; and the runtime stopped
//! at every one of its system calls, where `crash.rs` stops it at random moments.
//!
//! `MINIRUN_EVERY_SYSCALL=1` stops it at the calls that change nothing, too, and takes minutes.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Container, Host, Traced, cgroup_v2, has_controller, skip, wait_until};

/// Nothing is left, not even the state directory of the container.
#[track_caller]
fn nothing_is_left(host: &Host, after: &str) {
    let leaked = host.leaks();
    assert!(leaked.is_empty(), "{after}: {leaked:#?}");
}

#[test]
fn a_full_state_directory_fails_create_cleanly() {
    let host = Host::new();
    let state = host.dir().join("state");
    fs::create_dir(&state).unwrap();
    let root = state.to_str().unwrap();
    let mut outcomes = Vec::new();
    for pages in 1..8 {
        host.sh(&format!(
            "mount -t tmpfs -o size={}k,nr_inodes=20 tmpfs {root}",
            pages * 4
        ));
        let container = host.container("full").sleeping();
        let create = container
            .verb("--root")
            .args([root, "create"])
            .args(container.bundle_and_id())
            .output();
        if create.code != 0 {
            create.fails_with(&["no space left"]);
            outcomes.push(false);
        } else {
            container
                .verb("--root")
                .args([root, "delete", "--force", container.id()])
                .output()
                .succeeds();
            outcomes.push(true);
        }
        host.sh(&format!("test -z \"$(ls {root})\"; umount {root}"));
        nothing_is_left(&host, &format!("a state directory of {pages} pages"));
    }
    assert!(
        outcomes.contains(&false) && outcomes.contains(&true),
        "{outcomes:?}"
    );
}

#[test]
fn a_caller_with_few_descriptors_gets_an_error_and_nothing_is_left() {
    let host = Host::new();
    let mut failed = 0;
    for limit in 4..40 {
        // Raising the limit again needs a capability that not every host gives.
        let container = host
            .container("few")
            .edit(|config| config["process"]["rlimits"] = json!([]));
        let run = container
            .verb("run")
            .after(&format!("ulimit -n {limit}"))
            .args(container.bundle_and_id())
            .output();
        if run.code == 0 {
            break;
        }
        run.fails_with(&[]);
        failed += 1;
        container.delete_force().succeeds();
        nothing_is_left(&host, &format!("{limit} descriptors"));
    }
    assert!((1..36).contains(&failed), "{failed} limits were too low");
}

#[test]
fn a_caller_that_may_not_fork_gets_an_error_and_nothing_is_left() {
    if !has_controller("pids") {
        skip!("needs the pids controller");
    }
    let host = Host::new();
    let group = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
        .map(Path::new)
        .into_iter()
        .find(|path| path.exists());
    let group = group.unwrap().join(host.unique("limited"));
    fs::create_dir(&group).unwrap();
    let container = host.container("alone").sleeping();
    let enter = format!("echo $$ >{0}/cgroup.procs; echo 1 >{0}/pids.max", group.display());
    let create = container
        .verb("create")
        .after(&enter)
        .args(container.bundle_and_id())
        .output();
    fs::remove_dir(&group).unwrap();
    if cgroup_v2() {
        // There the first process is born in the container's group, and counts in that alone.
        create.succeeds();
        container.delete_force().succeeds();
    } else {
        create.fails_with(&["clone", "resource temporarily unavailable"]);
    }
    nothing_is_left(&host, "a create that may not fork");
}

#[test]
fn a_starter_that_dies_leaves_a_container_that_can_be_deleted() {
    let host = Host::new();
    let container = host.container("web").sleeping().push(
        "/hooks/startContainer",
        json!({"path": "/bin/sh", "args": ["sh", "-c", "touch /hook-runs; sleep 1000"], "env": ["PATH=/bin"]}),
    );
    let container = container.created();
    let start = container.verb("start").args([container.id()]).spawn();
    wait_until("the hook runs", || container.rootfs().join("hook-runs").exists());
    start.signal(Signal::SIGKILL);
    assert_eq!(start.wait().code, -9);
    assert_eq!(container.status(), "created");
    container.delete_force().succeeds();
    nothing_is_left(&host, "a dead starter");
}

/// Stops `verb` before each of its calls that change something; `prepare` brings the container to where the verb starts.
fn killed_at_every_call(verb: &[&str], prepare: impl Fn(&Container<'_>)) {
    let host = Host::new();
    let container = host.container("stopped").sleeping();
    for point in 0.. {
        prepare(&container);
        let mut command = container.verb(verb[0]).after("kill -STOP $$");
        command = match verb[0] {
            "create" => command.args(container.bundle_and_id()),
            _ => command.args(verb[1..].iter().copied()).args([container.id()]),
        };
        let streams = (
            container.bundle().join("stdout"),
            container.bundle().join("stderr"),
        );
        let output = Traced::take(command.streams(&streams.0, &streams.1).spawn()).killed_at(point);
        container.delete_force().succeeds();
        nothing_is_left(&host, &format!("{verb:?} killed before call {point}"));
        if output.code != -9 {
            output.succeeds();
            println!("{verb:?} was killed before each of {point} calls");
            assert!(point > 5, "the tracer has seen {point} calls only");
            return;
        }
    }
}

#[test]
fn a_create_killed_before_any_of_its_calls_leaves_nothing_after_delete_force() {
    killed_at_every_call(&["create"], |_| ());
}

#[test]
fn a_create_killed_before_it_is_refused_a_used_cgroup_leaves_the_processes_in_it_alone() {
    let host = Host::new();
    let path = format!("/{}", host.unique("used"));
    let in_group = |name: &str| {
        host.container(name)
            .sleeping()
            .edit(|config| config["linux"]["cgroupsPath"] = json!(path))
    };
    let first = in_group("first").running();
    let mut killed = 0;
    for point in 0..1000 {
        let second = in_group("second");
        let create = second
            .verb("create")
            .after("kill -STOP $$")
            .args(second.bundle_and_id());
        let output = Traced::take(create.spawn()).killed_at(point);
        second.delete_force().succeeds();
        assert_eq!(first.status(), "running", "killed before call {point}");
        if output.code != -9 {
            output.exits(1).fails_with(&["container's cgroup is not empty"]);
            break;
        }
        killed += 1;
    }
    assert!(killed > 5, "the tracer has seen {killed} calls only");
}

#[test]
fn a_start_killed_before_any_of_its_calls_leaves_nothing_after_delete_force() {
    killed_at_every_call(&["start"], |container| drop(container.try_create().succeeds()));
}

#[test]
fn a_delete_killed_before_any_of_its_calls_leaves_nothing_after_delete_force() {
    killed_at_every_call(&["delete", "--force"], |container| {
        container.try_create().succeeds();
        container.start().succeeds();
    });
}
