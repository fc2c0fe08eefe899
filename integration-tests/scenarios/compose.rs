//! Stacks: order, health, restarts, changes, and what is left when something goes wrong.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::names::netd;
use crate::harness::{Host, Random, Stack, wait_until};

/// A service that runs until it is told to end.
pub(super) fn living(name: &str, more: &str) -> String {
    format!(
        "  {name}:\n    x-bundle: BUNDLE\n    environment: {{ N: {name} }}\n    tmpfs: [/tmp]\n    volumes: [\"SHARED:/shared\"]\n    command: LIVING\n{more}"
    )
}

/// Lines of a service: is it ready?
const CHECK: &str =
    "    healthcheck: { test: [CMD, test, -e, /tmp/ready], interval: 200ms, timeout: 5s, retries: 1 }\n";

fn kill_replica(stack: &Stack<'_>, service: &str, replica: u32) -> i64 {
    let pid = stack.pid(service, replica);
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    pid
}

#[test]
fn services_start_after_what_they_depend_on_and_stop_before_it() {
    let host = Host::new();
    let file = format!(
        "services:\n{}{}{}  once:\n    x-bundle: BUNDLE\n    volumes: [\"SHARED:/shared\"]\n    command: [sh, -c, \"echo once >>/shared/story\"]\n",
        living(
            "web",
            "    depends_on: { app: { condition: service_started }, once: { condition: service_completed_successfully } }\n"
        ),
        living(
            "app",
            &format!("    depends_on: {{ db: {{ condition: service_healthy }} }}\n{CHECK}")
        ),
        living(
            "db",
            &format!("{CHECK}    depends_on: {{ once: {{ condition: service_completed_successfully }} }}\n")
        ),
    );
    let stack = Stack::new(&host, "order", &file).up();
    assert_eq!(stack.story(), ["once", "+db", "+app", "+web"]);
    stack.run(&["down"]).succeeds();
    assert_eq!(stack.story()[4..], ["-web", "-app", "-db"]);
}

#[test]
fn ps_port_and_exec_show_what_is_there() {
    let host = Host::new();
    let file = format!(
        "services:\n{}",
        living("web", &format!("{CHECK}    ports: [\"8080:80\"]\n"))
    );
    let stack = Stack::new(&host, "look", &file).up();
    let web = stack.replica("web", 1);
    assert_eq!(
        (&web["state"], &web["health"]),
        (&"running".into(), &"healthy".into()),
        "{web:#}"
    );
    let table = stack.run(&["ps"]).succeeds().stdout;
    assert!(
        table.contains("(healthy)") && table.contains("0.0.0.0:8080->80/tcp"),
        "{table}"
    );
    assert_eq!(
        stack.run(&["ps", "-q"]).succeeds().stdout.trim(),
        stack.id("web", 1)
    );
    assert_eq!(
        stack.run(&["port", "web", "80"]).succeeds().stdout,
        "0.0.0.0:8080\n"
    );
    stack
        .run(&["port", "web", "81"])
        .fails_with(&["port 81/tcp is not published", "8080"]);
    assert_eq!(
        stack.sh("web", "hostname").succeeds().stdout.trim(),
        stack.id("web", 1)
    );
    stack
        .run(&["exec", "wbe", "true"])
        .fails_with(&["service wbe has no replica", "web"]);
    assert_eq!(stack.sh("web", "exit 7").code, 7);
    let as_people_type_it = stack.run(&["exec", "-it", "web", "hostname"]).succeeds();
    assert_eq!(as_people_type_it.stdout.trim(), stack.id("web", 1));
}

#[test]
fn an_unhealthy_replica_leaves_its_services_name_and_comes_back() {
    let host = Host::new();
    let file = format!(
        "services:\n{}{}",
        living("web", &format!("    deploy: {{ replicas: 2 }}\n{CHECK}")),
        living("client", "")
    );
    let stack = Stack::new(&host, "dns", &file).up();
    let addresses = || {
        let shown = stack.sh("client", "nslookup -type=a web").stdout;
        shown
            .lines()
            .filter(|line| line.starts_with("Address:") && !line.ends_with(":53"))
            .count()
    };
    assert_eq!(addresses(), 2);
    stack
        .run(&["exec", "-T", "--index", "1", "web", "rm", "/tmp/ready"])
        .succeeds();
    wait_until("ps says unhealthy", || {
        stack.replica("web", 1)["health"] == "unhealthy"
    });
    wait_until("the name has one address", || addresses() == 1);
    stack
        .run(&["exec", "-T", "--index", "1", "web", "touch", "/tmp/ready"])
        .succeeds();
    wait_until("the name has both addresses again", || addresses() == 2);
    assert_eq!(stack.replica("web", 1)["health"], "healthy");
}

#[test]
fn a_replica_that_crashes_is_started_again_and_one_that_may_not_is_left() {
    let host = Host::new();
    let file = format!(
        "services:\n{}{}",
        living("always", "    restart: always\n"),
        living("never", "")
    );
    let stack = Stack::new(&host, "crash", &file).up();
    kill_replica(&stack, "never", 1);
    let before = kill_replica(&stack, "always", 1);
    stack.runs_again("always", 1, before);
    wait_until("the other one has ended", || {
        stack.replica("never", 1)["state"] == "exited"
    });
    assert_eq!(stack.replica("never", 1)["exit_code"], 137);
    stack.run(&["start", "never"]).succeeds();
    assert_eq!(stack.replica("never", 1)["state"], "running");
}

#[test]
fn a_supervisor_that_was_killed_is_replaced_by_one_that_adopts_what_runs() {
    let host = Host::new();
    let chatting = "  chat:\n    x-bundle: BUNDLE\n    volumes: [\"SHARED:/shared\"]\n    command: [sh, -c, \"while read word; do echo heard $$word; done <>/shared/pipe\"]\n";
    let file = format!(
        "services:\n{}{}{chatting}",
        living("web", &format!("    restart: always\n{CHECK}")),
        living("dies", "    restart: always\n")
    );
    let stack = Stack::new(&host, "adopt", &file);
    host.sh(&format!("mkfifo {}/pipe", stack.shared().display()));
    let stack = stack.up();
    let (web, chat) = (stack.pid("web", 1), stack.pid("chat", 1));
    let say = |word: &str| fs::write(stack.shared().join("pipe"), format!("{word}\n")).unwrap();
    say("one");
    wait_until("the log has it", || stack.log("chat", 1).contains("heard one"));
    let dies = stack.pid("dies", 1);
    stack.kill_supervisor();
    kill(Pid::from_raw(dies as i32), Signal::SIGKILL).unwrap();
    say("two");
    assert_eq!((stack.pid("web", 1), stack.pid("chat", 1)), (web, chat));
    say("three");
    wait_until("the log goes on", || stack.log("chat", 1).contains("heard three"));
    assert!(
        stack.log("chat", 1).contains("heard two"),
        "{}",
        stack.log("chat", 1)
    );
    stack.runs_again("dies", 1, dies);
    let before = kill_replica(&stack, "web", 1);
    stack.runs_again("web", 1, before);
    stack.run(&["up", "--wait"]).succeeds();
    assert_eq!(stack.pid("chat", 1), chat);
}

#[test]
fn names_come_back_by_themselves_whenever_netd_is_killed() {
    let host = Host::new();
    let file = format!("services:\n{}{}", living("web", ""), living("db", ""));
    let stack = Stack::new(&host, "names", &file).up();
    let resolves = || {
        stack
            .sh("web", "nslookup -type=a db && nslookup -type=a web")
            .code
            == 0
    };
    assert!(resolves());
    let supervisor = stack.supervisor();
    for _ in 0..4 {
        let killed = netd(&host).expect("netd runs");
        kill(killed, Signal::SIGKILL).unwrap();
        wait_until("there is another netd", || {
            netd(&host).is_some_and(|netd| netd != killed)
        });
        wait_until("names are back", resolves);
    }
    assert_eq!(stack.supervisor(), supervisor);
    // Also when nobody saw it end.
    stack.kill_supervisor();
    kill(netd(&host).expect("netd runs"), Signal::SIGKILL).unwrap();
    stack.run(&["up", "--wait"]).succeeds();
    wait_until("names are back", resolves);
}

#[test]
fn up_again_replaces_only_what_has_changed() {
    let host = Host::new();
    let file = |value: &str, check: &str| {
        format!(
            "services:\n{}{}",
            living("web", &format!("    labels: {{ a: {value} }}\n")),
            living("db", check)
        )
    };
    let stack = Stack::new(&host, "change", &file("one", "")).up();
    let (web, db) = (stack.pid("web", 1), stack.pid("db", 1));
    stack.run(&["up", "--wait"]).succeeds();
    assert_eq!((stack.pid("web", 1), stack.pid("db", 1)), (web, db));
    // A health check is the supervisor's business: no new container for that.
    stack.write(&file("two", CHECK));
    stack.run(&["up", "--wait"]).succeeds();
    assert_ne!(stack.pid("web", 1), web);
    assert_eq!(stack.pid("db", 1), db);
    assert_eq!(stack.replica("db", 1)["health"], "healthy");
    stack.write(&format!("services:\n{}", living("web", "")));
    stack.run(&["up", "-d"]).succeeds();
    assert_eq!(stack.replica("db", 1)["orphan"], true);
    stack.run(&["up", "-d", "--remove-orphans"]).succeeds();
    assert!(stack.replica("db", 1).is_null());
}

#[test]
fn a_network_that_has_changed_is_made_anew_under_its_replicas() {
    let host = Host::new();
    let file = |subnet: &str| {
        format!(
            "services:\n{}networks: {{ default: {{ ipam: {{ config: [ {{ subnet: {subnet} }} ] }} }} }}\n",
            living("web", "")
        )
    };
    let stack = Stack::new(&host, "net", &file("10.9.0.0/24")).up();
    assert!(stack.sh("web", "ip addr").stdout.contains("10.9.0."));
    stack.write(&file("10.9.1.0/24"));
    stack.run(&["up", "--wait"]).succeeds();
    assert!(stack.sh("web", "ip addr").stdout.contains("10.9.1."));
}

#[test]
fn scale_starts_and_removes_replicas_and_leaves_the_others_alone() {
    let host = Host::new();
    let stack = Stack::new(&host, "scale", &format!("services:\n{}", living("web", ""))).up();
    let first = stack.pid("web", 1);
    stack.run(&["scale", "web=3"]).succeeds();
    assert_eq!(stack.ps().len(), 3);
    assert_eq!(stack.pid("web", 1), first);
    stack.run(&["scale", "web=1"]).succeeds();
    assert_eq!(stack.ps().len(), 1);
    assert_eq!(stack.pid("web", 1), first);
    stack
        .run(&["scale", "wbe=1"])
        .fails_with(&["no such service: wbe", "web"]);
}

#[test]
fn stop_and_restart_are_for_the_named_services() {
    let host = Host::new();
    let file = format!(
        "services:\n{}{}",
        living("web", "    restart: always\n"),
        living("db", "")
    );
    let stack = Stack::new(&host, "stop", &file).up();
    let db = stack.pid("db", 1);
    stack.run(&["stop", "web"]).succeeds();
    assert_eq!(stack.replica("web", 1)["state"], "exited");
    stack.kill_supervisor();
    assert_ne!(
        stack.replica("web", 1)["state"],
        "running",
        "stays so with the next supervisor"
    );
    stack.run(&["start", "web"]).succeeds();
    let web = stack.pid("web", 1);
    stack.run(&["restart", "web"]).succeeds();
    assert_ne!(stack.pid("web", 1), web);
    assert_eq!(stack.pid("db", 1), db);
}

#[test]
fn configs_and_secrets_are_files_that_nobody_changes() {
    let host = Host::new();
    let file = format!(
        "services:\n{}configs: {{ greeting: {{ content: hello }} }}\nsecrets: {{ password: {{ file: SHARED/password }} }}\n",
        living(
            "web",
            "    configs: [greeting]\n    secrets: [ { source: password, target: pw, uid: \"1000\", gid: \"1000\", mode: 0400 } ]\n"
        )
    );
    let stack = Stack::new(&host, "files", &file);
    fs::write(stack.shared().join("password"), "geheim").unwrap();
    let stack = stack.up();
    let owner = stack.run(&[
        "exec",
        "-T",
        "--user",
        "1000:1000",
        "web",
        "cat",
        "/greeting",
        "/run/secrets/pw",
    ]);
    assert_eq!(owner.stdout, "hellogeheim");
    assert_eq!(
        stack
            .sh("web", "stat -c '%u:%g %a' /run/secrets/pw")
            .stdout
            .trim(),
        "1000:1000 400"
    );
    assert_ne!(stack.sh("web", "echo x >/greeting").code, 0);
}

#[test]
fn what_the_bundle_says_of_itself_still_holds() {
    let host = Host::new();
    let file = format!(
        "services:\n{}",
        living("web", "    deploy: { resources: { limits: { memory: 64M } } }\n")
    );
    let stack = Stack::new(&host, "own", &file);
    let directory = stack.bundle().bundle().to_owned();
    fs::create_dir(directory.join("app")).unwrap();
    fs::write(directory.join("app/hello"), "from the bundle").unwrap();
    let path = directory.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mount = json!({"destination": "/app", "type": "bind", "source": "app", "options": ["bind", "ro"]});
    config["mounts"].as_array_mut().unwrap().push(mount);
    config["linux"]["resources"]["memory"] = json!({"limit": 32 << 20, "swap": 32 << 20});
    fs::write(&path, config.to_string()).unwrap();
    let stack = stack.up();
    assert_eq!(
        stack.run(&["exec", "-T", "web", "cat", "/app/hello"]).stdout,
        "from the bundle",
        "a relative source begins at the bundle"
    );
    let shown = host.runtime().args(["inspect", &stack.id("web", 1)]).output();
    assert_eq!(
        shown.succeeds().json()["limits"]["memory"],
        json!({"limit": 64 << 20, "swap": 64 << 20}),
        "no swap stays no swap with another limit"
    );
}

#[test]
fn an_up_that_fails_takes_back_what_it_made_and_leaves_what_was_there() {
    let host = Host::new();
    let good = living("web", "");
    let stack = Stack::new(
        &host,
        "fails",
        &format!(
            "services:\n{good}{}",
            living("bad", "").replace("LIVING", "[no-such-program]")
        ),
    );
    stack
        .run(&["up", "-d"])
        .fails_with(&["service bad", "no-such-program"]);
    wait_until("the supervisor has ended", || stack.supervisor().is_none());
    assert!(stack.ps().is_empty());
    let networks = host.minirun(["network", "ls"]).succeeds().stdout;
    assert!(!networks.contains(stack.project()), "{networks}");
    // The same with a stack that is up: it is what it was.
    stack.write(&format!("services:\n{good}"));
    stack.run(&["up", "--wait"]).succeeds();
    let web = stack.pid("web", 1);
    stack.write(&format!(
        "services:\n{good}{}networks: {{ other: {{ }} }}\n",
        living("bad", "    networks: [other]\n").replace("LIVING", "[no-such-program]")
    ));
    stack.run(&["up", "-d"]).fails_with(&["service bad"]);
    assert_eq!((stack.ps().len(), stack.pid("web", 1)), (1, web));
    let networks = host.minirun(["network", "ls"]).succeeds().stdout;
    assert!(
        !networks.contains(&format!("{}_other", stack.project())),
        "{networks}"
    );
}

#[test]
fn a_health_check_that_never_passes_fails_up_with_what_it_says() {
    let host = Host::new();
    let check = "    healthcheck: { test: [CMD-SHELL, \"echo the cellar is flooded; exit 1\"], interval: 100ms, retries: 2, start_period: 0s }\n";
    let file = format!(
        "services:\n{}{}",
        living("db", check),
        living("web", "    depends_on: { db: { condition: service_healthy } }\n")
    );
    let stack = Stack::new(&host, "sick", &file);
    stack
        .run(&["up", "-d"])
        .fails_with(&["service web depends on db", "unhealthy", "the cellar is flooded"]);
    stack
        .run(&["up", "--wait", "db"])
        .fails_with(&["service db", "unhealthy", "the cellar is flooded"]);
    assert_eq!(stack.story().iter().filter(|word| *word == "+web").count(), 0);
}

#[test]
fn a_dependency_that_ends_badly_fails_up_and_its_last_words_are_told() {
    let host = Host::new();
    let job = "  job:\n    x-bundle: BUNDLE\n    command: [sh, -c, \"echo no such table >&2; exit 3\"]\n";
    let web = living(
        "web",
        "    depends_on: { job: { condition: service_completed_successfully } }\n",
    );
    let stack = Stack::new(&host, "job", &format!("services:\n{job}{web}"));
    stack
        .run(&["up", "-d"])
        .fails_with(&["service web depends on job", "status 3", "no such table"]);
    assert!(stack.story().is_empty());
}

#[test]
fn a_port_that_another_stack_has_is_told_once_with_its_owner_and_taken_back() {
    let host = Host::new();
    // Restarted for ever: but to ask again for a port that somebody has would not help.
    let file = format!(
        "services:\n{}",
        living("web", "    ports: [\"8080:80\"]\n    restart: always\n")
    );
    let one = Stack::new(&host, "one", &file).up();
    let other = Stack::new(&host, "other", &file);
    let failed = other
        .run(&["up", "-d"])
        .fails_with(&["service web", "8080", &one.id("web", 1)]);
    assert_eq!(failed.stderr.matches("Failed").count(), 1, "{}", failed.stderr);
    assert!(other.ps().is_empty());
    assert_eq!(one.replica("web", 1)["state"], "running");
}

#[test]
fn a_port_and_an_address_go_to_another_service_when_the_file_says_so() {
    let host = Host::new();
    let has = "    ports: [\"8080:80\"]\n    restart: always\n    networks: { default: { ipv4_address: 10.9.3.9 } }\n";
    let file = |web: &str, db: &str| {
        format!(
            "services:\n{}{}networks: {{ default: {{ ipam: {{ config: [ {{ subnet: 10.9.3.0/24 }} ] }} }} }}\n",
            living("web", web),
            living("db", db)
        )
    };
    let stack = Stack::new(&host, "moves", &file(has, "")).up();
    stack.write(&file("", has));
    stack.run(&["up", "--wait"]).succeeds();
    assert_eq!(
        stack.run(&["port", "db", "80"]).succeeds().stdout,
        "0.0.0.0:8080\n"
    );
    assert!(stack.sh("db", "ip addr").stdout.contains("10.9.3.9/"));
    assert_eq!(stack.replica("db", 1)["restarts"], 0);
}

#[test]
fn a_bundle_that_is_not_there_is_told_before_anything_is_made() {
    let host = Host::new();
    let stack = Stack::new(&host, "missing", "services:\n  web:\n    x-bundle: ./nowhere\n");
    stack.run(&["up", "-d"]).fails_with(&["nowhere"]);
    assert!(stack.supervisor().is_none());
}

#[test]
fn a_secret_in_the_run_directory_is_for_root_alone() {
    let host = Host::new();
    let file = format!(
        "services:\n{}secrets: {{ password: {{ file: SHARED/password }} }}\n",
        living("web", "    secrets: [password]\n")
    );
    let stack = Stack::new(&host, "private", &file);
    fs::write(stack.shared().join("password"), "geheim").unwrap();
    let stack = stack.up();
    let directory = stack.path(format!("/run/minirun/compose/{}", stack.project()));
    assert_eq!(fs::metadata(directory).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn whatever_is_killed_a_stack_recovers_and_leaves_nothing() {
    const ROUNDS: u32 = 12;
    let host = Host::new();
    let file = format!(
        "services:\n{}{}",
        living(
            "web",
            &format!("    restart: always\n    depends_on: [db]\n    deploy: {{ replicas: 2 }}\n{CHECK}")
        ),
        living(
            "db",
            &format!("    restart: always\n    ports: [\"8080:80\"]\n{CHECK}")
        )
    );
    let stack = Stack::new(&host, "killed", &file).up();
    let mut random = Random::seeded("whatever_is_killed");
    for _ in 0..ROUNDS {
        let (service, replica) = random.one_of(&[("web", 1), ("web", 2), ("db", 1)]);
        let before = stack.pid(service, replica);
        let replica_process = Pid::from_raw(before as i32);
        let candidates = [Some(replica_process), stack.supervisor(), netd(&host)];
        // One, two or all of them, so that what one would repair may be gone as well.
        let victims: Vec<Pid> = random.some_of(&candidates).into_iter().flatten().collect();
        for victim in &victims {
            let _ = kill(*victim, Signal::SIGKILL);
        }
        stack.run(&["up", "--wait"]).succeeds();
        for other in [("web", 1), ("web", 2), ("db", 1)] {
            let killed = other == (service, replica) && victims.contains(&replica_process);
            stack.runs_again(other.0, other.1, if killed { before } else { 0 });
        }
        wait_until("the names are back", || {
            stack
                .sh("web", "nslookup -type=a db && nslookup -type=a web")
                .code
                == 0
        });
    }
}
