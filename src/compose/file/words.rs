//! A command line cut into words as a POSIX shell does it, without expansions. Pure.

/// Cuts at blanks; `'...'` keeps everything, `"..."` all but `\` before `"`, `\` and `$`, and `\` keeps the next letter.
///
/// # Errors
/// In words: a quote that is not closed, or a `\` at the end.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word): (Vec<String>, Option<String>) = (Vec::new(), None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter.is_ascii_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('\'') => break,
                        Some(letter) => word.push(letter),
                        None => return Err("a quote ' is not closed".to_owned()),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('"') => break,
                        Some('\\') => match letters.next() {
                            Some(letter @ ('"' | '\\' | '$' | '`')) => word.push(letter),
                            Some(letter) => word.extend(['\\', letter]),
                            None => return Err("a quote \" is not closed".to_owned()),
                        },
                        Some(letter) => word.push(letter),
                        None => return Err("a quote \" is not closed".to_owned()),
                    }
                }
            }
            '\\' => match letters.next() {
                Some(letter) => word.get_or_insert_default().push(letter),
                None => return Err("it ends with a backslash".to_owned()),
            },
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_a_shell_cuts_them() {
        for (text, words) in [
            ("", &[][..]),
            ("  ", &[]),
            ("echo  hello\tworld\n", &["echo", "hello", "world"]),
            ("sh -c 'echo \"$HOME\"'", &["sh", "-c", "echo \"$HOME\""]),
            (r#"a"b c"'d e'f"#, &["ab cd ef"]),
            (r#"'' """#, &["", ""]),
            (r#"a\ b "\"\n\\""#, &["a b", r#""\n\"#]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        for text in ["'a", "\"a", "\"a\\", "a\\"] {
            assert!(split(text).is_err(), "{text}");
        }
    }
}
