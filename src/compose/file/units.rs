//! Durations, sizes, processors, octal numbers: how Compose files write them, and back. Pure.

use std::time::Duration;

/// Nanoseconds of each unit of a duration, longest first; `ms` before `m` when reading.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("s", 1_000_000_000),
];

/// A decimal number with at most nine digits after the point, as billionths.
fn billionths(text: &str) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || fraction.len() > 9
    {
        return None;
    }
    let number = |text: &str| match text {
        "" => Some(0),
        text => text.parse::<u64>().ok().map(u128::from),
    };
    Some(number(whole)? * 1_000_000_000 + number(&format!("{fraction:0<9}"))?)
}

/// `1h30m`, `10s`, `1.5s`, `500ms`: as Go writes durations.
///
/// # Errors
/// In words, what is wrong.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        let hint = match text.parse::<f64>() {
            Ok(_) => format!("; write {text}s for seconds"),
            Err(_) => String::new(),
        };
        format!("{text:?} is not a duration like 1m30s, 10s or 500ms{hint}")
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, 0u128);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let end = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .ok_or_else(wrong)?;
        let (number, unit_on) = rest.split_at(end);
        let unit_on = unit_on
            .strip_prefix('µ')
            .map_or(unit_on.to_owned(), |rest| format!("u{rest}"));
        let unit = UNITS.iter().find(|(unit, _)| unit_on.starts_with(unit));
        let (unit, nanos) = unit.ok_or_else(wrong)?;
        total += billionths(number).ok_or_else(wrong)? * u128::from(*nanos) / 1_000_000_000;
        // What is left of the text is as long as what is left of its copy with `u` for `µ`.
        rest = rest
            .get(rest.len() - (unit_on.len() - unit.len())..)
            .ok_or_else(wrong)?;
    }
    match u64::try_from(total) {
        Ok(nanos) if nanos <= i64::MAX as u64 => Ok(Duration::from_nanos(nanos)),
        _ => Err(format!("{text:?} is longer than 292 years")),
    }
}

/// A duration in the fewest units, `1h30m`: what [`duration`] reads.
pub(in crate::compose) fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, nanos) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        if rest >= nanos {
            text.push_str(&format!("{}{unit}", rest / nanos));
            rest %= nanos;
        }
    }
    match text.as_str() {
        "" => "0s".to_owned(),
        _ => text,
    }
}

/// `10`, `64k`, `128m`, `1.5gb`: powers of 1024.
///
/// # Errors
/// In words, what is wrong.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size like 64k, 128m or 1.5gb");
    let end = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let bytes = billionths(number).ok_or_else(wrong)? * (1u128 << shift) / 1_000_000_000;
    match u64::try_from(bytes) {
        Ok(bytes) if bytes <= i64::MAX as u64 => Ok(bytes),
        _ => Err(format!("{text:?} is more than any machine has")),
    }
}

/// A size in the largest unit of which it is a whole number, `128m`: what [`size`] reads.
pub(in crate::compose) fn show_size(bytes: u64) -> String {
    let units = [(30, "g"), (20, "m"), (10, "k")];
    let unit = units
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match unit {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}b"),
    }
}

/// Processors as billionths: `0.5`, `2`.
///
/// # Errors
/// In words, what is wrong.
pub(super) fn nano_cpus(text: &str) -> Result<u64, String> {
    let nanos = billionths(text).and_then(|nanos| u64::try_from(nanos).ok());
    match nanos {
        // The kernel's smallest quota is 1 ms of a period of 100 ms.
        Some(nanos) if (10_000_000..=1_000_000_000_000_000).contains(&nanos) => Ok(nanos),
        _ => Err(format!(
            "{text:?} is not a number of processors from 0.01 up, like 0.5"
        )),
    }
}

/// Billionths of a processor as a decimal number.
pub(in crate::compose) fn show_nano_cpus(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Permission bits in octal, `0440` or `0o440`.
///
/// # Errors
/// In words, what is wrong. Without a leading zero the number is refused: YAML would take it for a decimal one.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
    digits
        .map(|digits| if digits.is_empty() { "0" } else { digits })
        .and_then(octal)
        .ok_or_else(|| format!("{text:?} are not permission bits in octal with a zero in front, like 0440"))
}

/// Octal digits up to 07777.
pub(super) fn octal(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(digits, 8).ok();
    mode.filter(|mode| plain && *mode <= 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them_and_shown_in_the_fewest_units() {
        for (text, nanos, shown) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("10s", 10_000_000_000, "10s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1.5s", 1_500_000_000, "1s500ms"),
            ("1h5m30s20ms", 3_930_020_000_000, "1h5m30s20ms"),
            ("1us1ns", 1_001, "1us1ns"),
            ("2µs3ms", 3_002_000, "3ms2us"),
        ] {
            let read = duration(text).unwrap();
            assert_eq!(read.as_nanos(), nanos, "{text}");
            assert_eq!(show_duration(read), shown);
            assert_eq!(duration(shown), Ok(read));
        }
        for text in [
            "",
            "s",
            "10",
            "-1s",
            "1x",
            "1s2",
            "1..5s",
            "300000000h",
            "1µ",
            ".",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("10").unwrap_err().contains("write 10s for seconds"));
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("7b", 7),
            ("64k", 65_536),
            ("128M", 128 << 20),
            ("1.5gb", 3 << 29),
            ("2 GiB", 2 << 30),
            ("1t", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(size(&show_size(bytes)), Ok(bytes), "{text}");
        }
        assert_eq!(show_size(128 << 20), "128m");
        assert_eq!(show_size(1_025), "1025b");
        for text in ["", "m", "-1", "10x", "1e3", "99999999999t", "1.2.3"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_are_billionths() {
        for (text, nanos, shown) in [
            ("0.5", 500_000_000, "0.5"),
            ("2", 2_000_000_000, "2"),
            ("1.250", 1_250_000_000, "1.25"),
            (".5", 500_000_000, "0.5"),
        ] {
            assert_eq!(nano_cpus(text), Ok(nanos));
            assert_eq!(show_nano_cpus(nanos), shown);
        }
        for text in ["", "0", "0.001", "-1", "half", "1e9", "99999999999999999999"] {
            assert!(nano_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn permission_bits_need_the_zero_that_makes_them_octal() {
        assert_eq!(mode("0440"), Ok(0o440));
        assert_eq!(mode("0o1777"), Ok(0o1777));
        assert_eq!(mode("0"), Ok(0));
        for text in ["440", "", "0999", "010000", "rw", "0+7"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
