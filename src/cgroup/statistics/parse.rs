//! The formats of the statistics files. What a kernel adds to them is skipped, never an error.

use std::collections::BTreeMap;

use super::super::file::keyed;
use super::{BlkioEntry, Pressure, Throttling};

/// cpu.stat of either version; version 1 counts nanoseconds, version 2 microseconds.
pub(super) fn throttling(stat: &str) -> Throttling {
    let microseconds = keyed(stat, "throttled_usec").map(|time| time.saturating_mul(1000));
    Throttling {
        periods: keyed(stat, "nr_periods").unwrap_or(0),
        throttled_periods: keyed(stat, "nr_throttled").unwrap_or(0),
        throttled_time: microseconds
            .or_else(|| keyed(stat, "throttled_time"))
            .unwrap_or(0),
    }
}

/// Lines such as `8:0 Read 4096`; the closing `Total 4096` has no device.
pub(super) fn blkio_v1(content: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: words.next()?.to_owned(),
            value: words.next()?.parse().ok()?,
        })
    };
    content.lines().filter_map(entry).collect()
}

/// Lines such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`: bytes and operations.
pub(super) fn io_v2(content: &str) -> (Vec<BlkioEntry>, Vec<BlkioEntry>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in content.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(major, minor)| (major.parse(), minor.parse())) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "dbytes" => (&mut bytes, "Discard"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                "dios" => (&mut operations, "Discard"),
                _ => continue,
            };
            let Ok(value) = value.parse() else {
                continue;
            };
            list.push(BlkioEntry {
                major,
                minor,
                op: op.to_owned(),
                value,
            });
        }
    }
    (bytes, operations)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, then the same with `full`; none where the kernel has no such file.
pub(super) fn pressure(content: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for line in content.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let target = match kind {
            "some" => &mut pressure.some,
            "full" => &mut pressure.full,
            _ => continue,
        };
        for (key, value) in rest.split(' ').filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => target.avg10 = value.parse().ok()?,
                "avg60" => target.avg60 = value.parse().ok()?,
                "avg300" => target.avg300 = value.parse().ok()?,
                "total" => target.total = value.parse().ok()?,
                _ => {}
            }
        }
    }
    (!content.is_empty()).then_some(pressure)
}

pub(super) fn all_keyed(content: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    content.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_io_of_version_2_takes_device_numbers_and_keys_that_it_does_not_know() {
        let (bytes, operations) =
            io_v2("8:70000 rbytes=5 wbytes=6 rios=1 wios=2 dbytes=0 dios=0 cost.usage=3\n259:0 \n");
        assert_eq!((bytes.len(), operations.len()), (3, 3));
        assert_eq!(
            (bytes[0].minor, bytes[0].op.as_str(), bytes[0].value),
            (70000, "Read", 5)
        );
        assert_eq!(operations[1].value, 2);
    }

    #[test]
    fn block_io_of_version_1_leaves_the_total_out() {
        let entries = blkio_v1("8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n");
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].op, "Read");
    }

    #[test]
    fn pressure_is_read_from_both_lines_and_absent_without_the_file() {
        let content = "some avg10=1.50 avg60=0.20 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        let pressure = pressure(content).unwrap();
        assert_eq!(
            (pressure.some.avg10, pressure.some.total, pressure.full.total),
            (1.5, 77, 5)
        );
        assert_eq!(super::pressure(""), None);
    }

    #[test]
    fn throttled_time_is_in_nanoseconds_on_both_versions() {
        assert_eq!(
            throttling("nr_periods 3\nnr_throttled 2\nthrottled_time 5000\n").throttled_time,
            5000
        );
        assert_eq!(
            throttling("nr_periods 3\nnr_throttled 2\nthrottled_usec 5\n").throttled_time,
            5000
        );
    }
}
