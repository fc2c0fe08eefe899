//! A network's policy as rules of nftables: one chain for connections to its containers, one for connections from them to
//! the outside. Pure.
//!
//! Names of containers are sets of addresses, `party4/NETWORK/NAME` and `party6/...`: a container that comes is an element
//! of the sets of its names, and no rule changes. Every rule has a counter `rule/NETWORK/INDEX`; one with a rate has a
//! limit `rate/NETWORK/INDEX` and a counter `over/NETWORK/INDEX` of what was too much.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::net::definition::Definition;
use crate::net::policy::{Party, Policy, Ports, Protocol, Rule};

/// nftables takes names of up to 255 bytes.
const LONGEST_NAME: usize = 200;
/// What nft assumes.
const DEFAULT_BURST: u32 = 5;

/// The chain of connections to containers of this network.
pub(super) fn arrivals(network: &str) -> String {
    format!("policy/{network}")
}

/// The chain of connections from containers of this network to the outside.
pub(super) fn departures(network: &str) -> String {
    format!("egress/{network}")
}

/// The sets of the IPv4 and IPv6 addresses of containers that the rules of `network` call `name`.
pub(super) fn party(network: &str, name: &str) -> [String; 2] {
    let full = format!("{network}/{name}");
    let short = match full.char_indices().nth(LONGEST_NAME) {
        None => full,
        Some((end, _)) => format!(
            "{}/{:016x}",
            full.get(..end).unwrap_or_default(),
            super::hash(&[&full])
        ),
    };
    [format!("party4/{short}"), format!("party6/{short}")]
}

/// The names in a policy's rules.
pub(super) fn named(policy: &Policy) -> BTreeSet<&str> {
    let parties = policy.rules.iter().flat_map(|rule| [&rule.from, &rule.to]);
    parties
        .filter_map(|party| match party {
            Party::Named(name) => Some(name.as_str()),
            Party::Everybody | Party::Outside => None,
        })
        .collect()
}

pub(super) fn has_arrivals(definition: &Definition) -> bool {
    let mut rules = definition.policy.rules.iter();
    rules.any(|rule| rule.to != Party::Outside)
}

pub(super) fn has_departures(definition: &Definition) -> bool {
    let mut rules = definition.policy.rules.iter();
    !definition.internal && rules.any(|rule| rule.to == Party::Outside)
}

/// The commands that make sets, counters and chains of the network's policy; nothing when it has no rules.
pub(super) fn script(definition: &Definition) -> String {
    let mut script = String::new();
    let network = &definition.name;
    let mut add = |what: &str, name: &str, body: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(script, "add {what} inet minirun {name} {body}");
    };
    for name in named(&definition.policy) {
        let [set4, set6] = party(network, name);
        add("set", &set4, "{ type ipv4_addr; }");
        add("set", &set6, "{ type ipv6_addr; }");
    }
    for (index, rule) in definition.policy.rules.iter().enumerate() {
        add("counter", &format!("rule/{network}/{index}"), "");
        if let Some(rate) = rule.rate {
            let burst = rule.burst.unwrap_or(DEFAULT_BURST);
            let limit = format!("{{ rate over {rate} burst {burst} packets; }}");
            add("limit", &format!("rate/{network}/{index}"), &limit);
            add("counter", &format!("over/{network}/{index}"), "");
        }
    }
    if has_arrivals(definition) {
        let chain = arrivals(network);
        add("chain", &chain, "");
        match definition.internal {
            true => add(
                "rule",
                &chain,
                &format!("iifname != \"{}\" return", definition.bridge),
            ),
            false => add("rule", &chain, "iifname @internal return"),
        }
        add("rule", &chain, "ct state invalid drop");
    }
    if has_departures(definition) {
        add("chain", &departures(network), "");
    }
    for (index, rule) in definition.policy.rules.iter().enumerate() {
        let chain = match rule.to {
            Party::Outside if definition.internal => continue,
            Party::Outside => departures(network),
            Party::Everybody | Party::Named(_) => arrivals(network),
        };
        for matching in matches(definition, rule) {
            if rule.rate.is_some() {
                let over = format!(
                    "{matching}limit name \"rate/{network}/{index}\" counter name \"over/{network}/{index}\" goto refused"
                );
                add("rule", &chain, &over);
            }
            // The outside comes in through published ports alone; its rules only limit.
            if rule.from != Party::Outside {
                let accept = format!("{matching}counter name \"rule/{network}/{index}\" accept");
                add("rule", &chain, &accept);
            }
        }
    }
    script
}

/// The commands that take away what [`script`] made. What refers to the chains is gone already.
pub(super) fn removal(definition: &Definition) -> String {
    let network = &definition.name;
    let mut script = String::new();
    let mut delete = |what: &str, name: &str| {
        let _ = writeln!(script, "delete {what} inet minirun {name}");
    };
    if has_arrivals(definition) {
        delete("chain", &arrivals(network));
    }
    if has_departures(definition) {
        delete("chain", &departures(network));
    }
    for name in named(&definition.policy) {
        for set in party(network, name) {
            delete("set", &set);
        }
    }
    for (index, rule) in definition.policy.rules.iter().enumerate() {
        delete("counter", &format!("rule/{network}/{index}"));
        if rule.rate.is_some() {
            delete("limit", &format!("rate/{network}/{index}"));
            delete("counter", &format!("over/{network}/{index}"));
        }
    }
    script
}

/// The left sides of nftables' rules for one of ours, each with a space at its end: by family when it names somebody, and
/// by protocol.
fn matches(definition: &Definition, rule: &Rule) -> Vec<String> {
    let by_name = [&rule.from, &rule.to]
        .iter()
        .any(|party| matches!(party, Party::Named(_)));
    let families: &[(&str, usize)] = match (by_name, definition.ipv6) {
        (false, _) => &[("", 0)],
        (true, None) => &[("ip", 0)],
        (true, Some(_)) => &[("ip", 0), ("ip6", 1)],
    };
    let mut matches = Vec::new();
    for (family, index) in families {
        for ports in by_protocol(&rule.ports) {
            let from = match &rule.from {
                Party::Named(name) => format!("{family} saddr @{} ", party(&definition.name, name)[*index]),
                Party::Everybody => format!("iifname \"{}\" ", definition.bridge),
                Party::Outside => "iifname != @bridges ".to_owned(),
            };
            let to = match &rule.to {
                Party::Named(name) => format!("{family} daddr @{} ", party(&definition.name, name)[*index]),
                // The chain has only what goes there.
                Party::Everybody | Party::Outside => String::new(),
            };
            matches.push(format!("{from}{to}{ports}"));
        }
    }
    matches
}

/// `tcp dport { 80, 8000-8010 } ` for each protocol; nothing when all ports are meant.
fn by_protocol(ports: &[Ports]) -> Vec<String> {
    if ports.contains(&Ports::All) {
        return vec![String::new()];
    }
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .filter_map(|wanted| {
            let mut ranges: Vec<(u16, u16)> = ports
                .iter()
                .filter_map(|ports| match ports {
                    Ports::Range {
                        first,
                        last,
                        protocol,
                    } if *protocol == wanted => Some((*first, *last)),
                    Ports::Range { .. } | Ports::All => None,
                })
                .collect();
            ranges.sort_unstable();
            let texts: Vec<String> = merged(&ranges)
                .into_iter()
                .map(|(first, last)| match first == last {
                    true => first.to_string(),
                    false => format!("{first}-{last}"),
                })
                .collect();
            (!texts.is_empty()).then(|| format!("{wanted} dport {{ {} }} ", texts.join(", ")))
        })
        .collect()
}

/// Sorted ranges without overlaps, which nft refuses.
fn merged(sorted: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in sorted {
        match merged.last_mut() {
            Some(before) if *first <= before.1 => before.1 = before.1.max(*last),
            _ => merged.push((*first, *last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(policy: serde_json::Value) -> Definition {
        serde_json::from_value(serde_json::json!({
            "name": "shop",
            "driver": "bridge",
            "bridge": "mr-shop",
            "ipv4": {"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"},
            "policy": policy,
        }))
        .unwrap()
    }

    /// What follows `add rule inet minirun`.
    fn rules(definition: &Definition) -> Vec<String> {
        let script = script(definition);
        let rules = script
            .lines()
            .filter_map(|line| line.strip_prefix("add rule inet minirun "));
        rules.map(str::to_owned).collect()
    }

    #[test]
    fn a_rule_reads_in_nftables_as_it_was_written() {
        let shop = definition(serde_json::json!({"rules": [
            {"from": "web", "to": "db", "ports": ["5432", "8010-8020", "8000-8015", "53/udp"]},
            {"from": "*", "to": "outside", "ports": ["443", "all"], "rate": "10/second"},
        ]}));
        assert_eq!(
            rules(&shop),
            [
                "policy/shop iifname @internal return",
                "policy/shop ct state invalid drop",
                "policy/shop ip saddr @party4/shop/web ip daddr @party4/shop/db tcp dport { 5432, 8000-8020 } \
                 counter name \"rule/shop/0\" accept",
                "policy/shop ip saddr @party4/shop/web ip daddr @party4/shop/db udp dport { 53 } \
                 counter name \"rule/shop/0\" accept",
                "egress/shop iifname \"mr-shop\" limit name \"rate/shop/1\" counter name \"over/shop/1\" goto refused",
                "egress/shop iifname \"mr-shop\" counter name \"rule/shop/1\" accept",
            ]
        );
        assert!(
            script(&shop)
                .contains("add limit inet minirun rate/shop/1 { rate over 10/second burst 5 packets; }")
        );
    }

    #[test]
    fn an_internal_network_has_rules_for_itself_alone() {
        let mut vault = definition(serde_json::json!({"rules": [
            {"from": "a", "to": "b", "ports": ["all"]},
            {"from": "a", "to": "outside", "ports": ["all"]},
        ]}));
        vault.internal = true;
        assert_eq!(rules(&vault)[0], "policy/shop iifname != \"mr-shop\" return");
        assert_eq!(rules(&vault).len(), 3, "none to the outside");
    }

    #[test]
    fn names_that_are_too_long_for_nftables_stay_different() {
        let long = "x".repeat(250);
        let [one, other] = [party("shop", &long), party("shop", &format!("{long}y"))];
        assert_ne!(one, other);
        assert!(one.iter().all(|name| name.len() < 250), "{one:?}");
    }
}
