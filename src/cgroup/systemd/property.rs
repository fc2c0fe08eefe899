//! Properties of a scope: those that annotations ask for, and limits in systemd's words.

use super::message::{Property, Value};
use crate::error::{Error, Result};

/// Annotations of config.json that begin like this name a property of the container's unit.
pub const ANNOTATION_PREFIX: &str = "org.systemd.property.";

/// A property from an annotation, whose value is in GVariant's text format. Times may be given in seconds, under the name
/// that unit files have for them (`TimeoutStopSec`).
///
/// # Errors
/// When the name cannot be one or the value is of no type that is supported.
pub fn of_annotation(annotation: &str, text: &str) -> Result<Property> {
    let name = annotation.trim_start_matches(ANNOTATION_PREFIX);
    let refuse = |why: &str| Error::invalid(format_args!("annotations[{annotation:?}]"), why);
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(refuse("does not end in the name of a property"));
    }
    let value = value(text.trim()).ok_or_else(|| {
        refuse(&format!("{text:?} is no value in GVariant's text format"))
            .hint("'text', true, 5, uint64 5, ['a', 'b']")
    })?;
    match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
        None => Ok((name.to_owned(), value)),
        Some(stem) => {
            let microseconds = microseconds(&value).ok_or_else(|| refuse("is not a number of seconds"))?;
            Ok((format!("{stem}USec"), Value::U64(microseconds)))
        }
    }
}

fn value(text: &str) -> Option<Value> {
    if let Some(list) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
        return words.map(quoted).collect::<Option<Vec<_>>>().map(Value::Texts);
    }
    if let Some(text) = quoted(text) {
        return Some(Value::Text(text));
    }
    if let Some((kind, number)) = text.split_once(' ') {
        let number = number.trim();
        return match kind {
            "boolean" => number.parse().ok().map(Value::Bool),
            "byte" => number.parse().ok().map(Value::Byte),
            "int32" => number.parse().ok().map(Value::I32),
            "uint32" => number.parse().ok().map(Value::U32),
            "int64" => number.parse().ok().map(Value::I64),
            "uint64" => number.parse().ok().map(Value::U64),
            "double" => number.parse().ok().map(Value::F64),
            "string" => quoted(number).map(Value::Text),
            _ => None,
        };
    }
    let boolean = text.parse().ok().map(Value::Bool);
    let integer = || text.parse().ok().map(Value::I32);
    boolean.or_else(integer).or_else(|| {
        text.parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Value::F64)
    })
}

fn quoted(text: &str) -> Option<String> {
    let inner = ['\'', '"'].into_iter().find_map(|quote| {
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote) && !inner.contains('\\')).then_some(inner)
    });
    inner.filter(|inner| !inner.contains('\0')).map(str::to_owned)
}

fn microseconds(value: &Value) -> Option<u64> {
    const SECOND: u64 = 1_000_000;
    let whole = |seconds: u64| seconds.checked_mul(SECOND);
    match *value {
        Value::Byte(seconds) => whole(seconds.into()),
        Value::I32(seconds) => whole(seconds.try_into().ok()?),
        Value::U32(seconds) => whole(seconds.into()),
        Value::I64(seconds) => whole(seconds.try_into().ok()?),
        Value::U64(seconds) => whole(seconds),
        Value::F64(seconds) => (0.0..1e12).contains(&seconds).then_some((seconds * 1e6) as u64),
        _ => None,
    }
}

/// The property that stands for a value in a file of the control group, where there is one: systemd would write its own
/// value there otherwise when it looks at its units again.
pub(in crate::cgroup) fn of_file(file: &str, value: &str) -> Vec<Property> {
    let one = |name: &str, value: Value| vec![(name.to_owned(), value)];
    let number = |name: &str| {
        let number = if value == "max" {
            Some(u64::MAX)
        } else {
            value.parse().ok()
        };
        number.map_or_else(Vec::new, |number| one(name, Value::U64(number)))
    };
    match file {
        "memory.max" => number("MemoryMax"),
        "memory.high" => number("MemoryHigh"),
        "memory.low" => number("MemoryLow"),
        "memory.min" => number("MemoryMin"),
        "memory.swap.max" => number("MemorySwapMax"),
        "cpu.weight" => number("CPUWeight"),
        // systemd has no limit of none.
        "pids.max" if value == "0" => one("TasksMax", Value::U64(1)),
        "pids.max" => number("TasksMax"),
        "cpu.max" => quota(value),
        "cpuset.cpus" => mask(value).map_or_else(Vec::new, |mask| one("AllowedCPUs", Value::Bytes(mask))),
        "cpuset.mems" => {
            mask(value).map_or_else(Vec::new, |mask| one("AllowedMemoryNodes", Value::Bytes(mask)))
        }
        _ => Vec::new(),
    }
}

/// `cpu.max`: microseconds of a period, both; systemd counts them by the second, in steps of 10 ms.
fn quota(value: &str) -> Vec<Property> {
    const STEP: u64 = 10_000;
    let mut words = value.split_whitespace();
    let (quota, period) = (
        words.next(),
        words.next().and_then(|period| period.parse::<u64>().ok()),
    );
    let period_or_default = period.filter(|period| *period > 0).unwrap_or(100_000);
    let per_second = match quota {
        Some("max") => u64::MAX,
        Some(quota) => match quota.parse::<u64>() {
            Ok(quota) => quota
                .saturating_mul(1_000_000)
                .div_ceil(period_or_default)
                .div_ceil(STEP)
                .saturating_mul(STEP),
            Err(_) => return Vec::new(),
        },
        None => return Vec::new(),
    };
    let mut properties = vec![("CPUQuotaPerSecUSec".to_owned(), Value::U64(per_second))];
    properties.extend(period.map(|period| ("CPUQuotaPeriodUSec".to_owned(), Value::U64(period))));
    properties
}

/// A list like `0-3,7` as bits, the lowest first.
fn mask(list: &str) -> Option<Vec<u8>> {
    const MOST: usize = 8192;
    let mut mask = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= MOST {
            return None;
        }
        for number in first..=last {
            if mask.len() <= number / 8 {
                mask.resize(number / 8 + 1, 0);
            }
            *mask.get_mut(number / 8)? |= 1_u8 << (number % 8);
        }
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_read_in_gvariants_text_format() {
        let value = |text: &str| of_annotation("org.systemd.property.Some", text).map(|(_, value)| value);
        assert_eq!(value("'a b'").unwrap(), Value::Text("a b".into()));
        assert_eq!(value("true").unwrap(), Value::Bool(true));
        assert_eq!(value("5").unwrap(), Value::I32(5));
        assert_eq!(value("uint64 5").unwrap(), Value::U64(5));
        assert_eq!(
            value("['a', \"b\"]").unwrap(),
            Value::Texts(vec!["a".into(), "b".into()])
        );
        for wrong in ["", "'a", "a", "uint32 -1", "[a]", "uint99 5"] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds_become_the_microseconds_that_systemd_takes() {
        let property = |name: &str, text: &str| of_annotation(&format!("{ANNOTATION_PREFIX}{name}"), text);
        assert_eq!(
            property("TimeoutStopSec", "7").unwrap(),
            ("TimeoutStopUSec".into(), Value::U64(7_000_000))
        );
        assert_eq!(property("TimeoutStopSec", "0.5").unwrap().1, Value::U64(500_000));
        assert_eq!(property("TimeoutStopUSec", "uint64 9").unwrap().1, Value::U64(9));
        assert!(property("TimeoutStopSec", "'soon'").is_err());
        assert!(property("Tim*", "7").is_err());
    }

    #[test]
    fn limits_are_properties_in_systemds_words() {
        let one = |file: &str, value: &str| of_file(file, value).pop();
        assert_eq!(
            one("memory.max", "4096"),
            Some(("MemoryMax".into(), Value::U64(4096)))
        );
        assert_eq!(
            one("pids.max", "max"),
            Some(("TasksMax".into(), Value::U64(u64::MAX)))
        );
        assert_eq!(one("pids.max", "0"), Some(("TasksMax".into(), Value::U64(1))));
        assert_eq!(
            of_file("cpu.max", "50000 100000"),
            [
                ("CPUQuotaPerSecUSec".into(), Value::U64(500_000)),
                ("CPUQuotaPeriodUSec".into(), Value::U64(100_000)),
            ]
        );
        assert_eq!(of_file("cpu.max", "1001 100000")[0].1, Value::U64(20_000));
        assert_eq!(
            one("cpuset.cpus", "0-2,9"),
            Some(("AllowedCPUs".into(), Value::Bytes(vec![7, 2])))
        );
        assert_eq!(one("io.max", "8:0 rbps=1"), None);
    }
}
