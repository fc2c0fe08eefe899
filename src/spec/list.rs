//! Lists of CPUs and memory nodes in the kernel's own notation: `0-3,7` (cpuset(7), "List format").

use std::ops::RangeInclusive;

/// The largest number in a list. No kernel has as many CPUs or nodes, and a mask of this many bits is 8 KiB.
const LARGEST: u32 = 65_535;

/// The ranges of a list, in its order. Blanks around numbers and empty items are of no account.
///
/// # Errors
/// What is wrong with it, to follow the name of its field.
pub fn parse(list: &str) -> Result<Vec<RangeInclusive<u32>>, String> {
    let number = |text: &str| {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u32>() {
            _ if !digits => Err(format!(
                "{list:?} is not a list of numbers and ranges such as 0-3,7: {text:?}"
            )),
            Ok(number) if number <= LARGEST => Ok(number),
            _ => Err(format!("{text} is larger than {LARGEST}")),
        }
    };
    let mut ranges = Vec::new();
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (first, last) = match item.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(item)?, number(item)?),
        };
        if first > last {
            return Err(format!("the range {item:?} ends before it begins"));
        }
        ranges.push(first..=last);
    }
    Ok(ranges)
}

/// A list as short as it can be written: `0-3,7`.
pub fn format(ranges: &[RangeInclusive<u32>]) -> String {
    let item = |range: &RangeInclusive<u32>| match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    ranges.iter().map(item).collect::<Vec<_>>().join(",")
}

/// A bit for each number, the lowest first; as many words as the largest number needs.
pub fn mask(ranges: &[RangeInclusive<u32>]) -> Vec<u64> {
    let mut mask = Vec::new();
    for number in ranges.iter().cloned().flatten() {
        let (word, bit) = ((number / u64::BITS) as usize, number % u64::BITS);
        if mask.len() <= word {
            mask.resize(word + 1, 0);
        }
        mask[word] |= 1 << bit;
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ranges_blanks_and_empty_items_make_a_list() {
        for (list, normal) in [
            ("0", "0"),
            ("0-3,7", "0-3,7"),
            (" 0 - 3 , 7 ,", "0-3,7"),
            (",,5-5", "5"),
            ("", ""),
            (" , ", ""),
            ("65535", "65535"),
        ] {
            assert_eq!(format(&parse(list).unwrap()), normal, "{list:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_with_the_item() {
        for (list, why) in [
            (
                "a",
                "\"a\" is not a list of numbers and ranges such as 0-3,7: \"a\"",
            ),
            (
                "0-",
                "\"0-\" is not a list of numbers and ranges such as 0-3,7: \"\"",
            ),
            (
                "-1",
                "\"-1\" is not a list of numbers and ranges such as 0-3,7: \"\"",
            ),
            (
                "+1",
                "\"+1\" is not a list of numbers and ranges such as 0-3,7: \"+1\"",
            ),
            ("3-1", "the range \"3-1\" ends before it begins"),
            ("65536", "65536 is larger than 65535"),
            ("99999999999", "99999999999 is larger than 65535"),
        ] {
            assert_eq!(parse(list).unwrap_err(), why);
        }
    }

    #[test]
    fn a_mask_has_a_bit_for_each_number_and_grows_beyond_1024() {
        assert_eq!(mask(&parse("0-2,63").unwrap()), [1 << 63 | 0b111]);
        let large = mask(&parse("1,2000").unwrap());
        assert_eq!((large.len(), large[0], large[31]), (32, 2, 1 << (2000 % 64)));
        assert!(mask(&[]).is_empty());
    }
}
