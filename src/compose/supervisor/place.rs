//! Where a stack keeps what it needs, and what it shall be: written before anything is done, so that whoever comes after
//! a kill goes on from there.
//!
//! | place | what |
//! |---|---|
//! | `/run/minirun/compose/PROJECT/lock` | locked (flock(2)) by the supervisor for as long as it lives |
//! | `.../starter.lock` | held by whoever starts a supervisor, or ends as one, for that moment |
//! | `.../supervisor.sock` | where it is asked |
//! | `.../supervisor.log` | what it has to say when nobody listens |
//! | `.../project.json` | [`Desired`], replaced by rename |
//! | `.../ID/` | the bundle of a replica: `config.json`, `stdout.fifo`, `stderr.fifo`, `files/` of configs and secrets |
//! | `/var/lib/minirun/compose/PROJECT/logs/` | what the replicas wrote |
//! | `.../layers/ID/` | what a replica wrote to its root, if that is writable: `upper/`, `work/`, `hash` of what it is |
//! | `/var/lib/minirun/volumes/NAME/` | a volume |
//!
//! The first is below `--root` when that is given, beside the records of containers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::compose::model::Project;
use crate::container::store::Store;
use crate::error::{Error, Kind, OsContext as _, Result};

const LIB: &str = "/var/lib/minirun";

/// The directories of one project.
#[derive(Clone, Debug)]
pub struct Place {
    /// Of this boot.
    pub run: PathBuf,
    /// What stays.
    pub lib: PathBuf,
}

impl Place {
    /// For a project's name.
    ///
    /// # Errors
    /// When it is no name of a project, which is checked because it becomes part of paths.
    pub fn of(store: &Store, project: &str) -> Result<Self> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let first = project.bytes().next().is_some_and(letter);
        if !first
            || !project
                .bytes()
                .all(|byte| letter(byte) || matches!(byte, b'-' | b'_'))
        {
            return Err(Error::invalid(
                format_args!("project name {project:?}"),
                "has other letters than a to z, digits, - and _, or does not begin with a letter or digit",
            ));
        }
        Ok(Self {
            run: store.root().join("compose").join(project),
            lib: Path::new(LIB).join("compose").join(project),
        })
    }

    /// Of all projects that have a supervisor or left something.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn projects(store: &Store) -> Result<Vec<String>> {
        let dir = store.root().join("compose");
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.os("read", dir.display())?,
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.path().join(DESIRED).exists())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// The bundle of a replica.
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.run.join(id)
    }

    /// What a replica writes to its root.
    pub fn layer(&self, id: &str) -> PathBuf {
        self.lib.join("layers").join(id)
    }

    /// What the replicas wrote.
    pub fn logs(&self) -> PathBuf {
        self.lib.join("logs")
    }

    /// Whether something of the project may be there.
    pub fn exists(&self) -> bool {
        self.run.join(DESIRED).exists()
    }

    /// Makes the directory of this boot.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn create(&self) -> Result<()> {
        directory(&self.run)
    }

    /// What the stack shall be; `None` when nobody has said.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn load(&self) -> Result<Option<Desired>> {
        let path = self.run.join(DESIRED);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.os("read", path.display())?,
        };
        let desired = serde_json::from_slice(&text).map_err(|error| {
            Error::new(Kind::Os, format_args!("{} is damaged: {error}", path.display()))
                .hint("`minirun compose up` with the Compose file writes it anew; remove it first")
        })?;
        Ok(Some(desired))
    }

    /// Replaces what the stack shall be.
    ///
    /// # Errors
    /// Those of writing and renaming a file.
    pub fn save(&self, desired: &Desired) -> Result<()> {
        let (new, path) = (self.run.join("project.json.new"), self.run.join(DESIRED));
        let text = serde_json::to_vec(desired)
            .map_err(|error| Error::new(Kind::Os, format_args!("encode {}: {error}", path.display())))?;
        fs::write(&new, text).os("write", new.display())?;
        fs::rename(&new, &path).os("rename to", path.display())
    }

    /// Removes everything of the project but that by which a supervisor is found.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn clear(&self) -> Result<()> {
        remove_tree(&self.lib)?;
        let entries = match fs::read_dir(&self.run) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.os("read", self.run.display())?,
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                remove_tree(&path)?;
            }
        }
        let desired = self.run.join(DESIRED);
        match fs::remove_file(&desired) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.os("remove", desired.display()),
        }
    }

    /// Removes the directory by which a supervisor is found. The lock of those who start one is held.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(&self) -> Result<()> {
        remove_tree(&self.run)
    }
}

const DESIRED: &str = "project.json";

/// Makes a directory that only root enters, with its parents.
pub(in crate::compose) fn directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path.parent().unwrap_or(path))
        .os("create", path.display())?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result.os("create", path.display()),
    }
}

/// Removes a directory with everything in it, if it is there.
pub(in crate::compose) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.os("remove", path.display()),
    }
}

/// Removes a directory that nothing is in; one that others use stays.
pub(super) fn remove_if_empty(path: Option<&Path>) {
    let _ = path.map(fs::remove_dir);
}

/// What a stack shall be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// What the files said.
    pub project: Project,
    /// Numbers of replicas in place of the file's, by service.
    pub scale: BTreeMap<String, u32>,
    /// Services that a verb has stopped, or that no `up` has asked for.
    pub stopped: BTreeSet<String>,
    /// Replicas that have ended for good, by id, and with which status if anybody saw it.
    pub ended: BTreeMap<String, Option<i32>>,
    /// The stack is going.
    pub down: Option<super::super::protocol::Down>,
}

impl Desired {
    /// Of a project of which nothing else was said.
    pub fn new(project: Project) -> Self {
        Self {
            project,
            scale: BTreeMap::new(),
            stopped: BTreeSet::new(),
            ended: BTreeMap::new(),
            down: None,
        }
    }

    /// How many replicas of a service there shall be.
    pub fn replicas(&self, service: &str) -> u32 {
        let said = self.scale.get(service).copied();
        let file = || {
            self.project
                .services
                .get(service)
                .map_or(0, |service| service.replicas)
        };
        said.unwrap_or_else(file)
    }
}

/// The id of a replica's container.
pub fn id(project: &str, service: &str, replica: u32) -> String {
    format!("{project}-{service}-{replica}")
}
