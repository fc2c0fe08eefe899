//! `checkpoint` and `restore`. Where CRIU does not know the kernel, what is left is that they fail well.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use crate::harness::{Container, Host, find_in_path, skip, wait_until};

/// Why CRIU cannot work here.
fn criu_is_missing() -> Option<String> {
    if find_in_path("criu").is_none() {
        return Some("needs criu".to_owned());
    }
    let check = Command::new("criu").arg("check").output().unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    let reason = said
        .lines()
        .find(|line| line.contains("Error"))
        .unwrap_or("it failed");
    (!check.status.success()).then(|| format!("needs a CRIU that works here; `criu check`: {reason}"))
}

/// A program of this name alone in a directory, for PATH.
fn path_with(host: &Host, criu: Option<&str>) -> String {
    let directory = host.dir().join(host.unique("path"));
    fs::create_dir(&directory).unwrap();
    if let Some(script) = criu {
        let program = directory.join("criu");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    directory.to_str().unwrap().to_owned()
}

impl Container<'_> {
    /// Counts in memory, and shows the count in a file.
    fn counting(self) -> Self {
        self.sh("exec </dev/null >/dev/null 2>&1; i=0; while :; do i=$((i+1)); echo $i >/count.new; mv /count.new /count; usleep 1000; done")
    }

    fn count(&self) -> u64 {
        let text = fs::read_to_string(self.rootfs().join("count")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }
}

#[test]
fn a_checkpointed_container_goes_on_where_it_was() {
    if let Some(reason) = criu_is_missing() {
        skip!("{reason}");
    }
    let host = Host::new();
    let web = host.container("web").counting().running();
    wait_until("the container counts", || web.count() > 10);
    let images = host.dir().join("images");
    let images = images.to_str().unwrap();
    web.verb("checkpoint")
        .args(["--image-path", images, web.id()])
        .output()
        .succeeds();
    web.verb("state")
        .args([web.id()])
        .output()
        .fails_with(&["does not exist"]);
    let count = web.count();
    web.verb("restore")
        .args(["--detach", "--image-path", images])
        .args(web.bundle_and_id())
        .output()
        .succeeds();
    assert_eq!(web.status(), "running");
    wait_until("it counts on", || web.count() > count);
    web.exec(["true"]).succeeds();
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    web.delete().succeeds();
}

#[test]
fn a_container_that_is_left_running_runs_on_after_its_checkpoint() {
    if let Some(reason) = criu_is_missing() {
        skip!("{reason}");
    }
    let host = Host::new();
    let web = host.container("web").counting().running();
    wait_until("the container counts", || web.count() > 10);
    let images = host.dir().join("images");
    let options = [
        "--leave-running",
        "--image-path",
        images.to_str().unwrap(),
        web.id(),
    ];
    web.verb("checkpoint").args(options).output().succeeds();
    let count = web.count();
    wait_until("it counts on", || web.count() > count);
}

/// Files that an engine's monitor opened for the container, and a root that an engine made anew from image and differences.
#[test]
fn a_checkpoint_is_restored_with_files_of_the_host_as_streams_and_into_a_root_without_mount_points() {
    if let Some(reason) = criu_is_missing() {
        skip!("{reason}");
    }
    let host = Host::new();
    let web = host
        .container("web")
        .sh("i=0; while :; do i=$((i+1)); echo $i; usleep 1000; done")
        .push(
            "/mounts",
            json!({"destination": "/made/by/create", "type": "tmpfs"}),
        );
    let counts = host.dir().join("counts");
    let streams = format!("exec </dev/null >>{}", counts.display());
    let lines = || fs::read_to_string(&counts).unwrap_or_default().lines().count();
    let verb = |args: &[&str]| {
        let invocation = host.runtime().after(&streams).args(args.iter().copied());
        invocation.args(web.bundle_and_id()).output().succeeds();
    };
    verb(&["run", "--detach"]);
    wait_until("the container counts", || lines() > 10);
    let images = host.dir().join("images");
    let images = images.to_str().unwrap();
    web.verb("checkpoint")
        .args(["--image-path", images, web.id()])
        .output()
        .succeeds();
    let before = lines();
    for directory in ["proc", "sys", "made/by/create"] {
        fs::remove_dir(web.rootfs().join(directory)).unwrap();
    }
    verb(&["restore", "--detach", "--image-path", images]);
    wait_until("it counts on", || lines() > before);
    let mounts = web.exec(["cat", "/proc/mounts"]).succeeds();
    assert!(mounts.stdout.contains(" /made/by/create "), "{}", mounts.stdout);
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    let counted = fs::read_to_string(&counts).unwrap();
    let expected: String = (1..=lines()).map(|number| format!("{number}\n")).collect();
    assert_eq!(counted, expected);
    web.delete().succeeds();
}

#[test]
fn a_checkpoint_without_criu_says_what_to_install_and_the_container_runs_on() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let images = host.dir().join("images");
    let args = ["checkpoint", "--image-path", images.to_str().unwrap(), web.id()];
    host.runtime()
        .env("PATH", &path_with(&host, None))
        .args(args)
        .output()
        .exits(1)
        .fails_with(&["criu is not in PATH", "install the package criu"]);
    assert_eq!(web.status(), "running");
}

#[test]
fn a_checkpoint_that_criu_cannot_make_carries_the_errors_of_its_log_and_the_container_runs_on() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let images = host.dir().join("images");
    let criu = format!(
        "echo '(00.1) Dumping' >{0}/dump.log; echo '(00.2) Error (criu/vdso.c:381): no vDSO' >>{0}/dump.log; exit 1",
        images.display()
    );
    let args = ["checkpoint", "--image-path", images.to_str().unwrap(), web.id()];
    host.runtime()
        .env("PATH", &path_with(&host, Some(&criu)))
        .args(args)
        .output()
        .exits(1)
        .fails_with(&["criu failed: type dump", "Error (criu/vdso.c:381): no vDSO"]);
    assert_eq!(web.status(), "running");
    web.exec(["true"]).succeeds();
}

/// Whatever this host's CRIU does.
#[test]
fn the_installed_criu_makes_a_checkpoint_or_says_why_not() {
    if find_in_path("criu").is_none() {
        skip!("needs criu");
    }
    let host = Host::new();
    let web = host.container("web").counting().running();
    let images = host.dir().join("images");
    let args = [
        "checkpoint",
        "--leave-running",
        "--image-path",
        images.to_str().unwrap(),
        web.id(),
    ];
    let output = host.minirun(args);
    if output.code != 0 {
        output.exits(1).fails_with(&["criu failed: type dump", "log"]);
    }
    assert_eq!(web.status(), "running");
    web.exec(["true"]).succeeds();
}

#[test]
fn only_a_running_container_is_checkpointed() {
    let host = Host::new();
    let images = host.dir().join("images");
    let images = images.to_str().unwrap();
    let created = host.container("created").sleeping().created();
    host.minirun(["checkpoint", "--image-path", images, created.id()])
        .exits(1)
        .fails_with(&["container cannot be checkpointed in created state"]);
    let stopped = host.container("stopped").args(["true"]).running();
    stopped.wait_for_status("stopped");
    host.minirun(["checkpoint", "--image-path", images, stopped.id()])
        .exits(1)
        .fails_with(&["container not running"]);
    host.minirun(["checkpoint", "--image-path", images, "nobody"])
        .exits(1)
        .fails_with(&["container does not exist"]);
    assert!(!host.dir().join("images").exists());
}

#[test]
fn a_container_on_a_network_is_not_checkpointed() {
    let host = Host::new();
    let web = host.container("web").sleeping().detached(&[]);
    host.minirun(["checkpoint", web.id()])
        .exits(1)
        .fails_with(&["is on default", "network disconnect"]);
    assert_eq!(web.status(), "running");
}

#[test]
fn a_restore_that_fails_leaves_nothing() {
    let host = Host::new();
    let web = host.container("web").sleeping();
    let restore = |images: &str, path: &str| {
        host.runtime()
            .env("PATH", path)
            .args(["restore", "--detach", "--image-path", images])
            .args(web.bundle_and_id())
            .output()
            .exits(1)
    };
    restore("/no/such/checkpoint", "/bin").fails_with(&["--image-path", "/no/such/checkpoint"]);
    let images = host.dir().join("images");
    fs::create_dir(&images).unwrap();
    let images = images.to_str().unwrap();
    restore(images, &path_with(&host, None)).fails_with(&["criu is not in PATH"]);
    restore(images, &path_with(&host, Some("exit 1"))).fails_with(&["criu failed: type restore"]);
    host.minirun(["state", web.id()]).fails_with(&["does not exist"]);
}

#[test]
fn a_parent_checkpoint_is_named_relative_to_its_child() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let images = host.dir().join("images");
    let images = images.to_str().unwrap();
    for parent in ["/tmp", "../missing"] {
        host.minirun([
            "checkpoint",
            "--image-path",
            images,
            "--parent-path",
            parent,
            web.id(),
        ])
        .exits(1)
        .fails_with(&["--parent-path", "relative to --image-path"]);
    }
}

/// Podman asks so whether a runtime can.
#[test]
fn checkpoint_has_help() {
    let host = Host::new();
    host.minirun(["checkpoint", "--help"]).succeeds();
    host.minirun(["restore", "--help"]).succeeds();
}
