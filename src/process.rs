//! A process as the record remembers it: its number and its start time, so that a reused number is not taken for it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::pidfd;

/// Identifies a process for as long as this boot lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// As the host sees it.
    pub pid: i32,
    /// Clock ticks after boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
}

impl Process {
    /// Identifies a process that is alive or at least not yet reaped.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: Pid) -> Result<Process> {
        let stat = read_stat(pid.as_raw())?;
        stat.map(|stat| Process {
            pid: pid.as_raw(),
            start_time: stat.start_time,
        })
        .ok_or_else(|| Error::new(Kind::Os, format_args!("no such process: {pid}")))
    }

    /// Whether it still runs; a zombie does not.
    ///
    /// # Errors
    /// When procfs cannot be read.
    pub fn is_alive(self) -> Result<bool> {
        Ok(read_stat(self.pid)?.is_some_and(|stat| stat.start_time == self.start_time && !stat.ended))
    }

    /// A descriptor for this very process; `None` when it has ended.
    ///
    /// # Errors
    /// Those of pidfd_open(2) and of reading procfs.
    pub fn open(self) -> Result<Option<OwnedFd>> {
        let Some(pidfd) = self.open_number()? else {
            return Ok(None);
        };
        // Checked after opening: the descriptor cannot come to mean another process any more.
        Ok(self.is_alive()?.then_some(pidfd))
    }

    /// A descriptor for whoever has the number: for this process only if it [is alive](Process::is_alive) afterwards.
    ///
    /// # Errors
    /// Those of pidfd_open(2).
    pub fn open_number(self) -> Result<Option<OwnedFd>> {
        match pidfd::open(Pid::from_raw(self.pid)) {
            Ok(pidfd) => Ok(Some(pidfd)),
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => Err(Error::os("open pidfd of", self.pid, errno)),
        }
    }
}

/// Whether a process or thread of this number runs; one that has ended does not, though nobody has waited for it yet.
///
/// # Errors
/// When procfs cannot be read.
pub fn runs(number: i32) -> Result<bool> {
    Ok(read_stat(number)?.is_some_and(|stat| !stat.ended))
}

struct Stat {
    ended: bool,
    start_time: u64,
}

fn read_stat(pid: i32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    // The kernel makes the whole line, of at most some 400 bytes, at once.
    let mut buffer = [0; 1024];
    match File::open(&path).and_then(|mut file| file.read(&mut buffer)) {
        Ok(length) => match parse_stat(&String::from_utf8_lossy(&buffer[..length])) {
            Some(stat) => Ok(Some(stat)),
            None => Err(Error::new(
                Kind::Os,
                format_args!("read {path}: not in the form of proc_pid_stat(5)"),
            )),
        },
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(error) => Err(error).os("read", path),
    }
}

/// The name, field 2, may hold blanks and parentheses; the fields after its last parenthesis are regular.
fn parse_stat(stat: &str) -> Option<Stat> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    Some(Stat {
        ended,
        start_time: fields.nth(18)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_thread_is_no_process() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let thread = nix::unistd::gettid();
            // Of a thread there is a start time, but no descriptor.
            let process = Process::of(thread).unwrap();
            sender.send(process.open().unwrap().is_none()).unwrap();
        });
        assert!(receiver.recv().unwrap());
        thread.join().unwrap();
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) R 1) Z 1 7 7 0 -1 4228364 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        let stat = parse_stat(stat).unwrap();
        assert!(stat.ended);
        assert_eq!(stat.start_time, 12345);
    }

    #[test]
    fn another_start_time_is_another_process() {
        let me = Process::of(Pid::this()).unwrap();
        assert!(me.is_alive().unwrap());
        let earlier = Process {
            start_time: me.start_time - 1,
            ..me
        };
        assert!(!earlier.is_alive().unwrap());
        assert!(earlier.open().unwrap().is_none());
    }
}
