//! Real groups of the host. On a version 1 host with a version 2 tree beside it, a directory of that tree plays the mount
//! point, so both versions are tested; the tree itself is left alone. Without root, or without such a hierarchy, a test
//! says that it was skipped.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::*;

/// A cgroup that is removed in the end with all that is in it.
pub(super) struct Real {
    pub(super) layout: Layout,
    pub(super) cgroup: Cgroup,
    pub(super) processes: Vec<Child>,
    /// A directory of version 2 that plays the mount point.
    below: Option<PathBuf>,
}

impl Real {
    /// On each version that the host has.
    fn each(run: impl Fn(&mut Real)) {
        let mut found: Vec<_> = [v1_host(), v2_host()].into_iter().filter_map(Real::on).collect();
        if found.is_empty() {
            skipped("needs root and a cgroup tree");
        }
        found.iter_mut().for_each(run);
    }

    pub(super) fn on(found: Found) -> Option<Real> {
        let (layout, below) = found?;
        Some(Real {
            cgroup: Cgroup::plan(&layout, None, &unique()).unwrap(),
            layout,
            processes: Vec::new(),
            below,
        })
    }

    /// A process of the group that runs until it is killed.
    pub(super) fn sleeper(&mut self) -> i32 {
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

pub(super) type Found = Option<(Layout, Option<PathBuf>)>;

pub(super) fn v1_host() -> Found {
    let layout = Layout::detect()
        .ok()
        .filter(|layout| !layout.is_v2() && nix::unistd::geteuid().is_root());
    layout.map(|layout| (layout, None))
}

pub(super) fn v2_host() -> Found {
    v2_in(Layout::detect().ok()?)
}

pub(super) fn v2_in(host: Layout) -> Found {
    match host {
        Layout::V2(_) => nix::unistd::geteuid().is_root().then_some((host, None)),
        Layout::V1(_) => {
            let below = Path::new("/sys/fs/cgroup/unified").join(unique());
            std::fs::create_dir(&below).ok()?;
            Some((Layout::V2(below.clone()), Some(below)))
        }
    }
}

#[test]
fn a_group_lives_from_creation_to_deletion() {
    Real::each(|real| {
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
    Real::each(|real| {
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
fn signals_reach_the_frozen_where_the_kernel_has_no_cgroup_kill() {
    Real::each(|real| {
        real.cgroup.create().unwrap();
        real.sleeper();
        real.sleeper();
        real.cgroup.freeze().unwrap();
        match &real.cgroup {
            Cgroup::V1(v1) => kill::by_signal(v1).unwrap(),
            Cgroup::V2(v2) => kill::by_signal(v2).unwrap(),
            Cgroup::None => unreachable!("a real group"),
        }
        assert!(real.cgroup.pids().unwrap().is_empty());
        assert!(!real.cgroup.is_frozen().unwrap());
    });
}

#[test]
fn a_fork_bomb_is_killed() {
    let Some(mut real) = Real::on(v1_host()) else {
        return skipped("needs root and cgroup v1");
    };
    real.cgroup.create().unwrap();
    real.cgroup
        .apply(&limits(serde_json::json!({"pids": {"limit": 30}}), &real.layout).unwrap())
        .unwrap();
    let mut bomb = Command::new("sh")
        .args(["-c", "read go; while :; do (while :; do sh -c : & done) & done"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    real.cgroup.attach(bomb.id().cast_signed()).unwrap();
    drop(bomb.stdin.take()); // read ends
    real.processes.push(bomb);
    let Cgroup::V1(v1) = &real.cgroup else {
        panic!("not v1")
    };
    let events = v1.directory_of("pids").unwrap().join("pids.events");
    while read(&events) == "max 0" {
        std::thread::yield_now(); // until the limit was hit once
    }
    real.cgroup.kill().unwrap();
    assert!(real.cgroup.pids().unwrap().is_empty());
}

#[test]
fn a_new_group_below_a_frozen_one_is_refused_and_not_left_behind() {
    Real::each(|real| {
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
    });
}

#[test]
fn groups_that_the_container_made_are_counted_killed_and_removed() {
    Real::each(|real| {
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
    });
}

#[test]
fn delete_says_what_remains_and_which_process_is_in_it() {
    Real::each(|real| {
        real.cgroup.create().unwrap();
        let pid = real.sleeper();
        let delete = match &real.cgroup {
            Cgroup::V1(v1) => v1.delete(Patience::new(Duration::from_millis(5))),
            Cgroup::V2(v2) => v2.delete(Patience::new(Duration::from_millis(5))),
            Cgroup::None => Ok(()),
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
    Real::each(|real| {
        real.cgroup.create().unwrap();
        let pid = real.sleeper();
        signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        real.cgroup.delete().unwrap(); // the zombie is reaped only after this
    });
}

#[test]
fn a_thread_joins_every_v1_hierarchy_by_its_tasks_file() {
    let Some((layout, _)) = v1_host() else {
        return skipped("needs root and cgroup v1");
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
