//! One line of a log file: `2026-01-02T03:04:05.123456789Z stdout F text`.
//!
//! Time in UTC with nanoseconds, stream, `F` for a full line or `P` for a part of one that goes on in the next record of
//! this stream, text (the log format of the Kubernetes container runtime interface).

use std::fmt::{self, Display};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::log::Rfc3339;

/// Letters of the time: all are of one length, so that comparing them as text compares the times.
const TIME: usize = "2026-01-02T03:04:05.123456789Z".len();

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        })
    }
}

/// A line of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// RFC 3339 in UTC with nanoseconds.
    pub time: &'a str,
    /// Where it came from.
    pub stream: Stream,
    /// The line goes on in the next record of the stream.
    pub partial: bool,
    /// Without the end of line; what the program wrote, UTF-8 or not.
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Appends a record and its end of line to `out`.
    pub fn write(out: &mut Vec<u8>, now: SystemTime, stream: Stream, partial: bool, text: &[u8]) {
        let tag = if partial { 'P' } else { 'F' };
        out.extend(format!("{} {stream} {tag} ", Rfc3339(now)).as_bytes());
        out.extend(text);
        out.push(b'\n');
    }

    /// Reads a line without its end; `None` for what we did not write.
    pub fn parse(line: &'a [u8]) -> Option<Record<'a>> {
        let (head, text) = line.split_at_checked(TIME + " stdout F ".len())?;
        let head = std::str::from_utf8(head).ok()?;
        let (time, rest) = head.split_at_checked(TIME)?;
        let (stream, partial) = match rest {
            " stdout F " => (Stream::Stdout, false),
            " stdout P " => (Stream::Stdout, true),
            " stderr F " => (Stream::Stderr, false),
            " stderr P " => (Stream::Stderr, true),
            _ => return None,
        };
        let shaped = time.ends_with('Z') && time.get(10..11) == Some("T");
        shaped.then_some(Record {
            time,
            stream,
            partial,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_record_survives_being_written_and_read() {
        let now = UNIX_EPOCH + Duration::new(1_700_000_000, 7);
        for (stream, partial, text) in [
            (Stream::Stdout, false, &b"hello"[..]),
            (Stream::Stderr, true, b""),
            (Stream::Stdout, false, b" F \xff\xfe"),
        ] {
            let mut line = Vec::new();
            Record::write(&mut line, now, stream, partial, text);
            assert_eq!(line.pop(), Some(b'\n'));
            let read = Record::parse(&line).unwrap();
            assert_eq!((read.stream, read.partial, read.text), (stream, partial, text));
            assert_eq!(read.time, "2023-11-14T22:13:20.000000007Z");
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in [
            &b""[..],
            b"hello",
            b"2023-11-14T22:13:20.000000007Z stdin F x",
            b"2023-11-14 22:13:20.000000007Z stdout F x",
            b"\xff023-11-14T22:13:20.000000007Z stdout F x",
        ] {
            assert_eq!(Record::parse(line), None, "{line:?}");
        }
    }
}
