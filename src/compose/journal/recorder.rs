//! From a container's pipes to lines in its log file, for a process that waits in poll(2) for many containers.
//!
//! The pipes are named ones, held open for reading and writing on this side too: they never report the end of a file, and
//! what was written while nobody read waits in them (up to the kernel's 64 KiB; then the writer waits).

use std::fs::OpenOptions;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, read};

use super::record::{Record, Stream};
use super::rotated::Rotated;
use crate::compose::model::Logging;
use crate::error::{Error, OsContext as _, Result};

/// The longest text of one record; a longer line becomes several (containerd's bound).
const LONGEST: usize = 16 * 1024;

/// One container's output on its way into its log.
pub struct Recorder {
    log: Rotated,
    stdout: Source,
    stderr: Source,
}

struct Source {
    stream: Stream,
    pipe: OwnedFd,
    /// A line that has not ended yet; never longer than [`LONGEST`].
    pending: Vec<u8>,
}

impl Recorder {
    /// Opens the log and the two named pipes, which are made when they are missing. The container is given pipes that its
    /// creator opens by these paths.
    ///
    /// # Errors
    /// Those of making and opening the files.
    pub fn open(log: &Path, logging: &Logging, stdout: &Path, stderr: &Path) -> Result<Recorder> {
        Ok(Recorder {
            log: Rotated::open(log, logging)?,
            stdout: Source::open(Stream::Stdout, stdout)?,
            stderr: Source::open(Stream::Stderr, stderr)?,
        })
    }

    /// The descriptors to wait for: readable means that [`Recorder::readable`] has something to do.
    pub fn sources(&self) -> [(Stream, BorrowedFd<'_>); 2] {
        [&self.stdout, &self.stderr].map(|source| (source.stream, source.pipe.as_fd()))
    }

    /// Takes a bounded part of what is in one pipe, and never waits. The lines get the time `now`.
    ///
    /// # Errors
    /// Those of reading the pipe and of writing the log; on a full disk lines are lost and later ones are written again.
    pub fn readable(&mut self, stream: Stream, now: SystemTime) -> Result<()> {
        self.take(stream, now).map(drop)
    }

    /// When the container has ended: takes all that is left in the pipes, lines without an end included.
    ///
    /// # Errors
    /// As [`Recorder::readable`].
    pub fn finish(&mut self, now: SystemTime) -> Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            // A process of the container's that is still there may go on writing: this ends nevertheless.
            const PIPES: usize = 64 * 1024 / LONGEST + 1;
            for _ in 0..PIPES {
                if self.take(stream, now)? == 0 {
                    break;
                }
            }
            let pending = std::mem::take(&mut self.source(stream).pending);
            if !pending.is_empty() {
                let mut line = Vec::new();
                Record::write(&mut line, now, stream, false, &pending);
                self.log.append(&line)?;
            }
        }
        Ok(())
    }

    fn source(&mut self, stream: Stream) -> &mut Source {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// How many bytes it took.
    fn take(&mut self, stream: Stream, now: SystemTime) -> Result<usize> {
        let mut buffer = [0; LONGEST];
        let source = self.source(stream);
        let count = match read(&source.pipe, &mut buffer) {
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(errno) => return Err(Error::os("read", stream, errno)),
        };
        let mut lines = Vec::new();
        source.feed(buffer.get(..count).unwrap_or_default(), now, &mut lines);
        self.log.append(&lines).map(|()| count)
    }
}

impl Source {
    fn open(stream: Stream, path: &Path) -> Result<Source> {
        match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Error::os("make pipe", path.display(), errno)),
        }
        let pipe = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .os("open pipe", path.display())?;
        Ok(Source {
            stream,
            pipe: pipe.into(),
            pending: Vec::new(),
        })
    }

    /// Appends records of all lines that end in `bytes`, and of parts of those that get too long.
    fn feed(&mut self, bytes: &[u8], now: SystemTime, out: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (mut text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            while self.pending.len() + text.len() > LONGEST {
                let (fitting, more) = text.split_at(LONGEST - self.pending.len());
                self.pending.extend(fitting);
                Record::write(out, now, self.stream, true, &self.pending);
                self.pending.clear();
                text = more;
            }
            self.pending.extend(text);
            if ends {
                Record::write(out, now, self.stream, false, &self.pending);
                self.pending.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests;
