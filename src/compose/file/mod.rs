//! Reading Compose files: from YAML to [`Project`], and every mistake with file, line, column and the path of its key.
//!
//! In this order, one file each:
//!
//! 1. `locate`: which files, which directory, which variables;
//! 2. `yaml`: text to a tree of `node`s, each with its position, within bounds; anchors, aliases and `<<` are followed;
//! 3. `interpolate`: variables in values, from the caller's environment and `.env` (`env_file`);
//! 4. `extends`, then `merge`: services over services, files over files;
//! 5. `project`, `service` and what they are made of: the tree to the model. The tables in `keys` say which keys there are;
//! 6. `check`: what concerns several services: undefined names, circles, ports and addresses that two want.

mod check;
mod deploy;
mod env_file;
mod environment;
mod extends;
mod health;
mod interpolate;
mod keys;
mod locate;
mod merge;
mod mounts;
mod network;
mod node;
mod ports;
mod project;
mod service;
#[cfg(test)]
mod tests;
pub(super) mod units;
mod words;
mod yaml;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use self::interpolate::{Stray, interpolate};
use self::locate::Setting;
use self::node::{At, Merging, Node, Source, Value};
use super::model::Project;
use crate::error::{Error, Result};
use crate::log;

/// Which project to read, as the command line and its surroundings say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--file`: the later ones go over the earlier ones. `COMPOSE_FILE`, or what is found from the working directory
    /// upwards, when there are none.
    pub files: Vec<PathBuf>,
    /// `--project-name`; `COMPOSE_PROJECT_NAME`, the file's `name` or the directory's name otherwise.
    pub project_name: Option<String>,
    /// `--project-directory`; that of the first file otherwise.
    pub project_directory: Option<PathBuf>,
    /// `--env-file`; `.env` of the project's directory otherwise.
    pub env_files: Vec<PathBuf>,
    /// `--profile`, `*` for all; those of `COMPOSE_PROFILES` otherwise.
    pub profiles: Vec<String>,
    /// Services that the command line names: their profiles are active.
    pub services: Vec<String>,
    /// The caller's.
    pub environment: BTreeMap<String, String>,
    /// The caller's, absolute.
    pub working_directory: PathBuf,
}

/// Reads the project.
///
/// # Errors
/// InvalidConfig or Unsupported with `FILE:LINE:COLUMN: path.of.key:` in front, NotFound when there is no file.
pub fn load(options: &Options) -> Result<Project> {
    let setting = Setting::find(options)?;
    let (name, root) = tree(options, &setting)?;
    project::read(&At::root(&root), &setting, name, options)
}

/// The name of the project, also of one whose services make no sense.
///
/// # Errors
/// As [`load`], but for what is wrong below the file's top. With a name given no file is read.
pub fn name(options: &Options) -> Result<String> {
    if let Some(name) = locate::given_name(options, &BTreeMap::new())? {
        return Ok(name);
    }
    let setting = Setting::find(options)?;
    tree(options, &setting).map(|(name, _)| name)
}

/// The project's name, and all files as one tree.
fn tree(options: &Options, setting: &Setting) -> Result<(String, Node)> {
    let mut roots = Vec::new();
    for path in &setting.files {
        roots.push(read(path, &setting.directory)?);
    }
    let name = project_name(options, setting, &roots)?;
    let mut variables = setting.variables.clone();
    variables.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
    let variables = Variables {
        values: &variables,
        missed: RefCell::default(),
    };
    let load = |path: &Path, at: &At<'_>| {
        let base = path.parent().unwrap_or(Path::new("/"));
        let mut root = read(path, base).map_err(|error| error.during(&at.node.place))?;
        variables.replace("", &mut root)?;
        Ok(root)
    };
    let mut merged: Option<Node> = None;
    for (mut root, path) in roots.into_iter().zip(&setting.files) {
        variables.replace("", &mut root)?;
        let root = extends::resolve(root, path, &load)?;
        merged = Some(match merged {
            Some(merged) => merge::merge(merged, root, &mut Vec::new()),
            None => root,
        });
    }
    let mut root = merged.ok_or_else(|| Error::invalid("--file", "no file is given"))?;
    merge::without_reset(&mut root);
    Ok((name, root))
}

/// Reads a file whose relative paths are relative to `base`.
fn read(path: &Path, base: &Path) -> Result<Node> {
    let raw = locate::contents(path, yaml::MAX_BYTES)?;
    let source = Rc::new(Source {
        path: path.to_owned(),
        base: base.to_owned(),
    });
    let root = yaml::parse(&source, &raw)?;
    match root.value {
        Value::Map(_) => Ok(root),
        _ => Err(At::root(&root).error(format_args!("expected a mapping, found {}", root.kind()))),
    }
}

/// The name that is given, or that of the last file that has one, or the directory's.
fn project_name(options: &Options, setting: &Setting, roots: &[Node]) -> Result<String> {
    if let Some(name) = locate::given_name(options, &setting.variables)? {
        return Ok(name);
    }
    let variables = Variables {
        values: &setting.variables,
        missed: RefCell::default(),
    };
    for root in roots.iter().rev() {
        if let Some(node) = root.get("name").filter(|node| !node.is_null()) {
            let at = At::root(root).below("name", node);
            let text = variables.in_text(&at, at.word("the project's name")?)?;
            return locate::check_name(&text)
                .map(|()| text)
                .map_err(|why| at.error(why));
        }
    }
    locate::name_of_directory(&setting.directory)
}

/// What variables hold, and which were missed.
struct Variables<'a> {
    values: &'a BTreeMap<String, String>,
    missed: RefCell<BTreeSet<String>>,
}

impl Variables<'_> {
    fn in_text(&self, at: &At<'_>, text: &str) -> Result<String> {
        let lookup = |name: &str| self.values.get(name).cloned();
        let mut unset = |name: &str| {
            if self.missed.borrow_mut().insert(name.to_owned()) {
                let place = &at.node.place;
                log::warn(format_args!(
                    "{place}: {}: the variable {name} is not set, so it is empty",
                    at.path
                ));
            }
        };
        let text = interpolate(text, Stray::Refused, &lookup, &mut unset).map_err(|why| at.error(why))?;
        match text.contains('\0') {
            true => Err(at.error("a variable has a NUL character in it")),
            false => Ok(text),
        }
    }

    /// Replaces the variables in all values of a tree; `path` leads to it.
    fn replace(&self, path: &str, node: &mut Node) -> Result<()> {
        if node.merging == Merging::Reset {
            return Ok(());
        }
        if let Value::Scalar(text) = &node.value {
            if !text.contains('$') {
                return Ok(());
            }
            let at = At {
                node,
                path: path.to_owned(),
            };
            let text = self.in_text(&at, text)?;
            node.value = Value::Scalar(text);
            return Ok(());
        }
        match &mut node.value {
            Value::Null | Value::Scalar(_) => Ok(()),
            Value::List(items) => {
                let mut numbered = items.iter_mut().enumerate();
                numbered.try_for_each(|(index, item)| self.replace(&format!("{path}[{index}]"), item))
            }
            Value::Map(entries) => entries.iter_mut().try_for_each(|entry| {
                let path = match path {
                    "" => entry.key.clone(),
                    path => format!("{path}.{}", entry.key),
                };
                self.replace(&path, &mut entry.node)
            }),
        }
    }
}
