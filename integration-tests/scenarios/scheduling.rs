//! When and where the process runs: scheduler, I/O priority, CPUs, memory policy, execution domain.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Container, Host, Output, skip};

/// The shell's own line of proc_pid_stat(5), and its I/O priority.
const SCHEDULING: &str = "cat /proc/$$/stat; ionice -p $$";

/// Policy, real-time priority and nice value: fields 41, 40 and 19 of proc_pid_stat(5).
fn policy(stat: &str) -> [&str; 3] {
    let line = stat.lines().next().unwrap();
    let fields: Vec<&str> = line.rsplit(')').next().unwrap().split_whitespace().collect();
    // Two fields stand up to the parenthesis.
    [41, 40, 19].map(|number: usize| fields[number - 3])
}

/// A share of real time, without which the kernel refuses real-time policies in a group of cgroup v1 (where it is built
/// with CONFIG_RT_GROUP_SCHED).
fn real_time(container: Container<'_>) -> Container<'_> {
    if !std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        return container;
    }
    container.edit(|config| config["linux"]["resources"] = json!({"cpu": {"realtimeRuntime": 1000}}))
}

fn scheduled(host: &Host, id: &str, process: Value) -> Output {
    let properties = process.as_object().unwrap().clone();
    let container = real_time(host.container(id)).sh(SCHEDULING).edit(|config| {
        config["process"].as_object_mut().unwrap().extend(properties);
    });
    container.run()
}

/// The document of `exec --process` for a shell script, with more properties.
fn exec_process(container: &Container<'_>, script: &str, more: Value) -> Output {
    let mut process = json!({"args": ["sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/"});
    process
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let file = container.bundle().join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    container.exec_with(&["--process", file.to_str().unwrap()], [])
}

#[test]
fn the_scheduler_of_the_config_schedules_the_process() {
    let host = Host::new();
    for (id, scheduler, expected) in [
        (
            "batch",
            json!({"policy": "SCHED_BATCH", "nice": 7}),
            ["3", "0", "7"],
        ),
        (
            "other",
            json!({"policy": "SCHED_OTHER", "nice": -3}),
            ["0", "0", "-3"],
        ),
        ("idle", json!({"policy": "SCHED_IDLE"}), ["5", "0", "0"]),
        (
            "fifo",
            json!({"policy": "SCHED_FIFO", "priority": 10}),
            ["1", "10", "0"],
        ),
        (
            "rr",
            json!({"policy": "SCHED_RR", "priority": 20, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
            ["2", "20", "0"],
        ),
    ] {
        let said = scheduled(&host, id, json!({ "scheduler": scheduler }))
            .succeeds()
            .stdout;
        assert_eq!(policy(&said), expected, "{id}: {said}");
    }
}

#[test]
fn a_process_with_a_deadline_is_scheduled_by_it_or_the_error_says_what_it_takes() {
    let host = Host::new();
    let scheduler = json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 50_000_000,
        "period": 100_000_000, "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]});
    let output = scheduled(&host, "deadline", json!({ "scheduler": scheduler }));
    if output.code == 0 {
        assert_eq!(policy(&output.stdout)[0], "6", "{output}");
    } else {
        output.fails_with(&[
            "process.scheduler: set SCHED_DEADLINE",
            "linux.resources.cpu.cpus",
        ]);
    }
}

#[test]
fn a_policy_that_no_kernel_has_and_senseless_values_are_refused_by_field() {
    let host = Host::new();
    for (scheduler, texts) in [
        (
            json!({"policy": "SCHED_ISO"}),
            ["process.scheduler: set SCHED_ISO", "does this kernel know"],
        ),
        (
            json!({"policy": "SCHED_BATCH", "nice": 20}),
            ["process.scheduler.nice", "-20 and 19"],
        ),
        (
            json!({"policy": "SCHED_OTHER", "priority": 1}),
            ["process.scheduler.priority", "SCHED_FIFO"],
        ),
        (
            json!({"policy": "SCHED_IDLE", "runtime": 1}),
            ["process.scheduler.runtime", "SCHED_DEADLINE"],
        ),
        (
            json!({"policy": "SCHED_EDF"}),
            ["process.scheduler.policy", "SCHED_DEADLINE"],
        ),
        (
            json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"]}),
            ["process.scheduler.flags[0]", "SCHED_FLAG_RECLAIM"],
        ),
    ] {
        scheduled(&host, "bad", json!({ "scheduler": scheduler })).fails_with(&texts);
    }
}

#[test]
fn the_io_priority_is_that_of_the_config() {
    let host = Host::new();
    for (id, class, level, said) in [
        ("idle", "IOPRIO_CLASS_IDLE", 0, "idle"),
        ("effort", "IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("real", "IOPRIO_CLASS_RT", 1, "realtime: prio 1"),
    ] {
        let priority = json!({"ioPriority": {"class": class, "priority": level}});
        let output = scheduled(&host, id, priority).succeeds();
        assert!(output.stdout.contains(said), "{output}");
    }
    let level = json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}});
    scheduled(&host, "bad", level).fails_with(&["process.ioPriority.priority", "between 0 and 7"]);
}

#[test]
fn scheduling_reaches_the_container_in_a_user_namespace_and_a_process_of_exec() {
    let host = Host::new();
    let web = host.container("web").user_namespace().sleeping().edit(|config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -4});
    });
    let web = web.running();
    let stat = fs::read_to_string(format!("/proc/{}/stat", web.pid())).unwrap();
    assert_eq!(policy(&stat), ["0", "0", "-4"], "{stat}");
    let more = json!({"scheduler": {"policy": "SCHED_BATCH", "nice": 5}, "ioPriority": {"class": "IOPRIO_CLASS_IDLE"}});
    let said = exec_process(&web, SCHEDULING, more).succeeds().stdout;
    assert_eq!(policy(&said), ["3", "0", "5"], "{said}");
    assert!(said.contains("idle"), "{said}");
}

const CPUS: &str = "grep Cpus_allowed_list /proc/$$/status | cut -f2";

#[test]
fn exec_runs_on_the_cpus_that_are_final_and_the_first_process_on_all() {
    let host = Host::new();
    let own = host.container("own").sh(CPUS).run().succeeds().stdout;
    if own == "0\n" {
        skip!("needs two CPUs");
    }
    // Blanks and empty items are allowed, and there is no end at 1024 CPUs.
    let affinity = json!({"initial": " 0 , ,", "final": "1,2000-3000"});
    let web = host
        .container("web")
        .edit(|config| config["process"]["execCPUAffinity"] = affinity.clone())
        .sh(&format!("{CPUS}; sleep 1000"))
        .running();
    web.wait_for_stdout("\n");
    assert_eq!(web.stdout(), own);
    assert_eq!(web.exec(["sh", "-c", CPUS]).succeeds().stdout, "1\n");
    let initial_only = json!({"execCPUAffinity": {"initial": "1", "final": ""}});
    assert_eq!(exec_process(&web, CPUS, initial_only).succeeds().stdout, "1\n");
    let none = json!({"execCPUAffinity": {"initial": "", "final": " "}});
    assert_eq!(exec_process(&web, CPUS, none).succeeds().stdout, own);
}

#[test]
fn cpus_that_are_not_there_and_no_lists_of_cpus_fail_exec_by_field() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    for (affinity, texts) in [
        (
            json!({"final": "9000"}),
            ["process.execCPUAffinity.final", "none of them"],
        ),
        (
            json!({"initial": "9000"}),
            ["process.execCPUAffinity.initial", "none of them"],
        ),
        (
            json!({"initial": "banana"}),
            ["process.execCPUAffinity.initial", "banana"],
        ),
        (
            json!({"final": "3-1"}),
            ["process.execCPUAffinity.final", "ends before it begins"],
        ),
        (
            json!({"final": "70000"}),
            ["process.execCPUAffinity.final", "larger than"],
        ),
    ] {
        exec_process(&web, "true", json!({ "execCPUAffinity": affinity })).fails_with(&texts);
    }
}

#[test]
fn a_container_with_cpus_of_its_own_has_them_whatever_those_of_the_caller() {
    let host = Host::new();
    let web = host
        .container("web")
        .edit(|config| config["linux"]["resources"] = json!({"cpu": {"cpus": "1"}}))
        .sh(CPUS);
    if host.container("own").sh(CPUS).run().succeeds().stdout == "0\n" {
        skip!("needs two CPUs");
    }
    let command = format!(
        "taskset 1 {} run {}",
        host.binary().display(),
        web.bundle_and_id().join(" ")
    );
    assert_eq!(host.sh(&command).succeeds().stdout, "1\n");
}

fn numa_maps(host: &Host, id: &str, policy: Value) -> Output {
    host.container(id)
        .sh("cut -d' ' -f2 /proc/self/numa_maps | sort -u")
        .edit(|config| config["linux"]["memoryPolicy"] = policy)
        .run()
}

#[test]
fn the_memory_policy_is_that_of_the_config_in_the_process_and_in_exec() {
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        skip!("needs a kernel with NUMA");
    }
    let host = Host::new();
    for (id, policy, shown) in [
        ("bind", json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (
            "interleave",
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-0,"}),
            "interleave:0",
        ),
        (
            "weighted",
            json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}),
            "weighted interleave:0",
        ),
        (
            "preferred",
            json!({"mode": "MPOL_PREFERRED", "nodes": "0"}),
            "prefer:0",
        ),
        (
            "many",
            json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}),
            "prefer (many):0",
        ),
        ("local", json!({"mode": "MPOL_LOCAL", "nodes": ""}), "local"),
        (
            "static",
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            "bind=static:0",
        ),
        (
            "relative",
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}),
            "bind=relative:0",
        ),
        (
            "balancing",
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}),
            "bind",
        ),
        ("default", json!({"mode": "MPOL_DEFAULT"}), "default"),
    ] {
        let output = numa_maps(&host, id, policy);
        // A mode with a blank in it is cut at the blank.
        let shown = shown.split(' ').next().unwrap();
        assert!(output.clone().succeeds().stdout.contains(shown), "{id}: {output}");
    }
    let web = host
        .container("web")
        .edit(|config| config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"}))
        .sleeping()
        .running();
    let maps = web.exec(["cat", "/proc/self/numa_maps"]).succeeds().stdout;
    assert!(maps.contains(" bind:0 "), "{maps}");
}

#[test]
fn a_memory_policy_that_cannot_be_is_refused_by_field_and_leaves_nothing() {
    let host = Host::new();
    for (policy, text) in [
        (
            json!({"mode": "MPOL_BIND", "nodes": "1000"}),
            "linux.memoryPolicy",
        ),
        (
            json!({"mode": "MPOL_BIND", "nodes": "x"}),
            "linux.memoryPolicy.nodes",
        ),
        (json!({"mode": "MPOL_BIND"}), "linux.memoryPolicy.nodes"),
        (json!({"mode": "MPOL_NEAR"}), "linux.memoryPolicy.mode"),
        (
            json!({"mode": "MPOL_LOCAL", "flags": ["MPOL_F_X"]}),
            "linux.memoryPolicy.flags[0]",
        ),
    ] {
        numa_maps(&host, "bad", policy).fails_with(&[text]);
    }
}

#[test]
fn the_execution_domain_is_that_of_the_config_in_the_process_and_in_exec() {
    let host = Host::new();
    let machine = |id: &str, personality: Value| {
        let container = host.container(id).args(["uname", "-m"]).edit(|config| {
            config["linux"]["personality"] = personality;
        });
        container.run()
    };
    let own = machine("own", json!({"domain": "LINUX"})).succeeds().stdout;
    let other = machine("other", json!({"domain": "LINUX32"})).succeeds().stdout;
    assert_ne!(own, other);
    let warned = machine("flags", json!({"domain": "LINUX", "flags": ["SHORT_INODE"]}));
    assert!(
        warned
            .clone()
            .succeeds()
            .stderr
            .contains("linux.personality.flags"),
        "{warned}"
    );
    machine("bad", json!({"domain": "BSD"})).fails_with(&["linux.personality.domain"]);

    let web = host
        .container("web")
        .edit(|config| config["linux"]["personality"] = json!({"domain": "LINUX32"}))
        .sleeping()
        .running();
    assert_eq!(web.exec(["uname", "-m"]).succeeds().stdout, other);
}
