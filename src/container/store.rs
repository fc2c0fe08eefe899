//! Where records live: `<root>/<id>/`, one directory a container, locked by whoever changes it.
//!
//! | file | what it is |
//! |---|---|
//! | `record.json` | the [`Record`], replaced by rename of `record.json.new` |
//! | `config.json` | config.json as it was at create; the bundle's own file no longer matters. Locked (flock(2)) by the container's first process until it executes its program: that is how `created` is told from `running`, whoever was killed in between |
//! | `resources.json` | `linux.resources` as `update` left it; without an update config.json has it |
//! | `start.sock` | the socket on which the first process waits for `start` |
//! | `hosts`, `hostname`, `resolv.conf` | mounted into a container that joined a network |
//!
//! The directory's own lock is held for the length of a verb. It is released when its holder dies.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use oci_spec::runtime::{LinuxResources, Spec};
use serde::Serialize;

use super::caller::Caller;
use super::events;
use super::record::Record;
use crate::error::{Error, Kind, OsContext, Result, closest};
use crate::process::Process;
use crate::spec::id::Id;
use crate::spec::load;
use crate::spec::state::{State, Status};

/// Where root's records are: below it, in a directory that is called as the program is.
pub const RUN: &str = "/run";

/// What networks, stacks and events keep beside the containers; no container may be called like it.
const RESERVED: [&str; 5] = ["net", "compose", events::FILE, "events.1", "events.new"];

const RECORD: &str = "record.json";
/// The next record until it is renamed; that of a verb that was killed in between.
const NEW_RECORD: &str = "record.json.new";
const CONFIG: &str = "config.json";
const RESOURCES: &str = "resources.json";
const NEW_RESOURCES: &str = "resources.json.new";
const START_SOCKET: &str = "start.sock";

/// The directory of all records.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    caller: Caller,
}

impl Store {
    /// Records below `root`, an absolute path.
    pub fn new(root: PathBuf, caller: Caller) -> Store {
        Store { root, caller }
    }

    /// Who makes and changes containers here.
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// The directory of all records.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a container of this id has its directory, whether or not it exists.
    pub fn directory(&self, id: &Id) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// A new container's directory, locked; nothing is in it.
    ///
    /// # Errors
    /// `Exists` when there is a container of this id or one is being made.
    pub fn create(&self, id: &Id) -> Result<(Lock, Entry)> {
        fs::DirBuilder::new()
            .recursive(true)
            // Sticky: this is how a user's run-time directory tells what is not to be removed because it is old (XDG
            // Base Directory Specification).
            .mode(if self.caller.is_root { 0o700 } else { 0o1700 })
            .create(&self.root)
            .os("create", self.root.display())?;
        if is_reserved(id) {
            return Err(Error::new(
                Kind::Exists,
                format_args!("container id {:?} is reserved", id.as_str()),
            )
            .hint(format_args!("these are: {}", RESERVED.join(", "))));
        }
        let path = self.directory(id);
        let exists = || {
            Error::new(
                Kind::Exists,
                format_args!("container with given ID already exists: {id}"),
            )
            .hint("delete it first or choose another id")
        };
        // What a create or delete left that was killed at its very start or end is taken over.
        match fs::DirBuilder::new().mode(0o711).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).os("create", path.display()),
        }
        match Lock::take(&path, Wait::No)? {
            Some(lock) if !path.join(RECORD).exists() => Ok((lock, Entry { path })),
            _ => Err(exists()),
        }
    }

    /// An existing container, locked for a change. Waits for a verb that is under way, and takes away what one that was
    /// killed was about to write.
    ///
    /// # Errors
    /// `NotFound` when there is no such container.
    pub fn lock(&self, id: &Id) -> Result<(Lock, Entry, Record)> {
        let (lock, entry) = self.wait_lock(id)?;
        let half = entry.path.join(NEW_RECORD);
        match fs::remove_file(&half) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).os("remove", half.display());
            }
            _ => {}
        }
        let record = entry.load().map_err(|error| self.explain(id, error))?;
        Ok((lock, entry, record))
    }

    /// As [`Store::lock`], whatever is in the directory.
    ///
    /// # Errors
    /// `NotFound` when there is no such container.
    pub fn wait_lock(&self, id: &Id) -> Result<(Lock, Entry)> {
        let entry = self.entry(id)?;
        let lock = Lock::take(&entry.path, Wait::Yes).map_err(|error| self.explain(id, error))?;
        lock.map(|lock| (lock, entry)).ok_or_else(|| not_found(id))
    }

    /// As [`Store::wait_lock`], without waiting: `None` says that a verb is under way.
    ///
    /// # Errors
    /// `NotFound` when there is no such container.
    pub fn try_lock(&self, id: &Id) -> Result<Option<(Lock, Entry)>> {
        let entry = self.entry(id)?;
        let lock = Lock::take(&entry.path, Wait::No).map_err(|error| self.explain(id, error))?;
        Ok(lock.map(|lock| (lock, entry)))
    }

    /// A container's record as it is now, without waiting for verbs that are under way.
    ///
    /// # Errors
    /// `NotFound` when there is no such container; a record that cannot be read.
    pub fn read(&self, id: &Id) -> Result<(Entry, Record)> {
        let entry = self.entry(id)?;
        let record = entry.load().map_err(|error| self.explain(id, error))?;
        Ok((entry, record))
    }

    /// The ids of all containers in order; no directory means none.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn ids(&self) -> Result<Vec<Id>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).os("read", self.root.display()),
        };
        let mut ids: Vec<Id> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|id: &Id| !is_reserved(id) && self.directory(id).join(RECORD).exists())
            .collect();
        ids.sort();
        Ok(ids)
    }

    fn entry(&self, id: &Id) -> Result<Entry> {
        if is_reserved(id) {
            Err(not_found(id))
        } else {
            Ok(Entry {
                path: self.directory(id),
            })
        }
    }

    fn explain(&self, id: &Id, error: Error) -> Error {
        if error.errno() == Some(Errno::ENOENT) || error.kind() == Kind::NotFound {
            let known = self.ids().unwrap_or_default();
            match closest(id.as_str(), known.iter().map(Id::as_str)) {
                Some(close) => not_found(id).hint(format_args!("did you mean {close}?")),
                None => not_found(id).hint(format_args!(
                    "looked in {}; `minirun list` shows what there is",
                    self.root.display()
                )),
            }
        } else {
            error
        }
    }
}

fn is_reserved(id: &Id) -> bool {
    RESERVED.contains(&id.as_str())
}

fn not_found(id: &Id) -> Error {
    Error::new(Kind::NotFound, format_args!("container does not exist: {id}"))
}

/// Whether to wait for a lock that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

/// The right to change a container. It belongs to the open file: the lock is free when every copy of it is closed, so a
/// cloned child has to drop its own.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl Lock {
    /// Locks the directory at `path`; `None` when the lock is taken and we do not wait. `ENOENT` when it vanished.
    fn take(path: &Path, wait: Wait) -> Result<Option<Lock>> {
        let file = File::open(path).os("open", path.display())?;
        match wait {
            Wait::Yes => file.lock().os("lock", path.display())?,
            Wait::No => match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).os("lock", path.display()),
            },
        }
        // The last holder may have deleted it, and another create may have made a new one.
        let (ours, current) = (
            file.metadata().os("stat", path.display())?,
            fs::metadata(path).os("stat", path.display())?,
        );
        if (ours.dev(), ours.ino()) != (current.dev(), current.ino()) {
            return Err(Error::os("lock", path.display(), Errno::ENOENT));
        }
        Ok(Some(Lock(file)))
    }
}

/// A container's directory. Only the holder of its [`Lock`] writes.
#[derive(Clone, Debug)]
pub struct Entry {
    path: PathBuf,
}

impl Entry {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the record.
    ///
    /// # Errors
    /// Those of writing and renaming a file; the record is the old or the new one then, never half of either.
    pub fn save(&self, record: &Record) -> Result<()> {
        self.replace(NEW_RECORD, RECORD, record)
    }

    fn replace(&self, new: &str, name: &str, content: &impl Serialize) -> Result<()> {
        let (new, path) = (self.path.join(new), self.path.join(name));
        let text = serde_json::to_vec(content)
            .map_err(|error| Error::new(Kind::Os, format_args!("encode {}: {error}", path.display())))?;
        fs::write(&new, text).os("write", new.display())?;
        fs::rename(&new, &path).os("rename to", path.display())
    }

    /// Writes the snapshot of config.json and locks it for the container's first process.
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn write_config(&self, config: &[u8]) -> Result<File> {
        let path = self.path.join(CONFIG);
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .os("create", path.display())?;
        file.write_all(config).os("write", path.display())?;
        // The container's first process keeps the lock: not with a descriptor that can write.
        let file = File::open(&path).os("open", path.display())?;
        file.lock().os("lock", path.display())?;
        Ok(file)
    }

    /// The socket on which the container's first process will wait for `start`.
    ///
    /// # Errors
    /// Those of bind(2) and listen(2).
    pub fn listen(&self) -> Result<OwnedFd> {
        let (path, socket) = (self.path.join(START_SOCKET), seqpacket_socket()?);
        let directory = File::open(&self.path).os("open", self.path.display())?;
        bind(socket.as_raw_fd(), &socket_address(&directory)?).os("bind", path.display())?;
        listen(&socket, Backlog::MAXALLOWABLE).os("listen on", path.display())?;
        Ok(socket)
    }

    /// A connection to the container's first process.
    ///
    /// # Errors
    /// `ECONNREFUSED` when it does not wait any more.
    pub fn connect(&self) -> Result<OwnedFd> {
        let (path, socket) = (self.path.join(START_SOCKET), seqpacket_socket()?);
        let directory = File::open(&self.path).os("open", self.path.display())?;
        connect(socket.as_raw_fd(), &socket_address(&directory)?).os("connect to", path.display())?;
        Ok(socket)
    }

    /// Removes the directory; the container no longer exists then.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(self) -> Result<()> {
        // The record goes last: as long as it is there the container can be deleted again.
        let entries = fs::read_dir(&self.path).os("read", self.path.display())?;
        for entry in entries.flatten().filter(|entry| entry.file_name() != RECORD) {
            let path = entry.path();
            match fs::remove_file(&path) {
                // Only the notification socket has a directory.
                Err(error) if error.raw_os_error() == Some(libc::EISDIR) => fs::remove_dir_all(&path),
                result => result,
            }
            .os("remove", path.display())?;
        }
        match fs::remove_file(self.path.join(RECORD)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).os("remove", self.path.display());
            }
            _ => {}
        }
        fs::remove_dir(&self.path).os("remove", self.path.display())
    }

    /// Whether the snapshot of config.json is there. It is written when the control group has been found to be free, and
    /// before any process of the container exists.
    pub fn has_config(&self) -> bool {
        self.path.join(CONFIG).exists()
    }

    /// config.json as it was at create.
    ///
    /// # Errors
    /// When it is missing or was changed to something that is no configuration.
    pub fn config(&self) -> Result<Spec> {
        let path = self.path.join(CONFIG);
        let text = fs::read(&path).os("read", path.display())?;
        load::parse(&path, text).map(|loaded| loaded.spec)
    }

    /// The container's limits as they are now: those of `spec`, its configuration, until they were updated.
    ///
    /// # Errors
    /// Those of reading a file; it is damaged.
    pub fn resources(&self, spec: &Spec) -> Result<LinuxResources> {
        let path = self.path.join(RESOURCES);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                Error::new(Kind::Os, format_args!("{} is damaged: {error}", path.display()))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let own = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
                Ok(own.unwrap_or_default())
            }
            Err(error) => Err(error).os("read", path.display()),
        }
    }

    /// Remembers the limits that the container has now.
    ///
    /// # Errors
    /// Those of writing and renaming a file; the old ones are remembered then.
    pub fn save_resources(&self, resources: &LinuxResources) -> Result<()> {
        self.replace(NEW_RESOURCES, RESOURCES, resources)
    }

    /// The record as it is now.
    ///
    /// # Errors
    /// `NotFound` when there is none; a record that cannot be read.
    pub fn load(&self) -> Result<Record> {
        let path = self.path.join(RECORD);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::new(
                    Kind::NotFound,
                    format_args!("{} does not exist", path.display()),
                ));
            }
            Err(error) => return Err(error).os("read", path.display()),
        };
        serde_json::from_slice(&text).map_err(|error| {
            Error::new(Kind::Os, format_args!("{} is damaged: {error}", path.display()))
                .hint("remove the container's processes and cgroup by hand, then this directory")
        })
    }

    /// Whether the first process still waits for `start`: it holds the lock until it executes its program.
    fn waits_for_start(&self) -> Result<bool> {
        let path = self.path.join(CONFIG);
        let file = File::open(&path).os("open", path.display())?;
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).os("lock", path.display()),
        }
    }

    /// Where the container is in its life.
    ///
    /// # Errors
    /// When procfs or the control group cannot be read.
    pub fn status(&self, record: &Record) -> Result<Status> {
        let alive = |process: Option<Process>| process.map_or(Ok(false), Process::is_alive);
        if record.creator.is_some() {
            // The first process dies with its creator until the container is created.
            return Ok(if alive(record.creator)? {
                Status::Creating
            } else {
                Status::Stopped
            });
        }
        if !alive(record.init)? {
            return Ok(Status::Stopped);
        }
        if record.cgroup.is_frozen()? {
            return Ok(Status::Paused);
        }
        Ok(if self.waits_for_start()? {
            Status::Created
        } else {
            Status::Running
        })
    }

    /// The state document.
    ///
    /// # Errors
    /// As [`Entry::status`].
    pub fn state(&self, record: &Record) -> Result<State> {
        let status = self.status(record)?;
        let pid = match (status, record.init) {
            (Status::Stopped, _) | (_, None) => 0,
            (_, Some(init)) => init.pid,
        };
        Ok(State {
            status,
            pid,
            ..record.state()
        })
    }
}

fn seqpacket_socket() -> Result<OwnedFd> {
    socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .os("create", "start socket")
}

/// Through the directory's descriptor, because a socket's path holds 108 bytes at most.
fn socket_address(directory: &File) -> Result<UnixAddr> {
    let path = format!("/proc/self/fd/{}/{START_SOCKET}", directory.as_raw_fd());
    UnixAddr::new(path.as_str()).os("name", &path)
}
