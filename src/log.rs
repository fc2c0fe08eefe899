//! The log: runc's JSON lines or text, to a file or to standard error.
//!
//! Engines read the file as one JSON object (podman) or keep its last error line (containerd), so a failed command
//! writes exactly one error line, and nothing below a warning unless debugging was asked for.

use std::fmt::{self, Display, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::error::{Error, Kind, OsContext, Result};

/// The shape of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="..." level=error msg="..."`, logrus' text form.
    #[default]
    Text,
    /// `{"level":"error","msg":"...","time":"...","kind":"Exists"}`; no `kind` but of an error.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Debug,
    Warning,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

struct Log {
    file: Option<File>,
    format: Format,
    debug: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log once, at the start of `main`. Without a `file` lines go to standard error.
///
/// # Errors
/// When the file cannot be opened for appending; it is created with mode 0644.
pub fn init(file: Option<&Path>, format: Format, debug: bool) -> Result<()> {
    let file = match file {
        Some(path) => Some(
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o644)
                .open(path)
                .os("open log file", path.display())?,
        ),
        None => None,
    };
    // A second call would be a bug of `main`; the first log stays.
    let _ = LOG.set(Log { file, format, debug });
    Ok(())
}

/// Something is odd but the command goes on.
pub fn warn(message: impl Display) {
    write(Level::Warning, &message);
}

/// For `--debug` only.
pub fn debug(message: impl Display) {
    write(Level::Debug, &message);
}

/// The failure of the command: to the log file, and in plain words to standard error as runc does. In JSON it says of
/// which kind it is, too ([`failure`] reads that).
pub fn error(error: &Error) {
    write_line(Level::Error, error, Some(error.kind()));
    if LOG.get().is_some_and(|log| log.file.is_some()) {
        let _ = writeln!(std::io::stderr(), "{error}");
    }
}

/// The failure that a command has written to its JSON log.
pub fn failure(log: &str) -> Option<Error> {
    log.lines().rev().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let message = line["msg"]
            .as_str()
            .filter(|_| line["level"] == Level::Error.name())?;
        let kind = Kind::deserialize(&line["kind"]).unwrap_or(Kind::Program);
        Some(Error::new(kind, message))
    })
}

fn write(level: Level, message: &dyn Display) {
    write_line(level, message, None);
}

fn write_line(level: Level, message: &dyn Display, kind: Option<Kind>) {
    const STDERR: Log = Log {
        file: None,
        format: Format::Text,
        debug: false,
    };
    let log = LOG.get().unwrap_or(&STDERR);
    if level == Level::Debug && !log.debug {
        return;
    }
    let line = line(log.format, level, &message.to_string(), kind, SystemTime::now());
    // One write per line keeps lines whole when several processes append; a full disk must not fail the command.
    let _ = match &log.file {
        Some(file) => (&*file).write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

fn line(format: Format, level: Level, message: &str, kind: Option<Kind>, now: SystemTime) -> String {
    let (level, time) = (level.name(), Rfc3339(now));
    match format {
        Format::Json => {
            let message = Value::from(message);
            let kind = kind
                .map(|kind| format!(",\"kind\":{}", json!(kind)))
                .unwrap_or_default();
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"{kind}}}\n")
        }
        Format::Text => {
            let message = Value::from(message);
            format!("time=\"{time}\" level={level} msg={message}\n")
        }
    }
}

/// A point in time as RFC 3339 in UTC with nanoseconds: `2026-01-02T03:04:05.000000006Z`.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub SystemTime);

impl Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil_from_days(days);
        let mut text = String::with_capacity(32);
        write!(
            text,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            second / 3600,
            second / 60 % 60,
            second % 60
        )?;
        write!(f, "{text}.{:09}Z", since.subsec_nanos())
    }
}

/// Days since 1970-01-01 as year, month, day of the Gregorian calendar. Counts in eras of 400 years that start on
/// 1 March, so that the leap day is the last day of a year.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, 6)
    }

    #[test]
    fn dates_before_and_after_a_leap_day_are_right() {
        assert_eq!(Rfc3339(at(0)).to_string(), "1970-01-01T00:00:00.000000006Z");
        assert_eq!(
            Rfc3339(at(951_782_399)).to_string(),
            "2000-02-28T23:59:59.000000006Z"
        );
        assert_eq!(
            Rfc3339(at(951_782_400)).to_string(),
            "2000-02-29T00:00:00.000000006Z"
        );
        assert_eq!(
            Rfc3339(at(1_767_323_045)).to_string(),
            "2026-01-02T03:04:05.000000006Z"
        );
    }

    #[test]
    fn a_json_line_is_one_object_with_runcs_keys() {
        let line = line(Format::Json, Level::Error, "it \"broke\"\nbadly", None, at(0));
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["level"], "error");
        assert_eq!(value["msg"], "it \"broke\"\nbadly");
        assert_eq!(value["time"], "1970-01-01T00:00:00.000000006Z");
    }

    #[test]
    fn whoever_started_a_command_reads_from_its_log_what_kind_of_failure_it_was() {
        let failed = line(Format::Json, Level::Error, "taken", Some(Kind::Exists), at(0));
        let odd = line(Format::Json, Level::Warning, "odd", None, at(0));
        assert_eq!(
            failure(&format!("{odd}{failed}")),
            Some(Error::new(Kind::Exists, "taken"))
        );
        assert_eq!(failure(&odd), None);
        let of_runc = line(Format::Json, Level::Error, "broken", None, at(0));
        assert_eq!(failure(&of_runc), Some(Error::new(Kind::Program, "broken")));
    }
}
