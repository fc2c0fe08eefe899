//! The one error type of the crate.
//!
//! An error says what was being done, on which path, field or name, why it failed and, where we know, what to do. It is
//! plain data so that it can travel from the container's first process to the runtime, and it is printed once, in `main`.
//! Engines match substrings of runc's texts; those come first in a message, our detail follows.

use std::fmt::{self, Display};
use std::io;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// The crate's result type.
pub type Result<T> = std::result::Result<T, Error>;

/// What class of failure this is; it decides exit codes, never wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A container, network, file or other named thing does not exist.
    NotFound,
    /// The name, address, port or path is already taken.
    Exists,
    /// config.json, process.json, a flag or an argument is wrong.
    InvalidConfig,
    /// The container's status does not allow the operation.
    WrongState,
    /// A known property that this version cannot honour; never ignored in silence.
    Unsupported,
    /// A system call failed.
    Os,
    /// A helper program (hook, nft) failed.
    Program,
}

/// What failed, on what, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    kind: Kind,
    message: String,
    errno: Option<i32>,
    hint: Option<String>,
}

impl Error {
    /// An error whose text is complete.
    pub fn new(kind: Kind, message: impl Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            errno: None,
            hint: None,
        }
    }

    /// A property of config.json (or of a file like it), named by its path (`process.rlimits[2].type`), has a bad value.
    pub fn invalid(field: impl Display, why: impl Display) -> Self {
        Self::new(Kind::InvalidConfig, format_args!("{field}: {why}"))
    }

    /// A property that this version does not support, named by its path.
    pub fn unsupported(field: impl Display, why: impl Display) -> Self {
        Self::new(Kind::Unsupported, format_args!("{field} is not supported: {why}"))
    }

    /// A system call failed: `stage` is what was being done ("mount", "write cgroup limit"), `subject` on what.
    pub fn os(stage: impl Display, subject: impl Display, errno: Errno) -> Self {
        let why = describe(errno);
        Self {
            errno: Some(errno as i32),
            ..Self::new(Kind::Os, format_args!("{stage} {subject}: {why}"))
        }
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Puts what was being attempted in front of the message.
    #[must_use]
    pub fn during(mut self, what: impl Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The class of the failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The system's error number, when a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        self.errno.map(Errno::from_raw)
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// The text of an error number in the lower case that callers of runc match on ("permission denied").
pub fn describe(errno: Errno) -> String {
    match errno {
        // nix has "Try again", which is no advice: a limit of processes or memory is reached.
        Errno::EAGAIN => "resource temporarily unavailable".to_owned(),
        errno => errno.desc().to_lowercase(),
    }
}

/// Turns a failed system call into an [`Error`] that says what was being done, and on what.
pub trait OsContext<T> {
    /// `stage`: what was being done; `subject`: the path, field or name it was done to. Formatted only on failure.
    fn os(self, stage: impl Display, subject: impl Display) -> Result<T>;
}

impl<T> OsContext<T> for nix::Result<T> {
    fn os(self, stage: impl Display, subject: impl Display) -> Result<T> {
        self.map_err(|errno| Error::os(stage, subject, errno))
    }
}

impl<T> OsContext<T> for io::Result<T> {
    fn os(self, stage: impl Display, subject: impl Display) -> Result<T> {
        self.map_err(|error| match error.raw_os_error() {
            Some(raw) => Error::os(stage, subject, Errno::from_raw(raw)),
            None => Error::new(Kind::Os, format_args!("{stage} {subject}: {error}")),
        })
    }
}

/// The one of the `known` names that somebody who wrote `name` probably meant: at most two letters away.
pub fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|known| (edit_distance(known, name), known));
    let (distance, known) = near.min_by_key(|(distance, _)| *distance)?;
    // Of two letters every other word is two letters away.
    (distance <= 2 && distance < name.chars().count()).then_some(known)
}

/// How many letters to insert, remove or change to get from one name to the other (Levenshtein).
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_names_counts_single_edits() {
        for (a, b, distance) in [
            ("", "", 0),
            ("default", "default", 0),
            ("default", "defualt", 2),
            ("shop", "shops", 1),
            ("ab", "xyz", 3),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
            assert_eq!(edit_distance(b, a), distance, "{b} {a}");
        }
    }

    #[test]
    fn an_os_error_names_stage_subject_and_reason_in_lower_case() {
        let error = Error::os("mount", "/proc", Errno::EACCES);
        assert_eq!(error.to_string(), "mount /proc: permission denied");
        assert_eq!(error.errno(), Some(Errno::EACCES));
    }

    #[test]
    fn a_hint_follows_the_message() {
        let error = Error::invalid("process.args", "must have at least one element").hint("name a program");
        assert_eq!(
            error.to_string(),
            "process.args: must have at least one element; name a program"
        );
    }

    #[test]
    fn an_error_survives_the_way_from_child_to_parent() {
        let error = Error::os("open", "/dev/null", Errno::ENOENT).hint("is /dev a tmpfs?");
        let wire = serde_json::to_vec(&error).unwrap();
        assert_eq!(serde_json::from_slice::<Error>(&wire).unwrap(), error);
    }
}
