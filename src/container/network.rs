//! What a container wants of the network: by flag, by annotation, or by the native form's default.
//!
//! | flag | annotation | value |
//! |---|---|---|
//! | `--network` | `minirun.network` | `NAME[:option,...]`, `none`, `host`, `container:ID` |
//! | `--publish` | `minirun.publish` | `[ip:]host:container[/protocol]` |
//! | `--dns` | `minirun.dns` | an address |
//! | `--dns-search` | `minirun.dns-search` | a domain |
//! | `--add-host` | `minirun.add-host` | `NAME:ADDRESS` |
//! | | `minirun.ready` | `false`: nobody is sent to it by its aliases before it is said to be ready |
//! | `--hostname` | the `hostname` of config.json | a name |
//!
//! A flag may be repeated; an annotation holds several values separated by blanks. A flag goes before the annotation of
//! its line. Annotations count only where config.json makes a new network namespace: an engine that brings a namespace of
//! its own does its own networking.

use std::net::IpAddr;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use crate::error::{Error, Result};
use crate::net::{self, Endpoint, Publish};
use crate::spec::id::Id;

/// The annotations, in the order of the table above.
pub const ANNOTATIONS: [&str; 6] = [
    "minirun.network",
    "minirun.publish",
    "minirun.dns",
    "minirun.dns-search",
    "minirun.add-host",
    "minirun.ready",
];

/// The values of the flags, as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--network`
    pub networks: Vec<String>,
    /// `--publish`
    pub publish: Vec<String>,
    /// `--dns`
    pub dns: Vec<String>,
    /// `--dns-search`
    pub dns_search: Vec<String>,
    /// `--add-host`
    pub add_hosts: Vec<String>,
    /// `--hostname`
    pub hostname: Option<String>,
}

/// What a container wants of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Where its interfaces come from.
    pub mode: Mode,
    /// Ports of the host that lead to it.
    pub publish: Vec<Publish>,
    /// Whom it asks for names.
    pub dns: net::Dns,
    /// Further lines of its /etc/hosts.
    pub hosts: Vec<(IpAddr, String)>,
    /// In place of the `hostname` of config.json.
    pub hostname: Option<String>,
    /// Whether others may not yet be sent to it by its aliases.
    pub unready: bool,
}

/// Where a container's interfaces come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Whatever config.json says, and nothing of ours: an engine is calling, or nothing is wanted.
    #[default]
    Untouched,
    /// The host's own: no network namespace.
    Host,
    /// That of another container, which has to be there.
    Container(Id),
    /// Bridges of ours, in the order of the interfaces.
    Join(Vec<Endpoint>),
}

impl Network {
    /// Decides. `native` says that a person called with the native form.
    ///
    /// # Errors
    /// When a value is wrong, or something is asked for without a network of ours to have it on.
    pub fn choose(flags: &Flags, native: bool, spec: &Spec) -> Result<Network> {
        let mode = Mode::choose(&flags.networks, native, spec)?;
        let [_, publish, dns, search, hosts, ready] = ANNOTATIONS;
        let network = Network {
            publish: values("--publish", &flags.publish, publish, spec, str::parse)?,
            dns: net::Dns {
                servers: values("--dns", &flags.dns, dns, spec, server)?,
                search: values("--dns-search", &flags.dns_search, search, spec, domain)?,
            },
            hosts: values("--add-host", &flags.add_hosts, hosts, spec, host)?,
            hostname: flags.hostname.clone(),
            unready: is_unready(ready, spec)?,
            mode,
        };
        let flags = [
            ("--publish", network.publish.is_empty()),
            ("--dns", network.dns.servers.is_empty()),
            ("--dns-search", network.dns.search.is_empty()),
            ("--add-host", network.hosts.is_empty()),
        ];
        match flags.into_iter().find(|(_, empty)| !empty) {
            Some((flag, _)) if network.endpoints().is_empty() => Err(Error::invalid(
                flag,
                "the container joins no network of minirun's that could offer this",
            )
            .hint("add --network default")),
            _ => Ok(network),
        }
    }

    /// Changes the configuration to what was decided: the host name; no network namespace for the host's network, that of
    /// the other container for `container:ID`, which `join` finds. True when it changed.
    ///
    /// # Errors
    /// Those of `join`.
    pub fn adapt(&self, spec: &mut Spec, join: impl FnOnce(&Id) -> Result<PathBuf>) -> Result<bool> {
        if self.hostname.is_some() {
            spec.set_hostname(self.hostname.clone());
        }
        let path = match &self.mode {
            Mode::Host if makes_network_namespace(spec) => None,
            Mode::Container(id) => Some(join(id)?),
            Mode::Host | Mode::Untouched | Mode::Join(_) => return Ok(self.hostname.is_some()),
        };
        let namespaces = spec
            .linux_mut()
            .as_mut()
            .and_then(|linux| linux.namespaces_mut().as_mut());
        let Some(namespaces) = namespaces else {
            return Ok(false);
        };
        let is_network = |namespace: &LinuxNamespace| namespace.typ() == LinuxNamespaceType::Network;
        match path {
            None => namespaces.retain(|namespace| !is_network(namespace)),
            Some(path) => {
                for namespace in namespaces.iter_mut().filter(|namespace| is_network(namespace)) {
                    namespace.set_path(Some(path.clone()));
                }
            }
        }
        Ok(true)
    }

    /// The networks to join.
    pub fn endpoints(&self) -> &[Endpoint] {
        match &self.mode {
            Mode::Join(endpoints) => endpoints,
            Mode::Untouched | Mode::Host | Mode::Container(_) => &[],
        }
    }
}

impl Mode {
    fn choose(flags: &[String], native: bool, spec: &Spec) -> Result<Mode> {
        let new_namespace = makes_network_namespace(spec);
        let asked: Vec<&str> = match flags {
            [] => match annotated(ANNOTATIONS[0], spec) {
                values if !values.is_empty() => values,
                _ if native && new_namespace => vec![net::DEFAULT],
                none => none,
            },
            flags => flags.iter().map(String::as_str).collect(),
        };
        match asked[..] {
            [] | ["none"] => Ok(Mode::Untouched),
            ["host"] if !new_namespace && network_namespace(spec).is_some() => Err(Error::invalid(
                "--network",
                "host contradicts the network namespace that the configuration gives by path",
            )
            .hint("take {\"type\": \"network\"} out of linux.namespaces")),
            ["host"] => Ok(Mode::Host),
            _ if asked.iter().any(|name| stands_alone(name)) && asked.len() > 1 => Err(Error::invalid(
                "--network",
                "none, host and container:ID cannot be combined with other networks",
            )),
            _ if !new_namespace => Err(Error::invalid(
                "--network",
                "the configuration makes no new network namespace that could join a network",
            )
            .hint("add {\"type\": \"network\"} to linux.namespaces, without a path")),
            [one] if one.starts_with(CONTAINER) => {
                let id = one.trim_start_matches(CONTAINER).parse();
                Ok(Mode::Container(
                    id.map_err(|error: Error| error.during("--network"))?,
                ))
            }
            _ => Ok(Mode::Join(
                asked.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            )),
        }
    }
}

const CONTAINER: &str = "container:";

fn stands_alone(network: &str) -> bool {
    matches!(network, "none" | "host") || network.starts_with(CONTAINER)
}

/// The values of a flag, or else of its annotation, each read by `parse`.
fn values<T>(
    flag: &str,
    given: &[String],
    annotation: &str,
    spec: &Spec,
    parse: impl Fn(&str) -> Result<T>,
) -> Result<Vec<T>> {
    match given {
        [] => annotated(annotation, spec)
            .into_iter()
            .map(|value| parse(value).map_err(|error| error.during(format_args!("annotation {annotation}"))))
            .collect(),
        given => given
            .iter()
            .map(|value| parse(value).map_err(|error| error.during(flag)))
            .collect(),
    }
}

/// Whether the annotation says that the container is not ready when it begins.
fn is_unready(annotation: &str, spec: &Spec) -> Result<bool> {
    match annotated(annotation, spec)[..] {
        [] | ["true"] => Ok(false),
        ["false"] => Ok(true),
        ref values => Err(Error::invalid(
            format_args!("annotation {annotation}"),
            format_args!("{:?} is neither true nor false", values.join(" ")),
        )),
    }
}

/// The values of an annotation. Those for engines, whose network namespace comes from somewhere else, do not count.
fn annotated<'s>(name: &str, spec: &'s Spec) -> Vec<&'s str> {
    if !makes_network_namespace(spec) {
        return Vec::new();
    }
    spec.annotations()
        .as_ref()
        .and_then(|annotations| annotations.get(name))
        .map(|value| value.split_ascii_whitespace().collect())
        .unwrap_or_default()
}

fn server(text: &str) -> Result<IpAddr> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| Error::invalid(format_args!("{text:?}"), "is not the address of a name server"))?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(Error::invalid(
            format_args!("{text:?}"),
            "cannot be a name server",
        ));
    }
    Ok(address)
}

fn domain(text: &str) -> Result<String> {
    match net::is_host_name(text) || text == "." {
        true => Ok(text.to_owned()),
        false => Err(Error::invalid(format_args!("{text:?}"), "is not a domain")),
    }
}

/// `NAME:ADDRESS`; an IPv6 address may stand in brackets.
fn host(text: &str) -> Result<(IpAddr, String)> {
    let wrong = |why: &str| Err(Error::invalid(format_args!("{text:?}"), why).hint("write db:192.0.2.7"));
    let Some((name, address)) = text.split_once(':') else {
        return wrong("has no \":\" between name and address");
    };
    if !net::is_host_name(name) {
        return wrong("does not begin with a host name");
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|address| address.strip_suffix(']'))
        .unwrap_or(address);
    match bare.parse() {
        Ok(address) => Ok((address, name.to_owned())),
        Err(_) => wrong("does not end with an address"),
    }
}

fn makes_network_namespace(spec: &Spec) -> bool {
    network_namespace(spec).is_some_and(|namespace| {
        namespace
            .path()
            .as_ref()
            .is_none_or(|path| path.as_os_str().is_empty())
    })
}

fn network_namespace(spec: &Spec) -> Option<&LinuxNamespace> {
    let namespaces = spec.linux().as_ref()?.namespaces().as_ref()?;
    namespaces
        .iter()
        .find(|namespace| namespace.typ() == LinuxNamespaceType::Network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(namespace: serde_json::Value, annotation: Option<&str>) -> Spec {
        let mut spec = serde_json::json!({"ociVersion": "1.3.0", "linux": {"namespaces": [namespace]}});
        if let Some(value) = annotation {
            spec["annotations"] = serde_json::json!({ANNOTATIONS[0]: value});
        }
        serde_json::from_value(spec).unwrap()
    }

    fn choose(networks: &[&str], native: bool, spec: &Spec) -> Result<Network> {
        let networks = networks.iter().map(ToString::to_string).collect();
        let flags = Flags {
            networks,
            ..Flags::default()
        };
        Network::choose(&flags, native, spec)
    }

    fn new_namespace() -> serde_json::Value {
        serde_json::json!({"type": "network"})
    }

    fn names(network: &Network) -> Vec<&str> {
        network
            .endpoints()
            .iter()
            .map(|endpoint| endpoint.network.as_str())
            .collect()
    }

    #[test]
    fn an_engine_that_says_nothing_gets_nothing() {
        let network = choose(&[], false, &spec(new_namespace(), None)).unwrap();
        assert_eq!(network, Network::default());
    }

    #[test]
    fn the_native_form_joins_the_default_network() {
        let network = choose(&[], true, &spec(new_namespace(), None)).unwrap();
        assert_eq!(names(&network), ["default"]);
    }

    #[test]
    fn the_native_form_leaves_a_namespace_given_by_path_alone() {
        let joined = serde_json::json!({"type": "network", "path": "/run/netns/x"});
        assert_eq!(
            choose(&[], true, &spec(joined.clone(), None)).unwrap(),
            Network::default()
        );
        assert_eq!(
            choose(&[], false, &spec(joined, Some("web"))).unwrap(),
            Network::default()
        );
    }

    #[test]
    fn the_hosts_network_contradicts_a_namespace_given_by_path() {
        let joined = spec(
            serde_json::json!({"type": "network", "path": "/run/netns/x"}),
            None,
        );
        let error = choose(&["host"], true, &joined).unwrap_err();
        assert!(error.to_string().contains("by path"), "{error}");
    }

    #[test]
    fn a_flag_goes_before_the_annotation() {
        let spec = spec(new_namespace(), Some("web"));
        assert_eq!(names(&choose(&[], false, &spec).unwrap()), ["web"]);
        assert_eq!(names(&choose(&["db"], false, &spec).unwrap()), ["db"]);
        assert_eq!(choose(&["none"], true, &spec).unwrap(), Network::default());
    }

    #[test]
    fn the_hosts_network_takes_the_namespace_out_of_the_configuration() {
        let mut spec = spec(new_namespace(), None);
        let network = choose(&["host"], true, &spec).unwrap();
        assert!(network.adapt(&mut spec, |_| unreachable!()).unwrap());
        assert!(!makes_network_namespace(&spec));
    }

    #[test]
    fn a_network_without_a_namespace_to_put_it_in_is_refused() {
        let spec = spec(serde_json::json!({"type": "pid"}), None);
        let error = choose(&["web"], false, &spec).unwrap_err();
        assert!(
            error.to_string().contains("makes no new network namespace"),
            "{error}"
        );
    }

    #[test]
    fn the_network_of_another_container_is_its_namespace() {
        let mut spec = spec(new_namespace(), None);
        let network = choose(&["container:db"], false, &spec).unwrap();
        assert_eq!(network.mode, Mode::Container("db".parse().unwrap()));
        let path = |_: &Id| Ok(PathBuf::from("/proc/7/ns/net"));
        assert!(network.adapt(&mut spec, path).unwrap());
        let joined = network_namespace(&spec).and_then(|namespace| namespace.path().clone());
        assert_eq!(joined, Some(PathBuf::from("/proc/7/ns/net")));
    }

    #[test]
    fn what_needs_a_network_of_ours_is_refused_without_one() {
        let spec = spec(new_namespace(), None);
        let flags = Flags {
            dns: vec!["192.0.2.53".to_owned()],
            ..Flags::default()
        };
        let error = Network::choose(&flags, false, &spec).unwrap_err().to_string();
        assert!(
            error.contains("--dns") && error.contains("--network default"),
            "{error}"
        );
        let network = Network::choose(&flags, true, &spec).unwrap();
        assert_eq!(network.dns.servers, ["192.0.2.53".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_container_is_ready_unless_its_annotation_says_otherwise() {
        let annotated = |value: &str| {
            serde_json::from_value(serde_json::json!({
                "ociVersion": "1.3.0",
                "linux": {"namespaces": [{"type": "network"}]},
                "annotations": {"minirun.ready": value},
            }))
            .unwrap()
        };
        assert!(!choose(&[], true, &spec(new_namespace(), None)).unwrap().unready);
        assert!(!choose(&[], true, &annotated("true")).unwrap().unready);
        assert!(choose(&[], true, &annotated("false")).unwrap().unready);
        let error = choose(&[], true, &annotated("no")).unwrap_err().to_string();
        assert!(
            error.contains("minirun.ready") && error.contains("neither"),
            "{error}"
        );
    }

    #[test]
    fn wrong_values_are_refused_by_flag() {
        let spec = spec(new_namespace(), None);
        let given = |value: &str| vec![value.to_owned()];
        let none = Flags::default;
        for (flags, expected) in [
            (
                Flags {
                    dns: given("example.com"),
                    ..none()
                },
                ["--dns", "not the address"],
            ),
            (
                Flags {
                    dns: given("0.0.0.0"),
                    ..none()
                },
                ["--dns", "cannot be"],
            ),
            (
                Flags {
                    dns_search: given("a b"),
                    ..none()
                },
                ["--dns-search", "not a domain"],
            ),
            (
                Flags {
                    add_hosts: given("db"),
                    ..none()
                },
                ["--add-host", "has no"],
            ),
            (
                Flags {
                    add_hosts: given("db:x"),
                    ..none()
                },
                ["--add-host", "end with an address"],
            ),
            (
                Flags {
                    add_hosts: given(":1.2.3.4"),
                    ..none()
                },
                ["--add-host", "host name"],
            ),
            (
                Flags {
                    networks: given("container:"),
                    ..none()
                },
                ["--network", "cannot be empty"],
            ),
        ] {
            let error = Network::choose(&flags, true, &spec).unwrap_err().to_string();
            assert!(expected.iter().all(|text| error.contains(text)), "{error}");
        }
        assert_eq!(
            host("db:[fd00::1]").unwrap().0,
            "fd00::1".parse::<IpAddr>().unwrap()
        );
        assert_eq!(
            host("db:fd00::1").unwrap().0,
            "fd00::1".parse::<IpAddr>().unwrap()
        );
    }
}
