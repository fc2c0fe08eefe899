//! Files of variables: `.env` and `env_file`. Pure.

use super::interpolate::{Stray, interpolate};

/// How a file's values are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// With quotes, comments and variables.
    Usual,
    /// Everything behind the `=` as it stands.
    Raw,
}

/// Names and values in the order of the file; without a value for a name that stands alone and is not set elsewhere.
pub(super) type Assignments = Vec<(String, Option<String>)>;

/// What is wrong, and in which line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) line: usize,
    pub(super) why: String,
}

/// Reads lines `[export ]NAME=VALUE`. Values in `'...'` stay as they are, those in `"..."` have `\n`, `\t`, `\r`, `\"`,
/// `\\` and `\$`; both may go over several lines. Others end at the line's end, or at ` #`. `$NAME` is looked up, but not
/// in `'...'`: in `lookup` first, then in the lines before. A name without `=` has what `lookup` has, if anything.
///
/// # Errors
/// The line, and in words, what is wrong with it.
pub(super) fn parse(
    text: &str,
    format: Format,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Assignments, Wrong> {
    let mut variables = Assignments::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut line, mut counted) = (1, rest);
    while !rest.is_empty() {
        let read = counted.len() - rest.len();
        line += counted.bytes().take(read).filter(|byte| *byte == b'\n').count();
        counted = rest;
        let wrong = |why: String| Wrong { line, why };
        let (this, next) = rest.split_once('\n').unwrap_or((rest, ""));
        let this = this.strip_suffix('\r').unwrap_or(this);
        let trimmed = this.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = next;
            continue;
        }
        let declaration = match trimmed.strip_prefix("export") {
            Some(exported) if exported.starts_with([' ', '\t']) && format == Format::Usual => {
                exported.trim_start()
            }
            _ => trimmed,
        };
        let (name, value) = match declaration.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value)),
            None => (declaration.trim_end(), None),
        };
        if name.is_empty() || name.contains(|letter: char| letter.is_whitespace() || "'\"$".contains(letter))
        {
            return Err(wrong(format!(
                "{name:?} is no name of a variable; write NAME=VALUE"
            )));
        }
        let Some(value) = value else {
            variables.push((name.to_owned(), lookup(name)));
            rest = next;
            continue;
        };
        if format == Format::Raw {
            variables.push((name.to_owned(), Some(value.to_owned())));
            rest = next;
            continue;
        }
        let value = value.trim_start();
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                // Behind the quote, into the lines that follow.
                let from = this.len() - value.len() + 1;
                let (value, after) = quoted(rest.get(from..).unwrap_or_default(), quote).map_err(wrong)?;
                let (tail, next) = after.split_once('\n').unwrap_or((after, ""));
                let tail = tail.trim();
                if !tail.is_empty() && !tail.starts_with('#') {
                    return Err(wrong(format!("{tail:?} follows the closing quote")));
                }
                (value, next)
            }
            _ => {
                let end = match value.starts_with('#') {
                    true => Some(0),
                    false => value.find(" #").into_iter().chain(value.find("\t#")).min(),
                };
                let value = value.get(..end.unwrap_or(value.len())).unwrap_or_default();
                (Value::WithVariables(value.trim_end().to_owned()), next)
            }
        };
        let value = match value {
            Value::Plain(value) => value,
            Value::WithVariables(value) => {
                let known = |name: &str| {
                    lookup(name).or_else(|| {
                        let earlier = variables.iter().rev().find(|(earlier, _)| earlier == name);
                        earlier.and_then(|(_, value)| value.clone())
                    })
                };
                interpolate(&value, Stray::Kept, &known, &mut |_| {}).map_err(wrong)?
            }
        };
        variables.push((name.to_owned(), Some(value)));
        rest = after;
    }
    Ok(variables)
}

enum Value {
    Plain(String),
    WithVariables(String),
}

/// Reads to the closing quote: the value, and what follows the quote.
fn quoted(text: &str, quote: char) -> Result<(Value, &str), String> {
    let (mut value, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter == quote && quote == '\'' => return Ok((Value::Plain(value), letters.as_str())),
            letter if letter == quote => return Ok((Value::WithVariables(value), letters.as_str())),
            '\\' if quote == '"' => match letters.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some('$') => value.push_str("$$"),
                Some(letter @ ('"' | '\\')) => value.push(letter),
                Some(letter) => value.extend(['\\', letter]),
                None => break,
            },
            letter => value.push(letter),
        }
    }
    Err(format!("the quote {quote} is not closed"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "HOST").then(|| "host".to_owned())
    }

    #[test]
    fn lines_are_read_with_quotes_comments_and_variables() {
        let text = "\u{feff}# comment\n\nA=1\n export B = two words # comment\r\nC='$A \\n # no'\nD=\"$A\\t\\$A \\\"q\\\"\" # c\n\
            E=\nF=a#b\nG=${HOST}:${A}:${NONE:-d}\nHOST\nMISSING\nH=\"over\nlines\"\nI=cost$\nJ=#nothing\nK=last";
        let read = parse(text, Format::Usual, &lookup).unwrap();
        let expected = [
            ("A", Some("1")),
            ("B", Some("two words")),
            ("C", Some("$A \\n # no")),
            ("D", Some("1\t$A \"q\"")),
            ("E", Some("")),
            ("F", Some("a#b")),
            ("G", Some("host:1:d")),
            ("HOST", Some("host")),
            ("MISSING", None),
            ("H", Some("over\nlines")),
            ("I", Some("cost$")),
            ("J", Some("")),
            ("K", Some("last")),
        ];
        let read: Vec<_> = read
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn a_raw_file_keeps_values_as_they_stand() {
        let read = parse("A='$B' # c\n", Format::Raw, &lookup).unwrap();
        assert_eq!(read, [("A".to_owned(), Some("'$B' # c".to_owned()))]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, why) in [
            ("A=1\nB C=2\n", 2, "no name of a variable"),
            ("=1", 1, "no name of a variable"),
            ("A=1\n\nB='x\ny", 3, "not closed"),
            ("A=\"x\" y", 1, "follows the closing quote"),
            ("A=${B", 1, "not closed"),
            ("A=${B:?set B}", 1, "required: set B"),
        ] {
            let wrong = parse(text, Format::Usual, &lookup).unwrap_err();
            assert_eq!(wrong.line, line, "{text}");
            assert!(wrong.why.contains(why), "{text}: {}", wrong.why);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[AB=$'\"\\\\\n\r# ]{0,40}|\\PC{0,40}") {
            let _ = parse(&text, Format::Usual, &lookup);
            let _ = parse(&text, Format::Raw, &lookup);
        }
    }
}
