//! Our one firewall table: when it is loaded, and what a network is in it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::definition::Definition;
use super::file::Lock;
use super::nftables::{Element, Table};
use crate::error::{Error, Kind, OsContext, Result};

const TABLE: &str = "minirun";
const RULESET: &str = include_str!("minirun.nft");

/// Whether the network's elements are in place. All come and go in one transaction, so one speaks for the others.
pub(super) fn is_open(definition: &Definition) -> Result<bool> {
    Table::open(TABLE)?.contains(&Element::interface("bridges", &definition.bridge))
}

/// Lets the containers of a network talk to each other and to the outside. Loads the table first when it is missing.
///
/// # Errors
/// When `nft` is missing or refuses the ruleset, or the kernel refuses the elements.
pub(super) fn open(definition: &Definition, shared: &Lock) -> Result<()> {
    let mut table = Table::open(TABLE)?;
    if !table.exists()? {
        load(shared)?;
    }
    table.add(&elements(definition))
}

/// Takes the network's elements out again, and the whole table when `last` says that no other network is in use. The
/// caller holds the shared lock.
pub(super) fn close(definition: &Definition, last: bool) -> Result<()> {
    let mut table = Table::open(TABLE)?;
    if !table.exists()? {
        return Ok(());
    }
    if last {
        table.delete()
    } else if table.contains(&Element::interface("bridges", &definition.bridge))? {
        table.remove(&elements(definition))
    } else {
        Ok(())
    }
}

fn elements(definition: &Definition) -> Vec<Element> {
    let bridge = definition.bridge.as_str();
    let [start, end] = Element::subnet("pools", definition.ipv4.subnet);
    vec![
        start,
        end,
        Element::interface("bridges", bridge),
        Element::accept("links", bridge, bridge),
        Element::interface("egress", bridge),
    ]
}

/// The only time a program is run: the ruleset stays a file that people can read.
///
/// nft holds the lock with us, as its standard output, to which it writes nothing: should we be killed now, nobody looks
/// for the table until nft is done with it.
fn load(shared: &Lock) -> Result<()> {
    let stage = "load the firewall table with";
    let lock = shared.try_clone().os("duplicate", "lock")?;
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .env("PATH", search_path())
        .stdin(Stdio::piped())
        .stdout(Stdio::from(lock))
        .stderr(Stdio::piped())
        .spawn()
        .os(stage, "nft")
        .map_err(|error| error.hint("install the package nftables"))?;
    if let Some(mut input) = nft.stdin.take() {
        // When nft dies early its own words, below, are the better error.
        let _ = input.write_all(RULESET.as_bytes());
    }
    let output = nft.wait_with_output().os(stage, "nft")?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(
        Kind::Program,
        format_args!("{stage} nft: {}: {}", output.status, words.trim()),
    ))
}

/// PATH, and where Debian keeps nft, which is not in everybody's PATH.
fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}
