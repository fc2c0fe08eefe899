//! Configurations that differ from the default in one thing each: a name, and values by JSON pointer. A pointer that ends
//! in `/-` appends.

use serde_json::{Value, json};

/// What is changed, and how it reads in a failure.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) changes: Vec<(&'static str, Value)>,
}

fn case(name: impl Into<String>, changes: Vec<(&'static str, Value)>) -> Case {
    Case {
        name: name.into(),
        changes,
    }
}

fn one(name: impl Into<String>, pointer: &'static str, value: Value) -> Case {
    case(name, vec![(pointer, value)])
}

/// Sets a value, with the objects that lead to it.
pub(super) fn set(config: &mut Value, pointer: &str, value: Value) {
    let mut place = config;
    for key in pointer.split('/').skip(1) {
        if key == "-" {
            if place.is_null() {
                *place = json!([]);
            }
            let list = place.as_array_mut().unwrap();
            list.push(value);
            return;
        }
        place = &mut place[key];
    }
    *place = value;
}

/// Users, capabilities, environment, directory and the like. Not a group that is given twice: runc 1.1 drops one.
pub(super) fn process() -> Vec<Case> {
    let mut cases = vec![
        one("user 1000", "/process/user", json!({"uid": 1000, "gid": 1000})),
        one(
            "user 0, group 1000",
            "/process/user",
            json!({"uid": 0, "gid": 1000}),
        ),
        one(
            "user 1000, group 0",
            "/process/user",
            json!({"uid": 1000, "gid": 0}),
        ),
        one(
            "a user nobody knows",
            "/process/user",
            json!({"uid": 54321, "gid": 12345}),
        ),
        one("groups", "/process/user/additionalGids", json!([5, 10, 4242])),
        one("no new privileges", "/process/noNewPrivileges", json!(true)),
        one("new privileges", "/process/noNewPrivileges", json!(false)),
        one("no capabilities", "/process/capabilities", Value::Null),
        one("no rlimits", "/process/rlimits", json!([])),
        one("a directory", "/process/cwd", json!("/etc")),
        one(
            "a directory that is made",
            "/process/cwd",
            json!("/srv/made/here"),
        ),
        one("HOME given", "/process/env", json!(["PATH=/bin", "HOME=/srv"])),
        one("HOME empty", "/process/env", json!(["PATH=/bin", "HOME="])),
        one(
            "a variable twice",
            "/process/env",
            json!(["PATH=/bin", "A=1", "A=2"]),
        ),
        one(
            "a variable of many words",
            "/process/env",
            json!(["PATH=/bin", "A=1 2=3 \"4\" ü"]),
        ),
        case(
            "HOME of an ordinary user",
            vec![
                ("/process/user", json!({"uid": 1000, "gid": 1000})),
                ("/process/env", json!(["PATH=/bin"])),
            ],
        ),
        case(
            "ambient capabilities of an ordinary user",
            vec![
                ("/process/user", json!({"uid": 1000, "gid": 1000})),
                ("/process/capabilities/inheritable", json!(["CAP_KILL"])),
                ("/process/capabilities/ambient", json!(["CAP_KILL"])),
            ],
        ),
    ];
    for umask in [0, 0o022, 0o027, 0o077, 0o777] {
        cases.push(one(
            format!("umask {umask:o}"),
            "/process/user/umask",
            json!(umask),
        ));
    }
    for adjustment in [0, 1, 999, 1000] {
        cases.push(one(
            format!("oomScoreAdj {adjustment}"),
            "/process/oomScoreAdj",
            json!(adjustment),
        ));
    }
    for (set, pointer) in [
        ("bounding", "/process/capabilities/bounding"),
        ("effective", "/process/capabilities/effective"),
        ("permitted", "/process/capabilities/permitted"),
        ("inheritable", "/process/capabilities/inheritable"),
        ("ambient", "/process/capabilities/ambient"),
    ] {
        if set != "permitted" {
            cases.push(one(format!("no {set} capabilities"), pointer, json!([])));
        }
        if set == "bounding" || set == "inheritable" {
            let some = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
            cases.push(one(format!("three {set} capabilities"), pointer, some));
        }
    }
    cases
}

/// All limits that a process can have. Both values are equal: Go raises the soft limit of open files to the hard one
/// while runc sets it.
pub(super) fn limits_of_the_process() -> Vec<Case> {
    let gibibytes = 1_u64 << 30;
    [
        ("AS", 8 * gibibytes),
        ("CORE", 0),
        ("CPU", 100),
        ("DATA", 2 * gibibytes),
        ("FSIZE", gibibytes),
        ("LOCKS", 100),
        ("MEMLOCK", 4096),
        ("MSGQUEUE", 4096),
        ("NICE", 0),
        ("NOFILE", 100),
        ("NPROC", 2000),
        ("RSS", gibibytes),
        ("RTPRIO", 0),
        ("RTTIME", 1_000_000),
        ("SIGPENDING", 100),
        ("STACK", 8 << 20),
    ]
    .into_iter()
    .map(|(name, value)| {
        let limit = json!([{"type": format!("RLIMIT_{name}"), "soft": value, "hard": value}]);
        one(format!("RLIMIT_{name}"), "/process/rlimits", limit)
    })
    .collect()
}

/// One option a mount, on a file system of its own and on a directory of the host. Not `defaults` and `mode=` for a tmpfs on
/// a directory that is there: runc 1.1 hands the one to the kernel, and gives the directory's mode in spite of the other.
pub(super) fn mounts() -> Vec<Case> {
    let mount = |kind: &str, options: &[&str]| match kind {
        "tmpfs" => json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options}),
        _ => {
            let options: Vec<&str> = [&[kind], options].concat();
            json!({"destination": "/mnt", "type": "none", "source": "/usr/share", "options": options})
        }
    };
    let mut cases = Vec::new();
    let flags = [
        "ro",
        "rw",
        "nosuid",
        "nodev",
        "noexec",
        "noatime",
        "nodiratime",
        "relatime",
        "strictatime",
        "suid",
        "dev",
        "exec",
        "defaults",
    ];
    for kind in ["tmpfs", "bind", "rbind"] {
        for flag in flags {
            if (kind, flag) == ("tmpfs", "defaults") {
                continue;
            }
            cases.push(one(format!("{kind},{flag}"), "/mounts/-", mount(kind, &[flag])));
        }
    }
    for propagation in [
        "private",
        "rprivate",
        "slave",
        "rslave",
        "shared",
        "rshared",
        "unbindable",
        "runbindable",
    ] {
        cases.push(one(
            format!("bind,{propagation}"),
            "/mounts/-",
            mount("bind", &[propagation]),
        ));
    }
    for options in [
        &["ro", "nosuid", "nodev", "noexec"][..],
        &["sync", "dirsync"],
        &["size=64k", "nr_inodes=100"],
        &["size=1m", "uid=1000", "gid=1000"],
        &["ro", "rw"],
        &["noexec", "exec"],
        &["tmpcopyup"],
    ] {
        cases.push(one(
            format!("tmpfs,{}", options.join(",")),
            "/mounts/-",
            mount("tmpfs", options),
        ));
    }
    cases
}

/// Namespaces by their sysctls and names; which ones there are is drawn by chance elsewhere.
pub(super) fn namespaces() -> Vec<Case> {
    let mut cases = vec![
        one("another host name", "/hostname", json!("other.example")),
        one("a longest host name", "/hostname", json!("x".repeat(64))),
        case(
            "two sysctls",
            vec![(
                "/linux/sysctl",
                json!({"kernel.msgmax": "4096", "net.ipv4.ip_forward": "1"}),
            )],
        ),
    ];
    for (name, value) in [
        ("net.core.somaxconn", "77"),
        ("net.ipv4.ip_unprivileged_port_start", "0"),
        ("net.ipv4.ping_group_range", "0 1000"),
        ("kernel.shmmax", "65536"),
        ("kernel.msgmnb", "4096"),
        ("fs.mqueue.msg_max", "11"),
    ] {
        cases.push(one(
            format!("sysctl {name}"),
            "/linux/sysctl",
            json!({name: value}),
        ));
    }
    cases
}

/// The root, what is masked in it, and the devices. Not the propagations `shared`, which runc 1.1 does not give the root
/// although it is asked to, and `unbindable`, with which it cannot bind the root; nor a default device that is listed again,
/// which it makes and then may not open.
pub(super) fn root() -> Vec<Case> {
    let mut cases = vec![
        one("a read-only root", "/root/readonly", json!(true)),
        one("a writable root", "/root/readonly", json!(false)),
        one("nothing masked", "/linux/maskedPaths", json!([])),
        one("nothing read-only", "/linux/readonlyPaths", json!([])),
        one(
            "files masked",
            "/linux/maskedPaths",
            json!(["/etc/passwd", "/proc/version"]),
        ),
        one(
            "directories masked",
            "/linux/maskedPaths",
            json!(["/etc", "/proc/bus", "/sys/firmware"]),
        ),
        one(
            "a missing path masked",
            "/linux/maskedPaths",
            json!(["/no/such/path"]),
        ),
        one(
            "files read-only",
            "/linux/readonlyPaths",
            json!(["/etc/passwd", "/proc/sysrq-trigger"]),
        ),
        one(
            "directories read-only",
            "/linux/readonlyPaths",
            json!(["/etc", "/proc/sys"]),
        ),
        one(
            "a missing path read-only",
            "/linux/readonlyPaths",
            json!(["/no/such/path"]),
        ),
    ];
    for propagation in ["private", "rprivate", "slave", "rslave"] {
        cases.push(one(
            format!("root {propagation}"),
            "/linux/rootfsPropagation",
            json!(propagation),
        ));
    }
    for (name, device) in [
        (
            "kmsg",
            json!({"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}),
        ),
        (
            "with mode and owner",
            json!({"path": "/dev/own", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 1000, "gid": 5}),
        ),
        (
            "a block device",
            json!({"path": "/dev/block", "type": "b", "major": 7, "minor": 200}),
        ),
        (
            "a fifo",
            json!({"path": "/dev/pipe", "type": "p", "fileMode": 0o600}),
        ),
        (
            "in a new directory",
            json!({"path": "/dev/new/dir/null", "type": "c", "major": 1, "minor": 3}),
        ),
    ] {
        cases.push(one(format!("device: {name}"), "/linux/devices", json!([device])));
    }
    cases
}

/// Limits in the container's own files; a controller that the host lacks leaves its cases out.
pub(super) fn resources(has: impl Fn(&str) -> bool) -> Vec<Case> {
    let limit = 64_u64 << 20;
    let all = [
        ("memory", "limit", json!({"limit": limit})),
        (
            "memory",
            "limit and reservation",
            json!({"limit": limit, "reservation": limit / 2}),
        ),
        ("memory", "limit without end", json!({"limit": -1})),
        ("memory", "an odd limit", json!({"limit": limit + 1})),
        ("cpu", "shares", json!({"shares": 512})),
        ("cpu", "few shares", json!({"shares": 200})),
        ("cpu", "many shares", json!({"shares": 100_000})),
        (
            "cpu",
            "quota and period",
            json!({"quota": 20_000, "period": 50_000}),
        ),
        ("cpu", "quota without end", json!({"quota": -1})),
        ("pids", "limit", json!({"limit": 100})),
        ("pids", "limit without end", json!({"limit": -1})),
    ];
    let mut cases: Vec<Case> = all
        .into_iter()
        .filter(|(controller, _, _)| has(controller))
        .map(|(controller, name, value)| {
            let pointer = match controller {
                "memory" => "/linux/resources/memory",
                "cpu" => "/linux/resources/cpu",
                _ => "/linux/resources/pids",
            };
            one(format!("{controller}: {name}"), pointer, value)
        })
        .collect();
    if has("cpuset") {
        let cpus = json!({"cpus": "0", "mems": "0"});
        cases.push(one("cpuset", "/linux/resources/cpu", cpus));
    }
    for (name, rules) in [
        ("nothing", json!([{"allow": false, "access": "rwm"}])),
        ("everything", json!([{"allow": true, "access": "rwm"}])),
        (
            "one to read",
            json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]),
        ),
        (
            "a class",
            json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "b", "major": 7, "access": "rwm"}]),
        ),
        ("no rules", json!([])),
    ] {
        cases.push(one(format!("devices: {name}"), "/linux/resources/devices", rules));
    }
    cases
}

/// Filters that leave the probe alone.
pub(super) fn filters() -> Vec<Case> {
    let filter = |rest: Value| {
        let mut filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]});
        for (key, value) in rest.as_object().unwrap() {
            filter[key] = value.clone();
        }
        filter
    };
    let rule = |action: &str, more: Value| {
        let mut rule = json!({"names": ["mkdir", "mkdirat"], "action": action});
        for (key, value) in more.as_object().unwrap() {
            rule[key] = value.clone();
        }
        json!({"syscalls": [rule]})
    };
    let argument = json!({"args": [{"index": 1, "value": 0o777, "op": "SCMP_CMP_EQ"}]});
    [
        ("without rules", json!({})),
        ("errno", rule("SCMP_ACT_ERRNO", json!({}))),
        ("errno 28", rule("SCMP_ACT_ERRNO", json!({"errnoRet": 28}))),
        ("trap", rule("SCMP_ACT_TRAP", json!({}))),
        ("kill the process", rule("SCMP_ACT_KILL_PROCESS", json!({}))),
        ("kill the thread", rule("SCMP_ACT_KILL", json!({}))),
        ("log", rule("SCMP_ACT_LOG", json!({}))),
        ("an argument", rule("SCMP_ACT_ERRNO", argument)),
        (
            "an unknown name",
            json!({"syscalls": [{"names": ["no_such_call", "mkdir"], "action": "SCMP_ACT_ERRNO"}]}),
        ),
    ]
    .into_iter()
    .map(|(name, rest)| one(format!("seccomp: {name}"), "/linux/seccomp", filter(rest)))
    .collect()
}
