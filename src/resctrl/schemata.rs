//! The lines of a class' `schemata`: which the kernel is to be told, and whether a class has them already.
//!
//! `L3:0=7f0;1=1f` gives parts of the caches 0 and 1, as bits; `MB:0=20;1=70` gives per cents of the bandwidth, or MB/s.

use std::fmt::Display;

use crate::error::{Error, Result};

const BANDWIDTH: &str = "MB:";

/// The two properties that are a line each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schemas<'a> {
    /// `l3CacheSchema`.
    pub l3_cache: Option<&'a str>,
    /// `memBwSchema`.
    pub memory_bandwidth: Option<&'a str>,
}

impl Schemas<'_> {
    /// Whether neither says anything.
    pub fn is_empty(&self) -> bool {
        self.bandwidth().is_none() && self.cache_lines().next().is_none()
    }

    /// The lines that are written. Those of `l3CacheSchema` that are of the bandwidth are left out: `memBwSchema` alone
    /// speaks of it.
    pub(super) fn lines(&self) -> Vec<String> {
        let cache = self.cache_lines().map(str::to_owned);
        cache.chain(self.bandwidth().map(str::to_owned)).collect()
    }

    /// `memBwSchema` is one line of the bandwidth. `field` is its name.
    pub(super) fn check(&self, field: impl Display) -> Result<()> {
        match self.bandwidth() {
            Some(schema) if !schema.starts_with(BANDWIDTH) => Err(Error::invalid(
                field,
                format_args!("must start with \"MB:\", found {schema:?}"),
            )),
            Some(schema) if schema.contains('\n') => {
                Err(Error::invalid(field, "must be one line").hint("other lines go into schemata"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn cache_lines(&self) -> impl Iterator<Item = &str> {
        let lines = self.l3_cache.unwrap_or_default().lines();
        lines.filter(|line| !line.is_empty() && !line.starts_with(BANDWIDTH))
    }

    pub(super) fn bandwidth(&self) -> Option<&str> {
        self.memory_bandwidth.filter(|schema| !schema.is_empty())
    }
}

/// The first of the `asked` lines that a class whose `schemata` is `existing` does not have. Domains that a line does not
/// name may be as they are: writing the line would not change them either. Bandwidth is stored as a multiple of `step`.
pub(super) fn first_difference<'a>(
    asked: impl IntoIterator<Item = &'a str>,
    existing: &str,
    step: Option<u64>,
) -> Option<&'a str> {
    asked.into_iter().find(|line| {
        let Some((resource, domains)) = split(line) else {
            return true;
        };
        let Some(stored) = existing
            .lines()
            .filter_map(split)
            .find(|(name, _)| *name == resource)
        else {
            return true;
        };
        domains
            .split(';')
            .filter(|part| !part.trim().is_empty())
            .any(|part| {
                let Some((domain, value)) = assignment(part) else {
                    return true;
                };
                !stored
                    .1
                    .split(';')
                    .filter_map(assignment)
                    .any(|(other, has)| other == domain && is_stored_as(resource, value, has, step))
            })
    })
}

fn split(line: &str) -> Option<(&str, &str)> {
    let (resource, domains) = line.split_once(':')?;
    Some((resource.trim(), domains))
}

fn assignment(part: &str) -> Option<(&str, &str)> {
    let (domain, value) = part.split_once('=')?;
    Some((domain.trim(), value.trim()))
}

fn is_stored_as(resource: &str, asked: &str, stored: &str, step: Option<u64>) -> bool {
    // Bandwidth in per cent or MB/s, all else in bits.
    let radix = if resource.ends_with("MB") || resource.ends_with("MBA") {
        10
    } else {
        16
    };
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), radix).ok();
    match (number(asked), number(stored)) {
        (Some(asked), Some(stored)) => {
            let rounded = match step {
                // What is more than 100 is not in per cent, and stored as it is.
                Some(step) if radix == 10 && step > 0 && asked <= 100 => asked.next_multiple_of(step),
                _ => asked,
            };
            asked == stored || rounded == stored
        }
        _ => asked == stored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(l3_cache: &str, memory_bandwidth: &str) -> Vec<String> {
        Schemas {
            l3_cache: Some(l3_cache),
            memory_bandwidth: Some(memory_bandwidth),
        }
        .lines()
    }

    #[test]
    fn cache_and_bandwidth_are_written_together_and_the_bandwidth_is_memory_bandwidths_alone() {
        assert_eq!(lines("L3:0=f", "MB:0=20"), ["L3:0=f", "MB:0=20"]);
        assert_eq!(
            lines("MB:0=90\nL3:0=f\n\nL2:0=1\n", "MB:0=20"),
            ["L3:0=f", "L2:0=1", "MB:0=20"]
        );
        assert_eq!(lines("MB:0=90", ""), [""; 0]);
        assert!(Schemas::default().is_empty());
        assert!(
            Schemas {
                l3_cache: Some("MB:0=90"),
                memory_bandwidth: Some("")
            }
            .is_empty()
        );
    }

    #[test]
    fn a_class_has_a_line_when_writing_it_would_change_nothing() {
        let existing = "    L3:0=7f0;1=1f\n    MB:0= 30;1=100\nL2CODE:0=3";
        let differs = |line| first_difference([line], existing, Some(10)).is_some();
        for same in [
            "L3:0=7f0;1=1f",
            "L3: 1=1f ; 0=007f0;",
            "L3:0=0x7f0",
            "L3:1=1F",
            "MB:0=30;1=100",
            // Rounded up to what the processor can do.
            "MB:0=25",
            "L2CODE:0=3",
        ] {
            assert!(!differs(same), "{same}");
        }
        for other in [
            "L3:0=7f1",
            "L3:0=7f0;2=1f",
            "L3:0",
            "L3",
            "",
            "MB:0=31",
            "MB:1=99;0=10",
            "L2DATA:0=3",
            "L3:0=no",
        ] {
            assert!(differs(other), "{other}");
        }
        assert_eq!(
            first_difference(["L3:0=7f0", "MB:0=50", "L2:0=1"], existing, Some(10)),
            Some("MB:0=50")
        );
    }

    #[test]
    fn bandwidth_in_megabytes_is_stored_as_it_is() {
        assert!(first_difference(["MB:0=5005"], "MB:0=5010", Some(10)).is_some());
        assert!(first_difference(["MB:0=5005"], "MB:0=5005", Some(10)).is_none());
        assert!(first_difference(["MB:0=25"], "MB:0=30", None).is_some());
    }
}
