//! A service.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::Capability;
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as AnyError, StrDeserializer};

use super::locate::Setting;
use super::node::{At, Fields};
use super::{deploy, environment, health, keys, mounts, network, ports, units, words};
use crate::compose::model::{Join, Logging, Mount, Service};
use crate::container::kill::parse_signal;
use crate::error::{Result, closest};
use crate::net::is_host_name;

/// What a service's values may refer to.
pub(super) struct Context<'a> {
    pub(super) setting: &'a Setting,
    /// The project's name.
    pub(super) project: &'a str,
}

impl Context<'_> {
    /// What a variable holds.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.setting.variables.get(name).cloned()
    }

    /// What `~` stands for.
    pub(super) fn home(&self) -> Option<&str> {
        self.setting.variables.get("HOME").map(String::as_str)
    }
}

/// How long a replica may take to end, unless the file says otherwise.
const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

pub(super) fn service(at: &At<'_>, name: &str, context: &Context<'_>) -> Result<Service> {
    let fields = at.fields(keys::SERVICE)?;
    let entrypoint = fields
        .read("entrypoint", command)?
        .filter(|words| !words.is_empty());
    let command = fields.read("command", command)?;
    if let Some(at) = fields.get("command").filter(|_| entrypoint.is_none())
        && command.as_ref().is_some_and(Vec::is_empty)
    {
        return Err(at.error("names no program"));
    }
    let deploy = deploy::deploy(&fields)?;
    let service = Service {
        name: name.to_owned(),
        bundle: bundle(&fields, context)?,
        command,
        entrypoint,
        environment: environment::environment(&fields, context)?,
        working_dir: fields.read("working_dir", absolute)?,
        user: fields.read("user", |at| at.word("a user").map(str::to_owned))?,
        hostname: fields.read("hostname", host_name)?,
        ports: each(&fields, "ports", ports::publish)?,
        expose: each(&fields, "expose", ports::expose)?,
        networks: networks(&fields)?,
        depends_on: match fields.get("depends_on") {
            Some(at) => at
                .named("a list or mapping of services")?
                .iter()
                .map(|(name, at)| Ok(((*name).to_owned(), health::dependency(at)?)))
                .collect::<Result<_>>()?,
            None => BTreeMap::new(),
        },
        healthcheck: fields.read("healthcheck", health::healthcheck)?.flatten(),
        restart: deploy.restart,
        replicas: deploy.replicas,
        limits: deploy.limits,
        mounts: mounts(&fields, context)?,
        configs: each(&fields, "configs", |at| mounts::file_use(at, "/"))?,
        secrets: each(&fields, "secrets", |at| mounts::file_use(at, "/run/secrets"))?,
        dns: each(&fields, "dns", |at| at.number("an IP address"))?,
        dns_search: each(&fields, "dns_search", |at| {
            let domain = at.word("a domain")?;
            match domain == "." || is_host_name(domain.trim_end_matches('.')) {
                true => Ok(domain.to_owned()),
                false => Err(at.error(format_args!("{domain:?} is not a domain"))),
            }
        })?,
        extra_hosts: each(&fields, "extra_hosts", extra_host)?,
        cap_add: each(&fields, "cap_add", capability)?,
        cap_drop: each(&fields, "cap_drop", capability)?,
        read_only: fields.read("read_only", At::bool)?,
        stop_signal: fields.read("stop_signal", signal)?,
        stop_grace_period: fields
            .read("stop_grace_period", |at| at.parsed("a duration", units::duration))?
            .unwrap_or(STOP_GRACE_PERIOD),
        labels: labels(&fields)?,
        logging: fields.read("logging", logging)?.unwrap_or_default(),
    };
    distinct_targets(&fields, &service)?;
    Ok(service)
}

/// The profiles of a service: it is there when it has none, or one of them is active.
pub(super) fn profiles(service: &At<'_>) -> Result<Vec<String>> {
    each(&service.fields(keys::SERVICE)?, "profiles", |at| {
        let profile = at.word("a profile")?;
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        match profile.bytes().all(letter) {
            true => Ok(profile.to_owned()),
            false => Err(at.error(format_args!(
                "{profile:?} is not a profile's name: letters, digits, \"_\", \".\" and \"-\""
            ))),
        }
    })
}

/// Reads each element of the list that a key has.
fn each<T>(fields: &Fields<'_>, key: &'static str, read: impl Fn(&At<'_>) -> Result<T>) -> Result<Vec<T>> {
    match fields.get(key) {
        Some(at) => at.items("a list")?.iter().map(read).collect(),
        None => Ok(Vec::new()),
    }
}

fn bundle(fields: &Fields<'_>, context: &Context<'_>) -> Result<PathBuf> {
    if let Some(at) = fields.get("x-bundle") {
        return at.path(at.word("the directory of a bundle")?, context.home());
    }
    let hint = "add `x-bundle: DIRECTORY`, the directory of an OCI bundle";
    let at = fields.at();
    for key in ["image", "build"] {
        if at.node.get(key).is_some() {
            return Err(at.key_error(key, "minirun runs bundles, not images").hint(hint));
        }
    }
    let extensions = at.node.entries().iter().map(|entry| entry.key.as_str());
    let error = at.error("\"x-bundle\" is missing");
    match closest("x-bundle", extensions.filter(|key| key.starts_with("x-"))) {
        Some(close) => Err(error.hint(format_args!("is {close:?} meant to be it?"))),
        None => Err(error.hint(hint)),
    }
}

/// Checks that a bundle is one.
pub(super) fn check_bundle(service: &At<'_>, bundle: &Path) -> Result<()> {
    let node = service.node.get("x-bundle").unwrap_or(service.node);
    let at = service.below("x-bundle", node);
    if !bundle.is_dir() {
        return Err(at.error(format_args!("{} is not a directory", bundle.display())));
    }
    match bundle.join("config.json").is_file() {
        true => Ok(()),
        false => Err(at.error(format_args!(
            "{} has no config.json, so it is no bundle",
            bundle.display()
        ))),
    }
}

/// A list of words, or a text that is cut into words.
fn command(at: &At<'_>) -> Result<Vec<String>> {
    if at.node.text().is_some() {
        return at.parsed("a command", words::split);
    }
    let words = at.items("a command: a text, or a list of words")?;
    words
        .iter()
        .map(|word| word.text("a word of the command").map(str::to_owned))
        .collect()
}

fn absolute(at: &At<'_>) -> Result<String> {
    let path = at.word("a path")?;
    match path.starts_with('/') {
        true => Ok(path.to_owned()),
        false => Err(at.error(format_args!("{path:?} is not an absolute path"))),
    }
}

fn host_name(at: &At<'_>) -> Result<String> {
    let name = at.word("a host name")?;
    // sethostname(2) takes 64 bytes.
    match is_host_name(name) && name.len() <= 64 {
        true => Ok(name.to_owned()),
        false => Err(at.error(format_args!(
            "{name:?} is not a host name of at most 64 letters, digits, \".\", \"-\" and \"_\""
        ))),
    }
}

fn networks(fields: &Fields<'_>) -> Result<BTreeMap<String, Join>> {
    let Some(at) = fields.get("networks") else {
        return Ok(BTreeMap::from([(network::DEFAULT.to_owned(), Join::default())]));
    };
    let mut joins = BTreeMap::new();
    for (name, at) in at.named("a list or mapping of networks")? {
        joins.insert(name.to_owned(), network::join(&at)?);
    }
    match joins.is_empty() {
        true => Err(at.error("names no network; leave the key out for the network \"default\"")),
        false => Ok(joins),
    }
}

fn mounts(fields: &Fields<'_>, context: &Context<'_>) -> Result<Vec<Mount>> {
    let mut all = each(fields, "volumes", |at| mounts::mount(at, context))?;
    all.extend(each(fields, "tmpfs", mounts::tmpfs)?);
    Ok(all)
}

/// No two mounts, configs and secrets in the same place.
fn distinct_targets(fields: &Fields<'_>, service: &Service) -> Result<()> {
    let mounts = service.mounts.iter().map(|mount| mount.target.as_str());
    let files = service.configs.iter().chain(&service.secrets);
    let mut seen: Vec<&str> = Vec::new();
    for target in mounts.chain(files.map(|file| file.target.as_str())) {
        if seen.contains(&target) {
            return Err(fields
                .at()
                .error(format_args!("two things are mounted on {target}")));
        }
        seen.push(target);
    }
    Ok(())
}

/// `name:address` or `name=address`; an IPv6 address may be in brackets.
fn extra_host(at: &At<'_>) -> Result<(String, IpAddr)> {
    let text = at.word("NAME=ADDRESS")?;
    let (name, address) = match text.split_once('=') {
        Some(parts) => parts,
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if address == "host-gateway" {
        return Err(at.error("host-gateway is not supported: write the address of the network's gateway"));
    }
    let plain = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    match (is_host_name(name), plain.parse()) {
        (true, Ok(address)) => Ok((name.to_owned(), address)),
        _ => Err(at.error(format_args!("{text:?} is not NAME=ADDRESS"))),
    }
}

/// `NET_ADMIN` or `CAP_NET_ADMIN` in any case, or `ALL`.
fn capability(at: &At<'_>) -> Result<String> {
    let text = at.word("a capability")?;
    let name = text.to_ascii_uppercase();
    if name == "ALL" {
        return Ok(name);
    }
    let name = match name.starts_with("CAP_") {
        true => name,
        false => format!("CAP_{name}"),
    };
    let known: StrDeserializer<'_, AnyError> = name.as_str().into_deserializer();
    match Capability::deserialize(known) {
        Ok(_) => Ok(name),
        Err(_) => Err(at.error(format_args!("{text:?} is not a capability of capabilities(7)"))),
    }
}

fn signal(at: &At<'_>) -> Result<String> {
    let text = at.word("a signal")?;
    parse_signal(text).map_err(|error| at.error(error))?;
    let name = text.to_ascii_uppercase();
    let plain = name.starts_with("SIG") || name.bytes().all(|byte| byte.is_ascii_digit());
    Ok(if plain { name } else { format!("SIG{name}") })
}

/// `labels` of a service, network or volume.
pub(super) fn labels(fields: &Fields<'_>) -> Result<BTreeMap<String, String>> {
    let Some(at) = fields.get("labels") else {
        return Ok(BTreeMap::new());
    };
    let text = |at: &At<'_>| match at.node.is_null() {
        true => Ok(String::new()),
        false => at.text("a text").map(str::to_owned),
    };
    if let Ok(items) = at.items("") {
        let words = items.iter().map(|item| item.word("NAME=VALUE"));
        let pair = |word: &str| {
            word.split_once('=')
                .map_or((word.to_owned(), String::new()), |(a, b)| {
                    (a.to_owned(), b.to_owned())
                })
        };
        return words.map(|word| word.map(pair)).collect();
    }
    let mut labels = BTreeMap::new();
    for (name, at) in at.named("a mapping, or a list of NAME=VALUE")? {
        if name.is_empty() || name.starts_with(crate::container::ANNOTATION_PREFIX) {
            return Err(at.error(format_args!(
                "{name:?} is no name of a label: it is empty, or minirun's own"
            )));
        }
        labels.insert(name.to_owned(), text(&at)?);
    }
    Ok(labels)
}

fn logging(at: &At<'_>) -> Result<Logging> {
    let fields = at.fields(keys::LOGGING)?;
    if let Some(driver) = fields.get("driver")
        && !matches!(driver.text("json-file or local")?, "json-file" | "local")
    {
        return Err(driver.error("there is one kind of log; \"json-file\" and \"local\" stand for it"));
    }
    let mut logging = Logging::default();
    if let Some(options) = fields.get("options") {
        let options = options.fields(keys::LOGGING_OPTIONS)?;
        if let Some(at) = options.get("max-size") {
            logging.max_size = match at.parsed("a size", units::size)? {
                size @ 4_096.. => size,
                _ => return Err(at.error("expected 4k or more")),
            };
        }
        if let Some(at) = options.get("max-file") {
            logging.max_files = match at.number("a whole number")? {
                files @ 1..=1_000 => files,
                _ => return Err(at.error("expected a number from 1 to 1000")),
            };
        }
    }
    Ok(logging)
}
