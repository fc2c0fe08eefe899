//! `checkpoint`: a running container as files, made by CRIU.

use std::fs;
use std::os::fd::RawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::criu::{self, Common, Criu, Directories, Request, Work};
use super::delete;
use super::record::Record;
use super::store::Store;
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, OsContext, Result};
use crate::rootfs::ROOT_LAYER_ANNOTATION;
use crate::spec::id::Id;
use crate::spec::state::Status;

/// Where the standard streams of the first process led, for `restore`; the name and form are runc's.
pub(super) const DESCRIPTORS: &str = "descriptors.json";

/// What the caller chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the files go.
    pub images: PathBuf,
    /// Where CRIU's log goes; to the images unless given.
    pub work: Option<PathBuf>,
    /// An earlier pre-dump, relative to the images.
    pub parent: Option<PathBuf>,
    /// Do not end the container.
    pub leave_running: bool,
    /// Write its memory only, and let it run.
    pub pre_dump: bool,
    /// Leave out connections that are being made.
    pub tcp_skip_in_flight: bool,
    /// Give deleted files that are open a name again.
    pub link_remap: bool,
    /// Gets a zero byte when lazily served pages can be asked for.
    pub status_fd: Option<RawFd>,
    /// Where pages are sent instead of to a file.
    pub page_server: Option<(String, u16)>,
    /// What `restore` takes too.
    pub common: Common,
}

/// Writes the container, and deletes it unless it is to go on.
///
/// # Errors
/// `WrongState` when it does not run; what cannot be written; CRIU's. The container runs on then.
pub fn checkpoint(store: &Store, id: &Id, options: &Options) -> Result<()> {
    let (_lock, entry, record) = store.lock(id)?;
    let status = entry.status(&record)?;
    let leader = match (status, record.init) {
        (Status::Running | Status::Paused, Some(leader)) => leader,
        (Status::Stopped, _) => return Err(Error::new(Kind::WrongState, "container not running")),
        _ => {
            return Err(Error::new(
                Kind::WrongState,
                format_args!("container cannot be checkpointed in {status} state"),
            ));
        }
    };
    if !record.networks.is_empty() {
        return Err(Error::unsupported(
            "checkpoint",
            format_args!(
                "container {id} is on {}, and its addresses and ports cannot be kept for it",
                record.networks.join(", ")
            ),
        )
        .hint("`minirun network disconnect` takes it off, and `minirun network connect` puts it on again"));
    }
    let spec = entry.config()?;
    refuse_layer(&spec, "checkpoint")?;
    if let Some(parent) = &options.parent
        && (parent.is_absolute() || !options.images.join(parent).is_dir())
    {
        return Err(Error::invalid(
            "--parent-path",
            format_args!(
                "{} must be a directory, relative to --image-path {}",
                parent.display(),
                options.images.display()
            ),
        ));
    }
    let directories = Directories::open(&options.images, options.work.as_deref(), true)?;
    let streams = streams(leader.pid)?;
    let request = request(&spec, &record, leader.pid, &streams, options)?;
    let ends = !options.leave_running && !options.pre_dump;
    let work = if options.pre_dump {
        Work::PreDump
    } else {
        Work::Dump
    };
    let streams = serde_json::to_vec(&streams)
        .map_err(|error| Error::new(Kind::Os, format_args!("encode {DESCRIPTORS}: {error}")))?;
    let descriptors = options.images.join(DESCRIPTORS);
    fs::write(&descriptors, streams).os("write", descriptors.display())?;
    let status = options.status_fd.map(descriptor).transpose()?;
    let passed: Vec<_> = status.iter().map(std::os::fd::AsFd::as_fd).collect();
    let request = Request {
        status_fd: status.as_ref().map(std::os::fd::AsRawFd::as_raw_fd),
        ..request
    };
    Criu::start(false, &passed)?.perform(work, &request, &directories, |_| Ok(()))?;
    if ends {
        delete::destroy_recorded(&entry, &record)
    } else {
        Ok(())
    }
}

/// CRIU makes the root anew from its directory alone.
pub(super) fn refuse_layer(spec: &Spec, verb: &str) -> Result<()> {
    let annotations = spec.annotations().as_ref();
    match annotations.is_some_and(|annotations| annotations.contains_key(ROOT_LAYER_ANNOTATION)) {
        true => Err(Error::unsupported(
            verb,
            format_args!("the container's root has a layer (annotation {ROOT_LAYER_ANNOTATION})"),
        )
        .hint("let the root be read-only, with volumes where it is written to")),
        false => Ok(()),
    }
}

fn request(
    spec: &Spec,
    record: &Record,
    pid: i32,
    streams: &[String; 3],
    options: &Options,
) -> Result<Request> {
    let mut external: Vec<String> = criu::external_mounts(spec, &record.bundle, &record.cgroup)
        .iter()
        .map(|(destination, _)| format!("mnt[{destination}]:{destination}"))
        .collect();
    // A masked file has the null device over it; over a masked directory there is an ordinary tmpfs.
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    for path in criu::masked_paths(spec) {
        let inside = root.join(path.trim_start_matches('/'));
        if fs::symlink_metadata(&inside).is_ok_and(|metadata| !metadata.is_dir()) {
            external.push(format!("mnt[{path}]:{path}"));
        }
    }
    for (kind, name, path) in criu::external_namespaces(spec) {
        let inode = fs::metadata(path).os("stat", path.display())?.ino();
        external.push(format!("{kind}[{inode}]:{name}"));
    }
    external.extend(streams.iter().filter(|name| criu::is_outside_file(name)).cloned());
    Ok(Request {
        common: options.common,
        pid: Some(pid),
        root: record.rootfs.to_string_lossy().into_owned(),
        parent: options
            .parent
            .as_deref()
            .map(|path| path.to_string_lossy().into_owned()),
        leave_running: options.leave_running || options.pre_dump,
        track_memory: options.pre_dump || options.parent.is_some(),
        tcp_skip_in_flight: options.tcp_skip_in_flight,
        link_remap: options.link_remap,
        page_server: options.page_server.clone(),
        freezer: freezer(&record.cgroup).map(|directory| directory.to_string_lossy().into_owned()),
        external,
        ..Request::default()
    })
}

/// The directory through which CRIU stops all processes at once.
fn freezer(cgroup: &Cgroup) -> Option<PathBuf> {
    let has_freezer =
        |controllers: &str| controllers.is_empty() || controllers.split(',').any(|name| name == "freezer");
    let mut directories = cgroup.directories().into_iter();
    directories
        .find(|(controllers, _)| has_freezer(controllers))
        .map(|(_, directory)| directory)
}

/// What standard input, output and error of the process are: `pipe:[17]`, `/dev/null`, or by CRIU's name a file of the host,
/// `file[MOUNT:INODE]`, such as the null device that an engine's monitor has opened.
fn streams(pid: i32) -> Result<[String; 3]> {
    let read = |fd: u8| -> Result<String> {
        let path = format!("/proc/{pid}/fd/{fd}");
        match fs::read_link(&path) {
            Ok(target) => Ok(match outside_file(pid, fd)? {
                Some(name) => name,
                None => target.to_string_lossy().into_owned(),
            }),
            // The program has closed it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).os("read", Path::new(&path).display()),
        }
    };
    Ok([read(0)?, read(1)?, read(2)?])
}

/// CRIU's name for an open file that no mount of the process leads to. A device counts if it has no state: /dev/null and the like.
fn outside_file(pid: i32, fd: u8) -> Result<Option<String>> {
    const MEMORY_DEVICES: u32 = 1;
    let path = format!("/proc/{pid}/fd/{fd}");
    let metadata = fs::metadata(&path).os("stat", &path)?;
    let kind = metadata.file_type();
    if !(kind.is_file() || kind.is_char_device() && libc::major(metadata.rdev()) == MEMORY_DEVICES) {
        return Ok(None);
    }
    let information = read(&format!("/proc/{pid}/fdinfo/{fd}"))?;
    let mount = information
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    let mounts = read(&format!("/proc/{pid}/mountinfo"))?;
    let mut mounts = mounts.lines().map(|line| line.split(' ').next()?.parse().ok());
    Ok(mount
        .filter(|_| !mounts.any(|inside| inside == mount))
        .map(|mount| criu::outside_file(mount, metadata.ino())))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).os("read", path)
}

/// A copy of a descriptor that the caller passed.
fn descriptor(number: RawFd) -> Result<fs::File> {
    fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/self/fd/{number}"))
        .os("--status-fd", number)
}
