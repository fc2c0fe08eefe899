//! The whole file: from the merged tree to the [`Project`].

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{self, Key, Support};
use super::locate::Setting;
use super::node::{At, Fields, Node, Value};
use super::service::{self, Context, labels};
use super::{Options, check, network};
use crate::compose::model::{FileSource, Project, Volume};
use crate::error::Result;
use crate::net::is_host_name;

/// Reads `root`, all files in one tree.
pub(super) fn read(root: &At<'_>, setting: &Setting, name: String, options: &Options) -> Result<Project> {
    let top = root.fields(keys::TOP)?;
    let context = Context {
        setting,
        project: &name,
    };
    let active = active_profiles(root, setting, options)?;
    let (mut services, mut inactive) = (BTreeMap::new(), BTreeSet::new());
    for (key, at) in section(&top, "services")? {
        // A service's name is a host name for the others.
        if !is_host_name(key) || key.len() > 63 {
            return Err(at.error(format_args!(
                "{key:?} is no service's name: up to 63 letters, digits, \".\", \"-\" and \"_\", the first a letter or digit"
            )));
        }
        let profiles = service::profiles(&at)?;
        let service = service::service(&at, key, &context)?;
        match profiles.is_empty()
            || profiles
                .iter()
                .any(|profile| active.contains(profile) || active.contains("*"))
        {
            true => {
                service::check_bundle(&at, &service.bundle)?;
                services.insert(key.to_owned(), service);
            }
            false => {
                inactive.insert(key.to_owned());
            }
        }
    }
    let mut networks = BTreeMap::new();
    for (key, at) in section(&top, "networks")? {
        networks.insert(key.to_owned(), network::network(&at, key, &context)?);
    }
    if !networks.contains_key(network::DEFAULT) {
        let default = network::network(
            &root.below("networks.default", &nothing(root)),
            network::DEFAULT,
            &context,
        )?;
        networks.insert(network::DEFAULT.to_owned(), default);
    }
    let mut volumes = BTreeMap::new();
    for (key, at) in section(&top, "volumes")? {
        volumes.insert(key.to_owned(), volume(&at, key, &context)?);
    }
    let mut project = Project {
        directory: setting.directory.clone(),
        files: setting.files.clone(),
        services,
        networks,
        volumes,
        configs: file_sources(&top, "configs", keys::CONFIG, &context)?,
        secrets: file_sources(&top, "secrets", keys::SECRET, &context)?,
        name: name.clone(),
    };
    check::check(&mut project, root, &inactive)?;
    Ok(project)
}

/// A node that says nothing, at the place of another.
fn nothing(root: &At<'_>) -> Node {
    Node {
        value: Value::Null,
        ..root.node.clone()
    }
}

/// Names and values of one of the file's sections.
fn section<'a>(top: &Fields<'a>, key: &'static str) -> Result<Vec<(&'a str, At<'a>)>> {
    match top.get(key) {
        Some(at) => {
            let entries = at.named("a mapping")?;
            Ok(entries
                .into_iter()
                .filter(|(name, _)| !name.starts_with("x-"))
                .collect())
        }
        None => Ok(Vec::new()),
    }
}

/// `--profile` or else `COMPOSE_PROFILES`, and the profiles of the services that the command line names.
fn active_profiles(root: &At<'_>, setting: &Setting, options: &Options) -> Result<BTreeSet<String>> {
    let variable = setting
        .variables
        .get("COMPOSE_PROFILES")
        .map(String::as_str)
        .unwrap_or_default();
    let mut active: BTreeSet<String> = match options.profiles.is_empty() {
        true => variable.split(',').map(|name| name.trim().to_owned()).collect(),
        false => options.profiles.iter().cloned().collect(),
    };
    if let Some(services) = root.node.get("services") {
        let services = root.below("services", services);
        for name in &options.services {
            if let Some(node) = services.node.get(name) {
                active.extend(service::profiles(&services.below(name, node))?);
            }
        }
    }
    Ok(active)
}

fn volume(at: &At<'_>, key: &str, context: &Context<'_>) -> Result<Volume> {
    let mut volume = Volume {
        name: format!("{}_{key}", context.project),
        external: false,
        labels: BTreeMap::new(),
    };
    if !at.node.is_null() {
        let fields = at.fields(keys::VOLUME)?;
        volume.external = fields.read("external", At::bool)?.unwrap_or(false);
        if let Some(name) = fields.get("name") {
            volume.name = name.word("a name")?.to_owned();
        } else if volume.external {
            volume.name = key.to_owned();
        }
        if let Some(driver) = fields.get("driver").filter(|at| at.node.text() != Some("local")) {
            return Err(driver.error("\"local\" is the only driver"));
        }
        volume.labels = labels(&fields)?;
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric();
    let first = volume.name.bytes().next();
    let fine = first.is_some_and(letter)
        && volume.name.len() <= 200
        && volume
            .name
            .bytes()
            .all(|byte| letter(byte) || b"_.-".contains(&byte));
    match fine {
        true => Ok(volume),
        false => Err(at.error(format_args!(
            "{:?} is no volume's name: up to 200 letters, digits, \"_\", \".\" and \"-\", the first a letter or digit",
            volume.name
        ))),
    }
}

/// `configs` or `secrets` of the file.
fn file_sources(
    top: &Fields<'_>,
    key: &'static str,
    keys: &'static [Key],
    context: &Context<'_>,
) -> Result<BTreeMap<String, FileSource>> {
    let mut sources = BTreeMap::new();
    for (name, at) in section(top, key)? {
        let fields = at.fields(keys)?;
        let (file, variable, content) = (
            fields.get("file"),
            fields.get("environment"),
            fields.get("content"),
        );
        let source = match (file, variable, content) {
            (Some(at), None, None) => {
                let path = at.path(at.word("a file")?, context.home())?;
                if !path.is_file() {
                    return Err(at.error(format_args!("{} is not a file", path.display())));
                }
                FileSource::File(path)
            }
            (None, Some(at), None) => {
                let variable = at.word("the name of a variable")?.to_owned();
                let content = context.variable(&variable);
                let content =
                    content.ok_or_else(|| at.error(format_args!("the variable {variable} is not set")))?;
                FileSource::Environment { variable, content }
            }
            (None, None, Some(at)) => FileSource::Content(at.text("a text")?.to_owned()),
            _ => {
                let supported = keys.iter().filter(|key| matches!(key.support, Support::Yes));
                let known: Vec<&str> = supported.map(|key| key.name).collect();
                return Err(at.error(format_args!("expected one of {}", known.join(", "))));
            }
        };
        sources.insert(name.to_owned(), source);
    }
    Ok(sources)
}
