//! `extends`: a service laid over another of the same file or of another one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::keys;
use super::merge::{canonical, merge};
use super::node::{At, Entry, Node, Value, clean};
use super::yaml::MAX_NODES;
use crate::error::{Result, closest};

/// The most services in a row of which each extends the next.
const MAX_CHAIN: usize = 32;

/// Reads a file that a service extends, given the place that names it.
pub(super) type Load<'a> = dyn Fn(&Path, &At<'_>) -> Result<Node> + 'a;

/// Lays every service of `root`, which was read from `file`, over what it extends.
///
/// # Errors
/// A service or file that does not exist, and services that extend each other in a circle.
pub(super) fn resolve(mut root: Node, file: &Path, load: &Load<'_>) -> Result<Node> {
    let Some(services) = root.get("services") else {
        return Ok(root);
    };
    let names: Vec<String> = services.entries().iter().map(|entry| entry.key.clone()).collect();
    let mut files = BTreeMap::from([(file.to_owned(), root.clone())]);
    let mut flat = BTreeMap::new();
    let mut values = 0;
    for name in names {
        let service = flattened(&mut files, file, &name, load)?;
        values += service.count();
        if values > MAX_NODES {
            let why = format_args!("the services have more than {MAX_NODES} values with what they extend");
            return Err(At::root(&service).below("services", &service).error(why));
        }
        flat.insert(name, service);
    }
    if let Value::Map(entries) = &mut root.value {
        let services = entries.iter_mut().filter(|entry| entry.key == "services");
        for Entry { node, .. } in services {
            if let Value::Map(services) = &mut node.value {
                for service in services {
                    if let Some(flat) = flat.remove(&service.key) {
                        service.node = flat;
                    }
                }
            }
        }
    }
    Ok(root)
}

/// A service with all that it extends, one after the other.
fn flattened(files: &mut BTreeMap<PathBuf, Node>, file: &Path, name: &str, load: &Load<'_>) -> Result<Node> {
    let mut chain = vec![(file.to_owned(), name.to_owned())];
    let mut layers = Vec::new();
    while let Some((file, name)) = chain.last().cloned() {
        let Some(service) = files.get(&file).and_then(|root| root.get("services")?.get(&name)) else {
            break;
        };
        let mut own = canonical(service.clone(), &name)?;
        let extends = match &mut own.value {
            Value::Map(entries) => {
                let index = entries.iter().position(|entry| entry.key == "extends");
                index.map(|index| entries.remove(index).node)
            }
            _ => None,
        };
        layers.push(own);
        let Some(extends) = extends.filter(|extends| !extends.is_null()) else {
            break;
        };
        let path = format!("services.{name}.extends");
        let at = At { node: &extends, path };
        let (other_file, other) = match extends.text() {
            Some(other) => (None, other),
            None => {
                let fields = at.fields(keys::EXTENDS)?;
                let other_file = fields.read("file", |at| at.word("a file"))?;
                (
                    other_file,
                    fields.required("service")?.word("the name of a service")?,
                )
            }
        };
        let other_file = match other_file {
            Some(path) => clean(&extends.place.source.base.join(path)),
            None => file,
        };
        if !files.contains_key(&other_file) {
            files.insert(other_file.clone(), load(&other_file, &at)?);
        }
        let services = files.get(&other_file).and_then(|root| root.get("services"));
        let known = services.map(Node::entries).unwrap_or_default();
        if !known.iter().any(|entry| entry.key == other) {
            let error = at.error(format_args!("{} has no service {other:?}", other_file.display()));
            let known = known.iter().map(|entry| entry.key.as_str());
            return Err(match closest(other, known) {
                Some(close) => error.hint(format_args!("did you mean {close:?}?")),
                None => error,
            });
        }
        let next = (other_file, other.to_owned());
        if let Some(first) = chain.iter().position(|link| *link == next) {
            let circle = chain
                .iter()
                .skip(first)
                .chain([&next])
                .map(|(_, name)| name.as_str());
            let circle: Vec<&str> = circle.collect();
            return Err(at.error(format_args!(
                "services extend each other in a circle: {}",
                circle.join(" -> ")
            )));
        }
        if chain.len() >= MAX_CHAIN {
            return Err(at.error(format_args!(
                "more than {MAX_CHAIN} services extend each other in a row"
            )));
        }
        chain.push(next);
    }
    let mut path = vec!["services".to_owned(), name.to_owned()];
    let mut layers = layers.into_iter().rev();
    let Some(mut service) = layers.next() else {
        // Every name comes from the file that it is looked up in.
        return Err(crate::error::Error::invalid(
            file.display(),
            format_args!("no service {name:?}"),
        ));
    };
    for layer in layers {
        service = merge(service, layer, &mut path);
    }
    Ok(service)
}
