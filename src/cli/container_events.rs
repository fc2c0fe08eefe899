//! `minirun events ID`: statistics and kills of one container, in runc's JSON.

use std::os::fd::AsFd as _;
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use super::follow;
use crate::container::statistics::Living;
use crate::container::store::Store;
use crate::error::{Error, OsContext as _, Result};
use crate::spec::id::Id;

/// How often statistics are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval(Duration);

impl FromStr for Interval {
    type Err = Error;

    /// Go's durations: numbers, with fractions or without, each with a unit.
    fn from_str(text: &str) -> Result<Interval> {
        let wrong = |why: &str| Error::invalid(format_args!("{text:?}"), why);
        let not_one = || wrong("is not a duration such as 5s, 100ms or 1m30s");
        let (mut rest, mut total) = (text, Duration::ZERO);
        while !rest.is_empty() {
            let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
            let (number, tail) = rest.split_at(end.ok_or_else(not_one)?);
            let end = tail.find(|letter: char| letter.is_ascii_digit() || letter == '.');
            let (unit, tail) = tail.split_at(end.unwrap_or(tail.len()));
            let seconds = match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(not_one()),
            };
            let number: f64 = number.parse().map_err(|_| not_one())?;
            let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| not_one())?;
            total = total.checked_add(part).ok_or_else(not_one)?;
            rest = tail;
        }
        if total.is_zero() {
            return Err(wrong("must be more than nothing"));
        }
        Ok(Interval(total))
    }
}

pub(super) fn run(store: &Store, id: &Id, interval: Interval, once: bool) -> Result<u8> {
    let container = Living::of(store, id)?;
    let statistics = || -> Result<Vec<u8>> {
        let data = container.data()?;
        Ok(format!("{}\n", json!({"type": "stats", "id": id.as_str(), "data": data})).into_bytes())
    };
    if once {
        return follow::print(&statistics()?).map(|_| 0);
    }
    let mut oom = container.watch_oom()?;
    let mut next = Instant::now() + interval.0;
    loop {
        let mut sources = vec![container.end.as_fd()];
        sources.extend(oom.as_ref().map(|oom| oom.as_fd()));
        let left = next.saturating_duration_since(Instant::now());
        if follow::wait(&sources, Some(left))?.is_break() {
            return Ok(0);
        }
        let has_ended = has_ended(&container)?;
        let kills = oom.as_mut().map_or(Ok(0), |oom| oom.take())?;
        let mut out = Vec::new();
        for _ in 0..kills {
            out.extend(format!("{}\n", json!({"type": "oom", "id": id.as_str()})).into_bytes());
        }
        if !has_ended && Instant::now() >= next {
            next = Instant::now() + interval.0;
            // It may end at any time, and its control group with it.
            out.extend(statistics().unwrap_or_default());
        }
        if follow::print(&out)?.is_break() || has_ended {
            return Ok(0);
        }
    }
}

fn has_ended(container: &Living) -> Result<bool> {
    let mut fds = [PollFd::new(container.end.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO)
        .map(|ready| ready > 0)
        .os("wait for", "the container's end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_durations_as_go_writes_them() {
        for (text, milliseconds) in [
            ("5s", 5000),
            ("100ms", 100),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            ("1h", 3_600_000),
        ] {
            let Interval(interval) = text.parse().unwrap();
            assert_eq!(interval, Duration::from_millis(milliseconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_interval_is_refused() {
        for text in ["", "5", "s", "-1s", "0s", "5x", "1.2.3s", "99999999999999999999h"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }
}
