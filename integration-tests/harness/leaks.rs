//! The count of what a scenario left on the machine, and its removal.
//!
//! Cgroups and processes are found on the whole machine by the scenario's tag, the rest in the sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::host::TAG_VARIABLE;
use super::rootfs::busybox;

/// Everything counted: what a reader should be told, by the thing's identity.
pub(crate) struct Inventory(BTreeMap<String, String>);

impl Inventory {
    /// Counts for the sandbox that process `holder` keeps.
    pub(crate) fn take(tag: &str, holder: u32) -> Inventory {
        let mut found = BTreeMap::new();
        let mut add = |kind: &str, identity: String, text: String| {
            found.insert(format!("{kind} {identity}"), format!("{kind} {text}"));
        };
        let cgroups = cgroups(tag);
        for path in &cgroups {
            add("cgroup", path.display().to_string(), path.display().to_string());
        }
        for process in processes(tag, holder) {
            add("process", process.pid.to_string(), process.describe());
        }
        for line in read(format!("/proc/{holder}/mountinfo")).lines() {
            add("mount", line.split(' ').next().unwrap().into(), line.into());
        }
        for line in read(format!("/proc/{holder}/net/dev")).lines().skip(2) {
            let name = line.split(':').next().unwrap().trim().to_owned();
            add("link", name.clone(), name);
        }
        for line in ruleset(holder)
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && *line != "}")
        {
            add("nftables", line.into(), line.into());
        }
        for path in state_files(tag, holder) {
            add("state", path.clone(), path);
        }
        Inventory(found)
    }
}

/// What there is beyond `before`, once that is nothing or two seconds have passed: the kernel ends processes and
/// tears down network namespaces a moment after the call that asked for it has returned.
pub(crate) fn settled(before: &Inventory, tag: &str, holder: u32) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let mut now = Inventory::take(tag, holder).0;
        now.retain(|identity, _| !before.0.contains_key(identity));
        if now.is_empty() || Instant::now() > deadline {
            return now.into_values().collect();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Removes what outlives the sandbox's namespaces: the scenario's processes and cgroups.
pub(crate) fn clean(tag: &str, holder: u32) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let processes = processes(tag, holder);
        let cgroups = cgroups(tag);
        if (processes.is_empty() && cgroups.is_empty()) || Instant::now() > deadline {
            return;
        }
        for cgroup in &cgroups {
            // A frozen process does not die.
            let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
            let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
        }
        for process in &processes {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        for cgroup in cgroups.iter().rev() {
            let _ = fs::remove_dir(cgroup);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

struct Process {
    pid: i32,
    status: String,
    command: String,
}

impl Process {
    fn describe(&self) -> String {
        let name = self
            .status
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("Name:")
            .trim();
        format!("{} {name}: {}", self.pid, self.command)
    }
}

/// Processes of the scenario: in the sandbox's namespaces, in one of its cgroups, or started with its tag.
fn processes(tag: &str, holder: u32) -> Vec<Process> {
    let namespace = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let holder = holder.to_string();
    let ours = (namespace(&holder, "mnt"), namespace(&holder, "net"));
    let tagged = format!("{TAG_VARIABLE}={tag}\0");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<i32>() else { continue };
        if name == holder {
            continue;
        }
        let status = read(format!("/proc/{pid}/status"));
        // An ended process that init has not yet waited for is nobody's leak.
        if status.is_empty() || status.contains("\nState:\tZ") || status.contains("\nState:\tX") {
            continue;
        }
        let in_sandbox = || {
            let (mnt, net) = (namespace(&name, "mnt"), namespace(&name, "net"));
            (mnt.is_some() && mnt == ours.0) || (net.is_some() && net == ours.1)
        };
        let in_cgroup = || read(format!("/proc/{pid}/cgroup")).contains(&format!("{tag}-"));
        let started = || read(format!("/proc/{pid}/environ")).contains(&tagged);
        if in_sandbox() || in_cgroup() || started() {
            let command = read(format!("/proc/{pid}/cmdline")).replace('\0', " ");
            found.push(Process { pid, status, command });
        }
    }
    found
}

/// Cgroups of every hierarchy, and groups of resctrl, whose path names the scenario, parents before children.
fn cgroups(tag: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, tag: &str, ours: bool, found: &mut BTreeSet<PathBuf>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            let ours = ours || entry.file_name().to_string_lossy().contains(&format!("{tag}-"));
            if ours {
                found.insert(entry.path());
            }
            walk(&entry.path(), tag, ours, found);
        }
    }
    let mut found = BTreeSet::new();
    for line in read("/proc/self/mounts").lines() {
        let mut fields = line.split(' ').skip(1);
        if let (Some(point), Some("cgroup" | "cgroup2" | "resctrl")) = (fields.next(), fields.next()) {
            walk(Path::new(point), tag, false, &mut found);
        }
    }
    found.into_iter().collect()
}

/// Records and leases in the sandbox: every file but locks, the socket where netd is asked and what [`is_memory`] says, and directories named after a
/// container.
fn state_files(tag: &str, holder: u32) -> Vec<String> {
    let walk = |dir: &Path, found: &mut Vec<PathBuf>| {
        let mut pending = vec![dir.to_owned()];
        while let Some(dir) = pending.pop() {
            for path in fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
            {
                let name = path.file_name().unwrap().to_string_lossy();
                if !name.ends_with("lock")
                    && name != ".netd.sock"
                    && !is_memory(&path)
                    && (!path.is_dir() || name.contains(tag))
                {
                    found.push(path.clone());
                }
                if path.is_dir() && !path.is_symlink() {
                    pending.push(path);
                }
            }
        }
    };
    let root = format!("/proc/{holder}/root");
    let mut found = Vec::new();
    for dir in ["/run/minirun", "/var/lib/minirun", "/run/runc"] {
        walk(Path::new(&format!("{root}{dir}")), &mut found);
    }
    found
        .iter()
        .map(|path| path.to_string_lossy().trim_start_matches(&root).to_owned())
        .collect()
}

/// What is kept on purpose when the last container has gone: events, and of a network its definition, which addresses were
/// freed last, and the host's switch that it has turned.
fn is_memory(path: &Path) -> bool {
    let parent = path.parent().unwrap();
    let name = path.file_name().unwrap();
    (parent.ends_with("run/minirun") && (name == "events" || name == "events.1"))
        || (parent.ends_with("var/lib/minirun/net") && path.extension().is_some_and(|end| end == "json"))
        || (parent.ends_with("run/minirun/net") && name == ".host.json")
        || (parent
            .parent()
            .is_some_and(|net| net.ends_with("run/minirun/net"))
            && name == "history.json")
}

/// The sandbox's firewall, as nft lists it; empty where there is no nft.
fn ruleset(holder: u32) -> String {
    let listed = std::process::Command::new(busybox())
        .args([
            "nsenter",
            "-t",
            &holder.to_string(),
            "-n",
            "--",
            "nft",
            "list",
            "ruleset",
        ])
        .output();
    listed
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// A file of procfs, empty when its process has gone meanwhile.
fn read(path: impl AsRef<Path>) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
