//! JSON checked against a shape while it is read, so that an error names line, column and property at once:
//! `config.json:12:20: process.user.uid: expected a number, found the string "root"`.
//!
//! Stricter than serde_json where leniency hides mistakes: a key given twice and anything after the document are errors.
//! As lenient as the engines need: an unknown property is skipped, and `null` for a property means that it is absent,
//! because Go programs write `null` for an empty list.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::{self, Display};

use oci_spec::runtime::Capability;
use serde::Deserialize;
use serde::de::value::Error as AnyError;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::shape::{Field, Shape};
use crate::error::{Error, Result};

/// A document that has its shape.
#[derive(Debug)]
pub(super) struct Document {
    /// The known properties only.
    pub(super) value: Value,
    /// Names in capability sets that no kernel known to us has; they are left out of `value`.
    pub(super) unknown_capabilities: BTreeSet<String>,
}

/// Reads `raw` as one JSON document of `shape`. `origin` is the name of the file and `root` that of the document's
/// top (empty for config.json, whose properties need no prefix), both for error texts.
///
/// # Errors
/// `origin:line:column: path.of.property: what was expected`, for syntax and for shape.
pub(super) fn parse(origin: impl Display, root: &'static str, shape: &Shape, raw: &[u8]) -> Result<Document> {
    let text = std::str::from_utf8(raw).map_err(|error| {
        let (line, column) = position(raw, error.valid_up_to());
        let byte = raw.get(error.valid_up_to()).copied().unwrap_or_default();
        Error::invalid(
            format_args!("{origin}:{line}:{column}"),
            format_args!("byte {byte:#04x} is not valid UTF-8"),
        )
    })?;
    if text.trim_ascii().is_empty() {
        return Err(Error::invalid(
            format_args!("{origin}:1:1"),
            "the file is empty, expected a JSON object",
        ));
    }
    let unknown_capabilities = RefCell::default();
    let node = Node {
        shape,
        path: &Path::Root(root),
        unknown_capabilities: &unknown_capabilities,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let value = node
        .deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value))
        .map_err(|error| located(origin, &error))?;
    Ok(Document {
        value,
        unknown_capabilities: unknown_capabilities.into_inner(),
    })
}

/// Whether `name` is a capability, in any of the spellings that the specification's types take.
fn is_capability(name: &str) -> bool {
    let name: serde::de::value::StrDeserializer<'_, AnyError> = name.into_deserializer();
    Capability::deserialize(name).is_ok()
}

/// Line and column, both from 1, of the byte at `offset`.
fn position(raw: &[u8], offset: usize) -> (usize, usize) {
    let before = raw.get(..offset).unwrap_or(raw);
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    (line, offset - line_start + 1)
}

/// serde_json's error with the position in front, in the words of someone who reads config.json and not the parser.
fn located(origin: impl Display, error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text
        .strip_suffix(&format!(" at line {line} column {column}"))
        .unwrap_or(&text);
    let text = match (error.classify(), text) {
        (Category::Eof, "EOF while parsing an object") => {
            "the file ends inside an object, expected `,` or `}`"
        }
        (Category::Eof, "EOF while parsing a list") => "the file ends inside a list, expected `,` or `]`",
        (Category::Eof, "EOF while parsing a string") => "the file ends inside a string, expected `\"`",
        (Category::Eof, _) => "the file ends here, expected a value",
        (_, "trailing characters") => "expected the end of the file after the document's last brace",
        (_, text) => text,
    };
    Error::invalid(format_args!("{origin}:{line}:{column}"), text)
}

/// Where we are in the document; borrowed from the stack, so that it costs nothing until an error prints it.
enum Path<'a> {
    Root(&'static str),
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn is_empty(&self) -> bool {
        matches!(self, Path::Root(""))
    }
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root(name) => f.write_str(name),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Path::Key(parent, key) if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                write!(f, "{parent}[{}]", Quoted(key))
            }
            Path::Key(parent, key) if parent.is_empty() => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
        }
    }
}

/// Text from the document, escaped and cut to what fits an error line.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 60;
        match self.0.char_indices().nth(MOST) {
            Some((cut, _)) => write!(f, "{:?}...", &self.0[..cut]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// One value to be read: its shape and its place.
#[derive(Clone, Copy)]
struct Node<'a> {
    shape: &'a Shape,
    path: &'a Path<'a>,
    unknown_capabilities: &'a RefCell<BTreeSet<String>>,
}

impl<'a> Node<'a> {
    fn below(&self, shape: &'a Shape, path: &'a Path<'a>) -> Node<'a> {
        Node { shape, path, ..*self }
    }

    fn wrong<E: serde::de::Error>(&self, why: impl Display) -> E {
        if self.path.is_empty() {
            E::custom(why)
        } else {
            E::custom(format_args!("{}: {why}", self.path))
        }
    }

    fn mismatch<T, E: serde::de::Error>(&self, found: impl Display) -> std::result::Result<T, E> {
        Err(self.wrong(format_args!("expected {}, found {found}", self.shape)))
    }

    fn integer<E: serde::de::Error>(&self, number: serde_json::Number) -> std::result::Result<Value, E> {
        let Shape::Integer { min, max } = *self.shape else {
            return match self.shape {
                Shape::Any => Ok(Value::Number(number)),
                _ => self.mismatch(format_args!("the number {number}")),
            };
        };
        let fits = match (number.as_i64(), number.as_u64()) {
            (_, Some(unsigned)) => unsigned <= max,
            (Some(signed), None) => signed >= min,
            (None, None) => return self.mismatch(number),
        };
        if fits {
            Ok(Value::Number(number))
        } else {
            Err(self.wrong(format_args!("must be between {min} and {max}, found {number}")))
        }
    }

    /// The names of a capability set, without those that are unknown.
    fn capabilities<'de, A: SeqAccess<'de>>(&self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut known = Vec::with_capacity(seq.size_hint().unwrap_or(16));
        loop {
            let path = Path::Index(self.path, known.len());
            match seq.next_element_seed(self.below(&Shape::Text, &path))? {
                Some(Value::String(name)) if !is_capability(&name) => {
                    self.unknown_capabilities.borrow_mut().insert(name);
                }
                Some(name) => known.push(name),
                None => return Ok(Value::Array(known)),
            }
        }
    }

    /// The shape of the property `key`; nothing for a property that is not known.
    fn property(&self, key: &str) -> Option<&'a Shape> {
        match self.shape {
            Shape::Object(fields) => fields
                .iter()
                .find(|field| field.name == key)
                .map(|field| &field.shape),
            Shape::Map(values) => Some(values),
            _ => Some(&Shape::Any),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.shape)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> std::result::Result<Value, E> {
        match self.shape {
            Shape::Bool | Shape::Any => Ok(Value::Bool(value)),
            _ => self.mismatch(value),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> std::result::Result<Value, E> {
        self.integer(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<Value, E> {
        self.integer(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Value, E> {
        match self.shape {
            Shape::Any => Ok(value.into()),
            Shape::Integer { .. } => Err(self.wrong(format_args!("expected a whole number, found {value}"))),
            _ => self.mismatch(format_args!("the number {value}")),
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> std::result::Result<Value, E> {
        match self.shape {
            Shape::Any | Shape::FreeText => Ok(value.into()),
            Shape::Text if value.contains('\0') => Err(self.wrong("must not contain a NUL byte")),
            Shape::Text => Ok(value.into()),
            Shape::OneOf(words) if words.contains(&value) => Ok(value.into()),
            Shape::OneOf(_) => self.mismatch(Quoted(value)),
            _ => self.mismatch(format_args!("the string {}", Quoted(value))),
        }
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Value, E> {
        match (self.shape, self.path) {
            (Shape::Any, _) | (_, Path::Key(..)) => Ok(Value::Null),
            _ => self.mismatch("null"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let element = match self.shape {
            Shape::Capabilities => return self.capabilities(seq),
            Shape::List(element) => element,
            Shape::Any => &Shape::Any,
            _ => return self.mismatch("a list"),
        };
        let mut values = Vec::with_capacity(seq.size_hint().unwrap_or(8));
        loop {
            let path = Path::Index(self.path, values.len());
            match seq.next_element_seed(self.below(element, &path))? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        if !matches!(self.shape, Shape::Object(_) | Shape::Map(_) | Shape::Any) {
            return self.mismatch("an object");
        }
        let mut values = Map::new();
        // Keys whose value does not go into `values`, so that they too are refused when given twice.
        let mut skipped: BTreeSet<String> = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = Path::Key(self.path, &key);
            let shape = self.property(&key);
            let node = self.below(shape.unwrap_or(&Shape::Any), &path);
            if values.contains_key(&key) || skipped.contains(&key) {
                return Err(node.wrong("is given twice"));
            }
            let value = map.next_value_seed(node)?;
            if shape.is_none() || value.is_null() {
                skipped.insert(key);
            } else {
                values.insert(key, value);
            }
        }
        if let Shape::Object(fields) = self.shape {
            let excused = |field: &Field| {
                let (other, value) = field.unless?;
                (values.get(other)? == value).then_some(())
            };
            let missing = |field: &&Field| {
                field.required && !values.contains_key(field.name) && excused(field).is_none()
            };
            if let Some(field) = fields.iter().find(missing) {
                let path = Path::Key(self.path, field.name);
                return Err(A::Error::custom(format_args!("{path}: is required")));
            }
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests;
