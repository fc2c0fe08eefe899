//! `kill`: a signal to the first process or to all.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::events::{self, Action, Event};
use super::members;
use super::record::Record;
use super::store::{Entry, Store};
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, OsContext, Result};
use crate::spec::id::Id;
use crate::spec::state::Status;
use crate::sys::pidfd;

/// Sends `signal` to the container's first process, or to `all` of its processes.
///
/// # Errors
/// `WrongState` when it does not run; with `all` that is no error.
pub fn kill(store: &Store, id: &Id, signal: i32, all: bool) -> Result<()> {
    let (entry, record) = store.read(id)?;
    send(&entry, &record, signal, all)?;
    events::publish(store.root(), || {
        vec![Event::of(&record, Action::Kill).with("signal", signal)]
    });
    Ok(())
}

fn send(entry: &Entry, record: &Record, signal: i32, all: bool) -> Result<()> {
    let id = &record.id;
    let not_running = || Error::new(Kind::WrongState, format_args!("container not running: {id}"));
    if all {
        return if signal == libc::SIGKILL && record.cgroup != Cgroup::None {
            record.cgroup.kill()
        } else {
            signal_all(&members::pids(record)?, signal)
        };
    }
    if entry.status(record)? == Status::Stopped {
        return Err(not_running());
    }
    // Without a pid namespace of its own nobody takes the other processes down with the first.
    if signal == libc::SIGKILL && record.shares_pid_namespace && record.cgroup != Cgroup::None {
        return record.cgroup.kill();
    }
    let Some(pidfd) = record.init.map(|init| init.open()).transpose()?.flatten() else {
        return Err(not_running());
    };
    match pidfd::send_signal(pidfd.as_fd(), signal) {
        Err(Errno::ESRCH) => Err(not_running()),
        result => result.os(format_args!("send signal {signal} to"), id),
    }
}

fn signal_all(pids: &[i32], signal: i32) -> Result<()> {
    for pid in pids {
        // By descriptor: a number that was reused since the list was read would hit a stranger only if the kernel went
        // through all numbers in between.
        match pidfd::open(Pid::from_raw(*pid)).and_then(|pidfd| pidfd::send_signal(pidfd.as_fd(), signal)) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::os(format_args!("send signal {signal} to"), pid, errno)),
        }
    }
    Ok(())
}

/// A signal by number or name, with or without `SIG`, in any case: `9`, `KILL`, `sigterm`, `RTMIN+3`.
///
/// # Errors
/// When there is no such signal.
pub fn parse_signal(text: &str) -> Result<i32> {
    let unknown = || {
        Error::new(Kind::InvalidConfig, format_args!("unknown signal {text:?}"))
            .hint("use a number or a name of signal(7)")
    };
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=libc::SIGRTMAX()).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let realtime = |base: i32, offset: &str, sign: i32| {
        let offset = if offset.is_empty() {
            Some(0)
        } else {
            offset.get(1..)?.parse::<i32>().ok()
        };
        offset
            .map(|offset| base + sign * offset)
            .filter(|number| (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(number))
    };
    if let Some(offset) = name
        .strip_prefix("RTMIN")
        .filter(|rest| rest.is_empty() || rest.starts_with('+'))
    {
        return realtime(libc::SIGRTMIN(), offset, 1).ok_or_else(unknown);
    }
    if let Some(offset) = name
        .strip_prefix("RTMAX")
        .filter(|rest| rest.is_empty() || rest.starts_with('-'))
    {
        return realtime(libc::SIGRTMAX(), offset, -1).ok_or_else(unknown);
    }
    format!("SIG{name}")
        .parse::<Signal>()
        .map(|signal| signal as i32)
        .map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_number_and_by_name_in_any_case() {
        for (text, number) in [("9", 9), ("KILL", 9), ("sigterm", 15), ("SigHup", 1), ("0", 0)] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        assert_eq!(parse_signal("RTMIN+3").unwrap(), libc::SIGRTMIN() + 3);
        assert_eq!(parse_signal("SIGRTMAX").unwrap(), libc::SIGRTMAX());
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in ["", "SIG", "65", "-1", "KILLER", "RTMIN+99", "RTMIN3", "RTMIN+é"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
