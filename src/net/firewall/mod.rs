//! The firewall: `table inet minirun`, which is loaded once, and `table bridge minirun`, while a network has a policy.
//!
//! A network in use is a few elements of the table's sets ([`open`], [`close`]), and with a policy chains of its own. A
//! container is nothing at all unless it publishes ports or a policy speaks of it; then it is a few elements more, which
//! come and go in one transaction ([`admit`], [`dismiss`]). [`replace`] makes everything anew from definitions and leases.
//!
//! docs/firewall.md goes through the tables line by line.

mod bridged;
mod counters;
mod direct;
mod elements;
mod foreign;
pub(super) mod fuzz;
mod localhost;
mod nft;
mod parties;
mod rules;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

pub use self::counters::{Counted, Counters, Refused, RuleCounters};

use self::parties::Parties;
use super::address::lease::{Lease, Leases};
use super::definition::{self, Definition, Dirs};
use super::file::{self, Durability, Lock};
use super::kernel::conntrack::{self, Stale};
use super::kernel::link::Host;
use super::kernel::nftables::{Element, Family, Part, Table};
use super::policy::Stance;
use super::{Port, publish};
use crate::error::{Error, Kind, Result};

const TABLE: &str = "minirun";
const RULESET: &str = include_str!("minirun.nft");
const BRIDGE_RULESET: &str = include_str!("minirun-bridge.nft");
/// Rules of the administrator's, one a line, which see every packet from and to containers first.
const ADMIN: &str = "/etc/minirun/admin.nft";

/// In the ruleset, what begins a rule that is there only when there are rules of the administrator's.
const WITH_ADMIN: &str = "\t\tADMIN ";

/// The comment that our tables carry: a table that another version of minirun loaded has another one.
fn comment() -> String {
    format!(
        "ruleset {:016x}",
        hash(&[RULESET, BRIDGE_RULESET, direct::RULESET])
    )
}

/// FNV-1a.
fn hash(texts: &[&str]) -> u64 {
    texts
        .iter()
        .flat_map(|text| text.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Whether the network's elements are in place, in a table of this version. All come and go in one transaction, so one
/// speaks for the others.
pub(super) fn is_open(definition: &Definition) -> Result<bool> {
    let mut table = inet()?;
    let bridge = Part::Interface(definition.bridge.clone());
    Ok(table.comment()? == Some(comment()) && table.contains(&Element::new("bridges", [bridge]))?)
}

/// Where it is written under which definition the network was put into the tables, so that one that was changed since,
/// by a killed command or by hand, is noticed.
fn loaded(dirs: &Dirs, definition: &Definition) -> PathBuf {
    dirs.network(&definition.name).join("firewall.json")
}

fn remember(dirs: &Dirs, definition: &Definition) -> Result<()> {
    file::directory(&dirs.network(&definition.name))?;
    file::replace(&loaded(dirs, definition), definition, Durability::UntilReboot)
}

/// Lets in and out of the network what its definition says. Its bridge is up. Loads the tables first when they are
/// missing or of another version, with what other networks in use have in them. The caller holds the shared lock.
///
/// # Errors
/// When `nft` is missing or refuses the ruleset (the administrator's rules are part of it), or the kernel refuses.
pub(super) fn open(dirs: &Dirs, host: &mut Host, definition: &Definition, shared: &Lock) -> Result<()> {
    // Before its policy, which it would lead around.
    direct::close(definition)?;
    add_network(dirs, host, definition, shared)?;
    direct::open(definition, &leases(dirs, definition)?, shared)?;
    remember(dirs, definition)
}

fn add_network(dirs: &Dirs, host: &mut Host, definition: &Definition, shared: &Lock) -> Result<()> {
    prepare(host, definition)?;
    foreign::pass(definition);
    Parties::update(dirs, &definition.name, Some(definition))?;
    let mut table = inet()?;
    let current = table.comment()? == Some(comment());
    if current && has_policy(definition) {
        let others = in_use(dirs, host, Some(definition))?;
        let script = network_script(dirs, definition, &others)?;
        // What a killed predecessor left of it may be in the way.
        if nft::run(&script, Some(shared)).is_ok() {
            return Ok(());
        }
    } else if current {
        let others = match definition.isolated {
            true => Vec::new(),
            false => in_use(dirs, host, Some(definition))?,
        };
        return table.add(&elements::network(definition, &others));
    }
    let mut all = in_use(dirs, host, Some(definition))?;
    all.push(definition.clone());
    load(dirs, &all, shared)
}

/// Takes out again what the network had, and both tables when `last` says that no other network is in use. The caller
/// holds the shared lock, and shows it when it can.
pub(super) fn close(
    dirs: &Dirs,
    host: &mut Host,
    definition: &Definition,
    last: bool,
    shared: Option<&Lock>,
) -> Result<()> {
    direct::close(definition)?;
    foreign::forget(definition);
    let loaded = loaded(dirs, definition);
    file::remove(&loaded)?;
    file::remove(&file::temporary(&loaded))?;
    Parties::update(dirs, &definition.name, None)?;
    let mut table = inet()?;
    if last {
        return table.delete().and(bridge()?.delete());
    }
    if table.comment()?.is_none() {
        return Ok(());
    }
    let others = match definition.isolated {
        true => Vec::new(),
        false => in_use(dirs, host, Some(definition))?,
    };
    table.remove(&elements::network(definition, &others))?;
    if is_guarded(definition) && !in_use(dirs, host, Some(definition))?.iter().any(is_guarded) {
        bridge()?.delete()?;
    }
    let removal = rules::removal(definition);
    if removal.is_empty() || nft::run(&removal, shared).is_ok() {
        return Ok(());
    }
    // Not all of it was there: make what should be.
    let others = in_use(dirs, host, Some(definition))?;
    nft::run(&script(dirs, &others)?, shared)
}

/// Makes both tables anew from what is in use, in one transaction, or removes them when nothing is. For whenever they may
/// be anything: flushed, of another version, behind a changed definition. The caller holds all locks.
///
/// # Errors
/// As [`open`].
pub(super) fn replace(dirs: &Dirs, host: &mut Host, shared: &Lock) -> Result<()> {
    let all = in_use(dirs, host, None)?;
    if all.is_empty() {
        Parties::default().save(dirs)?;
        return inet()?.delete().and(bridge()?.delete());
    }
    for definition in &all {
        direct::close(definition)?;
        prepare(host, definition)?;
        foreign::pass(definition);
    }
    Parties::of(&all).save(dirs)?;
    load(dirs, &all, shared)?;
    for definition in &all {
        direct::open(definition, &leases(dirs, definition)?, shared)?;
        remember(dirs, definition)?;
    }
    Ok(())
}

/// Brings networks in use to what has changed on the host around them: other firewalls that have forgotten them, and whether
/// they should have the short way inside their bridges. Returns which network, and what was done for it. The caller holds
/// all locks.
///
/// # Errors
/// As [`open`].
pub(super) fn adapt(dirs: &Dirs, host: &mut Host, shared: &Lock) -> Result<Vec<(String, &'static str)>> {
    let mut done = Vec::new();
    for definition in in_use(dirs, host, None)? {
        if !foreign::is_passed(&definition)? {
            foreign::pass(&definition);
            if foreign::is_passed(&definition)? {
                done.push((
                    definition.name.clone(),
                    "entered its bridge in another firewall again",
                ));
            }
        }
        let leases = leases(dirs, &definition)?;
        if !direct::is_intact(&definition, &leases)? {
            direct::open(&definition, &leases, shared)?;
            if direct::is_intact(&definition, &leases)? {
                let what = "brought the short way between its containers to what the host is now";
                done.push((definition.name, what));
            }
        }
    }
    Ok(done)
}

/// Whether everything that is in use is in the tables as [`replace`] would put it there, as far as elements tell.
pub(super) fn is_intact(dirs: &Dirs, host: &mut Host) -> Result<bool> {
    let all = in_use(dirs, host, None)?;
    let known = Parties::load(dirs)?;
    if known != Parties::of(&all) {
        return Ok(false);
    }
    let (mut inet, mut bridge) = (inet()?, bridge()?);
    for definition in &all {
        if !file::read(&loaded(dirs, definition)).is_ok_and(|loaded| loaded.as_ref() == Some(definition)) {
            return Ok(false);
        }
        let mut elements = elements::network(definition, &all);
        let mut stations = Vec::new();
        for lease in leases(dirs, definition)? {
            elements.extend(elements::ports(&lease, localhost::redirects_ipv6(definition)));
            elements.extend(elements::parties(&lease, &known));
            if is_guarded(definition) {
                stations.extend(elements::station(&lease));
            }
        }
        if !is_open(definition)? || !inet.contain(&elements)? || !bridge.contain(&stations)? {
            return Ok(false);
        }
    }
    Ok(!all.is_empty() || inet.comment()?.is_none())
}

/// Lets a container have what is its own in the tables: published ports, and its addresses under the names by which
/// policies call it. Its lease is written and its link is up.
///
/// # Errors
/// Exists when another container has one of the ports.
pub(super) fn admit(dirs: &Dirs, definition: &Definition, lease: &Lease) -> Result<()> {
    let loopback6 = !lease.ports.is_empty() && localhost::redirects_ipv6(definition);
    let ports = elements::ports(lease, loopback6);
    let known = Parties::load(dirs)?;
    let parties = elements::parties(lease, &known);
    match is_guarded(definition) {
        true => bridge()?.add(&elements::station(lease))?,
        false => direct::admit(definition, lease),
    }
    if !ports.is_empty() && (is_guarded(definition) || bridged::sees_ipv4()) {
        bridged::hairpin(&lease.host_interface)?;
    }
    // A killed command may have left the address under the names of its last owner.
    let mut strangers = elements::in_every_party(lease, &known);
    strangers.retain(|element| !parties.contains(element));
    if ports.is_empty() && parties.is_empty() && strangers.is_empty() {
        return Ok(());
    }
    let mut table = inet()?;
    match table.add_new(&ports) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => take_over(dirs, &mut table, lease, &ports)?,
        result => result?,
    }
    table.remove(&strangers)?;
    match table.add(&parties) {
        // A network whose policy speaks of this container goes, or comes: then it looks for the lease itself.
        Err(error) if error.errno() == Some(Errno::ENOENT) => {
            for element in parties {
                match table.add(&[element]) {
                    Err(error) if error.errno() == Some(Errno::ENOENT) => {}
                    result => result?,
                }
            }
        }
        result => result?,
    }
    let asked_for: Vec<Port> = lease.ports.iter().map(elements::asked_for).collect();
    let stale: Vec<Stale<'_>> = asked_for.iter().map(Stale::Published).collect();
    conntrack::forget(&stale)
}

/// Replaces elements that exist and are nobody's who lives: what a killed command or a dead container left.
fn take_over(dirs: &Dirs, table: &mut Table, lease: &Lease, ports: &[Element]) -> Result<()> {
    let owner = |port: &Port| publish::owner(dirs, port).filter(|owner| *owner != lease.container);
    let taken = lease.ports.iter().find_map(|port| Some((port, owner(port)?)));
    if let Some((port, owner)) = taken {
        return Err(Error::new(
            Kind::Exists,
            format_args!(
                "port {}/{} is published by container {owner}",
                port.host, port.protocol
            ),
        ));
    }
    let theirs: Vec<Element> = ports.iter().map(Element::whatever).collect();
    table.remove(&theirs)?;
    table.add_new(ports)
}

/// Takes out what [`admit`] put in, as far as it is there, and lets the kernel forget the container's connections. Its
/// lease still stands: its addresses are nobody else's yet.
pub(super) fn dismiss(dirs: &Dirs, definition: &Definition, lease: &Lease) -> Result<()> {
    let mut own = elements::ports(lease, lease.address6.is_some());
    own.extend(elements::parties(lease, &Parties::load(dirs)?));
    let removed = match own.is_empty() {
        true => Ok(()),
        false => inet()?.remove(&own),
    };
    let unguarded = match is_guarded(definition) {
        true => bridge()?.remove(&elements::station(lease)),
        false => direct::dismiss(definition, lease),
    };
    // What a published port redirected was answered by the address.
    let addresses = [Some(IpAddr::V4(lease.address)), lease.address6.map(IpAddr::V6)];
    let stale: Vec<Stale<'_>> = addresses.into_iter().flatten().map(Stale::Address).collect();
    removed.and(unguarded).and(conntrack::forget(&stale))
}

/// How often rules matched, and who was refused lately.
///
/// # Errors
/// When `nft` is missing or fails.
pub fn counters(dirs: &Dirs) -> Result<Counters> {
    if inet()?.comment()?.is_none() {
        return Ok(Counters::default());
    }
    counters::read(dirs)
}

fn inet() -> Result<Table> {
    Table::open(Family::Inet, TABLE)
}

fn bridge() -> Result<Table> {
    Table::open(Family::Bridge, TABLE)
}

/// Whether the network's policy says more than yes to everything.
fn has_policy(definition: &Definition) -> bool {
    definition.policy.within == Stance::Deny || !definition.policy.rules.is_empty()
}

/// Whether it must be sure who speaks: it looks into its bridge.
fn is_guarded(definition: &Definition) -> bool {
    has_policy(definition)
}

/// Switches of the network's own bridge.
fn prepare(host: &mut Host, definition: &Definition) -> Result<()> {
    bridged::watch(definition, is_guarded(definition))?;
    localhost::prepare(host, definition)
}

/// The networks whose bridges stand, without `but`.
fn in_use(dirs: &Dirs, host: &mut Host, but: Option<&Definition>) -> Result<Vec<Definition>> {
    let mut found = Vec::new();
    for name in definition::names(dirs)? {
        if but.is_some_and(|but| but.name == name) {
            continue;
        }
        match Definition::load(dirs, &name) {
            Ok(Some(definition)) => {
                if host
                    .link(&definition.bridge)?
                    .is_some_and(|link| link.is_our_bridge)
                {
                    found.push(definition);
                }
            }
            Ok(None) => {}
            Err(error) => crate::log::warn(error),
        }
    }
    Ok(found)
}

fn load(dirs: &Dirs, all: &[Definition], shared: &Lock) -> Result<()> {
    nft::run(&script(dirs, all)?, Some(shared))
}

/// Both tables from scratch.
fn script(dirs: &Dirs, all: &[Definition]) -> Result<String> {
    let comment = comment();
    let comment = comment.trim_start_matches("ruleset ");
    // Declared, so that there is something to delete.
    let mut script = String::from("table inet minirun\ndelete table inet minirun\n");
    script.push_str("table bridge minirun\ndelete table bridge minirun\n");
    let admin = Path::new(ADMIN).exists();
    script.push_str(&ruleset(admin).replace("VERSION", comment));
    if all.iter().any(is_guarded) {
        script.push_str(&BRIDGE_RULESET.replace("VERSION", comment));
    }
    if admin {
        // By name, so that nft says in which line of which file it does not understand something.
        let _ = write!(
            script,
            "table inet minirun {{\nchain admin {{\ninclude \"{ADMIN}\"\n}}\n}}\n"
        );
    }
    for definition in all {
        script.push_str(&rules::script(definition));
    }
    let parties = Parties::of(all);
    let mut inet: Vec<Element> = Vec::new();
    let mut bridge: Vec<Element> = Vec::new();
    for definition in all {
        inet.extend(elements::network(definition, all));
        let loopback6 = localhost::redirects_ipv6(definition);
        for lease in leases(dirs, definition)? {
            inet.extend(elements::ports(&lease, loopback6));
            inet.extend(elements::parties(&lease, &parties));
            if is_guarded(definition) {
                bridge.extend(elements::station(&lease));
            }
        }
    }
    add(&mut script, "inet", &inet);
    add(&mut script, "bridge", &bridge);
    Ok(script)
}

/// The table as nft reads it, with or without the way through the administrator's rules.
fn ruleset(admin: bool) -> String {
    match admin {
        true => RULESET.replace(WITH_ADMIN, "\t\t"),
        false => {
            let lines = RULESET.split_inclusive('\n');
            lines.filter(|line| !line.starts_with(WITH_ADMIN)).collect()
        }
    }
}

/// What a network with a policy adds to tables that are there.
fn network_script(dirs: &Dirs, definition: &Definition, others: &[Definition]) -> Result<String> {
    let mut script = String::new();
    if bridge()?.comment()?.is_none() {
        script.push_str(&BRIDGE_RULESET.replace("VERSION", comment().trim_start_matches("ruleset ")));
    }
    script.push_str(&rules::script(definition));
    let mut inet = elements::network(definition, others);
    let parties = Parties::of([definition]);
    let mut bridge: Vec<Element> = Vec::new();
    for network in others.iter().chain([definition]) {
        for lease in leases(dirs, network)? {
            inet.extend(elements::parties(&lease, &parties));
            if network.name == definition.name {
                bridge.extend(elements::station(&lease));
            }
        }
    }
    add(&mut script, "inet", &inet);
    add(&mut script, "bridge", &bridge);
    Ok(script)
}

/// The leases that can be read; of one that cannot, the container is let into nothing.
fn leases(dirs: &Dirs, definition: &Definition) -> Result<Vec<Lease>> {
    let leases = Leases::new(&definition.name, dirs.network(&definition.name));
    Ok(leases.all()?.filter_map(Result::ok).collect())
}

/// `add element` of nft's language, one command a set.
fn add(script: &mut String, family: &str, elements: &[Element]) {
    let mut sets: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for element in elements {
        sets.entry(&element.set).or_default().push(element.to_string());
    }
    for (set, elements) in sets {
        let _ = writeln!(
            script,
            "add element {family} minirun {set} {{ {} }}",
            elements.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::kernel::link::GROUP;

    #[test]
    fn the_ruleset_knows_our_bridges_by_their_group() {
        let groups = RULESET.split("ifgroup ").skip(1);
        let numbers: Vec<_> = groups.filter_map(|rest| rest.split_whitespace().next()).collect();
        assert!(!numbers.is_empty());
        assert!(
            numbers.iter().all(|number| *number == GROUP.to_string()),
            "{numbers:?}"
        );
    }

    #[test]
    fn the_administrators_rules_cost_nobody_who_has_none() {
        assert!(!ruleset(false).contains("jump admin") && ruleset(false).contains("chain admin"));
        assert_eq!(ruleset(true).matches("jump admin").count(), 2);
        assert!(!ruleset(true).contains("\tADMIN"));
    }
}
