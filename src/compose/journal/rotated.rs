//! A log file that is moved aside when it is full: `ID.log` becomes `ID.log.1`, that becomes `ID.log.2`, the last one goes.
//! A line is never cut in two by it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::compose::model::Logging;
use crate::error::{OsContext as _, Result};

/// Written to by one process at a time.
pub(super) struct Rotated {
    path: PathBuf,
    file: File,
    size: u64,
    limits: Logging,
}

impl Rotated {
    /// Opens a log, made with its directory when it is missing. Half a line at its end, of a writer that was killed, is
    /// cut off.
    pub(super) fn open(path: &Path, limits: &Logging) -> Result<Rotated> {
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .os("create", parent.display())?;
        }
        let (file, size) = open(path)?;
        let mut log = Rotated {
            path: path.to_owned(),
            file,
            size,
            limits: *limits,
        };
        log.cut_off_half_a_line()?;
        Ok(log)
    }

    /// Appends whole lines; what does not fit into this file goes to the next one.
    ///
    /// # Errors
    /// Those of writing, when the disk is full: nothing of the lines that were not written whole stays.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.fitting(rest));
            match now.is_empty() {
                true => self.rotate()?,
                false => self.write(now)?,
            }
            rest = later;
        }
        Ok(())
    }

    /// How many bytes of these lines this file takes: whole lines, at least one when nothing is in it yet.
    fn fitting(&self, lines: &[u8]) -> usize {
        let mut fitting = 0;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let with = fitting + line.len();
            let is_first = self.size == 0 && fitting == 0;
            if !is_first && self.size + with as u64 > self.limits.max_size {
                break;
            }
            fitting = with;
        }
        fitting
    }

    fn write(&mut self, lines: &[u8]) -> Result<()> {
        if let Err(error) = self.file.write_all(lines) {
            self.file.set_len(self.size).os("truncate", self.path.display())?;
            return Err(error).os("write", self.path.display());
        }
        self.size += length(lines);
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        let older = u64::from(self.limits.max_files.saturating_sub(1));
        for number in (1..older).rev() {
            shift(&self.numbered(number), &self.numbered(number + 1))?;
        }
        if older > 0 {
            shift(&self.path, &self.numbered(1))?;
            (self.file, self.size) = open(&self.path)?;
            return Ok(());
        }
        // Replaced, not removed: whoever follows takes a log that is not there for the end of its stack.
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        (self.file, self.size) = open(Path::new(&new))?;
        fs::rename(&new, &self.path).os("rename", self.path.display())
    }

    fn numbered(&self, number: u64) -> PathBuf {
        crate::tail::rotated(&self.path, number)
    }

    fn cut_off_half_a_line(&mut self) -> Result<()> {
        /// More than the longest record.
        const LAST: u64 = 64 * 1024;
        let mut last = Vec::new();
        let from = self.size.saturating_sub(LAST);
        self.file
            .seek(SeekFrom::Start(from))
            .and_then(|_| self.file.read_to_end(&mut last))
            .os("read", self.path.display())?;
        let whole = match last.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => from + length(&last[..=end]),
            None => from,
        };
        if whole < self.size {
            self.file.set_len(whole).os("truncate", self.path.display())?;
            self.size = whole;
        }
        Ok(())
    }
}

fn length(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

fn open(path: &Path) -> Result<(File, u64)> {
    let file = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .os("open log", path.display())?;
    let size = file.metadata().os("stat", path.display())?.len();
    Ok((file, size))
}

fn shift(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.os("rename", from.display()),
    }
}
