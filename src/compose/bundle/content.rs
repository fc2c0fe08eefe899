//! Configs and secrets: what is in them, and the files that replicas see.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use super::super::model::{FileSource, FileUse};
use crate::error::{Error, OsContext as _, Result};

/// Of a config or secret, as in other implementations.
const LARGEST_FILE: u64 = 1 << 20;

/// A config or secret.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

impl Content {
    pub(super) fn of(source: &FileSource, name: &str, used: &FileUse) -> Result<Self> {
        let bytes = match source {
            FileSource::Content(text) | FileSource::Environment { content: text, .. } => {
                text.clone().into_bytes()
            }
            FileSource::File(path) => {
                let file = File::open(path).os(format_args!("{name}: open"), path.display())?;
                let mut bytes = Vec::new();
                let read = file.take(LARGEST_FILE + 1).read_to_end(&mut bytes);
                read.os(format_args!("{name}: read"), path.display())?;
                bytes
            }
        };
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(Error::invalid(name, "is larger than 1 MiB").hint("mount it as a volume"));
        }
        Ok(Self {
            bytes,
            uid: used.uid.unwrap_or(0),
            gid: used.gid.unwrap_or(0),
            mode: used.mode.unwrap_or(0o444),
        })
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        // Nobody reads it before it has its owner and mode.
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .os("create", path.display())?;
        file.write_all(&self.bytes).os("write", path.display())?;
        fchown(&file, Some(self.uid), Some(self.gid)).os("change owner of", path.display())?;
        let mode = fs::Permissions::from_mode(self.mode);
        file.set_permissions(mode).os("change mode of", path.display())
    }
}
