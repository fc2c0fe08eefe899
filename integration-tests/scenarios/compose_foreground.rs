//! `compose up` without `--detach`: what it shows, and when it ends.

use std::fs;

use nix::sys::signal::Signal;

use super::compose::living;
use crate::harness::{Host, Stack, wait_until};

/// A service that says something and goes on until it is told to end.
const TALKING: &str = "services:\n  web:\n    x-bundle: BUNDLE\n    command: [sh, -c, \"trap 'exit 0' TERM; echo hello there; while :; do sleep 1000 & wait; done\"]\n";

/// A service that says something and ends; only when `shared/NAME` is there, if `waits`.
fn ending(name: &str, status: i32, waits: bool, more: &str) -> String {
    let wait = match waits {
        true => format!("while [ ! -e /shared/{name} ]; do sleep 0.05; done; "),
        false => String::new(),
    };
    format!(
        "  {name}:\n    x-bundle: BUNDLE\n    volumes: [\"SHARED:/shared\"]\n    command: [sh, -c, \"echo {name} begins; {wait}echo {name} is done; exit {status}\"]\n{more}"
    )
}

#[test]
fn up_in_the_foreground_shows_what_services_write_until_it_is_interrupted() {
    let host = Host::new();
    let stack = Stack::new(&host, "front", TALKING);
    let up = stack.verb(&["up"]).spawn();
    wait_until("the log is shown", || up.stdout().contains("hello there"));
    up.signal(Signal::SIGINT);
    up.wait().succeeds();
    assert_eq!(stack.replica("web", 1)["state"], "exited");
}

#[test]
fn a_second_interrupt_kills_what_does_not_stop() {
    let host = Host::new();
    let file = "services:\n  deaf:\n    x-bundle: BUNDLE\n    stop_grace_period: 1h\n    command: [sh, -c, \"trap '' TERM; echo hello there; while :; do sleep 1000 & wait; done\"]\n";
    let stack = Stack::new(&host, "deaf", file);
    let up = stack.verb(&["up"]).spawn();
    wait_until("the log is shown", || up.stdout().contains("hello there"));
    up.signal(Signal::SIGINT);
    wait_until("it is told to stop", || {
        stack.replica("deaf", 1)["state"] == "stopping"
    });
    up.signal(Signal::SIGINT);
    up.wait().succeeds();
    assert_eq!(stack.replica("deaf", 1)["exit_code"], 137);
}

#[test]
fn up_in_the_foreground_ends_when_all_services_have_ended() {
    let host = Host::new();
    let file = format!(
        "services:\n{}{}",
        ending("one", 0, false, ""),
        ending("two", 3, true, "")
    );
    let stack = Stack::new(&host, "ends", &file);
    let up = stack.verb(&["up"]).spawn();
    wait_until("one has ended", || stack.replica("one", 1)["state"] == "exited");
    fs::write(stack.shared().join("two"), "").unwrap();
    let ended = up.wait().succeeds();
    for line in ["one-1  | one is done", "two-1  | two is done"] {
        assert!(ended.stdout.contains(line), "{}", ended.stdout);
    }
    assert!(
        ended.stderr.contains("two-1 Exited: status 3"),
        "{}",
        ended.stderr
    );
    // Again, when they are already there.
    let again = stack.run(&["up"]).succeeds();
    assert!(again.stdout.contains("one is done"), "{}", again.stdout);
}

#[test]
fn the_end_of_one_service_is_the_end_of_all_when_that_is_asked_for() {
    let host = Host::new();
    let job = ending("job", 0, false, "");
    let web = living(
        "web",
        "    depends_on: { job: { condition: service_completed_successfully } }\n",
    );
    let file = format!("services:\n{job}{web}{}", ending("test", 7, true, ""));
    for (option, status) in [
        (vec!["--abort-on-container-exit"], 7),
        (vec!["--abort-on-container-failure"], 7),
        (vec!["--exit-code-from", "test"], 7),
        (vec!["--exit-code-from", "web"], 0),
    ] {
        let stack = Stack::new(&host, "abort", &file);
        let up = stack.verb(&[vec!["up"], option.clone()].concat()).spawn();
        wait_until("web runs", || stack.story().contains(&"+web".to_owned()));
        assert_eq!(stack.replica("job", 1)["exit_code"], 0, "its end was meant to be");
        fs::write(stack.shared().join("test"), "").unwrap();
        assert_eq!(up.wait().code, status, "{option:?}");
        assert_eq!(stack.replica("web", 1)["state"], "exited");
        assert_eq!(stack.story(), ["+web", "-web"]);
    }
    Stack::new(&host, "typo", &file)
        .run(&["up", "--exit-code-from", "tset"])
        .fails_with(&["no such service: tset"]);
}

#[test]
fn up_in_the_foreground_ends_with_its_stack_and_survives_its_supervisor() {
    let host = Host::new();
    let stack = Stack::new(&host, "other", TALKING);
    let up = stack.verb(&["up"]).spawn();
    wait_until("the log is shown", || up.stdout().contains("hello there"));
    stack.kill_supervisor();
    // Nobody has called a verb: it is `up` that has another one started.
    wait_until("there is another supervisor", || stack.supervisor().is_some());
    assert_eq!(stack.replica("web", 1)["state"], "running");
    stack.run(&["down"]).succeeds();
    up.wait().succeeds();
}

#[test]
fn an_interrupt_stops_only_the_services_that_were_asked_for() {
    let host = Host::new();
    let file = format!(
        "services:\n{}{}{}",
        living("web", "    depends_on: [db]\n"),
        living("db", ""),
        living("other", "")
    );
    let stack = Stack::new(&host, "some", &file);
    stack.run(&["up", "-d", "other"]).succeeds();
    let other = stack.pid("other", 1);
    let up = stack.verb(&["up", "web"]).spawn();
    wait_until("web runs", || stack.story().contains(&"+web".to_owned()));
    up.signal(Signal::SIGINT);
    up.wait().succeeds();
    assert_eq!(stack.story()[3..], ["-web", "-db"]);
    assert_eq!(stack.pid("other", 1), other);
}

#[test]
fn an_interrupt_while_services_start_takes_back_what_was_made() {
    let host = Host::new();
    let file = format!(
        "services:\n{}{}",
        living(
            "db",
            "    healthcheck: { test: [CMD, \"false\"], start_period: 1h }\n"
        ),
        living("web", "    depends_on: { db: { condition: service_healthy } }\n")
    );
    let stack = Stack::new(&host, "early", &file);
    let up = stack.verb(&["up"]).spawn();
    wait_until("db runs", || stack.story() == ["+db"]);
    up.signal(Signal::SIGINT);
    up.wait();
    assert_eq!(stack.story(), ["+db", "-db"]);
}
