//! SCMP_ACT_NOTIFY: system calls that an agent answers.

use serde_json::{Value, json};

use crate::harness::{Agent, Container, Host, Manner};

/// What a shell says of a mkdir that failed as only the agent lets it fail.
const REFUSED: &str = "Protocol error";

fn profile(agent: &str, names: &[&str]) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent, "listenerMetadata": "for \"the\" agent",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}]})
}

impl Container<'_> {
    fn notified(self, profile: Value) -> Self {
        self.edit(|config| config["linux"]["seccomp"] = profile)
    }
}

const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

#[test]
fn the_agent_answers_calls_with_and_without_no_new_privileges() {
    let host = Host::new();
    for no_new_privileges in [true, false] {
        let agent = Agent::listen(host.dir(), 1, Manner::Answers);
        let output = host
            .container("web")
            .sh("mkdir /tmp/x; echo went on")
            .edit(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges))
            .notified(profile(agent.path(), &MKDIR))
            .run()
            .succeeds();
        assert!(output.stderr.contains(REFUSED), "{output}");
        assert_eq!(output.stdout, "went on\n");
        agent.messages();
    }
}

#[test]
fn the_agent_reads_the_state_of_every_process_on_a_connection_of_its_own() {
    let host = Host::new();
    let agent = Agent::listen(host.dir(), 2, Manner::Answers);
    let web = host
        .container("web")
        .sleeping()
        .edit(|config| config["annotations"] = json!({"team": "red"}))
        .notified(profile(agent.path(), &MKDIR))
        .running();
    let pid_file = host.dir().join("exec.pid");
    let options = ["--pid-file", pid_file.to_str().unwrap()];
    let output = web.exec_with(&options, ["mkdir", "/tmp/x"]);
    assert!(output.stderr.contains(REFUSED), "{output}");
    let exec_pid: i64 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let (pid, bundle) = (web.pid(), web.bundle().to_str().unwrap().to_owned());
    web.delete_force().succeeds();
    let state = |status: &str| {
        json!({"ociVersion": "1.0.2", "id": web.id(), "status": status, "pid": pid, "bundle": bundle,
            "annotations": {"team": "red"}})
    };
    let message = |pid: i64, status: &str| {
        json!({"ociVersion": "1.0.2", "fds": ["seccompFd"], "pid": pid, "metadata": "for \"the\" agent",
            "state": state(status)})
    };
    assert_eq!(
        agent.messages(),
        [message(pid, "creating"), message(exec_pid, "running")]
    );
}

#[test]
fn a_filter_that_stops_reads_and_sends_gets_to_the_agent_all_the_same() {
    let host = Host::new();
    let agent = Agent::listen(host.dir(), 1, Manner::Answers);
    let names = [
        "read", "close", "sendmsg", "sendto", "recvmsg", "recvfrom", "brk", "mmap", "mkdir",
    ];
    let output = host
        .container("web")
        .sh("mkdir /tmp/x; cat /etc/passwd | wc -l")
        .notified(profile(agent.path(), &names))
        .run()
        .succeeds();
    assert!(output.stderr.contains(REFUSED), "{output}");
    agent.messages();
}

#[test]
fn calls_fail_when_the_agent_has_gone() {
    let host = Host::new();
    let agent = Agent::listen(host.dir(), 1, Manner::GoesAway);
    let output = host
        .container("web")
        .args(["mkdir", "/tmp/x"])
        .notified(profile(agent.path(), &MKDIR))
        .run();
    assert!(output.stderr.contains("Function not implemented"), "{output}");
    agent.messages();
}

#[test]
fn without_an_agent_nothing_starts_and_nothing_stays() {
    let host = Host::new();
    let missing = host.dir().join("nobody.sock");
    let profile = profile(missing.to_str().unwrap(), &MKDIR);
    let run = host.container("run").notified(profile.clone()).run();
    run.fails_with(&["linux.seccomp.listenerPath", "nobody.sock"]);
    let web = host.container("web").sleeping().notified(profile).created();
    web.start()
        .fails_with(&["linux.seccomp.listenerPath", "nobody.sock"]);
    web.wait_for_status("stopped");
}

#[test]
fn a_listener_that_no_rule_needs_is_left_alone() {
    let host = Host::new();
    let unused = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nobody.sock",
        "listenerMetadata": "x", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]});
    host.container("web").notified(unused).run().succeeds();
}

#[test]
fn flags_of_the_filter_go_with_a_listener() {
    let host = Host::new();
    let agent = Agent::listen(host.dir(), 1, Manner::Answers);
    let mut profile = profile(agent.path(), &MKDIR);
    profile["flags"] = json!([
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG"
    ]);
    let web = host.container("web").args(["mkdir", "/tmp/x"]).notified(profile);
    let output = web.run();
    assert!(output.stderr.contains(REFUSED), "{output}");
    agent.messages();
}

#[test]
fn what_would_wait_for_ever_or_has_no_agent_is_refused_by_field() {
    let host = Host::new();
    let no_path = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    let no_path_but_metadata = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"});
    for (profile, texts) in [
        (
            profile("/run/a.sock", &["mkdir", "write"]),
            ["linux.seccomp.syscalls[0].action", "write"],
        ),
        (
            json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/a.sock"}),
            ["linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY"],
        ),
        (no_path, ["linux.seccomp.listenerPath", "is required"]),
        (
            no_path_but_metadata,
            ["linux.seccomp.listenerMetadata", "listenerPath"],
        ),
        (
            profile("a.sock", &MKDIR),
            ["linux.seccomp.listenerPath", "absolute"],
        ),
    ] {
        host.container("bad")
            .notified(profile)
            .run()
            .exits(1)
            .fails_with(&texts);
    }
}
