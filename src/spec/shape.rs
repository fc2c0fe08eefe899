//! The shapes of config.json and of the process document: every property of runtime-spec 1.3 for Linux, its type and,
//! where the specification lists them, its values. Properties of other platforms are unknown here, hence skipped.
//!
//! Integers have the ranges of the specification's Go types, or those of oci-spec's types where these are narrower.

mod config;
mod linux;

use std::fmt::{self, Display};

pub(super) use self::config::{CONFIG, PROCESS};
pub(super) use self::linux::RESOURCES;

/// What a JSON value must look like.
#[derive(Debug)]
pub(in crate::spec) enum Shape {
    /// A string that ends up in a system call, hence without NUL.
    Text,
    /// Any string.
    FreeText,
    /// true or false.
    Bool,
    /// A whole number.
    Integer {
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: u64,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of capability names; unknown ones are left out (config.md: "SHOULD NOT fail").
    Capabilities,
    /// A list of equal things.
    List(&'static Shape),
    /// An object with free keys.
    Map(&'static Shape),
    /// An object with known keys.
    Object(&'static [Field]),
    /// Anything; only ever the value of an unknown property.
    Any,
}

/// A property of an object.
#[derive(Debug)]
pub(in crate::spec) struct Field {
    pub(in crate::spec) name: &'static str,
    pub(in crate::spec) shape: Shape,
    pub(in crate::spec) required: bool,
    /// Another property and the value of it with which this one is not required after all.
    pub(in crate::spec) unless: Option<(&'static str, &'static str)>,
}

impl Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Text | Shape::FreeText => f.write_str("a string"),
            Shape::Bool => f.write_str("true or false"),
            Shape::Integer { .. } => f.write_str("a number"),
            Shape::Capabilities | Shape::List(_) => f.write_str("a list"),
            Shape::Map(_) | Shape::Object(_) => f.write_str("an object"),
            Shape::Any => f.write_str("anything"),
            Shape::OneOf([words @ .., last]) => {
                for (index, word) in words.iter().enumerate() {
                    write!(f, "{}{word:?}", if index == 0 { "" } else { ", " })?;
                }
                write!(f, " or {last:?}")
            }
            Shape::OneOf([]) => f.write_str("nothing"),
        }
    }
}

const fn optional(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        required: false,
        unless: None,
    }
}

const fn required(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        required: true,
        unless: None,
    }
}

const fn required_unless(name: &'static str, shape: Shape, unless: (&'static str, &'static str)) -> Field {
    Field {
        name,
        shape,
        required: true,
        unless: Some(unless),
    }
}

const U16: Shape = unsigned(u16::MAX as u64);
const U32: Shape = unsigned(u32::MAX as u64);
const U64: Shape = unsigned(u64::MAX);
const I32: Shape = Shape::Integer {
    min: i32::MIN as i64,
    max: i32::MAX as u64,
};
const I64: Shape = Shape::Integer {
    min: i64::MIN,
    max: i64::MAX as u64,
};
const TEXTS: Shape = Shape::List(&Shape::Text);

const fn unsigned(max: u64) -> Shape {
    Shape::Integer { min: 0, max }
}

const ID_MAPPINGS: Shape = Shape::List(&Shape::Object(&[
    optional("containerID", U32),
    optional("hostID", U32),
    optional("size", U32),
]));
