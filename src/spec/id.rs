//! The container id: a name from the caller that becomes a directory's name.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// The longest id, in bytes: the longest name of a directory on every file system.
const MAX_BYTES: usize = 255;

/// A container id that is safe as the name of a directory: letters, digits, `_` `+` `-` `.`, at most 255 bytes, and
/// neither `.` nor `..`. There is no other way to make one, so code that holds an `Id` need not check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Id> {
        let refuse = |why: &str| {
            let text = match text.char_indices().nth(60) {
                Some((cut, _)) => format!("{}...", &text[..cut]),
                None => text.to_owned(),
            };
            Err(Error::new(
                Kind::InvalidConfig,
                format_args!("invalid container ID format: {text:?} {why}"),
            ))
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        if text.is_empty() {
            return Err(Error::new(Kind::InvalidConfig, "container id cannot be empty"));
        }
        if text == "." || text == ".." {
            return refuse("is the name of a directory");
        }
        if !text.bytes().all(allowed) {
            return refuse("has characters other than letters, digits, `_`, `+`, `-` and `.`");
        }
        if text.len() > MAX_BYTES {
            return refuse(&format!("has {} characters, more than {MAX_BYTES}", text.len()));
        }
        Ok(Id(text.to_owned()))
    }
}

impl TryFrom<String> for Id {
    type Error = Error;

    fn try_from(text: String) -> Result<Id> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0
    }
}

impl AsRef<str> for Id {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<std::path::Path> for Id {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

impl Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_of_engines_and_people_are_taken() {
        for id in [
            "a",
            "product-service",
            "redis_cache.1+x",
            "...",
            "-",
            &"f".repeat(64),
            &"x".repeat(255),
        ] {
            assert_eq!(id.parse::<Id>().unwrap().as_str(), id);
        }
    }

    #[test]
    fn other_ids_are_refused_in_runcs_words_with_the_reason() {
        const CHARACTERS: &str = "has characters other than letters, digits, `_`, `+`, `-` and `.`";
        for (id, expected) in [
            ("", "container id cannot be empty".to_owned()),
            (
                ".",
                "invalid container ID format: \".\" is the name of a directory".to_owned(),
            ),
            (
                "..",
                "invalid container ID format: \"..\" is the name of a directory".to_owned(),
            ),
            (
                "a/b",
                format!("invalid container ID format: \"a/b\" {CHARACTERS}"),
            ),
            (
                "../x",
                format!("invalid container ID format: \"../x\" {CHARACTERS}"),
            ),
            (
                "a b",
                format!("invalid container ID format: \"a b\" {CHARACTERS}"),
            ),
            (
                "a\0",
                format!("invalid container ID format: \"a\\0\" {CHARACTERS}"),
            ),
            (
                "a\n",
                format!("invalid container ID format: \"a\\n\" {CHARACTERS}"),
            ),
            (
                "a,b",
                format!("invalid container ID format: \"a,b\" {CHARACTERS}"),
            ),
            ("é", format!("invalid container ID format: \"é\" {CHARACTERS}")),
            (
                &"x".repeat(256),
                format!(
                    "invalid container ID format: \"{}...\" has 256 characters, more than 255",
                    "x".repeat(60)
                ),
            ),
        ] {
            assert_eq!(id.parse::<Id>().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_record_with_a_bad_id_is_not_read() {
        assert!(serde_json::from_str::<Id>("\"../x\"").is_err());
        let id: Id = "a".parse().unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"a\"");
    }

    proptest! {
        #[test]
        fn an_id_is_always_one_plain_path_component(text in ".{0,300}") {
            if let Ok(id) = text.parse::<Id>() {
                let path: &std::path::Path = id.as_ref();
                let components: Vec<_> = path.components().collect();
                prop_assert_eq!(components, vec![std::path::Component::Normal(id.as_str().as_ref())]);
            }
        }
    }
}
