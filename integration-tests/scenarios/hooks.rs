//! The six hooks: order, place, what they are given, failure and deadline.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Container, Host};

const HOST_HOOKS: [&str; 5] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "poststart",
    "poststop",
];

/// The hook's script on the host and in the container: one line for each call into a log that both see.
fn script(host: &Host, container: &Container<'_>, body: &str) -> (PathBuf, PathBuf) {
    let log = host.dir().join(host.unique("log"));
    fs::write(&log, "").unwrap();
    let text = format!("#!/bin/busybox sh\nlog=${{LOG:-{}}}\n{body}\n", log.display());
    for path in [host.dir().join("hook"), container.rootfs().join("hook")] {
        fs::write(&path, &text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    (host.dir().join("hook"), log)
}

/// A container with all six hooks, each of which runs `body` with its own name as `$1`.
fn hooked<'h>(host: &'h Host, body: &str) -> (Container<'h>, PathBuf) {
    let container = host.container("hooked").sleeping();
    let (path, log) = script(host, &container, body);
    let mut container = container.push(
        "/mounts",
        json!({"destination": "/log", "type": "bind", "source": log.to_str().unwrap(), "options": ["bind"]}),
    );
    container = container.edit(|config| config["hooks"] = json!({}));
    for name in HOST_HOOKS {
        container = container.push(
            &format!("/hooks/{name}"),
            json!({"path": path.to_str().unwrap(), "args": ["hook", name]}),
        );
    }
    let inside =
        json!({"path": "/hook", "args": ["hook", "startContainer"], "env": ["LOG=/log", "PATH=/bin"]});
    (container.push("/hooks/startContainer", inside), log)
}

fn lines(log: &PathBuf) -> Vec<String> {
    fs::read_to_string(log)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn hooks_run_in_their_order_at_their_verbs() {
    let host = Host::new();
    let (web, log) = hooked(&host, "cat >/dev/null; echo $1 >>$log");
    let web = web.created();
    assert_eq!(lines(&log), ["prestart", "createRuntime", "createContainer"]);
    web.start().succeeds();
    assert_eq!(lines(&log)[3..], ["startContainer", "poststart"]);
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    web.delete().succeeds();
    assert_eq!(lines(&log)[5..], ["poststop"]);
}

#[test]
fn hooks_read_the_state_of_the_container() {
    let host = Host::new();
    let (web, log) = hooked(&host, "echo \"$(cat)\" >>$log");
    let web = web.running();
    let (id, bundle, pid) = (json!(web.id()), json!(web.bundle().to_str().unwrap()), web.pid());
    web.delete_force().succeeds();
    let states: Vec<Value> = lines(&log)
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let statuses: Vec<&str> = states
        .iter()
        .map(|state| state["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        [
            "creating", "creating", "creating", "created", "running", "stopped"
        ]
    );
    for state in &states {
        assert_eq!((&state["id"], &state["bundle"]), (&id, &bundle), "{state}");
        assert!(state["ociVersion"].is_string(), "{state}");
    }
    assert_eq!(states[1]["pid"], pid);
    assert_eq!(states[4]["pid"], pid);
}

#[test]
fn hooks_run_in_the_namespaces_that_the_specification_names() {
    let host = Host::new();
    let (web, log) = hooked(
        &host,
        "cat >/dev/null; echo $1 $(readlink /proc/self/ns/net) >>$log",
    );
    let web = web.running();
    let of = |pid: String| {
        fs::read_link(format!("/proc/{pid}/ns/net"))
            .unwrap()
            .to_string_lossy()
            .into_owned()
    };
    let (outside, inside) = (of(host.pid().to_string()), of(web.pid().to_string()));
    web.delete_force().succeeds();
    for line in lines(&log) {
        let (name, namespace) = line.split_once(' ').unwrap();
        let expected = if ["createContainer", "startContainer"].contains(&name) {
            &inside
        } else {
            &outside
        };
        assert_eq!(namespace, expected, "{name}");
    }
}

#[test]
fn create_runtime_hooks_see_the_cgroup_and_may_change_the_network_namespace() {
    let host = Host::new();
    let container = host.container("web").sleeping();
    let body = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); busybox nsenter -t $pid -n -- busybox ip link set lo down; cat /proc/$pid/cgroup >$log";
    let (path, log) = script(&host, &container, body);
    let container = container.push(
        "/hooks/createRuntime",
        json!({"path": path.to_str().unwrap(), "env": ["PATH=/bin:/usr/bin:/sbin"]}),
    );
    let container = container.running();
    assert!(
        lines(&log).iter().any(|line| line.contains(container.id())),
        "{:?}",
        lines(&log)
    );
    let loopback = container.exec(["ip", "link", "show", "lo"]).succeeds();
    assert!(!loopback.stdout.contains("LOOPBACK,UP"), "{loopback}");
}

#[test]
fn several_hooks_of_a_kind_run_in_the_listed_order() {
    let host = Host::new();
    let container = host.container("web");
    let (path, log) = script(&host, &container, "echo $1 >>$log");
    let hook = |name: &str| json!({"path": path.to_str().unwrap(), "args": ["hook", name]});
    let container = container.edit(|config| config["hooks"] = json!({}));
    let container = ["one", "two", "three"]
        .into_iter()
        .fold(container, |container, name| {
            container.push("/hooks/createRuntime", hook(name))
        });
    container.run().succeeds();
    assert_eq!(lines(&log), ["one", "two", "three"]);
}

#[test]
fn the_environment_of_a_hook_is_exactly_its_own() {
    let host = Host::new();
    let container = host.container("web").edit(|config| config["hooks"] = json!({}));
    let (path, log) = script(
        &host,
        &container,
        "tr '\\0' '\\n' </proc/$$/environ | grep -v '^\\(PWD\\|SHLVL\\|_\\|OLDPWD\\)=' >>$log; echo end >>$log",
    );
    let hook = json!({"path": path.to_str().unwrap(), "env": ["PATH=/bin:/usr/bin", "COLOUR=red"]});
    let container = container.push("/hooks/createRuntime", hook);
    container
        .verb("run")
        .env("LEAKED", "yes")
        .args(container.bundle_and_id())
        .output()
        .succeeds();
    let mut seen = lines(&log);
    seen.sort();
    assert_eq!(seen, ["COLOUR=red", "PATH=/bin:/usr/bin", "end"]);
}

#[test]
fn a_failing_hook_fails_the_verb_leaves_nothing_and_tells_why() {
    let host = Host::new();
    for (name, index) in [
        ("prestart", 0),
        ("createRuntime", 1),
        ("createContainer", 0),
        ("startContainer", 0),
    ] {
        let container = host.container("web").edit(|config| config["hooks"] = json!({}));
        let (path, _) = script(
            &host,
            &container,
            "[ $1 = good ] && exit 0; echo the disk is on fire >&2; exit 23",
        );
        let path = if name == "startContainer" {
            "/hook"
        } else {
            path.to_str().unwrap()
        };
        let hook = |word: &str| json!({"path": path, "args": ["hook", word], "env": ["PATH=/bin:/usr/bin"]});
        let pointer = format!("/hooks/{name}");
        let container = (0..index).fold(container, |container, _| container.push(&pointer, hook("good")));
        let container = container.push(&pointer, hook("bad"));
        let failed = container.run().exits(1);
        for text in [name, path, "23", "the disk is on fire"] {
            assert!(failed.stderr.contains(text), "{name}: no {text:?} in {failed}");
        }
        assert!(
            failed.stderr.contains(&format!("#{index}")) || failed.stderr.contains(&format!("[{index}]")),
            "{failed}"
        );
    }
}

#[test]
fn a_failing_poststart_hook_stops_the_container() {
    let host = Host::new();
    let container = host.container("web").sleeping();
    let (path, log) = script(&host, &container, "echo $1 >>$log; [ $1 != poststart ]");
    let hook = |name: &str| json!([{"path": path.to_str().unwrap(), "args": ["hook", name]}]);
    let container = container.edit(|config| {
        config["hooks"] = json!({"poststart": hook("poststart"), "poststop": hook("poststop")})
    });
    container.run().exits(1).fails_with(&["poststart"]);
    assert_eq!(lines(&log), ["poststart", "poststop"]);
}

#[test]
fn a_failing_poststop_hook_is_a_warning() {
    let host = Host::new();
    let container = host.container("web");
    let (path, log) = script(&host, &container, "echo $1 >>$log; [ $1 = two ]");
    let hook = |name: &str| json!({"path": path.to_str().unwrap(), "args": ["hook", name]});
    let container =
        container.edit(|config| config["hooks"] = json!({"poststop": [hook("one"), hook("two")]}));
    let output = container.run().succeeds();
    assert_eq!(lines(&log), ["one", "two"]);
    assert!(output.stderr.contains("poststop"), "{output}");
}

#[test]
fn poststop_hooks_run_after_a_failed_create() {
    let host = Host::new();
    let container = host.container("web");
    let (path, log) = script(&host, &container, "echo $1 >>$log; [ $1 = poststop ]");
    let hook = |name: &str| json!([{"path": path.to_str().unwrap(), "args": ["hook", name]}]);
    let container = container
        .edit(|config| config["hooks"] = json!({"createRuntime": hook("bad"), "poststop": hook("poststop")}));
    container.run().exits(1);
    assert_eq!(lines(&log), ["bad", "poststop"]);
}

#[test]
fn a_hook_past_its_deadline_is_killed_with_its_children() {
    let host = Host::new();
    let container = host.container("web");
    let (path, _) = script(&host, &container, "sleep 1000 & sleep 1000");
    let hook = json!({"path": path.to_str().unwrap(), "timeout": 1, "env": ["PATH=/bin:/usr/bin"]});
    let container = container.edit(|config| config["hooks"] = json!({"createRuntime": [hook]}));
    container.run().exits(1).fails_with(&["createRuntime", "1"]);
}

#[test]
fn a_hook_that_is_killed_tells_the_signal() {
    let host = Host::new();
    let container = host.container("web");
    let (path, _) = script(&host, &container, "kill -KILL $$");
    let container = container
        .edit(|config| config["hooks"] = json!({"createRuntime": [{"path": path.to_str().unwrap()}]}));
    container.run().exits(1).fails_with(&["createRuntime", "kill"]);
}

#[test]
fn a_hook_that_does_not_read_its_input_is_no_error() {
    let host = Host::new();
    let big: String = "x".repeat(1 << 20);
    let container = host
        .container("web")
        .edit(|config| config["annotations"] = json!({"org.example.big": big}));
    let (path, _) = script(&host, &container, "exec <&-; exit 0");
    let container = container
        .edit(|config| config["hooks"] = json!({"createRuntime": [{"path": path.to_str().unwrap()}]}));
    container.run().succeeds();
}

#[test]
fn a_missing_hook_is_refused_by_name() {
    let host = Host::new();
    let container = host
        .container("web")
        .edit(|config| config["hooks"] = json!({"createRuntime": [{"path": "/no/such/hook"}]}));
    container.run().exits(1).fails_with(&["/no/such/hook"]);
}

#[test]
fn a_relative_hook_path_and_a_timeout_of_zero_are_refused_before_anything_is_made() {
    let host = Host::new();
    for hook in [
        json!({"path": "hook"}),
        json!({"path": "/bin/true", "timeout": 0}),
        json!({"path": "/bin/true", "timeout": -1}),
    ] {
        let container = host
            .container("web")
            .edit(|config| config["hooks"] = json!({"createRuntime": [hook]}));
        container.run().exits(1).fails_with(&["hook"]);
    }
}

#[test]
fn state_tells_hooks_where_the_container_is_in_its_life() {
    let host = Host::new();
    let container = host.container("web").sleeping();
    let log = host.dir().join("states");
    let hook = format!(
        "{} state {} 2>&1 | grep -o -e '\"status\": \"[a-z]*' -e 'does not exist' >>{}",
        host.binary().display(),
        container.id(),
        log.display()
    );
    let hooks = json!([{"path": "/bin/sh", "args": ["sh", "-c", hook], "env": ["PATH=/bin:/usr/bin"]}]);
    let container = container.edit(|config| {
        config["hooks"] = json!({"createRuntime": hooks, "poststart": hooks, "poststop": hooks});
    });
    container.try_create().succeeds();
    container.start().succeeds();
    container.delete_force().succeeds();
    let states = lines(&log);
    assert_eq!(
        states,
        [
            "\"status\": \"creating",
            "\"status\": \"running",
            "does not exist"
        ]
    );
}

#[test]
fn delete_force_ends_a_create_whose_hook_hangs() {
    let host = Host::new();
    let container = host.container("web");
    let (path, log) = script(&host, &container, "echo under way >>$log; exec sleep 1000");
    let container = container.edit(|config| {
        config["hooks"] =
            json!({"createRuntime": [{"path": path.to_str().unwrap(), "env": ["PATH=/bin:/usr/bin"]}]});
    });
    let create = container.verb("create").args(container.bundle_and_id()).spawn();
    crate::harness::wait_until("the hook runs", || !lines(&log).is_empty());
    assert_eq!(container.status(), "creating");
    container.delete_force().succeeds();
    assert!(create.wait().code != 0);
}
