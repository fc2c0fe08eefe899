//! The control group of a container as a scope of systemd's: `--systemd-cgroup`.
//!
//! systemd makes the group, in a slice, moves the container's first process into it, and delegates it: what is in it is
//! ours. Limits are written to the group's files as without systemd, and told to systemd as well, which would undo them
//! otherwise.
//!
//! ```text
//! linux.cgroupsPath  a-b.slice:minirun:web
//! unit               minirun-web.scope
//! group              /sys/fs/cgroup/a.slice/a-b.slice/minirun-web.scope
//! ```

#[doc(hidden)]
pub mod fuzz;
mod manager;
mod message;
mod property;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::manager::{Manager, Refused};
use self::message::Writer;
pub use self::message::{Property, Value};
pub(super) use self::property::of_file;
pub use self::property::{ANNOTATION_PREFIX, of_annotation};
use super::{Cgroup, Layout, V2};
use crate::error::{Error, Kind, Result};

const FIELD: &str = "linux.cgroupsPath";

/// A container's unit. Goes into the record: who deletes the container is not told again that systemd holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Its name.
    pub unit: String,
    slice: String,
    /// The socket of the manager that has it.
    manager: PathBuf,
}

/// Whether [`Scope`] puts containers into units of systemd's: of the system's manager, and of a user's.
pub const SUPPORTED: bool = true;

/// Whose manager it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instance<'a> {
    /// The system's.
    System,
    /// That of a user, by XDG_RUNTIME_DIR.
    User(&'a Path),
}

impl Scope {
    /// The unit and its control group. `cgroups_path` is `slice:prefix:name`; each part may be empty.
    ///
    /// # Errors
    /// The path has another form, systemd does not run, or the host has not cgroup version 2.
    pub fn plan(
        layout: &Layout,
        instance: Instance<'_>,
        cgroups_path: Option<&Path>,
        id: &str,
    ) -> Result<(Scope, Cgroup)> {
        let (slice, unit) = names(instance, cgroups_path, id)?;
        // sd_booted(3)
        if !Path::new("/run/systemd/system").is_dir() {
            return Err(Error::new(
                Kind::Unsupported,
                "systemd not running on this host, cannot use systemd cgroups manager",
            )
            .hint("leave out --systemd-cgroup, or configure the engine for the cgroupfs driver"));
        }
        let Layout::V2(mount) = layout else {
            return Err(Error::unsupported(
                "--systemd-cgroup",
                "it needs cgroup v2, and this host has version 1",
            ));
        };
        let (manager, base) = match instance {
            Instance::System => (PathBuf::from("/run/systemd/private"), String::new()),
            Instance::User(directory) => {
                let manager = directory.join("systemd/private");
                let base = Manager::connect(&manager)?
                    .control_group()
                    .map_err(|refused| refused.during("ask for the user manager's control group"))?;
                (manager, base)
            }
        };
        let path = Path::new(base.trim_start_matches('/'))
            .join(expand(&slice))
            .join(&unit);
        let cgroup = Cgroup::V2(V2::of_somebody_else(mount, &path));
        let pids = cgroup.pids()?;
        if !pids.is_empty() {
            return Err(super::not_empty(pids.len()));
        }
        Ok((Scope { unit, slice, manager }, cgroup))
    }

    /// Makes the scope and moves the process into it; returns when it is there.
    ///
    /// # Errors
    /// What systemd says.
    pub fn start(&self, pid: i32, properties: &[Property]) -> Result<()> {
        let what = format!("start unit {}", self.unit);
        let mut manager = Manager::connect(&self.manager)?;
        let yes = |name: &str| (name.to_owned(), Value::Bool(true));
        let mut all = vec![
            (
                "Description".to_owned(),
                Value::Text(format!("minirun container {}", self.unit)),
            ),
            ("Slice".to_owned(), Value::Text(self.slice.clone())),
            ("PIDs".to_owned(), Value::Numbers(vec![pid.cast_unsigned()])),
            ("DefaultDependencies".to_owned(), Value::Bool(false)),
            yes("Delegate"),
            yes("CPUAccounting"),
            yes("MemoryAccounting"),
            yes("IOAccounting"),
            yes("TasksAccounting"),
        ];
        // What was asked for takes the place of what is usual.
        all.retain(|(name, _)| properties.iter().all(|(asked, _)| asked != name));
        all.extend_from_slice(properties);
        let started = match manager.start_transient_unit(&self.unit, &all) {
            // A failed one of this name stays until it is forgotten.
            Err(refused) if refused.is("UnitExists") => {
                self.forget(&mut manager)
                    .map_err(|refused| refused.during(&what))?;
                manager.start_transient_unit(&self.unit, &all)
            }
            result => result,
        };
        started.map_err(|refused| refused.during(&what))
    }

    /// Changes properties until the next boot.
    ///
    /// # Errors
    /// What systemd says.
    pub fn set(&self, properties: &[Property]) -> Result<()> {
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = Writer::default();
        body.text(&self.unit);
        body.flag(true);
        body.properties(properties);
        Manager::connect(&self.manager)?
            .call("SetUnitProperties", "sba(sv)", body)
            .map(drop)
            .map_err(|refused| refused.during(&format!("change unit {}", self.unit)))
    }

    /// Ends the unit and has it forgotten; fine when it is gone.
    ///
    /// # Errors
    /// What systemd says.
    pub fn stop(&self) -> Result<()> {
        let mut manager = Manager::connect(&self.manager)?;
        let mut body = Writer::default();
        body.text(&self.unit);
        body.text("replace");
        let stopped = manager
            .call("StopUnit", "ss", body)
            .and_then(|answer| manager.wait(&answer));
        match stopped {
            Err(refused) if !refused.is("NoSuchUnit") => {
                return Err(refused.during(&format!("stop unit {}", self.unit)));
            }
            _ => {}
        }
        self.forget(&mut manager)
            .map_err(|refused| refused.during(&format!("reset unit {}", self.unit)))
    }

    fn forget(&self, manager: &mut Manager) -> std::result::Result<(), Refused> {
        let mut body = Writer::default();
        body.text(&self.unit);
        match manager.call("ResetFailedUnit", "s", body) {
            Err(refused) if !refused.is("NoSuchUnit") => Err(refused),
            _ => Ok(()),
        }
    }
}

/// Slice and unit.
fn names(instance: Instance<'_>, cgroups_path: Option<&Path>, id: &str) -> Result<(String, String)> {
    let given = match cgroups_path {
        None => String::new(),
        Some(path) => path.to_str().unwrap_or("\u{fffd}").to_owned(),
    };
    let refuse = |why: &str| Error::invalid(FIELD, format_args!("{given:?} {why}"));
    let mut parts: Vec<&str> = given.split(':').collect();
    if given.is_empty() {
        parts = vec!["", "minirun", id];
    }
    let [slice, prefix, name] = parts[..] else {
        return Err(refuse(
            "must be of the form slice:prefix:name, as --systemd-cgroup was given",
        ));
    };
    let slice = match (slice, instance) {
        ("", Instance::System) => "system.slice",
        ("", Instance::User(_)) => "user.slice",
        ("-", _) => "-.slice",
        (slice, _) => slice,
    };
    let fine = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@+".contains(&byte);
        !name.is_empty() && name.bytes().all(allowed)
    };
    let stem = slice.strip_suffix(".slice").filter(|stem| {
        *stem == "-" || fine(stem) && !stem.starts_with('-') && !stem.ends_with('-') && !stem.contains("--")
    });
    if stem.is_none() {
        return Err(refuse("does not begin with the name of a slice"));
    }
    if name.ends_with(".slice") {
        return Err(refuse("names a slice, and processes are in scopes only"));
    }
    if !fine(name) || !prefix.is_empty() && !fine(prefix) || prefix.len() + name.len() > 240 {
        return Err(refuse("does not make the name of a unit"));
    }
    let unit = if prefix.is_empty() {
        format!("{name}.scope")
    } else {
        format!("{prefix}-{name}.scope")
    };
    Ok((slice.to_owned(), unit))
}

/// The directory of a slice: `a-b.slice` is in `a.slice` (systemd.slice(5)).
fn expand(slice: &str) -> PathBuf {
    let stem = slice.trim_end_matches(".slice");
    if stem == "-" {
        return PathBuf::new();
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    ends.filter_map(|end| stem.get(..end))
        .map(|part| format!("{part}.slice"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> Result<(String, String)> {
        names(Instance::System, Some(Path::new(path)), "web")
    }

    #[test]
    fn a_cgroups_path_names_slice_and_scope() {
        let pair = |slice: &str, unit: &str| (slice.to_owned(), unit.to_owned());
        assert_eq!(
            named("a.slice:docker:web").unwrap(),
            pair("a.slice", "docker-web.scope")
        );
        assert_eq!(
            named(":docker:web").unwrap(),
            pair("system.slice", "docker-web.scope")
        );
        assert_eq!(named("::web").unwrap(), pair("system.slice", "web.scope"));
        assert_eq!(named("-:a:b").unwrap(), pair("-.slice", "a-b.scope"));
        assert_eq!(
            names(Instance::System, None, "web").unwrap(),
            pair("system.slice", "minirun-web.scope")
        );
        let user = names(Instance::User(Path::new("/run/user/1")), None, "web");
        assert_eq!(user.unwrap(), pair("user.slice", "minirun-web.scope"));
    }

    #[test]
    fn a_cgroups_path_of_another_form_is_refused_under_systemd() {
        for path in [
            "/a/b",
            "a:b",
            "a:b:c:d",
            "a:b:c",
            "../a.slice:b:c",
            "a--b.slice:b:c",
            ":b:c/d",
            ":b:x.slice",
            ":b:",
        ] {
            let error = named(path).unwrap_err().to_string();
            assert!(error.starts_with("linux.cgroupsPath: "), "{path}: {error}");
        }
    }

    #[test]
    fn a_slice_is_in_the_slices_that_its_name_begins_with() {
        assert_eq!(expand("a-b-c.slice"), Path::new("a.slice/a-b.slice/a-b-c.slice"));
        assert_eq!(expand("system.slice"), Path::new("system.slice"));
        assert_eq!(expand("-.slice"), Path::new(""));
    }
}
