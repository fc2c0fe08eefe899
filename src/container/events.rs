//! What happens to containers, for those who watch: one line of JSON an event in `<root>/events`.
//!
//! Nothing is recorded before somebody asks: [`begin`] makes the file, for `minirun events` and for stacks, and from then on
//! every command that changes a container's life adds its lines. An engine's commands pay one open(2) that fails. A full
//! file is moved aside, to `events.1`, so that there are never more than two of [`MOST`] bytes.
//!
//! A command never fails because of an event.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::record::Record;
use super::store::Entry;
use crate::error::{Error, Kind, OsContext as _, Result};
use crate::log::{self, Rfc3339};
use crate::tail;

/// The file's name beside the containers' directories; no container may be called like it.
pub const FILE: &str = "events";

/// Bytes after which the file is moved aside.
const MOST: u64 = 1 << 20;

/// Annotations that are longer say nothing to people and are left out.
const LONGEST_ATTRIBUTE: usize = 256;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When: RFC 3339 in UTC with nanoseconds.
    pub time: String,
    /// To what.
    #[serde(rename = "type")]
    pub subject: Subject,
    /// What.
    pub action: Action,
    /// The container's id, or the network's name.
    pub id: String,
    /// Of a container its annotations, `exitCode`, `signal` or `healthStatus`; of a network the `container`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Subject {
    Container,
    Network,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The container is there and waits for its start.
    Create,
    /// Its program runs.
    Start,
    /// It was sent the `signal`.
    Kill,
    /// Its processes are frozen.
    Pause,
    /// They go on.
    Unpause,
    /// Its first process ended with `exitCode`; told by whoever waited for it, so by nobody for a container on its own.
    Die,
    /// The kernel killed a process of it for want of memory.
    Oom,
    /// It is there no more.
    Delete,
    /// It became `healthy` or `unhealthy`, or `starting` again: `healthStatus`.
    HealthStatus,
    /// The `container` joined the network.
    Connect,
    /// The `container` left the network.
    Disconnect,
}

impl Event {
    /// Something that happens to a container now; its annotations come along.
    pub fn of(record: &Record, action: Action) -> Event {
        let short = |(name, value): (&String, &String)| {
            let fits = name.len() <= LONGEST_ATTRIBUTE && value.len() <= LONGEST_ATTRIBUTE;
            fits.then(|| (name.clone(), value.clone()))
        };
        Event {
            time: Rfc3339(SystemTime::now()).to_string(),
            subject: Subject::Container,
            action,
            id: record.id.to_string(),
            attributes: record.annotations.iter().filter_map(short).collect(),
        }
    }

    /// Adds what is to be known about it.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Event {
        self.attributes.insert(name.to_owned(), value.to_string());
        self
    }

    /// Something that happens between a container and a network now.
    pub fn between(record: &Record, network: &str, action: Action) -> Event {
        let of_container = Event::of(record, action).with("container", &record.id);
        Event {
            subject: Subject::Network,
            id: network.to_owned(),
            ..of_container
        }
    }

    /// Joining or leaving each of these networks.
    pub fn between_all<'a>(
        record: &Record,
        networks: impl IntoIterator<Item = &'a String>,
        action: Action,
    ) -> Vec<Event> {
        let events = networks
            .into_iter()
            .map(|network| Event::between(record, network, action));
        events.collect()
    }
}

/// Where events of the containers below `root` are recorded.
pub fn path(root: &Path) -> PathBuf {
    root.join(FILE)
}

/// Has events recorded from now on; fine when they are already.
///
/// # Errors
/// When the file cannot be made.
pub fn begin(root: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .os("create", root.display())?;
    open(&path(root), true).map(drop)
}

/// Records events, if anybody wants them; only then they are made. In order and together: a reader sees all or none.
pub fn publish(root: &Path, events: impl FnOnce() -> Vec<Event>) {
    let path = path(root);
    let result = match open(&path, false) {
        Ok(file) => encode(&events()).and_then(|lines| append(&path, file, &lines)),
        Err(error) if error.errno() == Some(nix::errno::Errno::ENOENT) => return,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        log::debug(format_args!("an event is not recorded: {error}"));
    }
}

/// As [`publish`], beside the container's own directory.
pub(super) fn publish_beside(entry: &Entry, events: impl FnOnce() -> Vec<Event>) {
    if let Some(root) = entry.path().parent() {
        publish(root, events);
    }
}

fn encode(events: &[Event]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, event)
            .map_err(|error| Error::new(Kind::Os, format_args!("encode an event: {error}")))?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Adds lines to the current file; `file` is what that was a moment ago.
fn append(path: &Path, mut file: File, lines: &[u8]) -> Result<()> {
    // Whoever moves the file waits for those who write to it. Who comes later writes to the next one: followers have left this.
    file.lock_shared().os("lock", path.display())?;
    while !is_current(&file, path)? {
        file = open(path, false)?;
        file.lock_shared().os("lock", path.display())?;
    }
    // Several commands append: the kernel keeps each of these writes together.
    file.write_all(lines).os("write", path.display())?;
    if file.metadata().os("stat", path.display())?.len() < MOST {
        return Ok(());
    }
    file.lock().os("lock", path.display())?;
    // Whoever waited here finds that somebody else has moved the file.
    match is_current(&file, path)? {
        true => move_aside(path),
        false => Ok(()),
    }
}

fn is_current(file: &File, path: &Path) -> Result<bool> {
    let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let current = fs::metadata(path).map(inode).os("stat", path.display())?;
    Ok(file.metadata().map(inode).os("stat", path.display())? == current)
}

/// Gives the full file its second name, and its first one to a new file. At no moment there is none: a command that found none
/// would believe that nobody had asked for events.
fn move_aside(path: &Path) -> Result<()> {
    let aside = tail::rotated(path, 1);
    let new = path.with_extension("new");
    let forget = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).os("remove", path.display()),
        _ => Ok(()),
    };
    // What a killed command left.
    forget(&new)?;
    forget(&aside)?;
    fs::hard_link(path, &aside).os("link", aside.display())?;
    open(&new, true)?;
    fs::rename(&new, path).os("rename", new.display())
}

fn open(path: &Path, create: bool) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(create)
        .mode(0o600)
        .open(path)
        .os("open", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        Event {
            time: Rfc3339(SystemTime::now()).to_string(),
            subject: Subject::Container,
            action: Action::HealthStatus,
            id: format!("web-{number}"),
            attributes: BTreeMap::from([("label".to_owned(), "x".repeat(200))]),
        }
    }

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("minirun-events-{name}-{}", std::process::id()))
    }

    #[test]
    fn nothing_is_made_or_written_before_somebody_asks() {
        let root = directory("nobody");
        publish(&root, || unreachable!());
        assert!(!root.exists());
        begin(&root).unwrap();
        publish(&root, || vec![event(1), event(2)]);
        begin(&root).unwrap();
        let lines = fs::read_to_string(path(&root)).unwrap();
        let read: Vec<Event> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(read.len(), 2);
        assert_eq!((&*read[1].id, read[1].action), ("web-2", Action::HealthStatus));
        assert!(
            lines.contains("\"type\":\"container\",\"action\":\"health_status\""),
            "{lines}"
        );
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn writers_that_fill_the_file_together_lose_nothing_and_keep_two_files() {
        let root = directory("full");
        begin(&root).unwrap();
        let mut follower = tail::Tail::open(&path(&root), None).unwrap();
        let mut seen = 0;
        // Four times 1500 events of 300 bytes are not quite two files.
        for _ in 0..4 {
            std::thread::scope(|scope| {
                for writer in 0..4 {
                    let root = &root;
                    scope.spawn(move || {
                        (0..375).for_each(|i| publish(root, || vec![event(writer * 375 + i)]))
                    });
                }
            });
            while let Some(line) = follower.next_line().unwrap() {
                serde_json::from_slice::<Event>(&line).unwrap();
                seen += 1;
            }
        }
        assert_eq!(seen, 6000);
        assert!(tail::rotated(&path(&root), 1).exists());
        assert!(!tail::rotated(&path(&root), 2).exists());
        assert!(fs::metadata(path(&root)).unwrap().len() < MOST);
        fs::remove_dir_all(root).unwrap();
    }
}
