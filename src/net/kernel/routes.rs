//! Which of a container's networks have its default routes, and what its interfaces are called. Pure.

use crate::error::{Error, Kind, Result};
use crate::net::Attached;
use crate::net::endpoint::Endpoint;

/// Whether a network of a container has its default routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::net) struct Defaults {
    pub(in crate::net) ipv4: bool,
    pub(in crate::net) ipv6: bool,
}

/// What decides it.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) struct Candidate {
    pub(in crate::net) priority: i32,
    pub(in crate::net) internal: bool,
    pub(in crate::net) has_ipv6: bool,
}

impl Defaults {
    /// For each candidate: the highest priority wins, the first of several; an internal network never does, and one
    /// without IPv6 not for IPv6.
    pub(in crate::net) fn choose(candidates: &[Candidate]) -> Vec<Self> {
        let winner = |may: fn(&Candidate) -> bool| {
            let mut best: Option<(usize, i32)> = None;
            for (index, candidate) in candidates.iter().enumerate() {
                let better = best.is_none_or(|(_, priority)| candidate.priority > priority);
                if may(candidate) && better {
                    best = Some((index, candidate.priority));
                }
            }
            best.map(|(index, _)| index)
        };
        let ipv4 = winner(|candidate| !candidate.internal);
        let ipv6 = winner(|candidate| !candidate.internal && candidate.has_ipv6);
        let defaults = |index| Self {
            ipv4: ipv4 == Some(index),
            ipv6: ipv6 == Some(index),
        };
        (0..candidates.len()).map(defaults).collect()
    }

    /// For each of the networks that a container is on.
    pub(in crate::net) fn of(attached: &[Attached]) -> Vec<Self> {
        let candidates: Vec<_> = attached.iter().map(Candidate::from).collect();
        Self::choose(&candidates)
    }
}

impl From<&Attached> for Candidate {
    fn from(attached: &Attached) -> Self {
        Self {
            priority: attached.priority,
            internal: attached.internal,
            has_ipv6: attached.address6.is_some(),
        }
    }
}

/// The names of the interfaces of a container that is on `attached` and asks for `endpoints`: those it asked for, and for
/// the others the first of `eth0`, `eth1`, ... that is free.
///
/// # Errors
/// Exists when a name is asked for that another interface has.
pub(in crate::net) fn interface_names(attached: &[Attached], endpoints: &[Endpoint]) -> Result<Vec<String>> {
    let mut used: Vec<&str> = attached.iter().map(|on| on.interface.as_str()).collect();
    for endpoint in endpoints {
        if let Some(name) = endpoint.interface.as_deref() {
            if used.contains(&name) {
                return Err(Error::new(
                    Kind::Exists,
                    format_args!(
                        "network {}: interface={name}: the container has another interface of this name",
                        endpoint.network
                    ),
                ));
            }
            used.push(name);
        }
    }
    let mut free = (0..)
        .map(|number| format!("eth{number}"))
        .filter(|name| !used.contains(&name.as_str()));
    Ok(endpoints
        .iter()
        .filter_map(|endpoint| endpoint.interface.clone().or_else(|| free.next()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(priority: i32, internal: bool, has_ipv6: bool) -> Candidate {
        Candidate {
            priority,
            internal,
            has_ipv6,
        }
    }

    /// The numbers of the networks with the default route of IPv4 and of IPv6.
    fn winners(candidates: &[Candidate]) -> (Option<usize>, Option<usize>) {
        let defaults = Defaults::choose(candidates);
        assert_eq!(defaults.len(), candidates.len());
        (
            defaults.iter().position(|defaults| defaults.ipv4),
            defaults.iter().position(|defaults| defaults.ipv6),
        )
    }

    #[test]
    fn the_highest_priority_has_the_default_route_and_of_equal_ones_the_first() {
        let plain = candidate(0, false, false);
        assert_eq!(winners(&[]), (None, None));
        assert_eq!(winners(&[plain, plain]), (Some(0), None));
        assert_eq!(winners(&[plain, candidate(1, false, true)]), (Some(1), Some(1)));
        assert_eq!(winners(&[candidate(-1, false, true), plain]), (Some(1), Some(0)));
    }

    #[test]
    fn an_internal_network_never_has_the_default_route() {
        let internal = candidate(9, true, true);
        assert_eq!(winners(&[internal]), (None, None));
        assert_eq!(
            winners(&[internal, candidate(0, false, true)]),
            (Some(1), Some(1))
        );
    }

    #[test]
    fn interfaces_are_numbered_around_the_names_that_are_asked_for() {
        let endpoints: Vec<Endpoint> = ["a", "b:interface=eth0", "c:interface=wan", "d"]
            .map(|text| text.parse().unwrap())
            .into();
        assert_eq!(
            interface_names(&[], &endpoints).unwrap(),
            ["eth1", "eth0", "wan", "eth2"]
        );
        let twice: Vec<Endpoint> = ["a:interface=wan", "b:interface=wan"]
            .map(|text| text.parse().unwrap())
            .into();
        let error = interface_names(&[], &twice).unwrap_err();
        assert!(error.to_string().contains("network b: interface=wan"), "{error}");
    }
}
