//! Seccomp: actions, argument rules, errno values, and refusals.

use serde_json::{Value, json};

use crate::harness::{Container, Host};

impl Container<'_> {
    fn seccomp(self, profile: Value) -> Self {
        self.edit(|config| config["linux"]["seccomp"] = profile)
    }
}

fn rule(names: &[&str], action: &str) -> Value {
    json!({"names": names, "action": action})
}

fn allow_but(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": rules})
}

#[test]
fn a_rule_returns_the_errno_that_it_names_and_eperm_without_one() {
    let host = Host::new();
    let mut named = rule(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO");
    named["errnoRet"] = json!(95);
    let output = host
        .container("errno")
        .sh("mkdir /tmp/x")
        .seccomp(allow_but(json!([named])))
        .run()
        .exits(1);
    assert!(output.stderr.contains("not supported"), "{output}");
    let plain = allow_but(json!([rule(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO")]));
    let output = host
        .container("eperm")
        .sh("mkdir /tmp/x")
        .seccomp(plain)
        .run()
        .exits(1);
    assert!(output.stderr.contains("Operation not permitted"), "{output}");
}

#[test]
fn the_filter_counts_with_and_without_no_new_privileges_and_for_exec() {
    let host = Host::new();
    for nnp in [true, false] {
        let web = host
            .container("web")
            .sleeping()
            .seccomp(allow_but(json!([rule(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO")])))
            .edit(|config| config["process"]["noNewPrivileges"] = json!(nnp))
            .running();
        web.exec(["mkdir", "/tmp/x"])
            .exits(1)
            .fails_with(&["Operation not permitted"]);
        assert_eq!(web.probe_by_exec().status("Seccomp"), "2");
    }
}

#[test]
fn a_rule_on_an_argument_counts_for_that_argument_only() {
    let host = Host::new();
    // kill(pid, SIGUSR1)
    let mut by_argument = rule(&["kill"], "SCMP_ACT_ERRNO");
    by_argument["args"] = json!([{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]);
    let script = "sleep 1000 & kill -USR1 $! || echo refused; kill -TERM $! && echo sent";
    let output = host
        .container("args")
        .sh(script)
        .seccomp(allow_but(json!([by_argument])))
        .run()
        .succeeds();
    assert_eq!(output.stdout, "refused\nsent\n");
}

#[test]
fn masked_comparison_of_an_argument_works() {
    let host = Host::new();
    // socket(domain, type & 0xf == SOCK_DGRAM)
    let mut by_mask = rule(&["socket"], "SCMP_ACT_ERRNO");
    by_mask["args"] = json!([{"index": 1, "value": 15, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]);
    let container = host
        .container("mask")
        .sh("ip link set lo up || echo refused; nc -l -p 0 -w 1 </dev/null; [ $? = 1 ] && echo stream");
    let output = container.seccomp(allow_but(json!([by_mask]))).run();
    assert!(output.stdout.contains("refused"), "{output}");
}

#[test]
fn the_default_action_counts_for_what_no_rule_names() {
    let host = Host::new();
    // The whole of what a shell needs, said by denying the rest: swapon is nobody's need.
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [rule(&["execve"], "SCMP_ACT_ALLOW")]});
    let output = host.container("nothing").args(["true"]).seccomp(profile).run();
    assert!(output.code != 0, "{output}");
}

#[test]
fn kill_process_ends_it_with_sigsys() {
    let host = Host::new();
    let profile = allow_but(json!([rule(&["mkdir", "mkdirat"], "SCMP_ACT_KILL_PROCESS")]));
    host.container("kill")
        .args(["mkdir", "/tmp/x"])
        .seccomp(profile)
        .run()
        .exits(128 + 31);
}

#[test]
fn names_that_no_kernel_knows_are_ignored() {
    let host = Host::new();
    let profile = allow_but(json!([rule(
        &["no_such_call", "mkdir", "mkdirat"],
        "SCMP_ACT_ERRNO"
    )]));
    host.container("future")
        .sh("mkdir /tmp/x")
        .seccomp(profile)
        .run()
        .exits(1)
        .fails_with(&["not permitted"]);
}

#[test]
fn broken_profiles_are_refused_by_field() {
    let host = Host::new();
    let cases = [
        (json!({"defaultAction": "SCMP_ACT_DREAM"}), "DREAM"),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ABACUS"]}),
            "ABACUS",
        ),
        (
            allow_but(json!([{"names": [], "action": "SCMP_ACT_ERRNO"}])),
            "names",
        ),
        (
            allow_but(json!([{"names": ["mkdir"], "action": "SCMP_ACT_DREAM"}])),
            "DREAM",
        ),
        (
            allow_but(
                json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 9, "value": 0, "op": "SCMP_CMP_EQ"}]}]),
            ),
            "index",
        ),
        (
            allow_but(
                json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_DREAM"}]}]),
            ),
            "DREAM",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
            "defaultErrnoRet",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "listenerMetadata",
        ),
    ];
    for (profile, field) in cases {
        host.container("broken")
            .seccomp(profile)
            .run()
            .exits(1)
            .fails_with(&[field]);
    }
}

#[test]
fn without_a_profile_there_is_no_filter() {
    let host = Host::new();
    assert_eq!(host.container("free").probe().status("Seccomp"), "0");
}

#[test]
fn a_filter_that_allows_little_more_than_the_program_needs_lets_it_start() {
    let host = Host::new();
    // What changing the user takes, and what a static `echo` makes.
    let names = [
        "execve",
        "prctl",
        "setresuid",
        "capget",
        "capset",
        "arch_prctl",
        "brk",
        "exit_group",
        "getrandom",
        "mmap",
        "mprotect",
        "munmap",
        "newfstatat",
        "prlimit64",
        "readlink",
        "readlinkat",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "set_robust_list",
        "set_tid_address",
        "uname",
        "write",
        "ioctl",
        "fstat",
        "getuid",
        "geteuid",
        "setuid",
        "setgid",
        "getgid",
        "getpid",
    ];
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule(&names, "SCMP_ACT_ALLOW")]});
    for nnp in [true, false] {
        let container = host
            .container("narrow")
            .args(["echo", "started"])
            .seccomp(profile.clone())
            .edit(|config| {
                config["process"]["noNewPrivileges"] = json!(nnp);
                config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            })
            .created();
        container.start().succeeds();
        container.wait_for_stdout("started");
    }
}

#[test]
fn a_program_that_the_filter_keeps_from_being_executed_fails_start_with_the_reason() {
    let host = Host::new();
    let container = host
        .container("noexec")
        .seccomp(allow_but(json!([rule(&["execve", "sendmsg"], "SCMP_ACT_ERRNO")])))
        .created();
    container
        .start()
        .exits(1)
        .fails_with(&["operation not permitted"]);
}
