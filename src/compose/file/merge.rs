//! How a file goes over an earlier one, and a service over the one that it extends.
//!
//! Mappings are merged key by key, lists are appended, anything else is replaced. What can be written in two ways is first
//! brought into one ([`canonical`]); lists whose elements are about different things have them replaced by what they are
//! about; a few lists mean something as a whole and are replaced.

use super::mounts;
use super::node::{Entry, Merging, Node, Value};
use crate::error::Result;

/// Lists that may be mappings, `NAME=VALUE` or `NAME`.
const MAPPINGS: [&str; 4] = ["environment", "labels", "depends_on", "networks"];
/// Lists that may be a single element.
const LISTS: [&str; 4] = ["dns", "dns_search", "tmpfs", "env_file"];

/// The service `name`, written in the one way of those that there are.
///
/// # Errors
/// A network or dependency that is given twice.
pub(super) fn canonical(mut service: Node, name: &str) -> Result<Node> {
    let Value::Map(entries) = &mut service.value else {
        return Ok(service);
    };
    for Entry { key, node, .. } in entries {
        if MAPPINGS.contains(&key.as_str()) {
            into_mapping(key, node, name)?;
        } else if LISTS.contains(&key.as_str()) && matches!(node.value, Value::Scalar(_)) {
            let only = Node {
                merging: Merging::Usual,
                ..node.clone()
            };
            node.value = Value::List(vec![only]);
        } else if key == "extra_hosts" {
            hosts_into_list(node);
        }
    }
    Ok(service)
}

/// `[A=1, B]` becomes `{A: 1, B: null}`; of a name that comes twice the last counts.
fn into_mapping(key: &str, node: &mut Node, service: &str) -> Result<()> {
    let Value::List(items) = &node.value else {
        return Ok(());
    };
    let has_values = matches!(key, "environment" | "labels");
    let mut entries: Vec<Entry> = Vec::new();
    for item in items {
        let Some(text) = item.text() else {
            // Whoever reads the list says what is wrong with it.
            return Ok(());
        };
        let (name, value) = match text.split_once('=').filter(|_| has_values) {
            Some((name, value)) => (name, Value::Scalar(value.to_owned())),
            None if key == "labels" => (text, Value::Scalar(String::new())),
            None => (text, Value::Null),
        };
        let earlier = entries.iter().position(|entry| entry.key == name);
        if let Some(earlier) = earlier {
            if !has_values {
                return Err(super::node::located(
                    &item.place,
                    &format!("services.{service}.{key}"),
                    format_args!("{name:?} is here twice"),
                ));
            }
            entries.remove(earlier);
        }
        entries.push(Entry {
            key: name.to_owned(),
            place: item.place.clone(),
            node: Node {
                value,
                ..item.clone()
            },
        });
    }
    node.value = Value::Map(entries);
    Ok(())
}

/// `{name: address}` becomes `[name=address]`.
fn hosts_into_list(node: &mut Node) {
    let Value::Map(entries) = &node.value else {
        return;
    };
    let mut items = Vec::new();
    for Entry { key, node, .. } in entries {
        let addresses = match &node.value {
            Value::List(addresses) => addresses.as_slice(),
            _ => std::slice::from_ref(node),
        };
        for address in addresses {
            // Anything but a scalar stays what it is, for the reader to complain about.
            let value = match address.text() {
                Some(text) => Value::Scalar(format!("{key}={text}")),
                None => address.value.clone(),
            };
            items.push(Node {
                value,
                ..address.clone()
            });
        }
    }
    node.value = Value::List(items);
}

/// Lays `over` over `base`; `path` is where in the document both are.
pub(super) fn merge(base: Node, over: Node, path: &mut Vec<String>) -> Node {
    if over.merging == Merging::Override {
        return Node {
            merging: Merging::Usual,
            ..over
        };
    }
    if over.merging == Merging::Reset {
        return over;
    }
    let path_now: Vec<&str> = path.iter().map(String::as_str).collect();
    let rule = Rule::of(&path_now, &base, &over);
    match (base.value, over.value) {
        (Value::Map(base_entries), Value::Map(entries)) if rule != Rule::Replace => {
            let value = Value::Map(merge_entries(base_entries, entries, path));
            Node {
                value,
                place: over.place,
                merging: over.merging,
            }
        }
        (Value::List(mut items), Value::List(more)) if rule != Rule::Replace => {
            for item in more {
                let same = |earlier: &Node| match rule {
                    Rule::By(about) => about(earlier).is_some_and(|about_it| Some(about_it) == about(&item)),
                    _ => earlier.same(&item),
                };
                match items.iter_mut().find(|earlier| same(earlier)) {
                    Some(earlier) => *earlier = item,
                    None => items.push(item),
                }
            }
            Node {
                value: Value::List(items),
                place: over.place,
                merging: over.merging,
            }
        }
        (base_value @ Value::Map(_), Value::Null) => Node {
            value: base_value,
            place: base.place,
            merging: base.merging,
        },
        (_, value) => Node {
            value,
            place: over.place,
            merging: over.merging,
        },
    }
}

fn merge_entries(mut base: Vec<Entry>, over: Vec<Entry>, path: &mut Vec<String>) -> Vec<Entry> {
    for entry in over {
        match base.iter().position(|earlier| earlier.key == entry.key) {
            Some(index) => {
                let earlier = base.remove(index);
                path.push(entry.key.clone());
                let node = merge(earlier.node, entry.node, path);
                path.pop();
                base.insert(index, Entry { node, ..entry });
            }
            None => base.push(entry),
        }
    }
    base
}

/// How two values of the same key go together.
#[derive(Clone, Copy)]
enum Rule {
    /// Mappings are merged, lists appended.
    Usual,
    /// The later one counts.
    Replace,
    /// An element replaces the one that is about the same.
    By(fn(&Node) -> Option<String>),
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Usual, Self::Usual) | (Self::Replace, Self::Replace)
        )
    }
}

impl Rule {
    fn of(path: &[&str], base: &Node, over: &Node) -> Self {
        match path {
            ["services", _, "command" | "entrypoint"] | ["services", _, "healthcheck", "test"] => {
                Self::Replace
            }
            ["services", _, "volumes"] => Self::By(mounts::target),
            ["services", _, "configs" | "secrets"] => Self::By(file_target),
            ["networks", _, "ipam", "config"] => {
                Self::By(|node| node.get("subnet").and_then(Node::text).map(str::to_owned))
            }
            ["services", _, "logging"] => {
                let driver = |node: &Node| node.get("driver").and_then(Node::text).map(str::to_owned);
                match (driver(base), driver(over)) {
                    (Some(a), Some(b)) if a != b => Self::Replace,
                    _ => Self::Usual,
                }
            }
            _ => Self::Usual,
        }
    }
}

/// Where a config or secret goes.
fn file_target(node: &Node) -> Option<String> {
    let name = |key| node.get(key).and_then(Node::text);
    let target = node
        .text()
        .or_else(|| name("target"))
        .or_else(|| name("source"))?;
    Some(target.to_owned())
}

/// Takes away what `!reset` stands at.
pub(super) fn without_reset(node: &mut Node) {
    match &mut node.value {
        Value::Null | Value::Scalar(_) => {}
        Value::List(items) => {
            items.retain(|item| item.merging != Merging::Reset);
            items.iter_mut().for_each(without_reset);
        }
        Value::Map(entries) => {
            entries.retain(|entry| entry.node.merging != Merging::Reset);
            entries
                .iter_mut()
                .for_each(|entry| without_reset(&mut entry.node));
        }
    }
}
