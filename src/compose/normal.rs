//! A project as a Compose file again: `compose config`. What is printed reads back as the same [`Project`].

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::file::units::{show_duration, show_nano_cpus, show_size};
use super::model::{
    Condition, FileSource, FileUse, Healthcheck, Join, Limits, Logging, Mount, MountKind, Network, Project,
    Restart, RestartWhen, Service, Volume,
};

/// The order of the file's sections; keys below them are sorted.
const SECTIONS: [&str; 6] = ["name", "services", "networks", "volumes", "configs", "secrets"];

/// The project as YAML.
pub fn yaml(project: &Project) -> String {
    let document = document(project);
    let mut text = String::new();
    for section in SECTIONS {
        if let Some(value) = document.get(section) {
            entry(&mut text, section, value, 0);
        }
    }
    text
}

/// The project as JSON, which is YAML too.
pub fn json(project: &Project) -> String {
    format!("{:#}\n", Value::Object(document(project)))
}

/// Puts a value under a key, unless it says nothing.
fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    let nothing = match &value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    };
    if !nothing {
        map.insert(key.to_owned(), value);
    }
}

/// A dollar sign is the begin of a variable to whoever reads it.
fn text(value: impl AsRef<str>) -> Value {
    Value::String(value.as_ref().replace('$', "$$"))
}

fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> Value {
    Value::Array(values.into_iter().map(text).collect())
}

fn optional<T>(value: Option<T>, show: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::Null, show)
}

fn mapping<'a, T: 'a>(
    entries: impl IntoIterator<Item = (&'a String, &'a T)>,
    show: impl Fn(&T) -> Value,
) -> Value {
    Value::Object(
        entries
            .into_iter()
            .map(|(key, value)| (key.clone(), show(value)))
            .collect(),
    )
}

fn document(project: &Project) -> Map<String, Value> {
    let mut map = Map::new();
    put(&mut map, "name", text(&project.name));
    put(&mut map, "services", mapping(&project.services, service));
    put(&mut map, "networks", mapping(&project.networks, network));
    put(&mut map, "volumes", mapping(&project.volumes, volume));
    put(&mut map, "configs", mapping(&project.configs, file_source));
    put(&mut map, "secrets", mapping(&project.secrets, file_source));
    map
}

fn service(service: &Service) -> Value {
    let mut map = Map::new();
    let optional_text = |value: &Option<String>| optional(value.as_ref(), text);
    put(&mut map, "x-bundle", text(service.bundle.to_string_lossy()));
    // An empty command is something else than none.
    if let Some(command) = &service.command {
        map.insert("command".to_owned(), texts(command));
    }
    put(
        &mut map,
        "entrypoint",
        optional(service.entrypoint.as_ref(), texts),
    );
    put(
        &mut map,
        "environment",
        mapping(&service.environment, |value| optional(value.as_ref(), text)),
    );
    put(&mut map, "working_dir", optional_text(&service.working_dir));
    put(&mut map, "user", optional_text(&service.user));
    put(&mut map, "hostname", optional_text(&service.hostname));
    put(
        &mut map,
        "ports",
        texts(service.ports.iter().map(ToString::to_string)),
    );
    put(&mut map, "expose", json!(service.expose));
    put(&mut map, "networks", mapping(&service.networks, join));
    put(
        &mut map,
        "depends_on",
        mapping(&service.depends_on, |dependency| {
            json!({
                "condition": match dependency.condition {
                    Condition::Started => "service_started",
                    Condition::Healthy => "service_healthy",
                    Condition::CompletedSuccessfully => "service_completed_successfully",
                },
                "restart": dependency.restart,
                "required": dependency.required,
            })
        }),
    );
    put(
        &mut map,
        "healthcheck",
        optional(service.healthcheck.as_ref(), healthcheck),
    );
    let mut deploy = Map::new();
    put(
        &mut deploy,
        "replicas",
        optional(
            Some(service.replicas).filter(|replicas| *replicas != 1),
            |replicas| json!(replicas),
        ),
    );
    let limits = limits(&service.limits);
    if !limits.is_empty() {
        deploy.insert("resources".to_owned(), json!({ "limits": limits }));
    }
    restart(&service.restart, &mut map, &mut deploy);
    put(&mut map, "deploy", Value::Object(deploy));
    put(&mut map, "volumes", service.mounts.iter().map(mount).collect());
    put(
        &mut map,
        "configs",
        service.configs.iter().map(file_use).collect(),
    );
    put(
        &mut map,
        "secrets",
        service.secrets.iter().map(file_use).collect(),
    );
    put(&mut map, "dns", json!(service.dns));
    put(&mut map, "dns_search", texts(&service.dns_search));
    put(
        &mut map,
        "extra_hosts",
        texts(
            service
                .extra_hosts
                .iter()
                .map(|(name, address)| format!("{name}={address}")),
        ),
    );
    put(&mut map, "cap_add", texts(&service.cap_add));
    put(&mut map, "cap_drop", texts(&service.cap_drop));
    put(&mut map, "read_only", json!(service.read_only));
    put(&mut map, "stop_signal", optional_text(&service.stop_signal));
    put(
        &mut map,
        "stop_grace_period",
        show_duration(service.stop_grace_period).into(),
    );
    put(&mut map, "labels", mapping(&service.labels, |label| text(label)));
    if service.logging != Logging::default() {
        let options = json!({
            "max-size": show_size(service.logging.max_size),
            "max-file": service.logging.max_files.to_string(),
        });
        map.insert("logging".to_owned(), json!({ "options": options }));
    }
    Value::Object(map)
}

fn join(join: &Join) -> Value {
    let mut map = Map::new();
    let number = |value: i32| optional(Some(value).filter(|value| *value != 0), |value| json!(value));
    put(&mut map, "aliases", texts(&join.aliases));
    put(&mut map, "ipv4_address", json!(join.ipv4));
    put(&mut map, "ipv6_address", json!(join.ipv6));
    put(&mut map, "mac_address", json!(join.mac));
    put(&mut map, "priority", number(join.priority));
    put(&mut map, "gw_priority", number(join.gateway_priority));
    put(
        &mut map,
        "interface_name",
        optional(join.interface.as_ref(), text),
    );
    match map.is_empty() {
        true => Value::Null,
        false => Value::Object(map),
    }
}

fn healthcheck(check: &Healthcheck) -> Value {
    json!({
        "test": texts(std::iter::once("CMD").chain(check.test.iter().map(String::as_str))),
        "interval": show_duration(check.interval),
        "timeout": show_duration(check.timeout),
        "retries": check.retries,
        "start_period": show_duration(check.start_period),
        "start_interval": show_duration(check.start_interval),
    })
}

fn limits(limits: &Limits) -> Map<String, Value> {
    let mut map = Map::new();
    put(
        &mut map,
        "cpus",
        optional(limits.nano_cpus, |nanos| show_nano_cpus(nanos).into()),
    );
    put(
        &mut map,
        "memory",
        optional(limits.memory, |bytes| show_size(bytes).into()),
    );
    put(&mut map, "pids", json!(limits.pids));
    map
}

/// The short form where it can say everything, the policy of `deploy` otherwise.
fn restart(restart: &Restart, service: &mut Map<String, Value>, deploy: &mut Map<String, Value>) {
    let short = match (restart.when, restart.attempts) {
        _ if restart.delay.is_some() || restart.window.is_some() => None,
        (RestartWhen::No, None) => Some("no".to_owned()),
        (RestartWhen::Always, None) => Some("always".to_owned()),
        (RestartWhen::OnFailure, None) => Some("on-failure".to_owned()),
        (RestartWhen::OnFailure, Some(attempts)) => Some(format!("on-failure:{attempts}")),
        (RestartWhen::UnlessStopped, _) => Some("unless-stopped".to_owned()),
        (RestartWhen::No | RestartWhen::Always, Some(_)) => None,
    };
    if let Some(short) = short {
        if short != "no" {
            service.insert("restart".to_owned(), short.into());
        }
        return;
    }
    let mut policy = Map::new();
    let condition = match restart.when {
        RestartWhen::No => "none",
        RestartWhen::OnFailure => "on-failure",
        RestartWhen::Always | RestartWhen::UnlessStopped => "any",
    };
    put(&mut policy, "condition", condition.into());
    put(
        &mut policy,
        "delay",
        optional(restart.delay, |span| show_duration(span).into()),
    );
    put(&mut policy, "max_attempts", json!(restart.attempts));
    put(
        &mut policy,
        "window",
        optional(restart.window, |span| show_duration(span).into()),
    );
    deploy.insert("restart_policy".to_owned(), Value::Object(policy));
}

fn octal(mode: Option<u32>) -> Value {
    optional(mode, |mode| format!("0{mode:o}").into())
}

fn mount(mount: &Mount) -> Value {
    let mut map = Map::new();
    match &mount.kind {
        MountKind::Bind {
            source,
            create_host_path,
        } => {
            put(&mut map, "type", "bind".into());
            put(&mut map, "source", text(source.to_string_lossy()));
            put(&mut map, "bind", json!({ "create_host_path": create_host_path }));
        }
        MountKind::Volume { name } => {
            put(&mut map, "type", "volume".into());
            put(&mut map, "source", text(name));
        }
        MountKind::Tmpfs { size, mode } => {
            let mut tmpfs = Map::new();
            put(
                &mut tmpfs,
                "size",
                optional(*size, |bytes| show_size(bytes).into()),
            );
            put(&mut tmpfs, "mode", octal(*mode));
            put(&mut map, "type", "tmpfs".into());
            put(&mut map, "tmpfs", Value::Object(tmpfs));
        }
    }
    put(&mut map, "target", text(&mount.target));
    put(
        &mut map,
        "read_only",
        optional(Some(true).filter(|_| mount.read_only), Value::Bool),
    );
    Value::Object(map)
}

fn file_use(file: &FileUse) -> Value {
    let mut map = Map::new();
    let id = |id: Option<u32>| optional(id, |id| id.to_string().into());
    put(&mut map, "source", text(&file.source));
    put(&mut map, "target", text(&file.target));
    put(&mut map, "uid", id(file.uid));
    put(&mut map, "gid", id(file.gid));
    put(&mut map, "mode", octal(file.mode));
    Value::Object(map)
}

fn network(network: &Network) -> Value {
    let mut map = Map::new();
    let yes = |is: bool| optional(Some(true).filter(|_| is), Value::Bool);
    put(&mut map, "name", text(&network.name));
    put(&mut map, "external", yes(network.external));
    put(&mut map, "internal", yes(network.internal));
    put(&mut map, "enable_ipv6", yes(network.ipv6));
    let pool = |subnet: &IpNet| {
        let ours = |ip: std::net::IpAddr| ip.is_ipv4() == subnet.addr().is_ipv4();
        let mut pool = Map::new();
        put(&mut pool, "subnet", json!(subnet));
        put(
            &mut pool,
            "gateway",
            json!(network.gateways.iter().find(|ip| ours(**ip))),
        );
        put(
            &mut pool,
            "ip_range",
            json!(network.ranges.iter().find(|range| ours(range.addr()))),
        );
        Value::Object(pool)
    };
    if !network.subnets.is_empty() {
        let pools: Vec<Value> = network.subnets.iter().map(pool).collect();
        map.insert("ipam".to_owned(), json!({ "config": pools }));
    }
    if let Some(mtu) = network.mtu {
        map.insert(
            "driver_opts".to_owned(),
            json!({ "com.docker.network.driver.mtu": mtu.to_string() }),
        );
    }
    put(&mut map, "labels", mapping(&network.labels, |label| text(label)));
    put(&mut map, "x-policy", json!(network.policy));
    Value::Object(map)
}

fn volume(volume: &Volume) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", text(&volume.name));
    put(
        &mut map,
        "external",
        optional(Some(true).filter(|_| volume.external), Value::Bool),
    );
    put(&mut map, "labels", mapping(&volume.labels, |label| text(label)));
    Value::Object(map)
}

/// What was in a variable stays there: `config` is shown to others.
fn file_source(source: &FileSource) -> Value {
    match source {
        FileSource::File(path) => json!({ "file": text(path.to_string_lossy()) }),
        FileSource::Content(content) => json!({ "content": text(content) }),
        FileSource::Environment { variable, .. } => json!({ "environment": text(variable) }),
    }
}

/// `key: value`, the value in lines of its own when it has parts.
fn entry(out: &mut String, key: &str, value: &Value, indent: usize) {
    out.push_str(&format!("{:indent$}{}:", "", scalar(key)));
    below(out, value, indent);
}

/// What follows the `:` of a key that stands at `indent`.
fn below(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            out.push('\n');
            for (key, value) in entries {
                entry(out, key, value, indent + 2);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                element(out, item, indent + 2);
            }
        }
        value => out.push_str(&format!(" {}\n", atom(value))),
    }
}

/// `- value`; the first key of a mapping stands in the same line.
fn element(out: &mut String, item: &Value, indent: usize) {
    match item {
        Value::Object(entries) if !entries.is_empty() => {
            let mut lines = String::new();
            for (key, value) in entries {
                entry(&mut lines, key, value, indent + 2);
            }
            out.push_str(&format!("{:indent$}- {}", "", lines.trim_start()));
        }
        item => out.push_str(&format!("{:indent$}- {}\n", "", atom(item))),
    }
}

/// A value without parts; one that has some in the notation of JSON, which is YAML.
fn atom(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        value => value.to_string(),
    }
}

/// A text, in quotes where it would be something else without.
fn scalar(text: &str) -> String {
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let first = text.bytes().next();
    let plain = first.is_some_and(|byte| byte.is_ascii_alphabetic() || b"_/".contains(&byte))
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-./@+".contains(&byte))
        && !words.contains(&text.to_ascii_lowercase().as_str());
    // A duration or size: not a number with an exponent, nor in another base.
    let measure = first.is_some_and(|byte| byte.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"hmsunkgb".contains(&byte))
        && text.ends_with(|last: char| last.is_ascii_alphabetic())
        && !text.starts_with("0b");
    if plain || measure {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // What YAML calls printable (YAML 1.2.2, section 5.1), without the marks that some readers take away.
            ' '..='~'
            | '\u{a0}'..='\u{2027}'
            | '\u{202a}'..='\u{d7ff}'
            | '\u{e000}'..='\u{fefe}'
            | '\u{ff00}'..='\u{fffd}' => {
                quoted.push(letter);
            }
            letter => quoted.push_str(&format!("\\U{:08x}", u32::from(letter))),
        }
    }
    quoted.push('"');
    quoted
}
