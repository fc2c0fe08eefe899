//! `healthcheck` and `depends_on`.

use std::time::Duration;

use super::keys;
use super::node::At;
use super::units;
use crate::compose::model::{Condition, Dependency, Healthcheck};
use crate::error::Result;

/// `None` when the check is switched off.
pub(super) fn healthcheck(at: &At<'_>) -> Result<Option<Healthcheck>> {
    let fields = at.fields(keys::HEALTHCHECK)?;
    if fields.read("disable", At::bool)? == Some(true) {
        return Ok(None);
    }
    let Some(test) = test(&fields.required("test")?)? else {
        return Ok(None);
    };
    let span = |key: &'static str, otherwise: u64| {
        let read = fields.read(key, |at| at.parsed("a duration", units::duration))?;
        Ok(read.unwrap_or(Duration::from_secs(otherwise)))
    };
    let positive = |key: &'static str, otherwise: u64| -> Result<Duration> {
        match (span(key, otherwise)?, fields.get(key)) {
            (span, Some(at)) if span < Duration::from_millis(1) => Err(at.error("expected 1ms or more")),
            (span, _) => Ok(span),
        }
    };
    let retries = match fields.get("retries") {
        Some(at) => match at.number("a whole number")? {
            0 => return Err(at.error("expected 1 or more")),
            retries => retries,
        },
        None => 3,
    };
    Ok(Some(Healthcheck {
        test,
        interval: positive("interval", 30)?,
        timeout: positive("timeout", 30)?,
        retries,
        start_period: span("start_period", 0)?,
        start_interval: positive("start_interval", 5)?,
    }))
}

/// A text is for the shell; a list says in its first element what it is for.
fn test(at: &At<'_>) -> Result<Option<Vec<String>>> {
    let shell = |command: &str| Some(["/bin/sh", "-c", command].map(str::to_owned).to_vec());
    if at.node.text().is_some() {
        return Ok(shell(at.word("a command")?));
    }
    let items = at.items("a command")?;
    let words = items
        .iter()
        .map(|item| item.text("a word of a command"))
        .collect::<Result<Vec<_>>>()?;
    match words.as_slice() {
        ["NONE"] => Ok(None),
        ["CMD-SHELL", command] if !command.is_empty() => Ok(shell(command)),
        ["CMD", program, ..] if !program.is_empty() => Ok(Some(
            words.iter().skip(1).map(|word| (*word).to_owned()).collect(),
        )),
        _ => Err(at.error("expected [NONE], [CMD, program, arguments...] or [CMD-SHELL, one command line]")),
    }
}

/// One of `depends_on`; `null` stands for the short form.
pub(super) fn dependency(at: &At<'_>) -> Result<Dependency> {
    if at.node.is_null() {
        return Ok(Dependency {
            condition: Condition::Started,
            restart: false,
            required: true,
        });
    }
    let fields = at.fields(keys::DEPENDENCY)?;
    let condition = fields.read("condition", |at| {
        at.parsed("a condition", |text| match text {
            "service_started" => Ok(Condition::Started),
            "service_healthy" => Ok(Condition::Healthy),
            "service_completed_successfully" => Ok(Condition::CompletedSuccessfully),
            _ => Err(format!(
                "{text:?} is none of service_started, service_healthy and service_completed_successfully"
            )),
        })
    })?;
    Ok(Dependency {
        condition: condition.unwrap_or(Condition::Started),
        restart: fields.read("restart", At::bool)?.unwrap_or(false),
        required: fields.read("required", At::bool)?.unwrap_or(true),
    })
}
