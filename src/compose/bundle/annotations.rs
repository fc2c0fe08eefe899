//! What the container is of, and its networks, as the annotations that `create` reads.

use std::fmt::Display;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::super::model::Join;
use super::{PROJECT, REPLICA, SERVICE, Source};
use crate::error::{Error, Kind, Result};
use crate::net::Endpoint;

impl Source<'_> {
    pub(super) fn annotate(&self, config: &mut Value) -> Result<()> {
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
