//! A container's place in resctrl: the class that it is in and the monitoring group that counts for it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::file;
use super::mount::Mount;
use super::schemata::Schemas;
use super::statistics::Statistics;
use crate::error::{Error, Kind, Result};
use crate::process;

/// The directory of a class that has its monitoring groups.
pub(super) const MONITORING: &str = "mon_groups";

const TASKS: &str = "tasks";
const SCHEMATA: &str = "schemata";

/// Whose class it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Class {
    /// The container's alone; it goes with it.
    Own,
    /// Named by `closID` and made with the container. It stays for others, unless the container never came to be.
    Made,
    /// It was there before.
    Joined,
}

/// Plain data: it goes into the container's record before anything is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    mount: Mount,
    directory: PathBuf,
    class: Class,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monitoring: Option<PathBuf>,
}

/// A group that was made ready for a process. Until it is in, nobody else may take an empty class away.
#[derive(Debug)]
pub struct Placing {
    group: Group,
    #[expect(dead_code, reason = "held, not used")]
    lock: File,
}

impl Placing {
    pub(super) fn new(group: Group, lock: File) -> Placing {
        Placing { group, lock }
    }

    /// Puts the process in, while it is one thread that waits: all that it starts is born there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn place(self, pid: i32) -> Result<Group> {
        self.group.place(pid)?;
        Ok(self.group)
    }
}

impl Group {
    pub(super) fn new(mount: &Mount, name: &str, class: Class, monitoring: Option<&str>) -> Group {
        let directory = mount.class(name);
        Group {
            monitoring: monitoring.map(|name| directory.join(MONITORING).join(name)),
            mount: mount.clone(),
            directory,
            class,
        }
    }

    pub(super) fn class(&self) -> &Path {
        &self.directory
    }

    pub(super) fn monitoring(&self) -> Option<&Path> {
        self.monitoring.as_deref()
    }

    pub(super) fn write(&self, lines: &[String]) -> Result<()> {
        // The kernel wants an end of line behind the last one, too.
        let text = format!("{}\n", lines.join("\n"));
        file::set(&self.mount, &self.directory.join(SCHEMATA), &text)
    }

    fn place(&self, pid: i32) -> Result<()> {
        // The class first: a monitoring group takes only what is in its class already.
        for directory in [Some(self.class()), self.monitoring()].into_iter().flatten() {
            file::set(&self.mount, &directory.join(TASKS), &pid.to_string())
                .map_err(|error| error.during("linux.intelRdt"))?;
        }
        Ok(())
    }

    /// Puts a process in that joins the container later. A class that somebody removed gave the container's processes to the
    /// default one: then it stays there with them.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn join(&self, pid: i32) -> Result<()> {
        match self.place(pid) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(()),
            placed => placed,
        }
    }

    /// Puts processes in that run already, with all their threads; `list` tells them until none of them is outside.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn gather(&self, mut list: impl FnMut() -> Result<Vec<i32>>) -> Result<()> {
        let mut seen = BTreeSet::new();
        loop {
            // What they start meanwhile may be born inside or outside.
            let tasks = file::get(&self.directory.join(TASKS))?;
            seen.extend(tasks.lines().filter_map(|line| line.parse::<i32>().ok()));
            let threads = list()?.into_iter().flat_map(threads);
            let outside: Vec<i32> = threads.filter(|thread| seen.insert(*thread)).collect();
            if outside.is_empty() {
                return Ok(());
            }
            for thread in outside {
                match self.place(thread) {
                    // It has ended meanwhile.
                    Err(error) if error.errno() == Some(Errno::ESRCH) => {}
                    placed => placed?,
                }
            }
        }
    }

    /// Gives the class other shares, all that are given or none. Others who are in it have them, too.
    ///
    /// # Errors
    /// It is the default class, which is the whole host's; the kernel refuses. Nothing is changed then.
    pub fn change(&self, schemas: Schemas<'_>) -> Result<()> {
        if self.directory == self.mount.path() {
            return Err(Error::new(
                Kind::Unsupported,
                "the container is in the default class, whose shares are the whole host's",
            )
            .hint("linux.intelRdt.closID gives it another one"));
        }
        check_flags(&self.mount, schemas)?;
        self.write(&schemas.lines())
    }

    /// A class of its own, for a container that was made without.
    ///
    /// # Errors
    /// The processor cannot do it; there is no class left; somebody else has the name.
    pub fn make_own(
        mount: Option<Mount>,
        id: &str,
        schemas: Schemas<'_>,
        record: impl FnOnce(&Group) -> Result<()>,
    ) -> Result<Group> {
        let mount = match mount {
            Some(mount) => mount,
            None => return Err(not_enabled(schemas)),
        };
        check_flags(&mount, schemas)?;
        let _lock = file::lock(&mount)?;
        let group = Group::new(&mount, id, Class::Own, None);
        if group.directory.exists() {
            return Err(super::plan::taken(&group.directory));
        }
        record(&group)?;
        file::make(&mount, &group.directory)?;
        group.write(&schemas.lines())?;
        Ok(group)
    }

    /// Removes what is the container's alone, whatever of it exists. With `unmade` the container never came to be, and a class
    /// that was made for it goes too if nobody else has come in.
    ///
    /// # Errors
    /// What is left.
    pub fn remove(&self, unmade: bool) -> Result<()> {
        let lock = match file::lock(&self.mount) {
            // Not mounted any more: all classes went with it.
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(()),
            lock => lock?,
        };
        if let Some(monitoring) = &self.monitoring {
            file::remove(&self.mount, monitoring)?;
        }
        match self.class {
            Class::Own => file::remove(&self.mount, &self.directory)?,
            Class::Made if unmade && self.is_unused() => file::remove(&self.mount, &self.directory)?,
            Class::Made | Class::Joined => {}
        }
        drop(lock);
        Ok(())
    }

    fn is_unused(&self) -> bool {
        let tasks = file::get(&self.directory.join(TASKS)).unwrap_or_default();
        let groups = fs::read_dir(self.directory.join(MONITORING));
        !tasks.lines().any(lives) && groups.map_or(true, |mut groups| groups.next().is_none())
    }

    /// Shares and counters.
    pub fn statistics(&self) -> Statistics {
        // Those of a class that others may be in are not the container's.
        let own = (self.class == Class::Own).then_some(self.class());
        Statistics::read(&self.mount, &self.directory, self.monitoring().or(own))
    }
}

/// Both in runc's words.
fn not_enabled(schemas: Schemas<'_>) -> Error {
    let (flag, why) = match schemas.cache_lines().next() {
        Some(_) => (
            "--l3-cache-schema",
            "Intel RDT/CAT: l3 cache schema is not enabled",
        ),
        None => (
            "--mem-bw-schema",
            "Intel RDT/MBA: memory bandwidth schema is not enabled",
        ),
    };
    Error::new(Kind::Unsupported, format_args!("{flag}: {why}"))
        .hint("is resctrl mounted, and can the processor do it?")
}

fn check_flags(mount: &Mount, schemas: Schemas<'_>) -> Result<()> {
    schemas.check("--mem-bw-schema")?;
    let bandwidth = Schemas {
        l3_cache: None,
        ..schemas
    };
    if schemas.cache_lines().next().is_some() && !mount.can_share_l3() {
        return Err(not_enabled(schemas));
    }
    if schemas.bandwidth().is_some() && !mount.can("MB") {
        return Err(not_enabled(bandwidth));
    }
    Ok(())
}

/// Whether a thread of this number runs: one that ended is in its class until somebody has waited for it.
fn lives(thread: &str) -> bool {
    thread
        .parse()
        .is_ok_and(|number| process::runs(number).unwrap_or(true))
}

/// The threads of a process; none of one that has ended.
fn threads(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}
