//! The bundle of a replica: its service's own config.json with what the Compose file says laid over it.
//!
//! The text is a function of the files alone, so its hash tells whether a running container is still what the file says.
//! What the file says of networks becomes the annotations that `create` reads; the replica's root file system stays where
//! it is, and only configs and secrets are written out.

use std::fmt::{Display, Write as _};
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, ResolveFlag};
use serde_json::{Value, json};

use super::model::{FileSource, FileUse, Join, Limits, Mount, MountKind, Project, Service};
use super::supervisor::place;
use super::volume;
use crate::error::{Error, Kind, OsContext as _, Result};
use crate::net::Endpoint;
use crate::spec::load;
use crate::spec::user::UserArg;
use crate::sys::fs::openat2;

/// The project of a container.
pub const PROJECT: &str = "minirun.compose.project";
/// The service of a container.
pub const SERVICE: &str = "minirun.compose.service";
/// The number of a replica.
pub const REPLICA: &str = "minirun.compose.replica";
/// The hash of what the file says of a container, or of a network.
pub const CONFIG_HASH: &str = "minirun.compose.config-hash";

/// The period over which a processor's time is limited, in microseconds: the kernel's own default.
const CPU_PERIOD: u64 = 100_000;
/// Of passwd and group, which are the root file system's own.
const LARGEST_DATABASE: u64 = 1 << 20;
/// Of a config or secret, as in other implementations.
const LARGEST_FILE: u64 = 1 << 20;

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
    /// Of all of it.
    pub hash: String,
}

/// A config or secret.
#[derive(Clone, Debug)]
struct Content {
    bytes: Vec<u8>,
    uid: u32,
    gid: u32,
    mode: u32,
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

    /// Writes the files, over those of an earlier container.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn write(&self) -> Result<()> {
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

impl Content {
    fn of(source: &FileSource, name: &str, used: &FileUse) -> Result<Self> {
        let bytes = match source {
            FileSource::Content(text) | FileSource::Environment { content: text, .. } => {
                text.clone().into_bytes()
            }
            FileSource::File(path) => {
                let file = File::open(path).os(format_args!("{name}: open"), path.display())?;
                let mut bytes = Vec::new();
                let read = file.take(LARGEST_FILE + 1).read_to_end(&mut bytes);
                read.os(format_args!("{name}: read"), path.display())?;
                bytes
            }
        };
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(Error::invalid(name, "is larger than 1 MiB").hint("mount it as a volume"));
        }
        Ok(Self {
            bytes,
            uid: used.uid.unwrap_or(0),
            gid: used.gid.unwrap_or(0),
            mode: used.mode.unwrap_or(0o444),
        })
    }

    fn write(&self, path: &Path) -> Result<()> {
        // Nobody reads it before it has its owner and mode.
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .os("create", path.display())?;
        file.write_all(&self.bytes).os("write", path.display())?;
        fchown(&file, Some(self.uid), Some(self.gid)).os("change owner of", path.display())?;
        let mode = fs::Permissions::from_mode(self.mode);
        file.set_permissions(mode).os("change mode of", path.display())
    }
}

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
        let process = &mut config["process"];
        // Its output is a pipe.
        process["terminal"] = json!(false);
        self.set_command(process)?;
        set_environment(process, service);
        if let Some(directory) = &service.working_dir {
            process["cwd"] = json!(directory);
        }
        if let Some(user) = &service.user {
            set_user(process, user, &rootfs)?;
        }
        set_capabilities(process, &service.cap_add, &service.cap_drop);
        set_limits(&mut config["linux"]["resources"], &service.limits);
        let namespaces = array(&mut config["linux"]["namespaces"]);
        if !namespaces.iter().any(|namespace| namespace["type"] == "network") {
            namespaces.push(json!({"type": "network"}));
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
            hash: hash.to_string(),
        })
    }

    fn set_command(&self, process: &mut Value) -> Result<()> {
        let service = self.service;
        let args = match (&service.entrypoint, &service.command) {
            (None, None) => return Ok(()),
            (Some(entrypoint), command) => {
                [entrypoint.as_slice(), command.as_deref().unwrap_or_default()].concat()
            }
            (None, Some(command)) => command.clone(),
        };
        if args.is_empty() {
            return Err(Error::invalid("command", "is empty: there is no program to run"));
        }
        process["args"] = json!(args);
        Ok(())
    }

    fn set_mounts(&self, config: &mut Value) -> Result<()> {
        let mut mounts: Vec<(usize, Value)> = Vec::new();
        for mount in &self.service.mounts {
            mounts.push((depth(&mount.target), self.mount(mount)?));
        }
        // What is mounted on a directory of another mount comes after it.
        mounts.sort_by_key(|(depth, _)| *depth);
        let all = array(&mut config["mounts"]);
        // The bundle's own relative ones begin at the bundle, which is another directory now.
        for mount in all.iter_mut().filter(|mount| is_bind(mount)) {
            if let Some(source) = mount["source"].as_str() {
                mount["source"] = json!(self.service.bundle.join(source));
            }
        }
        let targets: Vec<&str> = self
            .service
            .mounts
            .iter()
            .map(|mount| mount.target.as_str())
            .collect();
        all.retain(|mount| {
            !mount["destination"]
                .as_str()
                .is_some_and(|target| targets.contains(&target))
        });
        all.extend(mounts.into_iter().map(|(_, mount)| mount));
        Ok(())
    }

    fn mount(&self, mount: &Mount) -> Result<Value> {
        let access = if mount.read_only { "ro" } else { "rw" };
        let bind = |source: &Path| json!({"destination": mount.target, "type": "bind", "source": source, "options": ["rbind", "rprivate", access]});
        Ok(match &mount.kind {
            MountKind::Bind { source, .. } => bind(source),
            MountKind::Volume { name } => {
                let volume = self.project.volumes.get(name).ok_or_else(|| {
                    Error::new(
                        Kind::NotFound,
                        format_args!("volume {name:?} is not defined by the project"),
                    )
                })?;
                bind(&volume::path(&volume.name))
            }
            MountKind::Tmpfs { size, mode } => {
                let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), access.to_owned()];
                options.extend(size.map(|size| format!("size={size}")));
                options.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
                json!({"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options})
            }
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

    fn annotate(&self, config: &mut Value) -> Result<()> {
        let service = self.service;
        let mut joins: Vec<(&String, &Join)> = service.networks.iter().collect();
        joins.sort_by_key(|(key, join)| (std::cmp::Reverse(join.priority), *key));
        let mut networks = Vec::new();
        for (key, join) in joins {
            let network = self.project.networks.get(key).ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format_args!("network {key:?} is not defined by the project"),
                )
            })?;
            let mut aliases = vec![service.name.clone()];
            aliases.extend(
                join.aliases
                    .iter()
                    .filter(|alias| **alias != service.name)
                    .cloned(),
            );
            let endpoint = Endpoint {
                ip: join.ipv4,
                ip6: join.ipv6,
                mac: join.mac,
                aliases,
                interface: join.interface.clone(),
                priority: join.gateway_priority,
                ..Endpoint::new(&network.name)
            };
            networks.push(endpoint.to_string());
        }
        let annotations = &mut config["annotations"];
        for (label, text) in &service.labels {
            if label.starts_with(crate::container::ANNOTATION_PREFIX) {
                return Err(Error::invalid(
                    format_args!("labels.{label}"),
                    "begins with \"minirun.\", which is for annotations that change what the runtime does",
                ));
            }
            annotations[label] = json!(text);
        }
        let own = [
            (PROJECT, self.project.name.clone()),
            (SERVICE, service.name.clone()),
            (REPLICA, self.replica.to_string()),
            ("minirun.network", networks.join(" ")),
            ("minirun.publish", words(&service.ports)),
            ("minirun.dns", words(&service.dns)),
            ("minirun.dns-search", words(&service.dns_search)),
            (
                "minirun.add-host",
                words(
                    service
                        .extra_hosts
                        .iter()
                        .map(|(name, address)| host(name, *address)),
                ),
            ),
        ];
        for (name, text) in own {
            if !text.is_empty() {
                annotations[name] = json!(text);
            }
        }
        Ok(())
    }
}

fn host(name: &str, address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{name}:{address}"),
        IpAddr::V6(address) => format!("{name}:[{address}]"),
    }
}

/// Values of an annotation.
fn words<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    values.join(" ")
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

/// As `create` takes it: by its options, whatever its type says.
fn is_bind(mount: &Value) -> bool {
    let options = mount["options"].as_array();
    options.is_some_and(|options| options.iter().any(|option| option == "bind" || option == "rbind"))
}

fn depth(target: &str) -> usize {
    target.split('/').filter(|part| !part.is_empty()).count()
}

fn set_environment(process: &mut Value, service: &Service) {
    let env = array(&mut process["env"]);
    let name = |variable: &Value| {
        variable
            .as_str()
            .and_then(|text| text.split('=').next())
            .map(str::to_owned)
    };
    env.retain(|variable| !name(variable).is_some_and(|name| service.environment.contains_key(&name)));
    for (name, value) in &service.environment {
        if let Some(value) = value {
            env.push(json!(format!("{name}={value}")));
        }
    }
}

/// By number, or by name as the root file system knows it.
fn set_user(process: &mut Value, user: &str, rootfs: &Path) -> Result<()> {
    let asked: UserArg = user.parse().map_err(|error: Error| error.during("user"))?;
    let account = asked
        .resolve(&database(rootfs, "etc/passwd")?, &database(rootfs, "etc/group")?)
        .map_err(|error| error.during(format_args!("user {user:?}")))?;
    process["user"] = json!({
        "uid": account.uid,
        "gid": account.gid.unwrap_or(0),
        "additionalGids": account.additional_gids,
    });
    Ok(())
}

/// A file of the root file system, whose links lead nowhere else; empty when there is none.
fn database(rootfs: &Path, name: &str) -> Result<Vec<u8>> {
    let path = rootfs.join(name);
    let root = File::open(rootfs).os("open", rootfs.display())?;
    // Not blocking: an image may have a pipe there.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = openat2(&root, name, flags, ResolveFlag::RESOLVE_IN_ROOT);
    let file = match opened {
        Err(nix::errno::Errno::ENOENT) => return Ok(Vec::new()),
        opened => File::from(opened.os("open", path.display())?),
    };
    let mut text = Vec::new();
    match file.take(LARGEST_DATABASE).read_to_end(&mut text) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(Vec::new()),
        read => read.os("read", path.display()).map(|_| text),
    }
}

/// What is dropped goes from every set; what is added comes to those that a program of a fresh execve keeps.
fn set_capabilities(process: &mut Value, add: &[String], drop: &[String]) {
    const ADDED: [&str; 3] = ["bounding", "effective", "permitted"];
    if add.is_empty() && drop.is_empty() {
        return;
    }
    let all = |names: &[String]| names.iter().any(|name| name == "ALL");
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        let capabilities = array(&mut process["capabilities"][set]);
        capabilities.retain(|known| !all(drop) && !drop.iter().any(|dropped| known == dropped));
        if !ADDED.contains(&set) {
            continue;
        }
        let every = caps::all().into_iter().map(|capability| capability.to_string());
        let added: Vec<String> = match all(add) {
            true => every.filter(|name| !drop.contains(name)).collect(),
            false => add.to_vec(),
        };
        for name in added {
            if !capabilities.iter().any(|known| *known == name) {
                capabilities.push(json!(name));
            }
        }
    }
}

fn set_limits(resources: &mut Value, limits: &Limits) {
    if let Some(nano) = limits.nano_cpus {
        let quota = u128::from(nano) * u128::from(CPU_PERIOD) / 1_000_000_000;
        // The kernel's least is a millisecond.
        resources["cpu"]["quota"] = json!(u64::try_from(quota).unwrap_or(u64::MAX).max(1000));
        resources["cpu"]["period"] = json!(CPU_PERIOD);
    }
    if let Some(memory) = limits.memory {
        let own = &mut resources["memory"];
        // Memory and swap together, of which the bundle leaves so much for swap.
        if let (Some(limit), Some(both)) = (own["limit"].as_u64(), own["swap"].as_u64()) {
            own["swap"] = json!(memory.saturating_add(both.saturating_sub(limit)));
        }
        own["limit"] = json!(memory);
    }
    if let Some(pids) = limits.pids {
        resources["pids"]["limit"] = json!(pids);
    }
}

/// FNV-1a with 128 bits: tells files apart that nobody made alike on purpose, and needs no dependency.
#[derive(Clone, Copy, Debug)]
pub struct Hash(u128);

impl Default for Hash {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Hash {
    /// Adds a part; where it ends counts.
    pub fn add(&mut self, part: &[u8]) {
        for byte in part.iter().chain(&(part.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}

impl Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The text of a hash of one value.
pub fn hash_of(value: &impl serde::Serialize) -> String {
    let mut hash = Hash::default();
    let mut text = String::new();
    // A value of the model always has a JSON form, in which maps are in order.
    let _ = write!(text, "{}", json!(value));
    hash.add(text.as_bytes());
    hash.to_string()
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
