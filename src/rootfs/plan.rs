//! From config.json to a [`Plan`]: every string, flag and rule decided before any side effect. Pure.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::devices::DevicePlan;
use super::id_map::{IdMapped, Ids};
use super::layer::Layer;
use super::mount_label::{MountLabel, require_selinux};
use super::mount_plan::{Action, Given, Mount};
use crate::error::{Error, Result};
use crate::sys::mount::Propagation;

/// Where the container's own cgroup directories are on the host, for a mount of type `cgroup`.
#[derive(Clone, Debug)]
pub enum CgroupMounts {
    /// The unified hierarchy.
    V2 {
        /// The container's directory.
        own: PathBuf,
        /// The root of the hierarchy, `/sys/fs/cgroup`: what a container without a private cgroup namespace sees.
        hierarchy: PathBuf,
        /// Whether the container has a cgroup namespace of its own.
        private: bool,
    },
    /// One hierarchy for each controller or set of controllers.
    V1 {
        /// Controllers as the kernel names them (`memory`, `cpu,cpuacct`, `name=systemd`), and the container's directory.
        controllers: Vec<(String, PathBuf)>,
    },
    /// The container has no cgroup: a mount of type `cgroup` is an error.
    None,
}

/// A file of the host that the container sees although config.json does not mount it, such as `/etc/hosts`. Left out
/// when config.json mounts something at the same destination.
#[derive(Clone, Debug)]
pub struct ExtraBind {
    /// On the host.
    pub source: PathBuf,
    /// In the container, absolute.
    pub destination: PathBuf,
    /// Whether the container may not write to it; it also has no programs and no devices there then.
    pub read_only: bool,
}

/// How the container's root becomes `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// pivot_root(2), the old root is unmounted.
    Pivot,
    /// The root is moved over `/` and entered by chroot(2): for hosts whose root is an initramfs (`--no-pivot`).
    Move,
    /// chroot(2) alone: there is no mount namespace, so nothing is mounted either.
    Chroot,
}

/// Everything that will be done to make the container's root, from config.json alone.
#[derive(Debug)]
pub struct Plan {
    /// The root directory on the host.
    pub(super) root: CString,
    /// What goes over it.
    pub(super) layer: Option<Layer>,
    pub(super) switch: Switch,
    /// What the copies of the host's mounts become first.
    pub(super) host_propagation: Propagation,
    /// What the container's root becomes at the end, and whether with all mounts below.
    pub(super) root_propagation: Option<(Propagation, bool)>,
    pub(super) read_only: bool,
    pub(super) user_namespace: bool,
    pub(super) mounts: Vec<Mount>,
    pub(super) devices: DevicePlan,
    pub(super) masked_paths: Vec<CString>,
    pub(super) read_only_paths: Vec<CString>,
    /// The working directory of the first process, made when it is missing.
    pub(super) cwd: Option<CString>,
    /// Of new file systems, those that mask directories included.
    pub(super) label: Option<MountLabel>,
    warnings: Vec<String>,
}

impl Plan {
    /// Translates `root`, `mounts`, `linux.devices`, `linux.maskedPaths`, `linux.readonlyPaths` and
    /// `linux.rootfsPropagation`. `bundle` is absolute; relative sources start there. `extra` binds come after the
    /// mounts of config.json. `no_pivot` is the flag of the same name.
    ///
    /// # Errors
    /// For everything that can be known from config.json, with the field's path.
    pub fn new(
        spec: &Spec,
        bundle: &Path,
        cgroups: &CgroupMounts,
        extra: &[ExtraBind],
        no_pivot: bool,
    ) -> Result<Plan> {
        let root = spec
            .root()
            .as_ref()
            .ok_or_else(|| Error::invalid("root", "is required"))?;
        let linux = spec.linux().as_ref();
        let namespace = |wanted: LinuxNamespaceType| {
            let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
            namespaces.is_some_and(|all| all.iter().any(|namespace| namespace.typ() == wanted))
        };
        let switch = match (namespace(LinuxNamespaceType::Mount), no_pivot) {
            (false, _) => Switch::Chroot,
            (true, true) => Switch::Move,
            (true, false) => Switch::Pivot,
        };
        let paths = |list: Option<&Vec<String>>, field: &str| -> Result<Vec<CString>> {
            let list = list.map(Vec::as_slice).unwrap_or_default();
            let absolute = |(index, path)| absolute_path(path, &format!("{field}[{index}]"));
            list.iter()
                .map(String::as_str)
                .enumerate()
                .map(absolute)
                .collect()
        };
        let root_propagation =
            root_propagation(linux.and_then(|linux| linux.rootfs_propagation().as_deref()))?;
        let mut warnings = Vec::new();
        let user_namespace = namespace(LinuxNamespaceType::User);
        let label = MountLabel::plan(
            linux.and_then(|linux| linux.mount_label().as_deref()),
            spec.annotations().as_ref(),
        )?;
        let mounts = Mount::plan_all(
            spec.mounts().as_deref().unwrap_or_default(),
            Given {
                bundle,
                cgroups,
                ids: Ids {
                    user_namespace,
                    uids: linux
                        .and_then(|linux| linux.uid_mappings().as_deref())
                        .unwrap_or_default(),
                    gids: linux
                        .and_then(|linux| linux.gid_mappings().as_deref())
                        .unwrap_or_default(),
                },
                label: label.as_ref(),
            },
            &mut warnings,
        )?;
        let binds_dev = mounts.iter().any(|mount| mount.binds_at(c"/dev"));
        let devices = linux
            .and_then(|linux| linux.devices().as_deref())
            .unwrap_or_default();
        let mut plan = Plan {
            root: c_string(&bundle.join(root.path()), "root.path")?,
            layer: Layer::plan(spec.annotations().as_ref(), switch, user_namespace)?,
            switch,
            host_propagation: match root_propagation {
                None | Some((Propagation::Slave, _)) => Propagation::Slave,
                Some((Propagation::Shared, _)) => Propagation::Shared,
                Some((Propagation::Private | Propagation::Unbindable, _)) => Propagation::Private,
            },
            root_propagation,
            read_only: root.readonly().unwrap_or(false),
            user_namespace,
            mounts,
            devices: DevicePlan::new(devices, binds_dev)?,
            masked_paths: paths(
                linux.and_then(|linux| linux.masked_paths().as_ref()),
                "linux.maskedPaths",
            )?,
            read_only_paths: paths(
                linux.and_then(|linux| linux.readonly_paths().as_ref()),
                "linux.readonlyPaths",
            )?,
            cwd: match spec.process() {
                Some(process) if process.cwd() != Path::new("/") => {
                    Some(c_string(process.cwd(), "process.cwd")?)
                }
                _ => None,
            },
            label,
            warnings,
        };
        plan.check_switch()?;
        for bind in extra {
            plan.add_extra(bind)?;
        }
        Ok(plan)
    }

    /// What is odd in config.json but does not stop the container.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether this host can do what the plan asks for, as far as that can be seen before anything is done.
    ///
    /// # Errors
    /// Mounts are to be labelled, and SELinux is not enabled.
    pub fn check_host(&self) -> Result<()> {
        match &self.label {
            Some(_) => require_selinux(),
            None => Ok(()),
        }
    }

    /// The id-mapped mounts, in the order in which [`Plan::open`] takes them.
    pub fn id_mapped(&self) -> impl Iterator<Item = IdMapped<'_>> {
        self.mounts.iter().filter_map(|mount| match &mount.action {
            Action::Bind(bind) => Some(IdMapped {
                bind,
                id_map: bind.id_map.as_ref()?,
                propagation: self.host_propagation,
            }),
            _ => None,
        })
    }

    /// What cannot be had without a mount namespace, or without pivot_root.
    fn check_switch(&self) -> Result<()> {
        let propagation = "linux.rootfsPropagation";
        match self.switch {
            Switch::Pivot => Ok(()),
            Switch::Move if self.host_propagation == Propagation::Shared => Err(Error::invalid(
                propagation,
                "shared mounts need pivot_root: without it the host's mounts stay reachable and would change with ours",
            )),
            // The first words are runc's.
            Switch::Move if self.host_propagation == Propagation::Private => Err(Error::invalid(
                propagation,
                "rootfsPropagation of [r]private is not safe without pivot_root: what the host unmounts would stay",
            )),
            Switch::Move => Ok(()),
            Switch::Chroot => {
                let needs = |field: &str| {
                    let why = "needs a mount namespace, because it would change the host's mounts";
                    Err(Error::invalid(field, why).hint("add {\"type\": \"mount\"} to linux.namespaces"))
                };
                if !self.mounts.is_empty() {
                    return needs("mounts");
                }
                if !self.masked_paths.is_empty() || !self.read_only_paths.is_empty() {
                    // The first words are runc's.
                    return Err(Error::invalid(
                        "linux.maskedPaths and linux.readonlyPaths",
                        "unable to restrict sys entries without a private MNT namespace",
                    ));
                }
                if self.read_only {
                    return needs("root.readonly");
                }
                if self.root_propagation.is_some() {
                    needs(propagation)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn add_extra(&mut self, bind: &ExtraBind) -> Result<()> {
        if self.switch == Switch::Chroot {
            return Ok(());
        }
        let mount = Mount::extra(bind)?;
        if !self
            .mounts
            .iter()
            .any(|other| other.destination.path == mount.destination.path)
        {
            self.mounts.push(mount);
        }
        Ok(())
    }
}

fn root_propagation(name: Option<&str>) -> Result<Option<(Propagation, bool)>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let propagation = match name.strip_prefix('r').unwrap_or(name) {
        "private" => Propagation::Private,
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "unbindable" => Propagation::Unbindable,
        _ => {
            let why = format_args!("{name:?} is none of shared, slave, private, unbindable (or rshared ...)");
            return Err(Error::invalid("linux.rootfsPropagation", why));
        }
    };
    Ok(Some((propagation, name.starts_with('r'))))
}

/// A path in the container that must be absolute.
fn absolute_path(path: &str, field: &str) -> Result<CString> {
    if !path.starts_with('/') {
        return Err(Error::invalid(
            field,
            format_args!("{path:?} is not an absolute path"),
        ));
    }
    c_string(&clean(Path::new(path)), field)
}

/// The path without `.`, `..` and double slashes, taken from `/`; `..` of the root is the root.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// The bytes of a path for a system call.
pub(super) fn c_string(path: &Path, field: &str) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::invalid(field, "contains a NUL byte"))
}
