//! A document of YAML as a tree in which everything knows where it was written, and [`At`], a place to read it from.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::keys::{Key, Support};
use crate::error::{Error, Result, closest};
use crate::log;

/// A file that is being read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// As errors name it.
    pub(super) path: PathBuf,
    /// What its relative paths are relative to.
    pub(super) base: PathBuf,
}

/// Where something was written.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) source: Rc<Source>,
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.path.display(), self.line, self.column)
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    pub(super) merging: Merging,
}

/// How a value goes together with that of the same key in an earlier file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merging {
    /// As its key says.
    Usual,
    /// `!override`: in its place.
    Override,
    /// `!reset`: neither of them is left.
    Reset,
}

/// What YAML can say, as far as Compose files do.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// The text of a scalar. What type it has, its reader says.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file; keys are distinct.
    Map(Vec<Entry>),
}

/// A key of a mapping and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    /// The value of a key of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries().iter().find(|entry| entry.key == key)?;
        Some(&entry.node)
    }

    /// Of a mapping; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// How many values there are in it, itself included.
    pub(super) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.count()).sum(),
        }
    }

    /// Whether both say the same, wherever it was written.
    pub(super) fn same(&self, other: &Node) -> bool {
        match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Scalar(a), Value::Scalar(b)) => a == b,
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Value::Map(a), Value::Map(b)) => {
                let in_b = |entry: &Entry| other.get(&entry.key).is_some_and(|node| node.same(&entry.node));
                a.len() == b.len() && a.iter().all(in_b)
            }
            _ => false,
        }
    }

    /// What kind of value it is, in words.
    pub(super) fn kind(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Scalar(text) => match text.char_indices().nth(40) {
                Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
                None => format!("{text:?}"),
            },
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// A value with the path of the keys that lead to it: what is read, and what errors name.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
}

impl<'a> At<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        Self {
            node,
            path: String::new(),
        }
    }

    pub(super) fn below(&self, key: &str, node: &'a Node) -> Self {
        let path = match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        Self { node, path }
    }

    /// Something is wrong with this value.
    pub(super) fn error(&self, why: impl Display) -> Error {
        located(&self.node.place, &self.path, why)
    }

    fn expected(&self, what: &str) -> Error {
        self.error(format_args!("expected {what}, found {}", self.node.kind()))
    }

    /// The text of a scalar, in the words of `what` it should be.
    pub(super) fn text(&self, what: &str) -> Result<&'a str> {
        self.node.text().ok_or_else(|| self.expected(what))
    }

    /// A text that is not empty.
    pub(super) fn word(&self, what: &str) -> Result<&'a str> {
        match self.text(what)? {
            "" => Err(self.error(format_args!("is empty, expected {what}"))),
            text => Ok(text),
        }
    }

    /// A scalar read by `read`, which says what is wrong with it.
    pub(super) fn parsed<T>(
        &self,
        what: &str,
        read: impl FnOnce(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        read(self.text(what)?).map_err(|why| self.error(why))
    }

    pub(super) fn number<T: std::str::FromStr>(&self, what: &str) -> Result<T> {
        self.text(what)?.parse().map_err(|_| self.expected(what))
    }

    pub(super) fn bool(&self) -> Result<bool> {
        match self.text("true or false")? {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            _ => Err(self.expected("true or false")),
        }
    }

    /// The elements of a list.
    pub(super) fn items(&self, what: &str) -> Result<Vec<At<'a>>> {
        match &self.node.value {
            Value::List(items) => Ok(self.indexed(items)),
            _ => Err(self.expected(what)),
        }
    }

    /// The elements of a list, or the one that stands there without being in a list.
    pub(super) fn one_or_more(&self, what: &str) -> Result<Vec<At<'a>>> {
        match &self.node.value {
            Value::List(items) => Ok(self.indexed(items)),
            Value::Scalar(_) => Ok(vec![self.clone()]),
            _ => Err(self.expected(what)),
        }
    }

    fn indexed(&self, items: &'a [Node]) -> Vec<At<'a>> {
        let at = |(index, node)| At {
            node,
            path: format!("{}[{index}]", self.path),
        };
        items.iter().enumerate().map(at).collect()
    }

    /// Keys and values of a mapping whose keys are names of the author's.
    pub(super) fn named(&self, what: &str) -> Result<Vec<(&'a str, At<'a>)>> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries
                .iter()
                .map(|entry| (entry.key.as_str(), self.below(&entry.key, &entry.node)))
                .collect()),
            _ => Err(self.expected(what)),
        }
    }

    /// A mapping of known keys. One that is not supported, or not known, is refused here; `x-...` is ignored.
    pub(super) fn fields(&self, keys: &'static [Key]) -> Result<Fields<'a>> {
        for (name, at) in self.named("a mapping")? {
            let key = keys.iter().find(|key| key.name == name);
            match key.map(|key| key.support) {
                Some(Support::Yes) => {}
                Some(Support::Ignored(why)) => {
                    log::debug(format_args!("{}: {}: ignored: {why}", at.node.place, at.path));
                }
                Some(Support::OnlyFalse(_)) if at.node.is_null() || !at.bool()? => {}
                Some(Support::OnlyFalse(why) | Support::No(why)) => return Err(self.unsupported(name, why)),
                None if name.starts_with("x-") => {}
                None => return Err(self.unknown(name, keys)),
            }
        }
        Ok(Fields(self.clone()))
    }

    /// Where the key of an entry was written.
    fn key_place(&self, name: &str) -> &'a Place {
        let entry = self.node.entries().iter().find(|entry| entry.key == name);
        entry.map_or(&self.node.place, |entry| &entry.place)
    }

    /// Something is wrong with a key of this mapping.
    pub(super) fn key_error(&self, name: &str, why: impl Display) -> Error {
        let path = self.below(name, self.node).path;
        located(self.key_place(name), &path, why)
    }

    fn unsupported(&self, name: &str, why: &str) -> Error {
        let path = self.below(name, self.node).path;
        Error::unsupported(format_args!("{}: {path}", self.key_place(name)), why)
    }

    fn unknown(&self, name: &str, keys: &'static [Key]) -> Error {
        let error = self.key_error(name, "unknown key");
        let known = keys.iter().map(|key| key.name);
        match closest(name, known.clone()) {
            Some(close) => error.hint(format_args!("did you mean {close:?}?")),
            None if keys.len() <= 12 => {
                error.hint(format_args!("known are {}", known.collect::<Vec<_>>().join(", ")))
            }
            None => error.hint("docs/compose.md has the keys"),
        }
    }

    /// The absolute path that a path in the file means. `home` is what `~` stands for.
    pub(super) fn path(&self, text: &str, home: Option<&str>) -> Result<PathBuf> {
        let path = match (text.strip_prefix('~'), home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                PathBuf::from(format!("{home}{rest}"))
            }
            (Some(_), _) => return Err(self.error(format_args!("{text:?}: whose home `~` is, is not known"))),
            (None, _) => self.node.place.source.base.join(text),
        };
        Ok(clean(&path))
    }
}

/// An error with its position and the path of the key in front.
pub(super) fn located(place: &Place, path: &str, why: impl Display) -> Error {
    match path {
        "" => Error::invalid(place, why),
        path => Error::invalid(format_args!("{place}: {path}"), why),
    }
}

/// A path without `.` and `..`, as it reads: links are not looked at, as in Docker.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

/// A mapping whose keys are all known.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a>(At<'a>);

impl<'a> Fields<'a> {
    /// The value of a key; `null` is as good as none.
    pub(super) fn get(&self, key: &'static str) -> Option<At<'a>> {
        let node = self.0.node.get(key).filter(|node| !node.is_null())?;
        Some(self.0.below(key, node))
    }

    /// The value of a key, read.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&At<'a>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.get(key).as_ref().map(read).transpose()
    }

    /// The value of a key that has to be there.
    pub(super) fn required(&self, key: &'static str) -> Result<At<'a>> {
        self.get(key)
            .ok_or_else(|| self.0.error(format_args!("{key:?} is missing")))
    }

    /// The mapping itself.
    pub(super) fn at(&self) -> &At<'a> {
        &self.0
    }
}
