//! Variables in the values of a file: `$NAME`, `${NAME}` with their defaults, errors and alternatives. Pure.

/// How deep `${A:-${B:-...}}` may go.
const MAX_DEPTH: usize = 32;

const NOT_CLOSED: &str = "\"${\" is not closed by \"}\"";

/// What a `$` that begins no variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stray {
    /// A mistake, as in Compose files.
    Refused,
    /// A dollar sign, as in env files.
    Kept,
}

/// Replaces `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?error}`, `${NAME?error}`,
/// `${NAME:+alternative}`, `${NAME+alternative}` and `$$`. With the colon an empty variable counts as one that is not
/// set. What stands in for a variable is itself replaced. `lookup` says what a variable holds; `unset` is told the names
/// of those that were neither set nor had something in their place, which are empty.
///
/// # Errors
/// In words: what is wrong with the text, or what `?` says.
pub(super) fn interpolate(
    text: &str,
    stray: Stray,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &mut dyn FnMut(&str),
) -> Result<String, String> {
    let mut reader = Reader {
        rest: text,
        stray,
        lookup,
        unset,
        unused: 0,
    };
    reader.until_end(0)
}

struct Reader<'a, 'b> {
    rest: &'a str,
    stray: Stray,
    lookup: &'b dyn Fn(&str) -> Option<String>,
    unset: &'b mut dyn FnMut(&str),
    /// In how many defaults and alternatives we are that are not used, and are read for their end only.
    unused: usize,
}

impl<'a> Reader<'a, '_> {
    /// Reads to the end; `depth` braces deep to the `}` that closes the last of them, which is taken.
    fn until_end(&mut self, depth: usize) -> Result<String, String> {
        let mut text = String::new();
        loop {
            let mut letters = self.rest.chars();
            match letters.next() {
                None if depth > 0 => return Err(NOT_CLOSED.to_owned()),
                None => return Ok(text),
                Some(letter) => {
                    self.rest = letters.as_str();
                    match letter {
                        '}' if depth > 0 => return Ok(text),
                        '$' => text.push_str(&self.variable(depth)?),
                        letter => text.push(letter),
                    }
                }
            }
        }
    }

    /// Takes `prefix` if it comes next.
    fn takes(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Reads what follows a `$`.
    fn variable(&mut self, depth: usize) -> Result<String, String> {
        if self.takes("$") {
            return Ok("$".to_owned());
        }
        if self.takes("{") {
            return self.braced(depth + 1);
        }
        match self.name() {
            "" if self.stray == Stray::Kept => Ok("$".to_owned()),
            "" => Err("\"$\" begins no variable; write \"$$\" for a dollar sign".to_owned()),
            name => Ok(self.plain(name)),
        }
    }

    /// The value of a variable without a default.
    fn plain(&mut self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            if self.unused == 0 {
                (self.unset)(name);
            }
            String::new()
        })
    }

    /// Reads what follows a `${`, and its `}`.
    fn braced(&mut self, depth: usize) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return Err(format!("variables are nested more than {MAX_DEPTH} deep"));
        }
        let name = self.name();
        if name.is_empty() {
            return Err("\"${\" is not followed by the name of a variable".to_owned());
        }
        if self.takes("}") {
            return Ok(self.plain(name));
        }
        let colon = self.takes(":");
        let Some(operator) = ["-", "?", "+"].into_iter().find(|operator| self.takes(operator)) else {
            return Err(match self.rest {
                "" => NOT_CLOSED.to_owned(),
                _ => format!("\"${{{name}\" is followed by none of }} :- - :? ? :+ +"),
            });
        };
        let value = (self.lookup)(name).filter(|value| !colon || !value.is_empty());
        let unused = value.is_some() != (operator == "+");
        self.unused += usize::from(unused);
        let other = self.until_end(depth)?;
        self.unused -= usize::from(unused);
        match (operator, value) {
            ("-", None) | ("+", Some(_)) => Ok(other),
            ("+", None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) if self.unused > 0 => Ok(String::new()),
            (_, None) if other.is_empty() => Err(format!("the variable {name} is required and has no value")),
            (_, None) => Err(format!("the variable {name} is required: {other}")),
        }
    }

    /// Reads the name of a variable; empty when there is none.
    fn name(&mut self) -> &'a str {
        let part = |(index, byte): (usize, u8)| {
            byte == b'_' || byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit())
        };
        let length = self.rest.bytes().enumerate().take_while(|at| part(*at)).count();
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        name
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("$A".to_owned()),
            _ => None,
        }
    }

    fn read(text: &str) -> Result<String, String> {
        interpolate(text, Stray::Refused, &lookup, &mut |_| {})
    }

    #[test]
    fn variables_are_replaced_in_every_form() {
        for (text, result) in [
            ("", ""),
            ("none", "none"),
            ("$A", "a"),
            ("x$A-y", "xa-y"),
            ("${A}b", "ab"),
            ("$$A $${A}", "$A ${A}"),
            ("$UNSET|${UNSET}", "|"),
            ("${A:-d}${A-d}", "aa"),
            ("${UNSET:-d}${UNSET-d}", "dd"),
            ("${EMPTY:-d}|${EMPTY-d}", "d|"),
            ("${A:+alt}|${EMPTY:+alt}|${EMPTY+alt}|${UNSET+alt}", "alt||alt|"),
            ("${A?no}${A:?no}${EMPTY?no}", "aa"),
            ("${UNSET:-${EMPTY:-${A}}}", "a"),
            ("${UNSET:-{x}", "{x"),
            ("${UNSET:-a:b/c}", "a:b/c"),
            ("$DOLLAR", "$A"),
            ("${UNSET:-$$}", "$"),
            ("${A:-${UNSET:?not asked}}", "a"),
            ("${UNSET:+${UNSET:?not asked}}", ""),
        ] {
            assert_eq!(read(text).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused_with_the_way_to_write_it() {
        for (text, why) in [
            ("$", "write \"$$\""),
            ("100$ more", "write \"$$\""),
            ("${", "not followed by the name"),
            ("${1}", "not followed by the name"),
            ("${A", "not closed"),
            ("${A:-b", "not closed"),
            ("${A/b/c}", "none of"),
            ("${A:=b}", "none of"),
            ("${UNSET:?set it}", "UNSET is required: set it"),
            ("${EMPTY:?}", "EMPTY is required and has no value"),
            ("${UNSET?}", "UNSET is required"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(read(&"${A:-".repeat(1_000)).unwrap_err().contains("nested"));
    }

    #[test]
    fn variables_that_are_missed_are_told_and_others_are_not() {
        let mut missed = Vec::new();
        let text = "$A $ONE ${TWO} ${THREE:-x} ${A:-$FOUR} ${FIVE:-$SIX}";
        interpolate(text, Stray::Refused, &lookup, &mut |name| {
            missed.push(name.to_owned())
        })
        .unwrap();
        assert_eq!(missed, ["ONE", "TWO", "SIX"]);
    }

    #[test]
    fn env_files_keep_a_dollar_sign_that_begins_nothing() {
        let text = interpolate("a$ $1 $A", Stray::Kept, &lookup, &mut |_| {});
        assert_eq!(text.as_deref(), Ok("a$ $1 a"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[$${}:?+A-]{0,40}|\\PC{0,40}") {
            let _ = read(&text);
        }
    }
}
