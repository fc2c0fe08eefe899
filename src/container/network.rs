//! Which networks a container joins: by flag, by annotation, or by the native form's default.

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use crate::error::{Error, Result};
use crate::net::{self, Endpoint};

/// What `--network NAME|none|host` or the annotation of config.json asks for.
pub const ANNOTATION: &str = "minirun.network";

/// What happens to the container's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Whatever config.json says, and nothing of ours: an engine is calling.
    #[default]
    Untouched,
    /// The host's own: no network namespace.
    Host,
    /// Bridges of ours, in the order of the interfaces.
    Join(Vec<Endpoint>),
}

impl Network {
    /// Decides. `flags` are the values of `--network`; `native` says that a person called with the native form.
    ///
    /// # Errors
    /// When a name or option is wrong, or a network is asked for without a new network namespace to put it in.
    pub fn choose(flags: &[String], native: bool, spec: &Spec) -> Result<Network> {
        let annotation = spec
            .annotations()
            .as_ref()
            .and_then(|annotations| annotations.get(ANNOTATION));
        let new_namespace = makes_network_namespace(spec);
        let asked: Vec<&str> = match (flags, annotation) {
            // The annotation is for engines, whose network namespace comes from somewhere else: not honoured then.
            ([], Some(value)) if new_namespace => value.split_ascii_whitespace().collect(),
            ([], _) if native && new_namespace => vec![net::DEFAULT],
            (flags, _) => flags.iter().map(String::as_str).collect(),
        };
        match asked[..] {
            [] | ["none"] => Ok(Network::Untouched),
            ["host"] if !new_namespace && network_namespace(spec).is_some() => Err(Error::invalid(
                "--network",
                "host contradicts the network namespace that the configuration gives by path",
            )
            .hint("take {\"type\": \"network\"} out of linux.namespaces")),
            ["host"] => Ok(Network::Host),
            _ if asked.iter().any(|name| ["none", "host"].contains(name)) => Err(Error::invalid(
                "--network",
                "none and host cannot be combined with other networks",
            )),
            _ if !new_namespace => Err(Error::invalid(
                "--network",
                "the configuration makes no new network namespace that could join a network",
            )
            .hint("add {\"type\": \"network\"} to linux.namespaces, without a path")),
            _ => Ok(Network::Join(
                asked.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            )),
        }
    }

    /// Takes the network namespace out of the configuration when the host's network is asked for; true when it changed.
    pub fn adapt(&self, spec: &mut Spec) -> bool {
        if *self != Network::Host || !makes_network_namespace(spec) {
            return false;
        }
        let namespaces = spec
            .linux_mut()
            .as_mut()
            .and_then(|linux| linux.namespaces_mut().as_mut());
        namespaces.is_some_and(|namespaces| {
            namespaces.retain(|namespace| namespace.typ() != LinuxNamespaceType::Network);
            true
        })
    }

    /// The networks to join.
    pub fn endpoints(&self) -> &[Endpoint] {
        match self {
            Network::Join(endpoints) => endpoints,
            Network::Untouched | Network::Host => &[],
        }
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
            spec["annotations"] = serde_json::json!({ANNOTATION: value});
        }
        serde_json::from_value(spec).unwrap()
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
        let network = Network::choose(&[], false, &spec(new_namespace(), None)).unwrap();
        assert_eq!(network, Network::Untouched);
    }

    #[test]
    fn the_native_form_joins_the_default_network() {
        let network = Network::choose(&[], true, &spec(new_namespace(), None)).unwrap();
        assert_eq!(names(&network), ["default"]);
    }

    #[test]
    fn the_native_form_leaves_a_namespace_given_by_path_alone() {
        let joined = serde_json::json!({"type": "network", "path": "/run/netns/x"});
        assert_eq!(
            Network::choose(&[], true, &spec(joined.clone(), None)).unwrap(),
            Network::Untouched
        );
        assert_eq!(
            Network::choose(&[], false, &spec(joined, Some("web"))).unwrap(),
            Network::Untouched
        );
    }

    #[test]
    fn the_hosts_network_contradicts_a_namespace_given_by_path() {
        let joined = spec(
            serde_json::json!({"type": "network", "path": "/run/netns/x"}),
            None,
        );
        let error = Network::choose(&["host".into()], true, &joined).unwrap_err();
        assert!(error.to_string().contains("by path"), "{error}");
    }

    #[test]
    fn a_flag_goes_before_the_annotation() {
        let spec = spec(new_namespace(), Some("web"));
        assert_eq!(names(&Network::choose(&[], false, &spec).unwrap()), ["web"]);
        assert_eq!(
            names(&Network::choose(&["db".into()], false, &spec).unwrap()),
            ["db"]
        );
        assert_eq!(
            Network::choose(&["none".into()], true, &spec).unwrap(),
            Network::Untouched
        );
    }

    #[test]
    fn the_hosts_network_takes_the_namespace_out_of_the_configuration() {
        let mut spec = spec(new_namespace(), None);
        let network = Network::choose(&["host".into()], true, &spec).unwrap();
        assert!(network.adapt(&mut spec));
        assert!(!makes_network_namespace(&spec));
    }

    #[test]
    fn a_network_without_a_namespace_to_put_it_in_is_refused() {
        let spec = spec(serde_json::json!({"type": "pid"}), None);
        let error = Network::choose(&["web".into()], false, &spec).unwrap_err();
        assert!(
            error.to_string().contains("makes no new network namespace"),
            "{error}"
        );
    }
}
