//! One entry of `mounts` in config.json, decided. Pure.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount as MountSpec;

use super::id_map::{IdMap, Ids};
use super::mount_label::{Labelled, MountLabel};
use super::options::{Bind, CONTEXT_OPTIONS, Options};
use super::plan::{CgroupMounts, ExtraBind, c_string, clean};
use super::root_fd::Links;
use crate::error::{Error, Result};
use crate::sys::mount::{Change, Propagation, attribute};

/// Files below /proc that may be mounted over: what LXCFS and CRIU provide, as in runc.
const PROC_FILES: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// What mounts are planned from besides their own entry of config.json.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// Where relative sources start.
    pub(super) bundle: &'a Path,
    pub(super) cgroups: &'a CgroupMounts,
    pub(super) ids: Ids<'a>,
    pub(super) label: Option<&'a MountLabel>,
}

/// One mount: what, where, how.
#[derive(Debug)]
pub(super) struct Mount {
    /// For errors: `mounts[4] tmpfs at /dev/shm`.
    pub(super) label: String,
    pub(super) destination: Destination,
    pub(super) action: Action,
    pub(super) after: After,
}

/// Where in the container.
#[derive(Debug)]
pub(super) struct Destination {
    /// Absolute and clean.
    pub(super) path: CString,
    pub(super) links: Links,
    /// Whether it is /proc or a file that may be mounted over there.
    pub(super) in_proc: bool,
}

/// What to mount.
#[derive(Debug)]
pub(super) enum Action {
    FileSystem(FileSystem),
    Bind(BindMount),
    Remount(Remount),
    CgroupV1(CgroupV1),
}

/// A new mount of a file system.
#[derive(Debug)]
pub(super) struct FileSystem {
    pub(super) fs_type: CString,
    pub(super) source: Option<CString>,
    /// Options of any file system: `sync`, `ro`.
    pub(super) flags: Vec<&'static CStr>,
    pub(super) data: Vec<(CString, Option<CString>)>,
    /// [`attribute`] bits.
    pub(super) attributes: u64,
    /// Take over mode and owner of the directory that it hides, unless they are given.
    pub(super) inherit: Inherit,
    pub(super) copy_up: bool,
    /// Set on the root of the mount when it is made.
    pub(super) set_label: Option<MountLabel>,
    /// Made read-only only at the end, because later mounts and devices need their mount points in it.
    pub(super) read_only_later: bool,
}

/// Which properties of the hidden directory a tmpfs takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Inherit {
    pub(super) mode: bool,
    pub(super) uid: bool,
    pub(super) gid: bool,
}

/// A mount of what is somewhere on the host already.
#[derive(Debug)]
pub(super) struct BindMount {
    pub(super) source: CString,
    pub(super) recursive: bool,
    pub(super) attributes: Change,
    /// The source must be the root of a procfs.
    pub(super) only_proc: bool,
    /// Made by the runtime then, and handed to the child.
    pub(super) id_map: Option<IdMap>,
}

/// A change of what is mounted at the destination.
#[derive(Debug)]
pub(super) struct Remount {
    pub(super) flags: Vec<&'static CStr>,
    pub(super) data: Vec<(CString, Option<CString>)>,
    /// Change this mount alone (`bind,remount`), or the file system with all its mounts.
    pub(super) mount_only: bool,
    pub(super) attributes: Change,
}

/// A tmpfs with one directory for each controller.
#[derive(Debug)]
pub(super) struct CgroupV1 {
    pub(super) tmpfs: FileSystem,
    /// Name in the tmpfs, directory on the host.
    pub(super) controllers: Vec<(CString, CString)>,
    /// `cpu` -> `cpu,cpuacct`: name and target.
    pub(super) links: Vec<(CString, CString)>,
    pub(super) attributes: Change,
}

/// What is done to the new mount before it is attached.
#[derive(Debug, Default)]
pub(super) struct After {
    pub(super) recursive: Change,
    pub(super) propagation: Vec<(Propagation, bool)>,
}

impl Mount {
    /// Decides all mounts of config.json, in their order.
    pub(super) fn plan_all(
        mounts: &[MountSpec],
        given: Given<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Mount>> {
        let plan = |(index, mount): (usize, &MountSpec)| {
            let field = format!("mounts[{index}]");
            if mount.destination().is_relative() {
                warnings.push(format!(
                    "{field}.destination: {} is not absolute, taken from /",
                    mount.destination().display()
                ));
            }
            Mount::plan(mount, &field, given)
        };
        mounts.iter().enumerate().map(plan).collect()
    }

    fn plan(mount: &MountSpec, field: &str, given: Given<'_>) -> Result<Mount> {
        let options = Options::parse(
            mount.options().as_deref().unwrap_or_default(),
            &format!("{field}.options"),
        )?;
        let id_map = IdMap::plan(mount, options.id_map.as_ref(), given.ids, field)?;
        if id_map.is_some() && (options.bind.is_none() || options.remount) {
            // The words are runc's.
            let why = "id-mapped mounts are only supported for bind mounts";
            return Err(Error::invalid(field, why));
        }
        let fs_type = mount.typ().as_deref().unwrap_or_default();
        let path = clean(mount.destination());
        let kind = match (options.bind, fs_type) {
            _ if options.remount => "remount",
            (Some(_), _) => "bind",
            (None, other) => other,
        };
        let label = format!("{field} {kind} at {}", path.display());
        let destination = Destination::new(&path, kind, field)?;
        let after = After {
            recursive: options.recursive,
            propagation: options.propagation.clone(),
        };
        let action = if options.remount {
            Action::Remount(Remount::new(options))
        } else if let Some(bind) = options.bind {
            let source = mount.source().as_ref();
            let source = source
                .ok_or_else(|| Error::invalid(format_args!("{field}.source"), "a bind mount needs one"))?;
            Action::Bind(BindMount {
                source: c_string(&given.bundle.join(source), &format!("{field}.source"))?,
                recursive: bind == Bind::Tree,
                attributes: options.attributes,
                only_proc: destination.path.as_c_str() == c"/proc",
                id_map,
            })
        } else {
            Action::without_bind(mount, fs_type, options, field, given)?
        };
        Ok(Mount {
            label,
            destination,
            action,
            after,
        })
    }

    /// A file of the host that config.json does not mention.
    pub(super) fn extra(bind: &ExtraBind) -> Result<Mount> {
        let path = clean(&bind.destination);
        let field = path.display().to_string();
        let attributes = match bind.read_only {
            true => Change::set(attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC),
            false => Change::default(),
        };
        Ok(Mount {
            label: format!("bind at {field}"),
            destination: Destination::new(&path, "bind", &field)?,
            action: Action::Bind(BindMount {
                source: c_string(&bind.source, &field)?,
                recursive: false,
                attributes,
                only_proc: false,
                id_map: None,
            }),
            after: After {
                propagation: vec![(Propagation::Private, false)],
                ..After::default()
            },
        })
    }

    /// Whether this is a bind mount at exactly that place.
    pub(super) fn binds_at(&self, path: &CStr) -> bool {
        matches!(self.action, Action::Bind(_)) && self.destination.path.as_c_str() == path
    }
}

impl Destination {
    fn new(path: &Path, kind: &str, field: &str) -> Result<Destination> {
        let field = format!("{field}.destination");
        if path == Path::new("/") {
            return Err(Error::invalid(field, "cannot mount over the container's root").hint("use root.path"));
        }
        let in_proc = path.starts_with("/proc");
        if path == Path::new("/proc") {
            if !matches!(kind, "proc" | "bind" | "remount") {
                let why = format_args!("{path:?} cannot be mounted because it is not of type proc");
                return Err(Error::invalid(field, why));
            }
        } else if in_proc && !PROC_FILES.iter().any(|file| path == Path::new(file)) && kind != "remount" {
            let why = format_args!("{path:?} cannot be mounted because it is inside /proc");
            return Err(Error::invalid(field, why));
        }
        // The runtime and the programs in the container trust these places, so no link may stand for them.
        let fixed = in_proc || matches!(kind, "proc" | "sysfs");
        Ok(Destination {
            path: c_string(path, &field)?,
            links: if fixed { Links::Refuse } else { Links::Follow },
            in_proc,
        })
    }
}

impl Action {
    fn without_bind(
        mount: &MountSpec,
        fs_type: &str,
        options: Options,
        field: &str,
        given: Given<'_>,
    ) -> Result<Action> {
        match (fs_type, given.cgroups) {
            ("", _) => Err(Error::invalid(
                format_args!("{field}.type"),
                "is missing, and options have no bind",
            )),
            ("bind" | "none", _) => Err(Error::invalid(
                format_args!("{field}.options"),
                format_args!("type {fs_type:?} needs the option bind or rbind"),
            )),
            ("cgroup", CgroupMounts::None) => Err(Error::invalid(
                format_args!("{field}.type"),
                "the container has no cgroup",
            )),
            (
                "cgroup" | "cgroup2",
                CgroupMounts::V2 {
                    own,
                    hierarchy,
                    private,
                },
            ) => {
                let mut attributes = options.attributes;
                // A bind mount, because it shows the same content and the same line of mountinfo as a mount of cgroup2
                // made inside (checked on Linux 6.18), which takes 11 ms from the host's cgroup namespace.
                // Without a namespace of its own the container sees the host's whole tree: writable only on demand.
                if !private && attributes.clear & attribute::RDONLY == 0 {
                    attributes.set |= attribute::RDONLY;
                }
                Ok(Action::Bind(BindMount {
                    source: c_string(if *private { own } else { hierarchy }, field)?,
                    recursive: false,
                    attributes,
                    only_proc: false,
                    id_map: None,
                }))
            }
            ("cgroup", CgroupMounts::V1 { controllers }) => {
                CgroupV1::new(controllers, &options, given.label, field).map(Action::CgroupV1)
            }
            _ => FileSystem::new(mount, fs_type, options, given.label, field).map(Action::FileSystem),
        }
    }
}

impl FileSystem {
    fn new(
        mount: &MountSpec,
        fs_type: &str,
        mut options: Options,
        label: Option<&MountLabel>,
        field: &str,
    ) -> Result<FileSystem> {
        let tmpfs = fs_type == "tmpfs";
        if options.copy_up && !tmpfs {
            let why = format_args!("tmpcopyup is for tmpfs, not for {fs_type:?}");
            return Err(Error::invalid(format_args!("{field}.options"), why));
        }
        let read_only = options.read_only();
        let read_only_later = read_only && (tmpfs || clean(mount.destination()) == Path::new("/dev"));
        let mut flags = options.superblock.clone();
        if read_only && !read_only_later {
            flags.push(c"ro");
        }
        let mut set_label = None;
        match (label, Labelled::of(fs_type)) {
            (Some(label), Labelled::Attribute) => set_label = Some(label.clone()),
            // An option of the mount itself stands.
            (Some(label), Labelled::Option) if !options.has_any_data(&CONTEXT_OPTIONS) => {
                options.data.push(label.as_option());
            }
            _ => {}
        }
        let withheld = if read_only_later { attribute::RDONLY } else { 0 };
        Ok(FileSystem {
            fs_type: CString::new(fs_type)
                .map_err(|_| Error::invalid(format_args!("{field}.type"), "contains a NUL byte"))?,
            source: match mount.source() {
                Some(source) if !source.as_os_str().is_empty() => {
                    Some(c_string(source, &format!("{field}.source"))?)
                }
                _ => None,
            },
            flags,
            attributes: options.attributes.set & !withheld,
            inherit: Inherit {
                mode: tmpfs && !options.has_data(c"mode"),
                uid: tmpfs && !options.has_data(c"uid"),
                gid: tmpfs && !options.has_data(c"gid"),
            },
            copy_up: options.copy_up,
            read_only_later,
            set_label,
            data: options.data,
        })
    }
}

impl Remount {
    fn new(options: Options) -> Remount {
        let mut flags = options.superblock;
        if options.attributes.set & attribute::RDONLY != 0 {
            flags.push(c"ro");
        } else if options.attributes.clear & attribute::RDONLY != 0 {
            flags.push(c"rw");
        }
        Remount {
            flags,
            data: options.data,
            mount_only: options.bind.is_some(),
            attributes: options.attributes,
        }
    }
}

impl CgroupV1 {
    fn new(
        controllers: &[(String, PathBuf)],
        options: &Options,
        label: Option<&MountLabel>,
        field: &str,
    ) -> Result<CgroupV1> {
        const SAFE: u64 = attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
        let c_name =
            |name: &str| CString::new(name).map_err(|_| Error::invalid(field, "contains a NUL byte"));
        let mut directories = Vec::with_capacity(controllers.len());
        let mut links = Vec::new();
        for (name, path) in controllers {
            let name = name.strip_prefix("name=").unwrap_or(name);
            directories.push((c_name(name)?, c_string(path, field)?));
            if name.contains(',') {
                for one in name.split(',') {
                    links.push((c_name(one)?, c_name(name)?));
                }
            }
        }
        Ok(CgroupV1 {
            tmpfs: FileSystem {
                fs_type: c"tmpfs".to_owned(),
                source: Some(c"tmpfs".to_owned()),
                flags: Vec::new(),
                data: std::iter::once((c"mode".to_owned(), Some(c"755".to_owned())))
                    .chain(label.map(MountLabel::as_option))
                    .collect(),
                attributes: SAFE,
                inherit: Inherit::default(),
                copy_up: false,
                set_label: None,
                read_only_later: false,
            },
            controllers: directories,
            links,
            attributes: Change {
                set: SAFE | options.attributes.set & attribute::RDONLY,
                ..options.attributes
            },
        })
    }
}
