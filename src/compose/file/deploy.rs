//! How many replicas, what they may use, when they are started again: `deploy`, and the older keys beside it.

use super::keys;
use super::node::{At, Fields};
use super::units;
use crate::compose::model::{Limits, Restart, RestartWhen};
use crate::error::Result;

/// What both `deploy` and older keys of the service say.
pub(super) struct Deploy {
    pub(super) replicas: u32,
    pub(super) limits: Limits,
    pub(super) restart: Restart,
}

pub(super) fn deploy(service: &Fields<'_>) -> Result<Deploy> {
    let deploy = match service.get("deploy") {
        Some(at) => Some(at.fields(keys::DEPLOY)?),
        None => None,
    };
    if let Some(mode) = deploy.as_ref().and_then(|deploy| deploy.get("mode"))
        && mode.text("replicated")? != "replicated"
    {
        return Err(mode.error("there is one host, so \"replicated\" is the only mode"));
    }
    let count = |at: &At<'_>| match at.number("a whole number")? {
        count @ 0..=MOST => Ok(count),
        count => Err(at.error(format_args!("{count} replicas are more than {MOST}"))),
    };
    let in_deploy = deploy.as_ref().and_then(|deploy| deploy.get("replicas"));
    let replicas = one_of(in_deploy, service.get("scale"), count)?;
    let resources = match deploy.as_ref().and_then(|deploy| deploy.get("resources")) {
        Some(at) => at.fields(keys::RESOURCES)?.get("limits"),
        None => None,
    };
    let limits = match resources {
        Some(at) => Some(at.fields(keys::LIMITS)?),
        None => None,
    };
    let limit = |key: &'static str| limits.as_ref().and_then(|limits| limits.get(key));
    let memory = |at: &At<'_>| match at.parsed("a size", units::size)? {
        0 => Err(at.error("a limit of 0 leaves no memory at all; leave the key out for no limit")),
        bytes => Ok(bytes),
    };
    let pids = |at: &At<'_>| match at.number("a whole number")? {
        pids @ (-1 | 1..) => Ok(pids),
        _ => Err(at.error("expected 1 or more, or -1 for no limit")),
    };
    let limits = Limits {
        nano_cpus: one_of(limit("cpus"), service.get("cpus"), |at| {
            at.parsed("a number of processors", units::nano_cpus)
        })?,
        memory: one_of(limit("memory"), service.get("mem_limit"), memory)?,
        pids: one_of(limit("pids"), service.get("pids_limit"), pids)?,
    };
    let policy = deploy.as_ref().and_then(|deploy| deploy.get("restart_policy"));
    let restart = match (policy, service.get("restart")) {
        (Some(at), _) => restart_policy(&at)?,
        (None, Some(at)) => restart(&at)?,
        (None, None) => Restart::default(),
    };
    Ok(Deploy {
        replicas: replicas.unwrap_or(1),
        limits,
        restart,
    })
}

/// The most replicas of a service.
const MOST: u32 = 1_000;

/// A value that two keys may give. If both do they have to agree.
fn one_of<T: PartialEq>(
    new: Option<At<'_>>,
    old: Option<At<'_>>,
    read: impl Fn(&At<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let new_value = new.as_ref().map(&read).transpose()?;
    let old_value = old.as_ref().map(&read).transpose()?;
    match (new, old) {
        (Some(new), Some(old)) if new_value != old_value => {
            Err(old.error(format_args!("{} says otherwise; give one of them", new.path)))
        }
        _ => Ok(new_value.or(old_value)),
    }
}

/// `no`, `always`, `unless-stopped` or `on-failure[:N]`.
fn restart(at: &At<'_>) -> Result<Restart> {
    let text = at.text("a restart policy")?;
    let when = |when| Restart {
        when,
        ..Restart::default()
    };
    match text.split_once(':') {
        None => match text {
            "no" => Ok(when(RestartWhen::No)),
            "always" => Ok(when(RestartWhen::Always)),
            "unless-stopped" => Ok(when(RestartWhen::UnlessStopped)),
            "on-failure" => Ok(when(RestartWhen::OnFailure)),
            _ => Err(at.error(format_args!(
                "{text:?} is none of \"no\", always, on-failure[:N] and unless-stopped"
            ))),
        },
        Some(("on-failure", attempts)) => match attempts.parse() {
            Ok(attempts) => Ok(Restart {
                attempts: Some(attempts).filter(|attempts| *attempts > 0),
                ..when(RestartWhen::OnFailure)
            }),
            Err(_) => Err(at.error(format_args!("{attempts:?} is not a number of attempts"))),
        },
        Some((policy, _)) => Err(at.error(format_args!(
            "{policy:?} takes no number of attempts; on-failure does"
        ))),
    }
}

fn restart_policy(at: &At<'_>) -> Result<Restart> {
    let fields = at.fields(keys::RESTART_POLICY)?;
    let when = fields.read("condition", |at| {
        at.parsed("a condition", |text| match text {
            "none" => Ok(RestartWhen::No),
            "on-failure" => Ok(RestartWhen::OnFailure),
            "any" => Ok(RestartWhen::Always),
            _ => Err(format!("{text:?} is none of none, on-failure and any")),
        })
    })?;
    let span = |at: &At<'_>| at.parsed("a duration", units::duration);
    let attempts: Option<u32> = fields.read("max_attempts", |at| at.number("a whole number"))?;
    Ok(Restart {
        when: when.unwrap_or(RestartWhen::Always),
        attempts: attempts.filter(|attempts| *attempts > 0),
        delay: fields.read("delay", span)?,
        window: fields.read("window", span)?,
    })
}
