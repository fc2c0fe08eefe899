//! linux.intelRdt, translated and compared with what there is, before anything is made.

use oci_spec::runtime::LinuxIntelRdt;

use super::file;
use super::group::{Class, Group, Placing};
use super::mount::Mount;
use super::schemata::{Schemas, first_difference};
use crate::error::{Error, Kind, Result};

/// Directories at the top of resctrl that are no classes.
const RESERVED: [&str; 3] = ["info", "mon_groups", "mon_data"];

const CLASS: &str = "linux.intelRdt.closID";

/// What will be made and written.
#[derive(Clone, Debug)]
pub struct Plan {
    mount: Mount,
    /// The class' name; "/" is the default class.
    class: String,
    /// Whether `closID` chose it.
    is_named: bool,
    /// Written in this order, each in one call; what is empty is not.
    schemata: [Vec<String>; 2],
    /// The name of the monitoring group.
    monitoring: Option<String>,
}

impl Plan {
    /// Translates, and looks whether it can be had: `mount` says where resctrl is.
    ///
    /// # Errors
    /// What is wrong, or missing on this host, by its field.
    pub fn new(
        asked: &LinuxIntelRdt,
        id: &str,
        mount: impl FnOnce() -> Result<Option<Mount>>,
    ) -> Result<Plan> {
        let named = asked.clos_id().as_deref().filter(|name| !name.is_empty());
        named.map_or(Ok(()), check_name)?;
        let schemas = Schemas {
            l3_cache: asked.l3_cache_schema().as_deref(),
            memory_bandwidth: asked.mem_bw_schema().as_deref(),
        };
        schemas.check("linux.intelRdt.memBwSchema")?;
        let lines = asked.schemata().as_deref().unwrap_or_default();
        if let Some(index) = lines.iter().position(|line| line.contains('\n')) {
            return Err(Error::invalid(
                format_args!("linux.intelRdt.schemata[{index}]"),
                "must be one line",
            ));
        }
        let missing = |field: &str, what: &str| {
            Error::new(
                Kind::Unsupported,
                format_args!(
                    "linux.intelRdt{field} is specified in config, but Intel RDT{what} is not enabled"
                ),
            )
        };
        let mount = mount()?.ok_or_else(|| {
            missing("", "")
                .hint("no resctrl file system is mounted: mount -t resctrl resctrl /sys/fs/resctrl")
        })?;
        if schemas.cache_lines().next().is_some() && !mount.can_share_l3() {
            return Err(missing(".l3CacheSchema", "/CAT"));
        }
        if schemas.bandwidth().is_some() && !mount.can("MB") {
            return Err(missing(".memBwSchema", "/MBA"));
        }
        let plan = Plan {
            mount,
            class: named.unwrap_or(id).to_owned(),
            is_named: named.is_some(),
            schemata: [schemas.lines(), lines.to_vec()],
            monitoring: (*asked.enable_monitoring() == Some(true)).then(|| id.to_owned()),
        };
        plan.check()?;
        Ok(plan)
    }

    /// What a container must have whose record is damaged: of a named class only its monitoring group.
    pub fn lost(asked: &LinuxIntelRdt, id: &str, mount: Option<Mount>) -> Option<Group> {
        let named = asked.clos_id().as_deref().filter(|name| !name.is_empty());
        let class = named.map_or(Class::Own, |_| Class::Joined);
        let monitoring = (*asked.enable_monitoring() == Some(true)).then_some(id);
        Some(Group::new(&mount?, named.unwrap_or(id), class, monitoring))
    }

    /// Makes the groups and writes the shares, while nobody is in them. `record` remembers what is about to be made.
    ///
    /// # Errors
    /// As [`Plan::new`], if that has changed meanwhile; the kernel's. What was made is in the group that `record` got.
    pub fn make(&self, mut record: impl FnMut(&Group) -> Result<()>) -> Result<Placing> {
        let lock = file::lock(&self.mount)?;
        let exists = self.check()?;
        let class = match (self.is_named, exists) {
            (false, _) => Class::Own,
            (true, false) => Class::Made,
            (true, true) => Class::Joined,
        };
        let group = Group::new(&self.mount, &self.class, class, self.monitoring.as_deref());
        record(&group)?;
        let field = if self.is_named { CLASS } else { "linux.intelRdt" };
        if class != Class::Joined {
            file::make(&self.mount, group.class()).map_err(|error| error.during(field))?;
            for lines in self.schemata.iter().filter(|lines| !lines.is_empty()) {
                group
                    .write(lines)
                    .map_err(|error| error.during("linux.intelRdt"))?;
            }
        }
        if let Some(monitoring) = group.monitoring() {
            file::make(&self.mount, monitoring)
                .map_err(|error| error.during("linux.intelRdt.enableMonitoring"))?;
        }
        Ok(Placing::new(group, lock))
    }

    /// Whether the class exists; if so, that it is the one that was asked for.
    fn check(&self) -> Result<bool> {
        let directory = self.mount.class(&self.class);
        let exists = directory.is_dir();
        let lines = || self.schemata.iter().flatten().map(String::as_str);
        match (self.is_named, exists) {
            (true, true) if lines().next().is_some() => {
                let existing = file::get(&directory.join("schemata"))?;
                let step = file::get(&self.mount.path().join("info/MB/bandwidth_gran"));
                let step = step.ok().and_then(|step| step.parse().ok());
                if let Some(line) = first_difference(lines(), &existing, step) {
                    let why = format!(
                        "class {:?} exists and does not have {line:?}: it has {:?}",
                        self.class,
                        existing.split_whitespace().collect::<Vec<_>>().join(" ")
                    );
                    return Err(Error::invalid(CLASS, why));
                }
            }
            (true, false) if lines().next().is_none() => {
                let why = format!(
                    "there is no class {:?} in {}",
                    self.class,
                    self.mount.path().display()
                );
                return Err(Error::new(Kind::NotFound, format_args!("{CLASS}: {why}"))
                    .hint("give a schema for a new one"));
            }
            (false, true) => return Err(taken(&directory)),
            _ => {}
        }
        // Of a class that is yet to be made it is not there either.
        if let Some(monitoring) = &self.monitoring {
            let directory = directory.join(super::group::MONITORING).join(monitoring);
            if directory.exists() {
                return Err(taken(&directory).during("linux.intelRdt.enableMonitoring"));
            }
        }
        Ok(exists)
    }
}

/// Somebody else's, which would be removed with the container.
pub(super) fn taken(directory: &std::path::Path) -> Error {
    Error::new(
        Kind::Exists,
        format_args!("resctrl group {} exists already", directory.display()),
    )
    .hint("closID joins a class that exists; rmdir removes one that nobody needs any more")
}

fn check_name(name: &str) -> Result<()> {
    let is_class = !matches!(name, "." | "..") && !name.contains(['/', '\n']) && !RESERVED.contains(&name);
    if name == "/" || is_class {
        return Ok(());
    }
    Err(Error::invalid(
        CLASS,
        format_args!("{name:?} is no name of a class: one directory's name, or / for the default class"),
    ))
}
