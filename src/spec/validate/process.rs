//! `process` of config.json, and the document of `exec --process`, which has the same shape.

use oci_spec::runtime::{Process, User};

use super::not_absolute;
use crate::error::{Error, Result};
use crate::spec::user::MAX_ID;

pub(super) fn check(process: &Process) -> Result<()> {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::invalid("process.args", "must have at least one element"));
    }
    if !process.cwd().is_absolute() {
        return Err(not_absolute("process.cwd", process.cwd()));
    }
    env(process)?;
    user(process.user())?;
    console_size(process)?;
    if let Some(score) = process
        .oom_score_adj()
        .filter(|score| !(-1000..=1000).contains(score))
    {
        let why = format!("must be between -1000 and 1000, found {score}");
        return Err(Error::invalid("process.oomScoreAdj", why));
    }
    Ok(())
}

fn env(process: &Process) -> Result<()> {
    for (index, variable) in process.env().iter().flatten().enumerate() {
        let why = match variable.find('=') {
            None => "has no '='",
            Some(0) => "has no name before '='",
            Some(_) => continue,
        };
        let field = format!("process.env[{index}]");
        return Err(Error::invalid(field, format_args!("{variable:?} {why}")).hint("write NAME=VALUE"));
    }
    Ok(())
}

fn user(user: &User) -> Result<()> {
    let reserved = |field: &str| {
        let why = format!(
            "{} is not an id: the kernel takes it as \"leave it as it is\"",
            u32::MAX
        );
        Err(Error::invalid(field, why))
    };
    if user.uid() > MAX_ID {
        return reserved("process.user.uid");
    }
    if user.gid() > MAX_ID {
        return reserved("process.user.gid");
    }
    let groups = user.additional_gids().iter().flatten();
    if let Some(index) = groups.clone().position(|gid| *gid > MAX_ID) {
        return reserved(&format!("process.user.additionalGids[{index}]"));
    }
    if let Some(umask) = user.umask().filter(|umask| *umask > 0o777) {
        let why = format!("must be at most 511 (octal 777), found {umask}");
        return Err(Error::invalid("process.user.umask", why));
    }
    Ok(())
}

/// The size matters with a terminal only, and the kernel's `struct winsize` has 16 bits for each number.
fn console_size(process: &Process) -> Result<()> {
    let Some(size) = process
        .console_size()
        .filter(|_| process.terminal() == Some(true))
    else {
        return Ok(());
    };
    for (field, found) in [("height", size.height()), ("width", size.width())] {
        if u16::try_from(found).is_err() {
            let why = format!("must be at most {}, found {found}", u16::MAX);
            return Err(Error::invalid(format_args!("process.consoleSize.{field}"), why));
        }
    }
    Ok(())
}
