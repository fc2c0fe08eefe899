//! `events ID`: one container's statistics in runc's JSON.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Container, Host, cgroup_v2};

fn statistics(web: &Container<'_>) -> Value {
    let output = web.verb("events").args(["--stats", web.id()]).output().succeeds();
    assert_eq!(output.lines().len(), 1, "{output}");
    output.json()
}

/// Every key as `memory.usage.limit`; of lists the first entry's, and nothing of what depends on the kernel or the work
/// done: empty lists are left out by runc.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    if path == "data.memory.raw" || path == "data.hugetlb" {
        return;
    }
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                keys(value, &path, found);
            }
        }
        Value::Array(_) if path.starts_with("data.blkio.") => {}
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn events_stats_prints_one_document_in_runcs_shape() {
    let host = Host::new();
    let web = host.container("web").sleeping().edit(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        config["linux"]["resources"]["pids"] = json!({"limit": 20});
    });
    let web = web.running();
    let document = statistics(&web);
    assert_eq!(
        (&document["type"], &document["id"]),
        (&json!("stats"), &json!(web.id()))
    );
    let data = &document["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
    assert!(data["memory"]["usage"]["max"].as_u64() >= data["memory"]["usage"]["usage"].as_u64());
    assert_eq!(data["pids"]["limit"], 20);
    assert!(data["pids"]["current"].as_u64().unwrap() >= 1);
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    for key in ["cpuset", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
        assert!(data.as_object().unwrap().contains_key(key), "{key} in {data}");
    }
    if !cgroup_v2() {
        assert!(!data["cpuset"]["cpus"].as_array().unwrap().is_empty());
        assert!(data["cpu"]["usage"]["percpu_user"].is_array());
    }
}

#[test]
fn events_has_every_key_that_runc_has() {
    let host = Host::new();
    let Some(theirs) = host.peer("runc", "theirs") else {
        return;
    };
    let (ours, theirs) = (
        host.container("ours").sleeping().running(),
        theirs.sleeping().running(),
    );
    let (mut own, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    keys(&statistics(&ours), "", &mut own);
    keys(&statistics(&theirs), "", &mut wanted);
    // runc leaves out what is 0, so only what it has counts.
    let missing: Vec<_> = wanted.difference(&own).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} are in runc's document and not in ours"
    );
}

#[test]
fn events_repeats_the_statistics_until_the_container_ends() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let events = web.verb("events").args(["--interval", "50ms", web.id()]).spawn();
    crate::harness::wait_until("three documents are there", || {
        events.stdout().lines().count() >= 3
    });
    web.kill("KILL").succeeds();
    let output = events.wait().succeeds();
    for line in output.lines() {
        let document: Value = serde_json::from_str(line).unwrap();
        assert_eq!(document["type"], "stats", "{line}");
    }
}

#[test]
fn events_tells_of_a_process_that_was_killed_for_want_of_memory() {
    let host = Host::new();
    let web = host.container("web").sleeping().edit(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    });
    let web = web.running();
    let events = web.verb("events").args(["--interval=20ms", web.id()]).spawn();
    crate::harness::wait_until("events watches", || !events.stdout().is_empty());
    // tail keeps what it has read until a newline comes.
    web.exec(["tail", "/dev/zero"]).exits(137);
    crate::harness::wait_until("the kill is told", || {
        events
            .stdout()
            .lines()
            .any(|line| line == format!(r#"{{"id":"{}","type":"oom"}}"#, web.id()))
    });
    web.kill("KILL").succeeds();
    events.wait().succeeds();
}

#[test]
fn events_of_a_container_that_does_not_live_are_refused() {
    let host = Host::new();
    host.minirun(["events", "nobody"])
        .exits(1)
        .fails_with(&["does not exist"]);
    let web = host.container("web").sh("true").running();
    web.wait_for_status("stopped");
    web.verb("events")
        .args([web.id()])
        .output()
        .exits(1)
        .fails_with(&["container not running"]);
    host.minirun(["events", "--stats"]).exits(1).fails_with(&["ID"]);
    host.minirun(["events", "--interval=0s", "web"])
        .exits(1)
        .fails_with(&["interval"]);
    host.minirun(["events", "--since=1m", "web"])
        .exits(1)
        .fails_with(&["--since"]);
}
