//! Reading config.json, its snapshot in a container's record, and the process document of `exec --process`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::Deserialize;
use serde_json::Value;

use super::json::{self, Document};
use super::{list, shape};
use crate::error::{Error, Kind, OsContext, Result};

/// The name of the configuration in a bundle.
pub const CONFIG: &str = "config.json";

/// The largest document that is read. The largest known real one, Docker's with its seccomp profile, has 20 KiB.
pub const MAX_BYTES: u64 = 16 << 20;

/// A configuration whose every property has the right type; not validated yet.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub spec: Spec,
    /// The file as it was read, for the snapshot in the container's record.
    pub raw: Vec<u8>,
    /// What was ignored, for the log.
    pub warnings: Vec<String>,
}

/// Reads `config.json` of the bundle.
///
/// # Errors
/// When it is missing, not a regular file, larger than [`MAX_BYTES`], not JSON, or has a property of the wrong type: the
/// text says file, line, column and property, and what was expected there.
pub fn load(bundle: &Path) -> Result<Loaded> {
    let path = bundle.join(CONFIG);
    let raw = read_file(&path)?;
    parse(&path, raw)
}

/// The configuration in `raw`; `origin` is the file it came from, for error texts.
///
/// # Errors
/// As for [`load`].
pub fn parse(origin: &Path, raw: Vec<u8>) -> Result<Loaded> {
    let mut document = json::parse(origin.display(), "", &shape::CONFIG, &raw)?;
    if let Some(process) = document.value.get_mut("process") {
        adapt(process)?;
    }
    // oci-spec has these two in other letters.
    if let Some(Value::Object(rdt)) = document.value.pointer_mut("/linux/intelRdt") {
        for (name, theirs) in [("enableCMT", "enableCmt"), ("enableMBM", "enableMbm")] {
            if let Some(value) = rdt.remove(name) {
                rdt.insert(theirs.to_owned(), value);
            }
        }
    }
    let (spec, warnings) = typed(origin, document)?;
    Ok(Loaded { spec, raw, warnings })
}

/// Reads the document of `exec --process FILE`, `-` for standard input: the process and what was ignored in it.
///
/// # Errors
/// As for [`load`].
pub fn load_process(path: &Path) -> Result<(Process, Vec<String>)> {
    parse_process(path, &read_named(path)?)
}

/// Reads the document of `update --resources FILE`, `-` for standard input: linux.resources.
///
/// # Errors
/// As for [`load`].
pub fn load_resources(path: &Path) -> Result<LinuxResources> {
    parse_resources(path, &read_named(path)?)
}

fn parse_resources(origin: &Path, raw: &[u8]) -> Result<LinuxResources> {
    let mut document = json::parse(origin.display(), "linux.resources", &shape::RESOURCES, raw)?;
    // oci-spec knows no unset limit and takes it for 0, with which no process could fork.
    if let Some(resources) = document.value.as_object_mut()
        && resources
            .get("pids")
            .is_some_and(|pids| pids.get("limit").is_none())
    {
        resources.remove("pids");
    }
    typed(origin, document).map(|(resources, _)| resources)
}

fn read_named(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        read_capped(std::io::stdin().lock(), 0, Path::new("standard input"))
    } else {
        read_file(path)
    }
}

/// The process document in `raw`; `origin` is the file it came from, for error texts.
///
/// # Errors
/// As for [`load`].
pub fn parse_process(origin: &Path, raw: &[u8]) -> Result<(Process, Vec<String>)> {
    let mut document = json::parse(origin.display(), "process", &shape::PROCESS, raw)?;
    adapt(&mut document.value)?;
    typed(origin, document)
}

/// Puts a process into oci-spec's words where these are not the specification's.
fn adapt(process: &mut Value) -> Result<()> {
    let Value::Object(process) = process else {
        return Ok(());
    };
    // A process without `user` runs as root with root's group, as in every engine; oci-spec insists on the property.
    process
        .entry("user")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    let flags = process
        .get_mut("scheduler")
        .and_then(|scheduler| scheduler.get_mut("flags"));
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
            _ => {}
        }
    }
    if let Some(Value::Object(affinity)) = process.get_mut("execCPUAffinity") {
        for name in ["initial", "final"] {
            let Some(Value::String(cpus)) = affinity.get(name) else {
                continue;
            };
            let ranges = list::parse(cpus)
                .map_err(|why| Error::invalid(format_args!("process.execCPUAffinity.{name}"), why))?;
            // oci-spec knows no blanks, no empty items and no empty lists; the last mean the same as none.
            match ranges.as_slice() {
                [] => drop(affinity.remove(name)),
                ranges => drop(affinity.insert(name.to_owned(), list::format(ranges).into())),
            }
        }
    }
    Ok(())
}

fn typed<T: for<'de> Deserialize<'de>>(origin: &Path, document: Document) -> Result<(T, Vec<String>)> {
    let Document {
        value,
        unknown_capabilities,
    } = document;
    let value = T::deserialize(value).map_err(|error| Error::invalid(origin.display(), error))?;
    let mut warnings = Vec::new();
    if !unknown_capabilities.is_empty() {
        let names: Vec<String> = unknown_capabilities.into_iter().collect();
        warnings.push(format!(
            "ignoring unknown or unavailable capabilities: {}",
            names.join(", ")
        ));
    }
    Ok((value, warnings))
}

/// The contents of a regular file. A FIFO or a device would let the caller hang us, so it is refused; O_NONBLOCK keeps
/// the open itself from waiting for a FIFO's writer.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK | O_NOCTTY)
        .open(path);
    let file: File = match file {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Not the system's words: engines take "no such file or directory" for a missing program in the container.
            let missing = format!("JSON specification file {shown} not found");
            return Err(Error::new(Kind::NotFound, missing));
        }
        other => other.os("open", shown)?,
    };
    let metadata = file.metadata().os("stat", path.display())?;
    if !metadata.is_file() {
        return Err(Error::invalid(path.display(), "not a regular file"));
    }
    read_capped(file, metadata.len(), path)
}

/// `expected` is how long it probably is, in bytes.
fn read_capped(input: impl Read, expected: u64, origin: &Path) -> Result<Vec<u8>> {
    // One byte more, in which the end of the file is found.
    let mut raw = Vec::with_capacity(usize::try_from(expected.min(MAX_BYTES)).unwrap_or(0) + 1);
    input
        .take(MAX_BYTES + 1)
        .read_to_end(&mut raw)
        .os("read", origin.display())?;
    if raw.len() as u64 > MAX_BYTES {
        return Err(Error::invalid(
            origin.display(),
            format_args!("larger than {} MiB", MAX_BYTES >> 20),
        ));
    }
    Ok(raw)
}

#[cfg(test)]
mod tests;
