//! linux.resources as what is written into the container's directories.
//!
//! [`Limits::plan`] is pure: it validates every value, converts those of version 1 for version 2, and refuses what the
//! layout cannot honour, each with the field's path. Applying is then a list of writes.

mod change;
mod cpu;
mod io;
mod memory;
mod others;
#[cfg(test)]
mod tests;
mod undo;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

pub use self::change::Change;
pub use self::undo::Undo;
use super::devices::{DefaultDevices, Policy};
use super::v1::V1;
use super::v2::V2;
use super::{Layout, device_program, file, systemd};
use crate::error::{Error, Kind, Result};

/// The limits of a container, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    settings: Vec<Setting>,
    devices: Devices,
    warnings: Vec<String>,
}

/// What becomes of the device rules.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Devices {
    /// Those of a new container.
    New(Policy),
    /// Those of a living one stay as they are.
    Keep,
    /// Those of a living one are replaced.
    Change { from: Policy, to: Policy },
}

/// Writes that constrain each other (a period and its quota, memory and memory with swap): which order the kernel accepts
/// depends on the present values, so one that is refused is tried again after the others.
type Setting = Vec<Write>;

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Write {
    /// Path in config.json.
    field: String,
    controller: String,
    /// File and value; the first file that this kernel has is written.
    choices: Vec<(String, String)>,
    /// The value is what the kernel does anyway without the file, so its absence is fine.
    optional: bool,
    usage: Option<Usage>,
}

/// Where to read what the limit is about, for an error that helps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Usage {
    current: &'static str,
    peak: &'static str,
    /// Refuse a limit below the current usage (`checkBeforeUpdate`).
    check: bool,
}

impl Limits {
    /// Whether `linux.resources.rdma` is among what is applied.
    pub const RDMA: bool = true;

    /// Translates linux.resources; absent resources still mean the device rules that every container has.
    ///
    /// # Errors
    /// A value that is out of range, or that the layout's version or its controllers cannot honour.
    pub fn plan(
        resources: Option<&LinuxResources>,
        layout: &Layout,
        default_devices: DefaultDevices,
    ) -> Result<Limits> {
        let none = Vec::new();
        let rules = resources
            .and_then(|resources| resources.devices().as_ref())
            .unwrap_or(&none);
        let mut plan = Planner::new(layout);
        let devices = plan.devices(rules, default_devices)?;
        if let Some(resources) = resources {
            plan.resources(resources)?;
        }
        Ok(plan.limits(match default_devices {
            DefaultDevices::Unenforced => Devices::Keep,
            DefaultDevices::Allow | DefaultDevices::Omit => Devices::New(devices),
        }))
    }

    /// Translates what `update` changes: only the files that the change is about are written, and device rules only when it
    /// has some.
    ///
    /// # Errors
    /// As [`Limits::plan`].
    pub fn plan_change(change: &Change, layout: &Layout, default_devices: DefaultDevices) -> Result<Limits> {
        let mut plan = Planner::new(layout);
        let devices = match (change.written().devices(), change.earlier_devices()) {
            (None, _) => Devices::Keep,
            _ if default_devices == DefaultDevices::Unenforced => Devices::Keep,
            (Some(rules), earlier) => Devices::Change {
                from: Policy::plan(earlier, default_devices)?,
                to: plan.devices(rules, default_devices)?,
            },
        };
        plan.resources(change.written())?;
        Ok(plan.limits(devices))
    }

    /// What was asked for and is ignored, as runc does; one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn apply_v1(&self, cgroup: &V1) -> Result<()> {
        for setting in &self.settings {
            apply(setting, &|controller| cgroup.directory_of(controller), &|_| true)?;
        }
        match (cgroup.directory_of("devices"), &self.devices) {
            (Some(directory), Devices::New(policy)) => policy.apply_v1(&directory),
            (Some(directory), Devices::Change { from, to }) => to.replace_v1(from, &directory, cgroup),
            (_, Devices::Keep) => Ok(()),
            (None, _) => Ok(()), // rules were refused in the plan, then; the default list alone is a courtesy
        }
    }

    pub(super) fn apply_v2(&self, cgroup: &V2) -> Result<()> {
        let directory = cgroup.directory();
        for setting in &self.settings {
            apply(setting, &|_| Some(directory.clone()), &|controller| {
                cgroup.has(controller)
            })?;
        }
        match &self.devices {
            Devices::Keep => Ok(()),
            Devices::New(policy) | Devices::Change { to: policy, .. } => {
                device_program::apply(policy, cgroup.open()?.as_fd())
            }
        }
    }

    /// The limits in systemd's words, as far as it has any.
    pub fn properties(&self) -> Vec<systemd::Property> {
        let first = |write: &Write| write.choices.first().cloned();
        let writes = self.settings.iter().flatten().filter_map(first);
        writes
            .flat_map(|(file, value)| systemd::of_file(&file, &value))
            .collect()
    }

    /// For a container without a control group.
    ///
    /// # Errors
    /// Names the first limit.
    pub fn refuse_any(&self) -> Result<()> {
        match self.settings.iter().flatten().next() {
            None => Ok(()),
            Some(write) => Err(Error::new(
                Kind::Unsupported,
                format_args!(
                    "{}: permission denied: no control group is delegated to the user who calls",
                    write.field
                ),
            )
            .hint(
                "take the limit out, or have control groups delegated (cgroups(7)), as systemd does for a session's user",
            )),
        }
    }
}

/// Writes the values; those refused for the present value of another are tried again as long as others succeed.
fn apply(
    setting: &[Write],
    directory: &dyn Fn(&str) -> Option<PathBuf>,
    available: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let mut waiting: Vec<_> = setting.iter().collect();
    loop {
        let before = waiting.len();
        let mut refused = Vec::new();
        let mut reason = None;
        for write in waiting {
            let Some(directory) = directory(&write.controller) else {
                return Err(missing_controller(&write.field, &write.controller));
            };
            match write.apply(&directory, available) {
                Err(error) if error.errno() == Some(Errno::EINVAL) => {
                    refused.push(write);
                    reason = reason.or(Some(error));
                }
                result => result?,
            }
        }
        match reason {
            None => return Ok(()),
            Some(error) if refused.len() == before => return Err(error),
            Some(_) => waiting = refused,
        }
    }
}

impl Write {
    fn apply(&self, directory: &Path, available: &dyn Fn(&str) -> bool) -> Result<()> {
        for (name, value) in &self.choices {
            let path = directory.join(name);
            if let Some(usage) = self.usage.as_ref().filter(|usage| usage.check) {
                usage.refuse_below(self, directory, value)?;
            }
            let written = value.split('\n').try_for_each(|line| file::write(&path, line));
            match written {
                Ok(()) => return Ok(()),
                Err(Errno::ENOENT) => {}
                Err(Errno::EBUSY) if self.usage.is_some() => return Err(self.too_low(directory, value)),
                Err(errno) => {
                    return Err(
                        Error::os(format_args!("write {value:?} to"), path.display(), errno)
                            .during(&self.field),
                    );
                }
            }
        }
        if self.optional {
            return Ok(());
        }
        if !available(&self.controller) {
            return Err(missing_controller(&self.field, &self.controller));
        }
        let names: Vec<_> = self.choices.iter().map(|(name, _)| name.as_str()).collect();
        Err(Error::new(
            Kind::Unsupported,
            format_args!(
                "{}: this kernel has no {} in {}",
                self.field,
                names.join(" or "),
                directory.display()
            ),
        ))
    }

    /// runc's text, which engines show as it is.
    fn too_low(&self, directory: &Path, value: &str) -> Error {
        let number = |name: &str| {
            file::read(&directory.join(name))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let (current, peak) = self
            .usage
            .as_ref()
            .map_or(("", ""), |usage| (usage.current, usage.peak));
        Error::invalid(
            &self.field,
            format_args!(
                "unable to set memory limit to {value} (current usage: {}, peak usage: {})",
                number(current),
                number(peak)
            ),
        )
    }
}

impl Usage {
    fn refuse_below(&self, write: &Write, directory: &Path, value: &str) -> Result<()> {
        let Ok(limit) = value.parse::<u64>() else {
            return Ok(()); // unlimited
        };
        let current = file::read(&directory.join(self.current)).unwrap_or_default();
        match current.trim().parse::<u64>() {
            Ok(current) if current > limit => Err(write.too_low(directory, value)),
            _ => Ok(()),
        }
    }
}

fn missing_controller(field: &str, controller: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format_args!("{field}: the {controller} controller is not available to the container's cgroup"),
    )
    .hint("/proc/cgroups and cgroup.controllers of the parent show what this host has")
}

/// Collects the writes.
struct Planner<'a> {
    layout: &'a Layout,
    settings: Vec<Setting>,
    warnings: Vec<String>,
}

impl<'a> Planner<'a> {
    fn new(layout: &'a Layout) -> Planner<'a> {
        Planner {
            layout,
            settings: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn limits(self, devices: Devices) -> Limits {
        Limits {
            settings: self.settings,
            devices,
            warnings: self.warnings,
        }
    }

    fn devices(&self, rules: &[LinuxDeviceCgroup], defaults: DefaultDevices) -> Result<Policy> {
        let policy = Policy::plan(rules, defaults)?;
        if defaults != DefaultDevices::Unenforced && !self.is_v2() {
            policy.exceptions()?;
            if !rules.is_empty() {
                self.need("linux.resources.devices", "devices")?;
            }
        }
        Ok(policy)
    }

    fn resources(&mut self, resources: &LinuxResources) -> Result<()> {
        if let Some(memory) = resources.memory() {
            self.memory(memory)?;
        }
        if let Some(cpu) = resources.cpu() {
            self.cpu(cpu)?;
        }
        if let Some(pids) = resources.pids() {
            self.pids(pids)?;
        }
        if let Some(block_io) = resources.block_io() {
            self.block_io(block_io)?;
        }
        if let Some(limits) = resources.hugepage_limits() {
            self.hugepages(limits)?;
        }
        if let Some(network) = resources.network() {
            self.network(network)?;
        }
        if let Some(rdma) = resources.rdma() {
            self.rdma(rdma)?;
        }
        match resources.unified() {
            Some(unified) => self.unified(unified),
            None => Ok(()),
        }
    }

    fn is_v2(&self) -> bool {
        self.layout.is_v2()
    }

    /// Version 1 tells from its mounts which controllers there are, so a limit without one is refused before anything is
    /// made. On version 2 the directory tells, once it exists.
    fn need(&self, field: &str, controller: &str) -> Result<()> {
        match self.layout {
            Layout::V1(hierarchies) if hierarchies.iter().all(|hierarchy| !hierarchy.has(controller)) => {
                Err(missing_controller(field, controller))
            }
            _ => Ok(()),
        }
    }

    /// A write whose controller is the part of the file's name before the dot, except for v1's names of its own.
    fn write(&self, field: &str, file: impl Into<String>, value: impl ToString) -> Result<Write> {
        self.write_first(field, vec![(file.into(), value.to_string())])
    }

    fn write_first(&self, field: &str, choices: Vec<(String, String)>) -> Result<Write> {
        let file = choices.first().map_or("", |(file, _)| file.as_str());
        let controller = file.split('.').next().unwrap_or_default().to_owned();
        self.need(field, &controller)?;
        Ok(Write {
            field: field.to_owned(),
            controller,
            choices,
            optional: false,
            usage: None,
        })
    }

    /// Adds writes that do not depend on each other.
    fn add(&mut self, write: Write) {
        self.settings.push(vec![write]);
    }

    fn add_together(&mut self, writes: Vec<Write>) {
        if !writes.is_empty() {
            self.settings.push(writes);
        }
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

/// A property of version 1 that version 2 has nothing like.
fn only_v1(field: &str) -> Error {
    Error::unsupported(field, "cgroup v2 has nothing like it")
}
