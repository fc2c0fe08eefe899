//! What a replica writes: two named pipes, on their way into its log.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::place;
use crate::compose::journal::{Reader, Recorder, Selection, Stream};
use crate::compose::model::Logging;
use crate::error::{OsContext as _, Result};

/// A replica's outputs; those of one that does not exist are nothing.
#[derive(Default)]
pub(super) struct Output {
    recorder: Option<Recorder>,
    log: PathBuf,
}

/// The writing ends, for a container.
pub(super) struct Ends {
    pub(super) stdout: File,
    pub(super) stderr: File,
}

impl Output {
    /// New pipes in a replica's directory. The container is given ends that are open for reading as well, so that it never
    /// writes without a reader.
    pub(super) fn create(
        directory: &Path,
        logs: &Path,
        id: &str,
        logging: &Logging,
    ) -> Result<(Output, Ends)> {
        for path in paths(directory) {
            // What nobody has read of an earlier container is lost with it.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).os("remove", path.display());
                }
                _ => {}
            }
        }
        let output = Self::open(directory, logs, id, logging)?;
        let [stdout, stderr] = paths(directory).map(|path| {
            let file = OpenOptions::new().read(true).write(true).open(&path);
            file.os("open", path.display())
        });
        let (stdout, stderr) = (stdout?, stderr?);
        Ok((output, Ends { stdout, stderr }))
    }

    /// The pipes of a replica that another supervisor has started.
    pub(super) fn open(directory: &Path, logs: &Path, id: &str, logging: &Logging) -> Result<Output> {
        place::directory(logs)?;
        let log = logs.join(format!("{id}.log"));
        let [stdout, stderr] = paths(directory);
        let recorder = Some(Recorder::open(&log, logging, &stdout, &stderr)?);
        Ok(Output { recorder, log })
    }

    /// What to poll for reading.
    pub(super) fn sources(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        self.recorder.iter().flat_map(Recorder::sources)
    }

    /// Takes a part of what there is.
    pub(super) fn read(&mut self, stream: Stream) -> Result<()> {
        match &mut self.recorder {
            Some(recorder) => recorder.readable(stream, SystemTime::now()),
            None => Ok(()),
        }
    }

    /// Takes what is left, and closes the pipes.
    pub(super) fn finish(&mut self) -> Result<()> {
        match self.recorder.take() {
            Some(mut recorder) => recorder.finish(SystemTime::now()),
            None => Ok(()),
        }
    }

    /// The last lines that it wrote, for the end of an error.
    pub(super) fn last_words(&self) -> String {
        match self.tail() {
            lines if lines.is_empty() => String::new(),
            lines => format!("; its last lines:\n  {}", lines.join("\n  ")),
        }
    }

    fn tail(&self) -> Vec<String> {
        const LINES: usize = 5;
        let last = Some(LINES);
        let mut reader = Reader::new(Selection {
            last,
            ..Selection::default()
        });
        if reader.add("", &self.log).is_err() {
            return Vec::new();
        }
        std::iter::from_fn(|| reader.next_entry().ok().flatten())
            .take(LINES)
            .map(|entry| String::from_utf8_lossy(&entry.text).into_owned())
            .collect()
    }
}

fn paths(directory: &Path) -> [PathBuf; 2] {
    ["stdout.fifo", "stderr.fifo"].map(|name| directory.join(name))
}
