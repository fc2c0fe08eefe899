//! The processes of a container: those in its control group, or, without one, those that procfs shows to be its.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, read_link};
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::unistd::Pid;

use super::record::Record;
use crate::cgroup::Cgroup;
use crate::error::{OsContext, Result};
use crate::sys::pidfd;

/// The processes of a container, ascending.
///
/// # Errors
/// When the control group, or the list of processes, cannot be read.
pub fn pids(record: &Record) -> Result<Vec<i32>> {
    match (&record.cgroup, record.init) {
        (Cgroup::None, Some(init)) if init.is_alive()? => {
            let everybody = everybody()?;
            Ok(those_of(init.pid, !record.shares_pid_namespace, &everybody))
        }
        (cgroup, _) => cgroup.pids(),
    }
}

/// Kills what a container has without a control group in which it could be found later.
pub(super) fn kill_without_group(record: &Record) -> Result<()> {
    // With a pid namespace of its own the end of its first process is the end of all.
    if record.cgroup != Cgroup::None || !record.shares_pid_namespace {
        return Ok(());
    }
    for pid in pids(record)? {
        // One that has gone is what is wanted.
        if let Ok(process) = pidfd::open(Pid::from_raw(pid)) {
            let _ = pidfd::send_signal(process.as_fd(), libc::SIGKILL);
        }
    }
    Ok(())
}

/// What procfs says of a process.
struct Seen {
    parent: i32,
    /// Its pid namespace, where we may know it.
    namespace: Option<PathBuf>,
}

fn everybody() -> Result<HashMap<i32, Seen>> {
    let entries = fs::read_dir("/proc").os("list", "/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    // One that has ended meanwhile is left out.
    let seen = pids.filter_map(|pid| {
        let parent = parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        let namespace = read_link(format!("/proc/{pid}/ns/pid")).ok();
        Some((pid, Seen { parent, namespace }))
    });
    Ok(seen.collect())
}

/// proc_pid_stat(5), field 4; the name before it may hold anything.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// The descendants of `init`, and those that entered its pid namespace from outside, with theirs.
fn those_of(init: i32, own_namespace: bool, everybody: &HashMap<i32, Seen>) -> Vec<i32> {
    let namespace = everybody
        .get(&init)
        .and_then(|seen| seen.namespace.as_ref())
        .filter(|_| own_namespace);
    let mut found: BTreeSet<i32> = everybody
        .iter()
        .filter(|(pid, seen)| **pid == init || namespace.is_some() && seen.namespace.as_ref() == namespace)
        .map(|(pid, _)| *pid)
        .collect();
    loop {
        let before = found.len();
        found.extend(
            everybody
                .iter()
                .filter(|(_, seen)| found.contains(&seen.parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            return found.into_iter().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(parent: i32, namespace: &str) -> Seen {
        Seen {
            parent,
            namespace: Some(namespace.into()),
        }
    }

    #[test]
    fn descendants_and_who_came_into_the_namespace_belong_to_the_container() {
        let everybody = HashMap::from([
            (1, seen(0, "host")),
            (10, seen(1, "own")),
            (11, seen(10, "own")),
            (12, seen(11, "nested")),
            (20, seen(1, "own")),
            (21, seen(20, "nested")),
            (30, seen(1, "host")),
        ]);
        assert_eq!(those_of(10, true, &everybody), [10, 11, 12, 20, 21]);
        assert_eq!(those_of(10, false, &everybody), [10, 11, 12]);
    }

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent("7 (a) R 3 (b) S 5 7 7"), Some(5));
        assert_eq!(parent("garbage"), None);
    }
}
