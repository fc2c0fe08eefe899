//! Putting limits back to what they were before an update.

use std::os::fd::AsFd;
use std::path::PathBuf;

use super::{Devices, Limits, Write};
use crate::cgroup::devices::Policy;
use crate::cgroup::{Cgroup, device_program, file};
use crate::error::{Error, Result};

/// What the files of a change said before it.
#[derive(Debug)]
#[must_use]
pub struct Undo<'a> {
    cgroup: &'a Cgroup,
    saved: Vec<Saved>,
    /// What held, and what was to hold.
    devices: Option<(Policy, Policy)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Saved {
    path: PathBuf,
    /// One write each.
    lines: Vec<String>,
}

impl Limits {
    /// Reads what the files say that are about to be written.
    pub(in crate::cgroup) fn undo<'a>(&self, cgroup: &'a Cgroup) -> Undo<'a> {
        let directory = |write: &Write| match cgroup {
            Cgroup::V1(v1) => v1.directory_of(&write.controller),
            Cgroup::V2(v2) => Some(v2.directory()),
            Cgroup::None => None,
        };
        let mut saved = Vec::new();
        for write in self.settings.iter().flatten() {
            let Some(directory) = directory(write) else {
                continue;
            };
            saved.extend(write.choices.iter().filter_map(|(name, value)| {
                let path = directory.join(name);
                let content = file::read(&path).ok()?; // another choice, then; or the write says what is missing
                let lines = value.lines().map(|line| former(name, line, &content)).collect();
                Some(Saved { path, lines })
            }));
        }
        let devices = match &self.devices {
            Devices::New(_) | Devices::Keep => None,
            Devices::Change { from, to } => Some((from.clone(), to.clone())),
        };
        Undo {
            cgroup,
            saved,
            devices,
        }
    }
}

impl Undo<'_> {
    /// Puts everything back, and returns the error that made it necessary, with what could not be put back.
    pub fn after(self, error: Error) -> Error {
        let left = self.put_back();
        if left.is_empty() {
            error
        } else {
            error.hint(format_args!("these are changed now: {}", left.join(", ")))
        }
    }

    /// What could not be put back. Values can bound each other, so one that is refused is tried again as long as others
    /// succeed.
    fn put_back(&self) -> Vec<String> {
        let mut left = Vec::new();
        if let Some((from, to)) = &self.devices
            && let Err(error) = self.put_devices_back(from, to)
        {
            left.push(format!("device rules ({error})"));
        }
        // The last first: a file that two properties wrote gets what it had before both.
        let mut waiting: Vec<&Saved> = self.saved.iter().rev().collect();
        loop {
            let before = waiting.len();
            waiting.retain(|saved| {
                let mut lines = saved.lines.iter();
                lines.any(|line| file::write(&saved.path, line).is_err())
            });
            if waiting.is_empty() || waiting.len() == before {
                break;
            }
        }
        left.extend(waiting.iter().map(|saved| saved.path.display().to_string()));
        left
    }

    fn put_devices_back(&self, from: &Policy, to: &Policy) -> Result<()> {
        match self.cgroup {
            Cgroup::V1(v1) => match v1.directory_of("devices") {
                Some(directory) => from.replace_v1(to, &directory, v1),
                None => Ok(()),
            },
            Cgroup::V2(v2) => device_program::apply(from, v2.open()?.as_fd()),
            Cgroup::None => Ok(()),
        }
    }
}

/// What to write so that a file is again as in `content`, as far as `written` changes it.
fn former(name: &str, written: &str, content: &str) -> String {
    let key = written.split(' ').next().unwrap_or_default();
    if key.contains(':') || matches!(name, "rdma.max" | "net_prio.ifpriomap") {
        let found = content.lines().find(|line| line.split(' ').next() == Some(key));
        return found.map_or_else(|| without_limit(name, key, written), str::to_owned);
    }
    let first = content.lines().next().unwrap_or_default().trim();
    match (name, first) {
        // An empty write never reaches the kernel's side of the file.
        (_, "") => "\n".to_owned(),
        // `oom_kill_disable 0`
        ("memory.oom_control", first) => first.rsplit(' ').next().unwrap_or_default().to_owned(),
        (_, first) => first.to_owned(),
    }
}

/// The line that takes the limits of one device away.
fn without_limit(name: &str, key: &str, written: &str) -> String {
    let values = written
        .split(' ')
        .skip(1)
        .map(|value| match value.split_once('=') {
            Some((limit, _)) => format!(" {limit}=max"),
            None if matches!(name, "io.weight" | "io.bfq.weight") => " default".to_owned(),
            None => " 0".to_owned(),
        });
    std::iter::once(key.to_owned()).chain(values).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_back_as_it_takes_what_it_showed() {
        let table = [
            ("memory.limit_in_bytes", "1", "4096\n", "4096"),
            ("cpu.max", "7000 50000", "max 100000\n", "max 100000"),
            ("cpuset.cpus", "0", "\n", "\n"),
            (
                "memory.oom_control",
                "1",
                "oom_kill_disable 0\nunder_oom 0\n",
                "0",
            ),
            ("io.weight", "70", "default 100\n8:0 50\n", "default 100"),
            ("io.weight", "8:0 70", "default 100\n8:0 50\n", "8:0 50"),
            ("io.weight", "8:16 70", "default 100\n8:0 50\n", "8:16 default"),
            (
                "io.max",
                "8:0 rbps=70",
                "8:0 rbps=50 wbps=max\n",
                "8:0 rbps=50 wbps=max",
            ),
            ("io.max", "8:0 rbps=70", "", "8:0 rbps=max"),
            ("blkio.throttle.read_bps_device", "8:0 70", "", "8:0 0"),
            ("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 2\n", "eth0 2"),
            (
                "rdma.max",
                "mlx hca_handle=2",
                "mlx hca_handle=max hca_object=max\n",
                "mlx hca_handle=max hca_object=max",
            ),
        ];
        for (name, written, content, expected) in table {
            assert_eq!(former(name, written, content), expected, "{name}: {written}");
        }
    }
}
