//! Configurations by chance: a merge patch of config.json, drawn once and applied to both bundles.

use serde_json::{Value, json};

use crate::harness::{Container, Random, has_controller};

const CAPABILITIES: [&str; 8] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// What is to be changed, to be printed and applied: plain data.
pub(super) fn change(random: &mut Random) -> Value {
    json!({
        "process": process(random),
        "readonly": random.coin(),
        "rootfsPropagation": random.one_of(&["", "private", "slave"]),
        "mounts": mounts(random),
        // The user namespace maps ids; without the others the container shares the caller's.
        "user namespace": random.below(3) == 0,
        "without": random.some_of(&["ipc", "network", "cgroup", "uts"]),
        "masked": random.some_of(&["/proc/kcore", "/proc/acpi", "/sys/firmware", "/etc/passwd", "/no/such/path", "/proc/scsi"]),
        "read-only": random.some_of(&["/proc/sys", "/proc/bus", "/etc", "/var", "/no/such/path"]),
        "resources": resources(random),
    })
}

fn process(random: &mut Random) -> Value {
    let bounding = random.some_of(&CAPABILITIES);
    let permitted = random.some_of(&bounding);
    let inheritable = random.some_of(&permitted);
    let mut user = json!({"uid": random.one_of(&[0, 1000, 4242]), "gid": random.one_of(&[0, 1000, 5])});
    if random.coin() {
        user["additionalGids"] = json!(random.some_of(&[5, 10, 2000]));
    }
    if random.coin() {
        user["umask"] = json!(random.one_of(&[0, 0o027, 0o077]));
    }
    let files = random.one_of(&[64, 512, 1024]);
    let mut limits = vec![json!({"type": "RLIMIT_NOFILE", "soft": files, "hard": files * 2})];
    if random.coin() {
        limits.push(json!({"type": "RLIMIT_CORE", "soft": 0, "hard": random.one_of(&[0, 4096])}));
    }
    if random.coin() {
        limits.push(json!({"type": "RLIMIT_STACK", "soft": 4 << 20, "hard": 8 << 20}));
    }
    json!({
        "user": user,
        "capabilities": {
            "bounding": bounding, "permitted": permitted, "effective": random.some_of(&permitted),
            "inheritable": inheritable, "ambient": random.some_of(&inheritable)
        },
        "rlimits": limits,
        "noNewPrivileges": random.coin(),
        "oomScoreAdj": random.one_of(&[0, 7, 500]),
        "cwd": random.one_of(&["/", "/tmp", "/etc"]),
        "env": random.one_of(&[
            json!(["PATH=/bin"]),
            json!(["PATH=/bin", "HOME=/tmp", "A=1", "A=2"]),
            json!(["PATH=/bin", "EMPTY=", "SPACES=a b"]),
        ]),
    })
}

fn mounts(random: &mut Random) -> Vec<Value> {
    let some = random.some_of(&[
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", "size=1m"]}),
        json!({"destination": "/mnt", "type": "tmpfs", "source": "scratch", "options": ["ro", "noexec", "strictatime"]}),
        json!({"destination": "/srv/data", "type": "bind", "source": "/usr/share", "options": ["bind", "ro"]}),
        json!({"destination": "/host", "type": "bind", "source": "/usr", "options": ["rbind", "nosuid", "noexec"]}),
        json!({"destination": "/shared", "type": "bind", "source": "/usr/lib", "options": ["rbind", "rslave", "nodev"]}),
        json!({"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["bind", "rprivate", "ro", "nosuid"]}),
        json!({"destination": "/var/new/file", "type": "bind", "source": "/etc/hostname", "options": ["bind", "nodev"]}),
    ]);
    some.into_iter().collect()
}

fn resources(random: &mut Random) -> Value {
    let mut resources = json!({});
    if has_controller("cpu") && random.coin() {
        resources["cpu"] = json!({"quota": random.one_of(&[50_000, 80_000]), "period": 100_000, "shares": random.one_of(&[700, 1024, 2048])});
    }
    if has_controller("memory") && random.coin() {
        let limit = random.one_of(&[64_u64, 100, 256]) << 20;
        resources["memory"] = json!({"limit": limit, "reservation": limit / 2});
    }
    if has_controller("pids") && random.coin() {
        resources["pids"] = json!({"limit": random.one_of(&[20, 100])});
    }
    if has_controller("cpuset") && random.coin() {
        resources["cpu"]["cpus"] = json!("0");
    }
    resources["devices"] = random.one_of(&[
        json!([{"allow": false, "access": "rwm"}]),
        json!([{"allow": true, "access": "rwm"}]),
        json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
               {"allow": true, "type": "b", "major": 7, "access": "rw"}]),
        json!([{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]),
    ]);
    resources
}

/// Applies a change to a bundle.
pub(super) fn apply<'h>(container: Container<'h>, change: &Value) -> Container<'h> {
    let texts = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    };
    let without = texts(&change["without"]);
    let path = format!("/{}", container.id());
    let mut container = container.edit(|config| {
        config["linux"]["cgroupsPath"] = json!(path);
        for (key, value) in change["process"].as_object().unwrap() {
            config["process"][key] = value.clone();
        }
        config["root"]["readonly"] = change["readonly"].clone();
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .extend(change["mounts"].as_array().unwrap().clone());
        config["linux"]["rootfsPropagation"] = change["rootfsPropagation"].clone();
        config["linux"]["maskedPaths"] = change["masked"].clone();
        config["linux"]["readonlyPaths"] = change["read-only"].clone();
        config["linux"]["resources"] = change["resources"].clone();
        if without.iter().any(|kind| kind == "uts") {
            config.as_object_mut().unwrap().remove("hostname");
        }
    });
    // A namespace of the caller is of no use to the owner of a user namespace: sysfs and mqueue cannot be mounted there.
    let user = change["user namespace"] == json!(true);
    for kind in without
        .iter()
        .filter(|kind| !user || *kind == "uts" || *kind == "cgroup")
    {
        container = container.without_namespace(kind);
    }
    if user {
        container.user_namespace()
    } else {
        container
    }
}
