//! Running `nft`, for what is read by people or changes rarely: loading the tables, and policies.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Kind, OsContext, Result};
use crate::net::file::Lock;

/// Runs a script as one transaction.
///
/// nft holds the lock with us, if it is given, as its standard output, to which it writes nothing: should we be killed now,
/// nobody looks for the table until nft is done with it.
///
/// # Errors
/// When `nft` is missing, or refuses: with its own words.
pub(super) fn run(script: &str, shared: Option<&Lock>) -> Result<()> {
    let stage = "load the firewall with";
    let lock = shared
        .map(|lock| lock.try_clone())
        .transpose()
        .os("duplicate", "lock")?;
    let mut nft = command("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(lock.map_or_else(Stdio::null, Stdio::from))
        .stderr(Stdio::piped())
        .spawn()
        .os(stage, "nft")
        .map_err(|error| error.hint("install the package nftables"))?;
    if let Some(mut input) = nft.stdin.take() {
        // When nft dies early its own words, below, are the better error.
        let _ = input.write_all(script.as_bytes());
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

/// Runs a program and returns its standard output.
///
/// # Errors
/// When it is missing or fails, with its own words.
pub(super) fn output(program: &str, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = command(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .os("run", program)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let what = format!("{program} {}: {}", arguments.join(" "), output.status);
    Err(Error::new(
        Kind::Program,
        format_args!("{what}: {}", words.trim()),
    ))
}

/// Whether there is a program of this name.
pub(super) fn exists(program: &str) -> bool {
    search_path()
        .split(':')
        .any(|directory| !directory.is_empty() && Path::new(directory).join(program).is_file())
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", search_path());
    command
}

/// PATH, and where distributions keep nft, which is not in everybody's PATH.
fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}
