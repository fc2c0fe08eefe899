//! The lines of a file that others append to and take out of the way when it is full: the last ones, and those to come.
//!
//! `events` is the current file, `events.1` the one before, and so on. Whoever follows keeps the file that it reads open
//! when that is renamed, and finds by its number of inode which one comes next.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::error::{OsContext as _, Result};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// A line that is longer is given out in pieces.
const LONGEST: usize = 1024 * 1024;

/// The path of a file that was moved aside; number 0 is the current one.
pub fn rotated(path: &Path, number: u64) -> PathBuf {
    match number {
        0 => path.to_owned(),
        number => {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        }
    }
}

/// A place in a file and those that were moved aside.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    file: Option<File>,
    /// Read and not given out yet.
    buffer: Vec<u8>,
    /// Where in it the next line begins.
    next: usize,
}

impl Tail {
    /// Begins `last` lines before the end, or with the oldest line. A file that does not exist has no lines yet.
    ///
    /// # Errors
    /// Those of reading files.
    pub fn open(path: &Path, last: Option<usize>) -> Result<Tail> {
        let mut tail = Tail {
            path: path.to_owned(),
            file: None,
            buffer: Vec::new(),
            next: 0,
        };
        let mut wanted = last.unwrap_or(usize::MAX);
        for number in 0.. {
            let mut file = match open(&rotated(path, number))? {
                Some(file) => file,
                None if number == 0 => continue,
                None => break,
            };
            let (position, found) = match last {
                Some(_) => last_lines(&mut file, wanted).os("read", path.display())?,
                None => (0, 0),
            };
            file.seek(SeekFrom::Start(position)).os("read", path.display())?;
            tail.file = Some(file);
            wanted = wanted.saturating_sub(found);
            if wanted == 0 {
                break;
            }
        }
        Ok(tail)
    }

    /// The next line, without its end; `None` when there is none yet. Half a line is not given out.
    ///
    /// # Errors
    /// Those of reading files.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let unread = self.buffer.get(self.next..).unwrap_or_default();
            if let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let line = unread.get(..end).unwrap_or_default().to_owned();
                self.next += end + 1;
                return Ok(Some(line));
            }
            if unread.len() >= LONGEST {
                let line = unread.to_owned();
                self.next = self.buffer.len();
                return Ok(Some(line));
            }
            if self.fill()? == 0 && !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Whether neither the file nor the one before exists.
    pub fn is_gone(&self) -> bool {
        (0..2).all(|number| !rotated(&self.path, number).exists())
    }

    /// Reads more of the current file; how much.
    fn fill(&mut self) -> Result<usize> {
        self.buffer.drain(..self.next);
        self.next = 0;
        let Some(file) = &self.file else { return Ok(0) };
        let before = self.buffer.len();
        self.buffer.resize(before + CHUNK, 0);
        let space = self.buffer.get_mut(before..).unwrap_or_default();
        let read = (&*file).read(space);
        let count = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(before + count);
        read.os("read", self.path.display())
    }

    /// Goes on with the file that came after this one; false when this is still the current one.
    fn advance(&mut self) -> Result<bool> {
        let Some(file) = &self.file else {
            self.file = open(&self.path)?;
            return Ok(self.file.is_some());
        };
        let inode = file.metadata().os("stat", self.path.display())?.ino();
        // Files move to higher numbers, as we do: none is missed when one is moved meanwhile.
        let mut next = None;
        for number in 0.. {
            let candidate = match open(&rotated(&self.path, number))? {
                Some(candidate) => candidate,
                // It has just been moved aside.
                None if number == 0 => continue,
                None => break,
            };
            if candidate.metadata().os("stat", self.path.display())?.ino() == inode {
                break;
            }
            next = Some(candidate);
        }
        // What was written just before the file was moved aside goes first.
        if next.is_none() || self.fill()? > 0 {
            return Ok(next.is_some());
        }
        (self.file, self.next) = (next, 0);
        self.buffer.clear();
        Ok(true)
    }
}

fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).os("open", path.display()),
    }
}

/// Where the last `count` lines begin, and how many there are. What follows the last end of line is no line yet.
fn last_lines(file: &mut File, count: usize) -> std::io::Result<(u64, usize)> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut ends = 0;
    let mut chunk = vec![0; CHUNK];
    while end > 0 {
        let length = usize::try_from(end).unwrap_or(CHUNK).min(CHUNK);
        let start = end - length as u64;
        let part = chunk.get_mut(..length).unwrap_or_default();
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        for (index, byte) in part.iter().enumerate().rev() {
            if *byte == b'\n' {
                // The end of the line before the first that is wanted.
                if ends == count {
                    return Ok((start + index as u64 + 1, count));
                }
                ends += 1;
            }
        }
        end = start;
    }
    Ok((0, ends))
}

/// Tells when something was written to a file of a directory, or a file came or went.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
}

impl Watch {
    /// Begins to watch. Look at the files after this, so that nothing is missed.
    ///
    /// # Errors
    /// When the directory does not exist, or the host's limits of inotify(7) are reached.
    pub fn directory(path: &Path) -> Result<Watch> {
        let inotify =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).os("create", "inotify")?;
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(path, flags).os("watch", path.display())?;
        Ok(Watch { inotify })
    }

    /// Takes what has happened, so that waiting waits again; false when the directory has gone.
    ///
    /// # Errors
    /// Those of reading inotify events.
    pub fn drain(&self) -> Result<bool> {
        let mut stays = true;
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_IGNORED;
                    stays &= !events.iter().any(|event| event.mask.intersects(gone));
                }
                Err(Errno::EAGAIN) => return Ok(stays),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).os("read", "inotify"),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests;
