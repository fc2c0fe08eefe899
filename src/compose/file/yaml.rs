//! From the text of a YAML 1.2 document to [`Node`]s, within bounds.
//!
//! A few lines of YAML can mean more than any memory holds (an alias of a list of aliases, and so on), so the values are
//! counted as aliases are followed, and nesting is bounded because what reads the tree calls itself.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::node::{Entry, Merging, Node, Place, Source, Value};
use crate::error::{Error, Result};

/// The most bytes that a file may have.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// The most values in a document, followed aliases counted each time.
pub(super) const MAX_NODES: usize = 50_000;
/// The most bytes of text in a document, followed aliases counted each time.
const MAX_TEXT: usize = 64 << 20;
/// The deepest nesting.
const MAX_DEPTH: usize = 64;

/// Reads one document.
///
/// # Errors
/// With line and column: what is no YAML, no plain tree with text as keys, or too much.
pub(super) fn parse(source: &Rc<Source>, raw: &[u8]) -> Result<Node> {
    let mut tree = Tree::new(source);
    if raw.len() > MAX_BYTES {
        return Err(tree.error(
            Marker::new(0, 1, 0),
            format_args!("the file has more than {MAX_BYTES} bytes"),
        ));
    }
    let text = match std::str::from_utf8(raw) {
        Ok(text) => text,
        Err(error) => {
            let valid = raw.get(..error.valid_up_to()).unwrap_or_default();
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = valid.iter().rev().take_while(|byte| **byte != b'\n').count();
            return Err(tree.error(Marker::new(0, line, column), "this is not UTF-8"));
        }
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| tree.error(*error.marker(), error.info()))?;
        tree.take(event, span)?;
    }
    tree.root
        .ok_or_else(|| Error::invalid(source.path.display(), "the file is empty"))
}

/// A list or mapping whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    /// In a mapping: the key whose value comes next.
    key: Option<(String, Place)>,
    /// In a mapping: what `<<` brings, once the keys of its own are known.
    merged: Vec<Entry>,
}

/// A value that aliases may name, with what it counts.
struct Anchored {
    node: Node,
    nodes: usize,
    text: usize,
}

struct Tree<'a> {
    source: &'a Rc<Source>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Node>,
    nodes: usize,
    text: usize,
}

impl<'a> Tree<'a> {
    fn new(source: &'a Rc<Source>) -> Self {
        Self {
            source,
            open: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            nodes: 0,
            text: 0,
        }
    }

    fn place(&self, marker: Marker) -> Place {
        Place {
            source: Rc::clone(self.source),
            line: marker.line(),
            column: marker.col() + 1,
        }
    }

    fn error(&self, marker: Marker, why: impl std::fmt::Display) -> Error {
        Error::invalid(self.place(marker), why)
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<()> {
        let at = span.start;
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(self.error(at, "a second document begins here; a Compose file has one"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Scalar(text, style, anchor, tag) => {
                if text.contains('\0') {
                    return Err(self.error(at, "the text has a NUL character in it"));
                }
                let (merging, typed) = self.tag(at, tag.as_deref())?;
                let plain = style == ScalarStyle::Plain && !typed;
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null {
                    Value::Null
                } else {
                    Value::Scalar(text.into_owned())
                };
                let node = self.node(at, value, merging);
                self.count(at, 1, node.text().map_or(0, str::len))?;
                self.finished(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(at, Value::List(Vec::new()), anchor, tag.as_deref())
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(at, Value::Map(Vec::new()), anchor, tag.as_deref())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.end(open),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some(anchored) = self.anchors.get(&anchor) else {
                    return Err(self.error(at, "this alias stands within the value that it names"));
                };
                let (mut node, nodes, text) = (anchored.node.clone(), anchored.nodes, anchored.text);
                self.count(at, nodes, text)?;
                node.merging = Merging::Usual;
                self.finished(node, 0)
            }
        }
    }

    fn node(&self, at: Marker, value: Value, merging: Merging) -> Node {
        Node {
            place: self.place(at),
            value,
            merging,
        }
    }

    /// Counts values and text before they are kept.
    fn count(&mut self, at: Marker, nodes: usize, text: usize) -> Result<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.text = self.text.saturating_add(text);
        match self.nodes > MAX_NODES || self.text > MAX_TEXT {
            true => Err(self.error(
                at,
                format_args!("the document has more than {MAX_NODES} values here, aliases followed"),
            )),
            false => Ok(()),
        }
    }

    /// What a tag means, and whether it says that a scalar is text.
    fn tag(&self, at: Marker, tag: Option<&Tag>) -> Result<(Merging, bool)> {
        let Some(tag) = tag else {
            return Ok((Merging::Usual, false));
        };
        match (tag.handle.as_str(), tag.suffix.as_str()) {
            ("!", "reset") => Ok((Merging::Reset, false)),
            ("!", "override") => Ok((Merging::Override, false)),
            ("!", "") => Ok((Merging::Usual, true)),
            (_, "str") if tag.is_yaml_core_schema() => Ok((Merging::Usual, true)),
            (_, "int" | "float" | "bool" | "null" | "seq" | "map") if tag.is_yaml_core_schema() => {
                Ok((Merging::Usual, false))
            }
            _ => Err(self
                .error(at, format_args!("unknown tag {:?}", tag.to_string()))
                .hint("known are !reset and !override")),
        }
    }

    fn begin(&mut self, at: Marker, value: Value, anchor: usize, tag: Option<&Tag>) -> Result<()> {
        let (merging, _) = self.tag(at, tag)?;
        self.count(at, 1, 0)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(self.error(
                at,
                format_args!("lists and mappings are nested more than {MAX_DEPTH} deep"),
            ));
        }
        self.open.push(Open {
            node: self.node(at, value, merging),
            anchor,
            key: None,
            merged: Vec::new(),
        });
        Ok(())
    }

    /// A list or mapping is complete: the keys that `<<` brings go behind its own, which win.
    fn end(&mut self, mut open: Open) -> Result<()> {
        if let Value::Map(entries) = &mut open.node.value {
            for entry in open.merged {
                if !entries.iter().any(|own| own.key == entry.key) {
                    entries.push(entry);
                }
            }
        }
        self.finished(open.node, open.anchor)
    }

    /// A value is complete: it goes to where it stands.
    fn finished(&mut self, node: Node, anchor: usize) -> Result<()> {
        let depth = self.open.len() + depth(&node);
        if depth > MAX_DEPTH {
            return Err(Error::invalid(
                &node.place,
                format_args!("lists and mappings are nested more than {MAX_DEPTH} deep, aliases followed"),
            ));
        }
        if anchor > 0 {
            let anchored = Anchored {
                nodes: node.count(),
                text: text_in(&node),
                node: node.clone(),
            };
            self.anchors.insert(anchor, anchored);
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                None => open.key = Some(key(entries, node)?),
                Some((key, _)) if key == "<<" => open.merged.extend(merged(node)?),
                Some((key, place)) => entries.push(Entry { key, place, node }),
            },
            Value::Null | Value::Scalar(_) => {}
        }
        Ok(())
    }
}

/// A value as a key of a mapping that has `entries` already.
fn key(entries: &[Entry], node: Node) -> Result<(String, Place)> {
    let Value::Scalar(key) = node.value else {
        return Err(Error::invalid(
            &node.place,
            format_args!("expected a key, found {}", node.kind()),
        ));
    };
    match entries.iter().find(|entry| entry.key == key) {
        Some(first) => Err(Error::invalid(
            &node.place,
            format_args!(
                "the key {key:?} is here twice; first in line {}",
                first.place.line
            ),
        )),
        None => Ok((key, node.place)),
    }
}

/// What the value of `<<` brings: a mapping, or several of which the first that has a key wins.
fn merged(node: Node) -> Result<Vec<Entry>> {
    let wrong = |node: &Node| {
        let found = node.kind();
        Error::invalid(
            &node.place,
            format_args!("<<: expected a mapping or a list of mappings, found {found}"),
        )
    };
    match node.value {
        Value::Map(entries) => Ok(entries),
        Value::List(items) => {
            let mut all: Vec<Entry> = Vec::new();
            for item in items {
                match item.value {
                    Value::Map(entries) => all.extend(entries),
                    _ => return Err(wrong(&item)),
                }
            }
            Ok(all)
        }
        _ => Err(wrong(&node)),
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar(_) => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.node)).max().unwrap_or(0),
    }
}

fn text_in(node: &Node) -> usize {
    match &node.value {
        Value::Null => 0,
        Value::Scalar(text) => text.len(),
        Value::List(items) => items.iter().map(text_in).sum(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| entry.key.len() + text_in(&entry.node))
            .sum(),
    }
}
