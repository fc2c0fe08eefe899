//! Firewalls of others, which drop what ours accepts: an accept in one table does not lift a drop in another.
//!
//! Where they have a place for others, our bridge is entered there while its network is in use: Docker's chain
//! DOCKER-USER, firewalld's zone `trusted`. Of all others it is said loudly that they drop, and what would help.

use serde_json::Value;

use super::nft;
use crate::error::Result;
use crate::net::definition::Definition;
use crate::net::kernel::nftables::{self, Chain};

const NF_INET_PRE_ROUTING: u32 = 0;
const NF_INET_FORWARD: u32 = 2;
const NF_INET_POST_ROUTING: u32 = 4;
/// The name of firewalld's table.
const FIREWALLD: &str = "firewalld";

/// Lets packets of the network pass the firewalls of others, or warns. A network without a way through the host needs
/// nothing of them.
pub(super) fn pass(definition: &Definition) {
    if let Err(error) = try_to_pass(definition) {
        crate::log::warn(error.during(format_args!(
            "network {}: let packets pass the firewalls of others",
            definition.name
        )));
    }
}

fn try_to_pass(definition: &Definition) -> Result<()> {
    let chains = nftables::chains()?;
    let bridge = &definition.bridge;
    if chains.iter().any(|chain| chain.table == FIREWALLD) {
        let zone = format!("--change-interface={bridge}");
        nft::output("firewall-cmd", &["--zone=trusted", &zone])?;
    }
    for chain in droppers(&chains) {
        match has_room(chain, &chains) {
            true => enter(chain, bridge)?,
            false => warn(definition, chain),
        }
    }
    if let Some(policy) = legacy_policy()
        && policy.contains("DROP")
    {
        crate::log::warn(format_args!(
            "network {}: the old iptables drops forwarded packets (\"{policy}\"), those of containers too; \
             `iptables-legacy -I FORWARD -i {bridge} -j ACCEPT; iptables-legacy -I FORWARD -o {bridge} -j ACCEPT` would let them pass",
            definition.name
        ));
    }
    Ok(())
}

/// Whether others than we, and those who let all packets of our bridges pass, look at packets inside of bridges.
pub(super) fn look_inside_bridges() -> Result<bool> {
    let chains = nftables::chains()?;
    let looks = |chain: &Chain| {
        let on_the_way = match i32::from(chain.family) {
            libc::NFPROTO_BRIDGE => chain.hook.is_some(),
            libc::NFPROTO_IPV4 | libc::NFPROTO_IPV6 | libc::NFPROTO_INET => matches!(
                chain.hook,
                Some(NF_INET_PRE_ROUTING | NF_INET_FORWARD | NF_INET_POST_ROUTING)
            ),
            _ => false,
        };
        on_the_way && !chain.translates && chain.table != super::TABLE && !lets_us_pass(chain, &chains)
    };
    // The old iptables and ebtables are not nftables'. ebtables says of its tables only which modules they have.
    let tables = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];
    let old = tables.iter().any(|path| {
        let tables = std::fs::read_to_string(path).unwrap_or_default();
        tables.lines().any(|table| table != "nat")
    });
    let ebtables = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    Ok(old || ebtables.lines().any(|module| module.starts_with("ebtable_")) || chains.iter().any(looks))
}

/// Whether the chain is one in which our bridges are entered, before everything else that it says of their packets.
fn lets_us_pass(chain: &Chain, chains: &[Chain]) -> bool {
    chain.table == FIREWALLD || chain.hook == Some(NF_INET_FORWARD) && chain.drops && has_room(chain, chains)
}

/// Whether its table has Docker's chain for others.
fn has_room(chain: &Chain, chains: &[Chain]) -> bool {
    chains.iter().any(|other| {
        (other.family, &other.table, other.name.as_str()) == (chain.family, &chain.table, "DOCKER-USER")
    })
}

/// Chains of others that drop forwarded packets by policy.
fn droppers(chains: &[Chain]) -> impl Iterator<Item = &Chain> {
    chains
        .iter()
        .filter(|chain| chain.hook == Some(NF_INET_FORWARD) && chain.drops && chain.table != super::TABLE)
}

fn family(chain: &Chain) -> &'static str {
    match i32::from(chain.family) {
        libc::NFPROTO_IPV4 => "ip",
        libc::NFPROTO_IPV6 => "ip6",
        libc::NFPROTO_BRIDGE => "bridge",
        _ => "inet",
    }
}

/// In both directions, marked as ours by its comment.
fn enter(chain: &Chain, bridge: &str) -> Result<()> {
    let family = family(chain);
    leave(family, &chain.table, bridge)?;
    for direction in ["iifname", "oifname"] {
        let name = format!("\"{bridge}\"");
        let comment = format!("\"{}\"", mark(bridge));
        nft::output(
            "nft",
            &[
                "insert",
                "rule",
                family,
                &chain.table,
                "DOCKER-USER",
                direction,
                &name,
                "accept",
                "comment",
                &comment,
            ],
        )?;
    }
    Ok(())
}

fn mark(bridge: &str) -> String {
    format!("minirun {bridge}")
}

fn warn(definition: &Definition, chain: &Chain) {
    let (family, table, name) = (family(chain), &chain.table, &chain.name);
    let bridge = &definition.bridge;
    let help = match name.as_str() {
        "FORWARD" if nft::exists("ufw") => {
            format!("ufw route allow in on {bridge}; ufw route allow out on {bridge}")
        }
        _ => format!(
            "nft insert rule {family} {table} {name} iifname {bridge} accept; \
             nft insert rule {family} {table} {name} oifname {bridge} accept"
        ),
    };
    crate::log::warn(format_args!(
        "network {}: chain {name} of table {family} {table}, which is not minirun's, drops forwarded packets, those of \
         containers too; `{help}` would let them pass",
        definition.name
    ));
}

/// Whether [`pass`] has nothing to do: firewalld forgets our bridge when it loads its configuration again, and Docker's chain
/// may have been emptied.
pub(super) fn is_passed(definition: &Definition) -> Result<bool> {
    let chains = nftables::chains()?;
    let bridge = &definition.bridge;
    if chains.iter().any(|chain| chain.table == FIREWALLD) && !is_trusted(bridge) {
        return Ok(false);
    }
    for chain in droppers(&chains).filter(|chain| has_room(chain, &chains)) {
        if entries(family(chain), &chain.table, bridge)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the bridge is in firewalld's zone `trusted`. It says no by its exit status when the bridge is in none.
fn is_trusted(bridge: &str) -> bool {
    let zone = nft::output("firewall-cmd", &[&format!("--get-zone-of-interface={bridge}")]);
    zone.is_ok_and(|zone| zone.trim_ascii() == b"trusted")
}

/// Takes back what [`pass`] did, as far as it is there.
pub(super) fn forget(definition: &Definition) {
    if let Err(error) = try_to_forget(&definition.bridge) {
        crate::log::warn(error.during(format_args!(
            "network {}: leave the firewalls of others",
            definition.name
        )));
    }
}

fn try_to_forget(bridge: &str) -> Result<()> {
    let chains = nftables::chains()?;
    for chain in chains.iter().filter(|chain| chain.name == "DOCKER-USER") {
        leave(family(chain), &chain.table, bridge)?;
    }
    if chains.iter().any(|chain| chain.table == FIREWALLD) && is_trusted(bridge) {
        let interface = format!("--remove-interface={bridge}");
        nft::output("firewall-cmd", &["--zone=trusted", &interface])?;
    }
    Ok(())
}

/// Removes our rules for this bridge from DOCKER-USER.
fn leave(family: &str, table: &str, bridge: &str) -> Result<()> {
    for handle in entries(family, table, bridge)? {
        let handle = handle.to_string();
        nft::output(
            "nft",
            &["delete", "rule", family, table, "DOCKER-USER", "handle", &handle],
        )?;
    }
    Ok(())
}

/// The handles of our rules for this bridge in DOCKER-USER.
fn entries(family: &str, table: &str, bridge: &str) -> Result<Vec<u64>> {
    let json = nft::output(
        "nft",
        &[
            "--json",
            "--handle",
            "list",
            "chain",
            family,
            table,
            "DOCKER-USER",
        ],
    )?;
    let json: Value = serde_json::from_slice(&json).unwrap_or_default();
    let rules = json["nftables"].as_array().into_iter().flatten();
    Ok(rules
        .map(|item| &item["rule"])
        .filter(|rule| rule["comment"].as_str() == Some(&mark(bridge)))
        .filter_map(|rule| rule["handle"].as_u64())
        .collect())
}

/// The policy of FORWARD in iptables' own tables, which nftables does not see; `None` where nobody uses them.
fn legacy_policy() -> Option<String> {
    const TABLES: &str = "/proc/net/ip_tables_names";
    let tables = std::fs::read_to_string(TABLES).ok()?;
    if !tables.lines().any(|table| table == "filter") || !nft::exists("iptables-legacy") {
        return None;
    }
    let rules = nft::output("iptables-legacy", &["-S", "FORWARD"]).ok()?;
    let rules = String::from_utf8_lossy(&rules);
    rules.lines().next().map(str::to_owned)
}
