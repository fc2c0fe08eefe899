//! The bundle of a replica: its service's own config.json with what the Compose file says laid over it.
//!
//! The text is a function of the files alone, so its hash tells whether a running container is still what the file says.
//! What the file says of networks becomes the annotations that `create` reads; the replica's root file system stays where
//! it is, with a layer of the replica's own over it where it is writable, and only configs and secrets are written out.

mod annotations;
mod content;
mod hash;
mod layer;
mod mounts;
mod process;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::content::Content;
pub use self::hash::{Hash, hash_of};
use super::model::{Project, Service};
use super::supervisor::place;
use crate::error::{Error, Kind, OsContext as _, Result};
use crate::rootfs::ROOT_LAYER_ANNOTATION;
use crate::spec::load;

/// The project of a container.
pub const PROJECT: &str = "minirun.compose.project";
/// The service of a container.
pub const SERVICE: &str = "minirun.compose.service";
/// The number of a replica.
pub const REPLICA: &str = "minirun.compose.replica";
/// The hash of what the file says of a container, or of a network.
pub const CONFIG_HASH: &str = "minirun.compose.config-hash";

/// Everything about one replica that its files are made of.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The project that the service is of.
    pub project: &'a Project,
    /// What the file says.
    pub service: &'a Service,
    /// Its number, from 1.
    pub replica: u32,
    /// The container's id.
    pub id: &'a str,
    /// Where the bundle is to be.
    pub directory: &'a Path,
    /// Where what it writes to its root is to be.
    pub layer: &'a Path,
    /// What tells one definition of a network from another, by the network's real name: a container has to be made anew
    /// when its network is.
    pub networks: &'a dyn Fn(&str) -> String,
}

/// The files of a replica, not written yet.
#[derive(Clone, Debug)]
pub struct Bundle {
    directory: PathBuf,
    config: Value,
    files: Vec<Content>,
    /// The root file system, below the layer if there is one.
    rootfs: PathBuf,
    layer: Option<PathBuf>,
    /// Of all of it.
    pub hash: String,
}

impl Bundle {
    /// Reads the service's bundle, and lays the file over it.
    ///
    /// # Errors
    /// A bundle without a readable config.json, a user whom its root file system does not know, a config or secret that
    /// cannot be read; each names the service.
    pub fn of(source: &Source<'_>) -> Result<Self> {
        let named = |error: Error| error.during(format_args!("service {}", source.service.name));
        source.lay().map_err(named)
    }

    /// Writes the files, over those of an earlier container, and makes its layer: that of an earlier container of the same
    /// bundle goes on being used, unless it is to be `fresh`.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn write(&self, fresh: bool) -> Result<()> {
        if let Some(layer) = &self.layer {
            layer::ensure(layer, &self.rootfs, &self.hash, fresh)?;
        }
        let files = self.directory.join(FILES);
        place::remove_tree(&files)?;
        place::directory(&files)?;
        for (number, content) in self.files.iter().enumerate() {
            content.write(&files.join(number.to_string()))?;
        }
        let path = self.directory.join(load::CONFIG);
        let mut config = self.config.clone();
        config["annotations"][CONFIG_HASH] = json!(self.hash);
        fs::write(&path, config.to_string()).os("write", path.display())
    }
}

const FILES: &str = "files";

impl Source<'_> {
    fn lay(&self) -> Result<Bundle> {
        let service = self.service;
        let mut config = read_config(&service.bundle)?;
        let root = config["root"]["path"].as_str().unwrap_or("rootfs");
        let rootfs = service.bundle.join(root);
        config["root"]["path"] = json!(rootfs);
        if let Some(read_only) = service.read_only {
            config["root"]["readonly"] = json!(read_only);
        }
        config["hostname"] = json!(service.hostname.as_deref().unwrap_or(self.id));
        process::lay(&mut config["process"], service, &rootfs)?;
        process::set_limits(&mut config["linux"]["resources"], &service.limits);
        let namespaces = array(&mut config["linux"]["namespaces"]);
        if !namespaces.iter().any(|namespace| namespace["type"] == "network") {
            namespaces.push(json!({"type": "network"}));
        }
        let layer = wants_layer(&config).then(|| self.layer.to_owned());
        if let Some(layer) = &layer {
            config["annotations"][ROOT_LAYER_ANNOTATION] = json!(layer);
        }
        self.set_mounts(&mut config)?;
        let files = self.set_files(&mut config)?;
        self.annotate(&mut config)?;
        let mut hash = Hash::default();
        hash.add(config.to_string().as_bytes());
        for content in &files {
            hash.add(&content.bytes);
            hash.add(format!("{}:{}:{:o}", content.uid, content.gid, content.mode).as_bytes());
        }
        for key in service.networks.keys() {
            if let Some(network) = self.project.networks.get(key) {
                hash.add((self.networks)(&network.name).as_bytes());
            }
        }
        Ok(Bundle {
            directory: self.directory.to_owned(),
            config,
            files,
            rootfs,
            layer,
            hash: hash.to_string(),
        })
    }

    /// Configs and secrets: files of ours, mounted read-only.
    fn set_files(&self, config: &mut Value) -> Result<Vec<Content>> {
        let service = self.service;
        let configs = service
            .configs
            .iter()
            .map(|used| ("config", &self.project.configs, used));
        let secrets = service
            .secrets
            .iter()
            .map(|used| ("secret", &self.project.secrets, used));
        let mut files = Vec::new();
        for (kind, sources, used) in configs.chain(secrets) {
            let name = format!("{kind} {}", used.source);
            let source = sources.get(&used.source).ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format_args!("{name} is not defined by the project"),
                )
            })?;
            let path = self.directory.join(FILES).join(files.len().to_string());
            files.push(Content::of(source, &name, used)?);
            array(&mut config["mounts"]).push(json!({
                "destination": used.target, "type": "bind", "source": path,
                "options": ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"],
            }));
        }
        Ok(files)
    }
}

/// Whether the replica writes to its root, which others may have too. Where the runtime can give it no layer the bundle has
/// asked for an arrangement of its own, and keeps it.
fn wants_layer(config: &Value) -> bool {
    let namespaces = config["linux"]["namespaces"].as_array();
    let has =
        |kind: &str| namespaces.is_some_and(|all| all.iter().any(|namespace| namespace["type"] == kind));
    config["root"]["readonly"] != true && has("mount") && !has("user")
}

fn read_config(bundle: &Path) -> Result<Value> {
    let path = bundle.join(load::CONFIG);
    let loaded = match load::load(bundle) {
        Err(error) if error.errno() == Some(nix::errno::Errno::ENOENT) => {
            return Err(
                error.hint("a bundle is a directory with a config.json; see the README of the bundle")
            );
        }
        loaded => loaded?,
    };
    serde_json::from_slice(&loaded.raw)
        .map_err(|error| Error::new(Kind::InvalidConfig, format_args!("{}: {error}", path.display())))
}

/// The array that is there, or a new one.
fn array(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(array) => array,
        // It was made one above.
        _ => unreachable!("not an array"),
    }
}

/// The root file system of a service.
///
/// # Errors
/// A bundle without a readable config.json.
pub fn rootfs(service: &Service) -> Result<PathBuf> {
    let config = read_config(&service.bundle)?;
    Ok(service
        .bundle
        .join(config["root"]["path"].as_str().unwrap_or("rootfs")))
}
