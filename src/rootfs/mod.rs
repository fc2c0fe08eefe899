//! The root file system as a file descriptor.
//!
//! Everything in the container's root is hostile. So there is one type for it, [`RootFd`], and no path of the container
//! is ever given to a system call that would resolve it from the host's root: a place is looked up by openat2(2) as if
//! chrooted, a mount is made detached and attached to that descriptor.
//!
//! ```no_run
//! # use std::path::Path;
//! # use minirun::rootfs::{CgroupMounts, Plan};
//! # fn f(spec: &oci_spec::runtime::Spec, no_pivot: bool) -> minirun::error::Result<()> {
//! // In the parent, before any side effect:
//! let plan = Plan::new(spec, Path::new("/bundle"), &CgroupMounts::None, &[], no_pivot)?;
//! // In the child, in its new mount namespace; in a user namespace before the ids change:
//! let mut rootfs = plan.open(Vec::new())?;
//! // With the ids of the container's root:
//! rootfs.mount_all()?;
//! // The console (`rootfs.root().bind_file`) and the hooks createRuntime and createContainer come here.
//! rootfs.pivot()?;
//! # Ok(()) }
//! ```
//!
//! | file | what |
//! |---|---|
//! | `plan`, `mount_plan`, `options` | from config.json to [`Plan`], pure |
//! | `root_fd` | [`RootFd`]: from a path in the container to a descriptor |
//! | `attach`, `long_options`, `copy_up` | the mounts |
//! | `mount_points` | what mounts are made on, without the mounts |
//! | `mount_label` | what SELinux calls the files on them |
//! | `id_map` | those whose ids are mapped, which the runtime makes |
//! | `devices` | device nodes and the links in /dev |
//! | `layer` | what goes over a root that others use too |
//! | `switch`, `kernel_mounts` | pivot_root(2), or what stands for it |
//! | `finish` | masked and read-only paths |

mod attach;
mod copy_up;
mod devices;
mod finish;
mod id_map;
mod kernel_mounts;
mod layer;
mod long_options;
mod mount_label;
mod mount_plan;
mod mount_points;
mod options;
mod plan;
mod root_fd;
mod switch;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, umask};

pub use self::copy_up::copy_up;
pub use self::id_map::{ID_MAPPED_MOUNTS, IdMapped, Maps};
pub use self::layer::ROOT_LAYER_ANNOTATION;
pub use self::mount_label::CONTEXT_TYPE_ANNOTATION;
pub use self::options::MOUNT_OPTIONS;
pub use self::plan::{CgroupMounts, ExtraBind, Plan};
pub use self::root_fd::RootFd;

use self::attach::{Attacher, open_source};
use self::devices::Source;
use self::mount_plan::Action;
use self::plan::Switch;
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::mount::{self, Change, Propagation, attribute, clone_tree, set_attributes};

/// The container's root while it is being made.
#[derive(Debug)]
pub struct Rootfs<'plan> {
    plan: &'plan Plan,
    root: RootFd,
    /// Sources of bind mounts that had to be opened early, and id-mapped mounts, in the order of the plan's mounts.
    sources: Vec<Option<OwnedFd>>,
    proc_device: Option<libc::dev_t>,
    read_only_later: Vec<OwnedFd>,
}

impl Plan {
    /// Cuts the mount namespace off from the host's as `linux.rootfsPropagation` wants (slave unless given, as in runc),
    /// and opens the root. To be called in the new mount namespace, by its only thread, with the host's root visible;
    /// in a user namespace before the ids are changed: the sources of bind mounts are opened here, because the
    /// container's root may not be allowed to reach them. `id_mapped` are the mounts of [`Plan::id_mapped`], made.
    ///
    /// # Errors
    /// When the root or a source cannot be opened.
    pub fn open(&self, id_mapped: Vec<OwnedFd>) -> Result<Rootfs<'_>> {
        let root = match self.switch {
            Switch::Chroot => self.open_root()?,
            Switch::Pivot | Switch::Move => {
                self.leave_host_propagation()?;
                self.mount_root()?
            }
        };
        let mut sources = Vec::new();
        let mut id_mapped = id_mapped.into_iter().fuse();
        if self.user_namespace || id_mapped.len() > 0 {
            for mount in &self.mounts {
                sources.push(match &mount.action {
                    Action::Bind(bind) if bind.id_map.is_some() => id_mapped.next(),
                    Action::Bind(bind) if self.user_namespace => Some(
                        open_source(&bind.source)
                            .map_err(|error| error.during(format_args!("mount {}", mount.label)))?,
                    ),
                    _ => None,
                });
            }
        }
        Ok(Rootfs {
            plan: self,
            root: RootFd::new(root),
            sources,
            proc_device: None,
            read_only_later: Vec::new(),
        })
    }

    fn open_root(&self) -> Result<OwnedFd> {
        let path = self.root.to_string_lossy();
        open(
            &*self.root,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| match errno {
            Errno::ENOTDIR => Error::invalid("root.path", format_args!("{path} is not a directory")),
            Errno::ENOENT => Error::invalid("root.path", format_args!("{path} does not exist")),
            _ => Error::os("open root.path", path, errno),
        })
    }

    fn leave_host_propagation(&self) -> Result<()> {
        let flag = match self.host_propagation {
            Propagation::Shared => MsFlags::MS_SHARED,
            Propagation::Slave => MsFlags::MS_SLAVE,
            Propagation::Private | Propagation::Unbindable => MsFlags::MS_PRIVATE,
        };
        nix::mount::mount(
            None::<&str>,
            c"/",
            None::<&str>,
            MsFlags::MS_REC | flag,
            None::<&str>,
        )
        .os("set propagation of", "/")
    }

    /// Mounts the root on itself, or with its layer: pivot_root(2) wants a mount, and what is mounted below stays the
    /// container's own.
    fn mount_root(&self) -> Result<OwnedFd> {
        let path = self.root.to_string_lossy();
        let directory = self.open_root()?;
        if self.host_propagation == Propagation::Shared {
            make_parent_mount_private(&directory)?;
        }
        let tree = match &self.layer {
            Some(layer) => layer.mount(&directory)?,
            None => clone_tree(&directory, true).os("open_tree root.path", &path)?,
        };
        set_attributes(&tree, false, Change::propagation(Propagation::Private)).os("make private", &path)?;
        mount::attach(&tree, &directory).os("mount root.path", &path)?;
        Ok(tree)
    }
}

/// Makes the mount that holds `directory` private, so that mounts in it do not appear on the host. Found by trying from
/// the directory upwards: a host may have thousands of mounts, so mountinfo is not read.
fn make_parent_mount_private(directory: &OwnedFd) -> Result<()> {
    let private = Change::propagation(Propagation::Private);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut above: Option<OwnedFd> = None;
    // A path has at most PATH_MAX / 2 components.
    for _ in 0..libc::PATH_MAX / 2 {
        let here = above.as_ref().unwrap_or(directory);
        match set_attributes(here, false, private) {
            Err(Errno::EINVAL) => above = Some(openat(here, c"..", flags, Mode::empty()).os("open", "..")?),
            result => return result.os("make private", "the mount that holds root.path"),
        }
    }
    Err(Error::new(Kind::Os, "no mount holds root.path"))
}

impl Rootfs<'_> {
    /// Does the mounts in their order, then device nodes, links in /dev and the working directory.
    ///
    /// # Errors
    /// The first failure, with the name of the mount or device. The mount namespace is then to be thrown away.
    pub fn mount_all(&mut self) -> Result<()> {
        let before = umask(Mode::empty());
        let result = self.mount_with_empty_umask();
        umask(before);
        result
    }

    fn mount_with_empty_umask(&mut self) -> Result<()> {
        let mut attacher = Attacher {
            root: &self.root,
            root_path: &self.plan.root,
            user_namespace: self.plan.user_namespace,
            proc_device: &mut self.proc_device,
            read_only_later: &mut self.read_only_later,
        };
        for (index, planned) in self.plan.mounts.iter().enumerate() {
            let source = self.sources.get_mut(index).and_then(Option::take);
            attacher
                .mount(&planned.action, &planned.destination, &planned.after, source)
                .map_err(|error| error.during(format_args!("mount {}", planned.label)))?;
        }
        let source = match (self.plan.switch, self.plan.user_namespace) {
            (Switch::Chroot, _) => Source::OnlyMknod,
            (_, true) => Source::Host,
            (_, false) => Source::Mknod,
        };
        self.plan.devices.make(&self.root, source)?;
        match &self.plan.cwd {
            Some(cwd) => self
                .root
                .make_directory(cwd)
                .map_err(|error| error.during("process.cwd")),
            None => Ok(()),
        }
    }

    /// The container's root, for what comes between the mounts and the switch: console, hooks.
    pub fn root(&self) -> &RootFd {
        &self.root
    }

    /// Makes the container's root `/` and the working directory, drops the host's, and then takes away what the
    /// container may not have: masked paths, read-only paths, a read-only root. Nothing can be created in the root after
    /// this if it is read-only.
    ///
    /// # Errors
    /// The first failure. The mount namespace is then to be thrown away.
    pub fn pivot(self) -> Result<()> {
        let plan = self.plan;
        switch::enter(&self.root, plan.switch)?;
        let propagate = |propagation, recursive| {
            set_attributes(&self.root, recursive, Change::propagation(propagation))
                .os("set propagation of", "the container's root")
        };
        // What is read-only or masked is bound, which an unbindable mount is not.
        let (now, last) = match plan.root_propagation {
            unbindable @ Some((Propagation::Unbindable, _)) => (None, unbindable),
            other => (other, None),
        };
        if let Some((propagation, recursive)) = now {
            propagate(propagation, recursive)?;
        }
        for mount in &self.read_only_later {
            set_attributes(mount, false, Change::set(attribute::RDONLY)).os("make read-only", "a mount")?;
        }
        if plan.read_only {
            set_attributes(&self.root, false, Change::set(attribute::RDONLY))
                .os("make read-only", "the container's root")?;
        }
        finish::make_read_only(&self.root, &plan.read_only_paths)?;
        finish::mask(&self.root, &plan.masked_paths, plan.label.as_ref())?;
        last.map_or(Ok(()), |(propagation, recursive)| {
            propagate(propagation, recursive)
        })
    }
}
