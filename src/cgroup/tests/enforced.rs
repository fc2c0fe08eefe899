//! What the kernel makes of limits and device rules, in real groups.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use super::real::{Real, v1_host, v2_host, v2_in};
use super::*;

#[test]
fn limits_of_version_1_hold_in_the_kernels_own_files() {
    let Some(mut real) = Real::on(v1_host()) else {
        return skipped("needs root and cgroup v1");
    };
    real.cgroup.create().unwrap();
    let (cgroup, layout) = (real.cgroup.clone(), real.layout.clone());
    let apply = |json| cgroup.apply(&limits(json, &layout).unwrap());
    let memory = 64 << 20;
    apply(serde_json::json!({
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "burst": 10_000, "cpus": "0", "mems": "0"},
        "memory": {"limit": memory, "swap": memory, "reservation": 32 << 20, "swappiness": 10},
        "pids": {"limit": 42},
        "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}],
    }))
    .unwrap();
    let value = |controller: &str, file: &str| {
        let Cgroup::V1(v1) = &cgroup else { panic!("not v1") };
        read(v1.directory_of(controller).unwrap().join(file))
    };
    assert_eq!(value("cpu", "cpu.shares"), "512");
    assert_eq!(value("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(value("cpuset", "cpuset.cpus"), "0");
    assert_eq!(value("memory", "memory.limit_in_bytes"), memory.to_string());
    assert_eq!(value("memory", "memory.memsw.limit_in_bytes"), memory.to_string());
    assert_eq!(value("pids", "pids.max"), "42");
    let devices = value("devices", "devices.list");
    assert!(
        devices.contains("c 10:229 rw\n") && devices.contains("c 1:3 rwm"),
        "{devices}"
    );
    assert!(!devices.contains('a'), "{devices}");
    // Raised and lowered again: the kernel takes the two limits in one order only, each time the other one.
    for memory in [memory * 2, memory / 2, -1] {
        apply(serde_json::json!({"memory": {"limit": memory, "swap": memory}})).unwrap();
    }
    // A longer period with a larger quota, then both small: likewise.
    apply(serde_json::json!({"cpu": {"period": 1_000_000, "quota": 900_000}})).unwrap();
    apply(serde_json::json!({"cpu": {"period": 10_000, "quota": 5_000, "burst": 0}})).unwrap();

    real.sleeper();
    let statistics = real.cgroup.statistics().unwrap();
    assert_eq!((statistics.pids.current, statistics.pids.limit), (1, 42));
    let unlimited: u64 = value("memory", "memory.limit_in_bytes").parse().unwrap();
    assert_eq!(statistics.memory.usage.limit, unlimited);
    assert!(statistics.memory.raw.contains_key("rss"));
}

#[test]
fn limits_of_version_2_hold_in_the_kernels_own_files() {
    let host = Layout::detect().ok().filter(|layout| layout.is_v2());
    let Some(mut real) = host.and_then(|host| Real::on(v2_in(host))) else {
        return skipped("needs root and a host whose controllers are on cgroup v2");
    };
    // Nested, so that a parent has to be made and to hand the controllers down.
    let path = format!("{}/web", unique());
    real.cgroup = Cgroup::plan(&real.layout, Some(Path::new(&path)), "x").unwrap();
    real.cgroup.create().unwrap();
    let directory = real.cgroup.directories()[0].1.clone();
    let apply = |json| real.cgroup.apply(&limits(json, &real.layout).unwrap());
    let memory = 64 << 20;
    apply(serde_json::json!({
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "burst": 10_000, "cpus": "0", "mems": "0"},
        "memory": {"limit": memory, "swap": memory, "reservation": 32 << 20},
        "pids": {"limit": 42},
        "unified": {"memory.high": "1000000\n", "cgroup.max.descendants": "7"},
    }))
    .unwrap();
    for (name, value) in [
        ("cpu.weight", "59"),
        ("cpu.max", "50000 100000"),
        ("cpu.max.burst", "10000"),
        ("cpuset.cpus", "0"),
        ("memory.max", &memory.to_string()),
        ("memory.low", &(32 << 20).to_string()),
        ("memory.high", "999424"),
        ("pids.max", "42"),
        ("cgroup.max.descendants", "7"),
    ] {
        assert_eq!(read(directory.join(name)), value, "{name}");
    }
    if directory.join("memory.swap.max").exists() {
        assert_eq!(read(directory.join("memory.swap.max")), "0");
    }
    let absent = |json| apply(json).unwrap_err().to_string();
    assert!(absent(serde_json::json!({"unified": {"gpu.max": "1"}})).starts_with(
        "linux.resources.unified[\"gpu.max\"]: the gpu controller is not available to the container's cgroup"
    ));
    assert!(
        absent(serde_json::json!({"unified": {"pids.colour": "1"}}))
            .contains("this kernel has no pids.colour in ")
    );
    let pid = real.sleeper();
    let statistics = real.cgroup.statistics().unwrap();
    assert_eq!((statistics.pids.current, statistics.pids.limit), (1, 42));
    assert_eq!(statistics.memory.usage.limit, memory);
    // The container makes groups of its own and takes the top from everybody else: joining follows its init.
    let inner = directory.join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("cgroup.procs"), pid.to_string()).unwrap();
    std::fs::write(directory.join("cgroup.subtree_control"), "+pids").unwrap();
    let beside = real.cgroup.join_beside(pid).unwrap();
    let beside = beside.clone_into().unwrap();
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&beside));
    assert_eq!(std::fs::read_link(link).unwrap(), inner);
    real.cgroup.delegate(12345).unwrap();
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    assert_eq!(
        (owner(&directory), owner(&directory.join("cgroup.procs"))),
        (12345, 12345)
    );
    assert_eq!(owner(&directory.join("memory.max")), 0);
    let parent = directory.parent().unwrap().to_owned();
    drop(real);
    assert!(!parent.exists());
}

#[test]
fn a_memory_limit_that_the_kernel_cannot_reach_says_what_is_used() {
    let Some(mut real) = Real::on(v1_host()) else {
        return skipped("needs root and cgroup v1");
    };
    real.cgroup.create().unwrap();
    let Cgroup::V1(v1) = &real.cgroup else {
        panic!("not v1")
    };
    let script =
        "echo $$ > \"$1/cgroup.procs\"; x=$(head -c 8388608 /dev/zero | tr '\\0' a); echo ready; read line";
    let mut child = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(v1.directory_of("memory").unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    real.processes.push(child);
    let apply = |json| real.cgroup.apply(&limits(json, &real.layout).unwrap());
    apply(serde_json::json!({"memory": {"swappiness": 0}})).unwrap(); // so that no swap makes room
    let error = apply(serde_json::json!({"memory": {"limit": 1 << 20}})).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with(
            "linux.resources.memory.limit: unable to set memory limit to 1048576 (current usage: "
        ),
        "{message}"
    );
}

#[test]
fn the_kernel_enforces_the_device_program() {
    let Some(mut real) = Real::on(v2_host()) else {
        return skipped("needs root and cgroup v2");
    };
    real.cgroup.create().unwrap();
    let directory = real.cgroup.directories()[0].1.clone();
    let scratch = Scratch::new();
    let tries = |rules: serde_json::Value| {
        real.cgroup
            .apply(&limits(serde_json::json!({"devices": rules}), &real.layout).unwrap())
            .unwrap();
        let script = "echo $$ > \"$1/cgroup.procs\"; rm -f \"$2/node\"
            for device in /dev/null /dev/full; do
                if (: < $device) 2>/dev/null; then echo read; else echo denied; fi
                if (: > $device) 2>/dev/null; then echo written; else echo denied; fi
            done
            if mknod \"$2/node\" b 7 200 2>/dev/null; then echo made; else echo denied; fi
            if (: < \"$2/node\") 2>&1 | grep -q 'not permitted'; then echo denied; else echo permitted; fi";
        let arguments = ["-c", script, "sh"];
        let mut command = Command::new("sh");
        command.args(arguments).arg(&directory).arg(&scratch.0);
        String::from_utf8(command.output().unwrap().stdout)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let deny_all = serde_json::json!([{"allow": false, "access": "rwm"}]);
    assert_eq!(
        tries(deny_all),
        ["read", "written", "read", "written", "made", "denied"]
    );
    // Replaced at once, not added: the old program would still deny.
    let allow_loop = serde_json::json!([{"allow": true, "type": "b", "major": 7, "access": "r"}]);
    assert_eq!(
        tries(allow_loop),
        ["read", "written", "read", "written", "made", "permitted"]
    );
    let programs = || {
        let directory = std::fs::File::open(&directory).unwrap();
        crate::sys::bpf::device_programs(directory.as_fd()).unwrap().len()
    };
    assert_eq!(programs(), 1);
    let allow_all = serde_json::json!([{"allow": true, "access": "rwm"}]);
    assert_eq!(
        tries(allow_all),
        ["read", "written", "read", "written", "made", "permitted"]
    );
    assert_eq!(programs(), 0);

    let rule = oci_spec::runtime::LinuxResources::default();
    let nothing = Limits::plan(Some(&rule), &real.layout, DefaultDevices::Omit).unwrap();
    real.cgroup.apply(&nothing).unwrap();
    real.sleeper();
    assert_eq!(programs(), 1);
}
