//! Real groups of the host. On a version 1 host with a version 2 tree beside it, a directory of that tree plays the mount
//! point, so both versions are tested; the tree itself is left alone. Without root, or without such a hierarchy, a test
//! says that it was skipped.

use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

/// A cgroup that is removed in the end with all that is in it.
struct Real {
    layout: Layout,
    cgroup: Cgroup,
    processes: Vec<Child>,
    /// A directory of version 2 that plays the mount point.
    below: Option<PathBuf>,
}

impl Real {
    /// On each version that the host has.
    fn each(test: &str, run: impl Fn(&mut Real)) {
        for layout in [v1_host(), v2_directory()] {
            let Some((layout, below)) = layout else {
                eprintln!("SKIPPED {test}: needs root and the cgroup version");
                continue;
            };
            let cgroup = Cgroup::plan(&layout, None, &unique()).unwrap();
            let mut real = Real {
                layout,
                cgroup,
                processes: Vec::new(),
                below,
            };
            run(&mut real);
        }
    }

    /// A process of the group that runs until it is killed.
    fn sleeper(&mut self) -> i32 {
        let child = Command::new("sleep")
            .arg("1000")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        self.processes.push(child);
        self.cgroup.attach(pid).unwrap();
        pid
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let killed = self.cgroup.kill();
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        let deleted = self.cgroup.delete();
        if let Some(below) = &self.below {
            let _ = std::fs::remove_dir(below);
        }
        if !std::thread::panicking() {
            killed.unwrap();
            deleted.unwrap();
        }
    }
}

type Found = Option<(Layout, Option<PathBuf>)>;

fn v1_host() -> Found {
    let layout = Layout::detect()
        .ok()
        .filter(|layout| !layout.is_v2() && nix::unistd::geteuid().is_root());
    layout.map(|layout| (layout, None))
}

fn v2_directory() -> Found {
    let tree = match Layout::detect().ok()? {
        Layout::V2(mount) => mount,
        Layout::V1(_) => PathBuf::from("/sys/fs/cgroup/unified"),
    };
    let below = tree.join(unique());
    std::fs::create_dir(&below).ok()?;
    Some((Layout::V2(below.clone()), Some(below)))
}

#[test]
fn a_group_lives_from_creation_to_deletion() {
    Real::each("a_group_lives_from_creation_to_deletion", |real| {
        real.cgroup.create().unwrap();
        assert!(real.cgroup.pids().unwrap().is_empty());
        let pid = real.sleeper();
        assert_eq!(real.cgroup.pids().unwrap(), [pid]);
        assert_eq!(real.cgroup.statistics().unwrap().pids.limit, 0);
        let error = real.cgroup.create().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("container's cgroup is not empty: 1 process(es) found")
        );
        real.cgroup.kill().unwrap();
        assert!(real.cgroup.pids().unwrap().is_empty());
        real.cgroup.delete().unwrap();
        assert!(
            real.cgroup
                .directories()
                .iter()
                .all(|(_, directory)| !directory.exists())
        );
        real.cgroup.delete().unwrap();
        real.cgroup.kill().unwrap();
    });
}

#[test]
fn freezing_stops_and_killing_reaches_the_frozen() {
    Real::each("freezing_stops_and_killing_reaches_the_frozen", |real| {
        real.cgroup.create().unwrap();
        real.sleeper();
        assert!(!real.cgroup.is_frozen().unwrap());
        real.cgroup.freeze().unwrap();
        assert!(real.cgroup.is_frozen().unwrap());
        assert!(real.cgroup.refuse_frozen().is_err());
        real.cgroup.thaw().unwrap();
        assert!(!real.cgroup.is_frozen().unwrap());
        real.cgroup.freeze().unwrap();
        real.cgroup.kill().unwrap();
        assert!(real.cgroup.pids().unwrap().is_empty());
        assert!(!real.cgroup.is_frozen().unwrap());
    });
}

#[test]
fn a_new_group_below_a_frozen_one_is_refused_and_not_left_behind() {
    Real::each(
        "a_new_group_below_a_frozen_one_is_refused_and_not_left_behind",
        |real| {
            real.cgroup.create().unwrap();
            real.sleeper();
            real.cgroup.freeze().unwrap();
            let name = real.cgroup.directories()[0].1.file_name().unwrap().to_owned();
            let inner = Cgroup::plan(&real.layout, Some(&Path::new(&name).join("inner")), "x").unwrap();
            let error = inner.create().unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with("container's cgroup unexpectedly frozen")
            );
            assert!(
                inner
                    .directories()
                    .iter()
                    .all(|(_, directory)| !directory.exists())
            );
        },
    );
}

#[test]
fn groups_that_the_container_made_are_counted_killed_and_removed() {
    Real::each(
        "groups_that_the_container_made_are_counted_killed_and_removed",
        |real| {
            real.cgroup.create().unwrap();
            let pid = real.sleeper();
            let (_, own) = real
                .cgroup
                .directories()
                .into_iter()
                .find(|(name, _)| name != "cpuset")
                .unwrap();
            std::fs::create_dir_all(own.join("inner/most")).unwrap();
            std::fs::write(own.join("inner/most/cgroup.procs"), pid.to_string()).unwrap();
            assert_eq!(real.cgroup.pids().unwrap(), [pid]);
            real.cgroup.kill().unwrap();
            real.cgroup.delete().unwrap();
            assert!(!own.exists());
        },
    );
}

#[test]
fn delete_says_what_remains_and_which_process_is_in_it() {
    Real::each("delete_says_what_remains_and_which_process_is_in_it", |real| {
        real.cgroup.create().unwrap();
        let pid = real.sleeper();
        let delete = match &real.cgroup {
            Cgroup::V1(v1) => v1.delete(Patience::new(Duration::from_millis(5))),
            Cgroup::V2(v2) => v2.delete(Patience::new(Duration::from_millis(5))),
        };
        let error = delete.unwrap_err().to_string();
        assert!(
            error.contains(&format!("1 process(es) are still in it: {pid}")),
            "{error}"
        );
        assert!(error.contains("remove cgroup"), "{error}");
    });
}

#[test]
fn a_killed_process_that_nobody_waits_for_does_not_keep_the_group() {
    Real::each(
        "a_killed_process_that_nobody_waits_for_does_not_keep_the_group",
        |real| {
            real.cgroup.create().unwrap();
            let pid = real.sleeper();
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            real.cgroup.delete().unwrap(); // the zombie is reaped only after this
        },
    );
}

#[test]
fn a_thread_joins_every_v1_hierarchy_by_its_tasks_file() {
    let Some((layout, _)) = v1_host() else {
        return eprintln!(
            "SKIPPED a_thread_joins_every_v1_hierarchy_by_its_tasks_file: needs root and cgroup v1"
        );
    };
    let id = unique();
    let cgroup = Cgroup::plan(&layout, None, &id).unwrap();
    cgroup.create().unwrap();
    let join = cgroup.join_handles().unwrap();
    let membership = std::thread::spawn(move || {
        join.enter().unwrap();
        std::fs::read_to_string("/proc/thread-self/cgroup").unwrap()
    });
    let membership = membership.join().unwrap();
    let joined = membership
        .lines()
        .filter(|line| line.ends_with(&format!("/minirun-{id}")))
        .count();
    cgroup.delete().unwrap();
    assert_eq!(joined, cgroup.directories().len(), "{membership}");
}

#[test]
fn limits_hold_in_the_kernels_own_files() {
    let Some((layout, _)) = v1_host() else {
        return eprintln!("SKIPPED limits_hold_in_the_kernels_own_files: needs root and cgroup v1");
    };
    let cgroup = Cgroup::plan(&layout, None, &unique()).unwrap();
    let mut real = Real {
        layout,
        cgroup,
        processes: Vec::new(),
        below: None,
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
fn a_memory_limit_that_the_kernel_cannot_reach_says_what_is_used() {
    let Some((layout, _)) = v1_host() else {
        return eprintln!(
            "SKIPPED a_memory_limit_that_the_kernel_cannot_reach_says_what_is_used: needs root and cgroup v1"
        );
    };
    let mut real = Real {
        cgroup: Cgroup::plan(&layout, None, &unique()).unwrap(),
        layout,
        processes: Vec::new(),
        below: None,
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
    let Some((_, Some(below))) = v2_directory() else {
        return eprintln!("SKIPPED the_kernel_enforces_the_device_program: needs root and cgroup v2");
    };
    let mut real = Real {
        layout: Layout::V2(below.clone()),
        cgroup: Cgroup::plan(&Layout::V2(below.clone()), None, &unique()).unwrap(),
        processes: Vec::new(),
        below: Some(below),
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
