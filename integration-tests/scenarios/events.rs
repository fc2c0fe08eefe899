//! `minirun events`: what happens to containers and networks, for those who watch.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Host, Running, wait_until};

/// Those of the past, as JSON.
#[track_caller]
fn past(host: &Host, options: &[&str]) -> Vec<Value> {
    let args = ["events", "--since", "1h", "--until", "0s", "--format", "json"];
    let shown = host
        .minirun(args.iter().chain(options).copied())
        .succeeds()
        .stdout;
    shown
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Type, action and id of each.
fn short(events: &[Value]) -> Vec<String> {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    events
        .iter()
        .map(|event| [text(event, "type"), text(event, "action"), text(event, "id")].join(" "))
        .collect()
}

/// Follows from now on.
fn follow(host: &Host, options: &[&str]) -> Running {
    let args = ["events"].iter().chain(options);
    let running = host.runtime().args(args.copied()).spawn();
    // It watches the directory of containers from the moment that it looks for events.
    wait_until("the follower has opened the events", || {
        let open = fs::read_dir(format!("/proc/{}/fd", running.pid()));
        let mut files = open.into_iter().flatten().flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|path| path.ends_with("run/minirun/events")))
    });
    running
}

#[test]
fn nothing_is_recorded_before_somebody_asks() {
    let host = Host::new();
    let first = host.container("first").running();
    first.delete_force().succeeds();
    assert!(!fs::exists(host.path("/run/minirun/events")).unwrap());
    assert_eq!(past(&host, &[]), [Value::Null; 0]);
    let second = host.container("second").running();
    assert_eq!(
        short(&past(&host, &[])),
        [
            format!("container create {}", second.id()),
            format!("container start {}", second.id())
        ]
    );
}

#[test]
fn a_containers_life_is_told_as_it_happens() {
    let host = Host::new();
    let follower = follow(&host, &["--format", "json"]);
    let web = host
        .container("web")
        .edit(|config| config["annotations"]["team"] = "red".into())
        .sleeping()
        .running();
    let id = web.id().to_owned();
    web.verb("pause").args([&id]).output().succeeds();
    web.verb("resume").args([&id]).output().succeeds();
    web.kill("TERM").succeeds();
    web.wait_for_status("stopped");
    web.delete().succeeds();
    wait_until("the last event is told", || {
        follower.stdout().contains("\"delete\"")
    });
    let lines = follower.stdout();
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected = ["create", "start", "pause", "unpause", "kill", "delete"];
    assert_eq!(
        short(&events),
        expected.map(|action| format!("container {action} {id}"))
    );
    assert_eq!(events[4]["attributes"]["signal"], "15");
    assert!(events.iter().all(|event| event["attributes"]["team"] == "red"));
    follower.signal(Signal::SIGTERM);
    follower.wait();
}

#[test]
fn who_waits_for_a_container_tells_its_exit_status() {
    let host = Host::new();
    past(&host, &[]);
    let job = host.container("job").sh("exit 7");
    job.run().exits(7);
    let events = past(&host, &["--filter", "action=die"]);
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["id"], &events[0]["attributes"]["exitCode"]),
        (&job.id().into(), &"7".into())
    );
    assert_eq!(short(&past(&host, &[])).len(), 4, "create, start, die, delete");
}

#[test]
fn joining_and_leaving_networks_is_told() {
    let host = Host::new();
    past(&host, &[]);
    host.minirun(["network", "create", "back"]).succeeds();
    let web = host.container("web").sleeping().detached(&[]);
    host.minirun(["network", "connect", "back", web.id()]).succeeds();
    host.minirun(["network", "disconnect", "back", web.id()])
        .succeeds();
    let id = web.id().to_owned();
    web.delete_force().succeeds();
    let events = past(&host, &["--filter", "type=network"]);
    assert_eq!(
        short(&events),
        [
            "network connect default",
            "network connect back",
            "network disconnect back",
            "network disconnect default"
        ]
    );
    assert!(events.iter().all(|event| event["attributes"]["container"] == *id));
    assert_eq!(short(&past(&host, &["--filter", "network=back"])).len(), 2);
}

#[test]
fn filters_of_one_kind_are_alternatives_and_of_different_kinds_conditions() {
    let host = Host::new();
    past(&host, &[]);
    let labelled = |name: &str, tier: &str| {
        host.container(name)
            .edit(|config| config["annotations"]["tier"] = tier.into())
            .sleeping()
            .running()
    };
    let (one, two) = (labelled("one", "front"), labelled("two", "back"));
    let _other = host.container("other").sleeping().running();
    let count = |filters: &[&str]| {
        let options: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        past(&host, &options).len()
    };
    assert_eq!(count(&[]), 6);
    assert_eq!(count(&["label=tier"]), 4);
    assert_eq!(count(&["label=tier=front"]), 2);
    assert_eq!(count(&["action=create", "action=start", "label=tier=back"]), 2);
    let ids = [one.id(), two.id()].map(|id| format!("container={id}"));
    assert_eq!(count(&[&ids[0], &ids[1], "action=start"]), 2);
    assert_eq!(count(&["type=network"]), 0);
}

#[test]
fn events_end_quietly_when_nobody_reads_them_any_more() {
    let host = Host::new();
    past(&host, &[]);
    let minirun = host.binary();
    let told = host.sh(&format!("{} events --since 1h | true", minirun.display()));
    assert_eq!(told.stderr, "");
}

#[test]
fn bad_questions_about_events_are_refused_with_what_is_possible() {
    let host = Host::new();
    for (options, texts) in [
        (&["--since", "yesterday"][..], &["is no point in time", "10m"][..]),
        (&["--filter", "action=fly"], &["no such action", "health_status"]),
        (&["--filter", "colour=red"], &["filters are type, action"]),
        (&["--filter", "label"], &["is not KEY=VALUE"]),
        (&["--format", "xml"], &["text, json"]),
    ] {
        host.minirun(["events"].iter().chain(options).copied())
            .fails_with(texts);
    }
    let reserved = host.minirun(["run", "--bundle", "/nowhere", "events"]);
    assert_ne!(reserved.code, 0);
    assert!(!fs::exists(host.path("/run/minirun/events")).unwrap());
}
