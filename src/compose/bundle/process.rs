//! The program of a replica, as whom it runs, and what it may do.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use nix::fcntl::{OFlag, ResolveFlag};
use serde_json::{Value, json};

use super::super::model::{Limits, Service};
use super::array;
use crate::error::{Error, OsContext as _, Result};
use crate::spec::user::UserArg;
use crate::sys::fs::openat2;

/// The period over which a processor's time is limited, in microseconds: the kernel's own default.
const CPU_PERIOD: u64 = 100_000;
/// Of passwd and group, which are the root file system's own.
const LARGEST_DATABASE: u64 = 1 << 20;

/// Lays what the file says of the process over `process`.
///
/// # Errors
/// No program is left; a user whom the root file system does not know.
pub(super) fn lay(process: &mut Value, service: &Service, rootfs: &Path) -> Result<()> {
    // Its output is a pipe.
    process["terminal"] = json!(false);
    set_command(process, service)?;
    set_environment(process, service);
    if let Some(directory) = &service.working_dir {
        process["cwd"] = json!(directory);
    }
    if let Some(user) = &service.user {
        set_user(process, user, rootfs)?;
    }
    set_capabilities(process, &service.cap_add, &service.cap_drop);
    Ok(())
}

fn set_command(process: &mut Value, service: &Service) -> Result<()> {
    let args = match (&service.entrypoint, &service.command) {
        (None, None) => return Ok(()),
        (Some(entrypoint), command) => {
            [entrypoint.as_slice(), command.as_deref().unwrap_or_default()].concat()
        }
        (None, Some(command)) => command.clone(),
    };
    if args.is_empty() {
        return Err(Error::invalid("command", "is empty: there is no program to run"));
    }
    process["args"] = json!(args);
    Ok(())
}

fn set_environment(process: &mut Value, service: &Service) {
    let env = array(&mut process["env"]);
    let name = |variable: &Value| {
        variable
            .as_str()
            .and_then(|text| text.split('=').next())
            .map(str::to_owned)
    };
    env.retain(|variable| !name(variable).is_some_and(|name| service.environment.contains_key(&name)));
    for (name, value) in &service.environment {
        if let Some(value) = value {
            env.push(json!(format!("{name}={value}")));
        }
    }
}

/// By number, or by name as the root file system knows it.
fn set_user(process: &mut Value, user: &str, rootfs: &Path) -> Result<()> {
    let asked: UserArg = user.parse().map_err(|error: Error| error.during("user"))?;
    let account = asked
        .resolve(&database(rootfs, "etc/passwd")?, &database(rootfs, "etc/group")?)
        .map_err(|error| error.during(format_args!("user {user:?}")))?;
    process["user"] = json!({
        "uid": account.uid,
        "gid": account.gid.unwrap_or(0),
        "additionalGids": account.additional_gids,
    });
    Ok(())
}

/// A file of the root file system, whose links lead nowhere else; empty when there is none.
fn database(rootfs: &Path, name: &str) -> Result<Vec<u8>> {
    let path = rootfs.join(name);
    let root = File::open(rootfs).os("open", rootfs.display())?;
    // Not blocking: an image may have a pipe there.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = openat2(&root, name, flags, ResolveFlag::RESOLVE_IN_ROOT);
    let file = match opened {
        Err(nix::errno::Errno::ENOENT) => return Ok(Vec::new()),
        opened => File::from(opened.os("open", path.display())?),
    };
    let mut text = Vec::new();
    match file.take(LARGEST_DATABASE).read_to_end(&mut text) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(Vec::new()),
        read => read.os("read", path.display()).map(|_| text),
    }
}

/// What is dropped goes from every set; what is added comes to those that a program of a fresh execve keeps.
fn set_capabilities(process: &mut Value, add: &[String], drop: &[String]) {
    const ADDED: [&str; 3] = ["bounding", "effective", "permitted"];
    if add.is_empty() && drop.is_empty() {
        return;
    }
    let all = |names: &[String]| names.iter().any(|name| name == "ALL");
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        let capabilities = array(&mut process["capabilities"][set]);
        capabilities.retain(|known| !all(drop) && !drop.iter().any(|dropped| known == dropped));
        if !ADDED.contains(&set) {
            continue;
        }
        let every = caps::all().into_iter().map(|capability| capability.to_string());
        let added: Vec<String> = match all(add) {
            true => every.filter(|name| !drop.contains(name)).collect(),
            false => add.to_vec(),
        };
        for name in added {
            if !capabilities.iter().any(|known| *known == name) {
                capabilities.push(json!(name));
            }
        }
    }
}

/// `linux.resources`, with what `deploy.resources.limits` says.
pub(super) fn set_limits(resources: &mut Value, limits: &Limits) {
    if let Some(nano) = limits.nano_cpus {
        let quota = u128::from(nano) * u128::from(CPU_PERIOD) / 1_000_000_000;
        // The kernel's least is a millisecond.
        resources["cpu"]["quota"] = json!(u64::try_from(quota).unwrap_or(u64::MAX).max(1000));
        resources["cpu"]["period"] = json!(CPU_PERIOD);
    }
    if let Some(memory) = limits.memory {
        let own = &mut resources["memory"];
        // Memory and swap together, of which the bundle leaves so much for swap.
        if let (Some(limit), Some(both)) = (own["limit"].as_u64(), own["swap"].as_u64()) {
            own["swap"] = json!(memory.saturating_add(both.saturating_sub(limit)));
        }
        own["limit"] = json!(memory);
    }
    if let Some(pids) = limits.pids {
        resources["pids"]["limit"] = json!(pids);
    }
}
