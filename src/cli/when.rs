//! Points in time as people give them to `--since` and `--until`: `2026-01-02T03:04:05Z`, seconds since 1970, or how long
//! ago (`10m`).

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::log::Rfc3339;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When(SystemTime);

impl When {
    /// As logs and events write it, so that comparing the texts compares the times.
    pub(super) fn text(self) -> String {
        Rfc3339(self.0).to_string()
    }

    /// How long it is until then; nothing when it has passed.
    pub(super) fn remaining(self) -> Duration {
        self.0.duration_since(SystemTime::now()).unwrap_or_default()
    }
}

impl FromStr for When {
    type Err = Error;

    fn from_str(text: &str) -> Result<When> {
        let now = SystemTime::now();
        let at = seconds(text)
            .or_else(|| rfc3339(text))
            .and_then(|since| UNIX_EPOCH.checked_add(since))
            .or_else(|| now.checked_sub(ago(text)?));
        at.map(When).ok_or_else(|| {
            Error::invalid(format_args!("{text:?}"), "is no point in time")
                .hint("write 2026-01-02T03:04:05Z, seconds since 1970, or how long ago: 10m, 1h30m")
        })
    }
}

/// Seconds since 1970, with a fraction or without.
fn seconds(text: &str) -> Option<Duration> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    Duration::try_from_secs_f64(text.parse().ok().filter(|_| plain)?).ok()
}

/// `1h30m`, `90s`, `2d`.
fn ago(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, unit) = rest.split_at(rest.find(|letter: char| !letter.is_ascii_digit())?);
        let end = unit
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(unit.len());
        let (unit, later) = unit.split_at(end);
        let number: u64 = number.parse().ok()?;
        let unit = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "d" => Duration::from_secs(number.checked_mul(86_400)?),
            _ => return None,
        };
        (rest, total) = (later, total.checked_add(unit)?);
    }
    Some(total)
}

/// RFC 3339 with any offset, UTC without one; a date alone is its first moment. Since 1970.
fn rfc3339(text: &str) -> Option<Duration> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00Z"));
    let (year, month_day) = date.split_once('-')?;
    let (month, day) = month_day.split_once('-')?;
    let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => (time, "Z"),
    };
    let (hour, minute_second) = time.split_once(':')?;
    let (minute, second) = minute_second.split_once(':').unwrap_or((minute_second, "0"));
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    let number = |text: &str, range: std::ops::RangeInclusive<i64>| -> Option<i64> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|number| digits && range.contains(number))
    };
    let offset = match offset.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign, offset) => {
            let (hours, minutes) = offset.split_once(':')?;
            let seconds = number(hours, 0..=23)? * 3600 + number(minutes, 0..=59)? * 60;
            if sign == "-" { -seconds } else { seconds }
        }
    };
    let days = days(
        number(year, 1970..=9999)?,
        number(month, 1..=12)?,
        number(day, 1..=31)?,
    )?;
    let clock = number(hour, 0..=23)? * 3600 + number(minute, 0..=59)? * 60 + number(second, 0..=60)?;
    let nanoseconds = match fraction.len() {
        1..=9 => u32::try_from(number(&format!("{fraction:0<9}"), 0..=999_999_999)?).ok()?,
        _ => return None,
    };
    let seconds = u64::try_from(days * 86_400 + clock - offset).ok()?;
    Some(Duration::new(seconds, nanoseconds))
}

/// Days since 1970-01-01 in the Gregorian calendar; `None` for a day that the month does not have.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |month: i64| match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let before = year - 1;
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leap_days(before) - leap_days(1969);
    (day <= length(month)).then(|| years + (1..month).map(length).sum::<i64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(given: &str) -> String {
        given.parse::<When>().unwrap().text()
    }

    #[test]
    fn absolute_times_are_read_in_every_form() {
        for (given, expected) in [
            ("1970-01-01", "1970-01-01T00:00:00.000000000Z"),
            ("2000-02-29T23:59:59Z", "2000-02-29T23:59:59.000000000Z"),
            ("2026-11-23T02:00:00.5+01:30", "2026-11-23T00:30:00.500000000Z"),
            ("2026-12-31 23:30-01:00", "2027-01-01T00:30:00.000000000Z"),
            ("2100-03-01", "2100-03-01T00:00:00.000000000Z"),
            ("1700000000", "2023-11-14T22:13:20.000000000Z"),
            ("1700000000.25", "2023-11-14T22:13:20.250000000Z"),
        ] {
            assert_eq!(text(given), expected, "{given}");
        }
    }

    #[test]
    fn a_duration_is_how_long_ago() {
        for (given, seconds) in [("90s", 90), ("1h30m", 5400), ("2d", 172_800), ("0s", 0)] {
            let When(at) = given.parse().unwrap();
            let ago = at.elapsed().unwrap();
            assert!(ago >= Duration::from_secs(seconds), "{given}: {ago:?}");
            assert_eq!(When(at).remaining(), Duration::ZERO);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for given in [
            "",
            "now",
            "10",
            "x10m",
            "10x",
            "m",
            "-5m",
            "2026-13-01",
            "2026-02-29",
            "1969-12-31",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00+1",
            "2026-01-01T00:00:00.Z",
            "9e99",
            "99999999999999999999d",
        ] {
            let result = given.parse::<When>();
            // A bare number is seconds since 1970.
            assert_eq!(result.is_ok(), given == "10", "{given}");
        }
    }
}
