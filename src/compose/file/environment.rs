//! `env_file` and `environment` of a service.

use std::collections::BTreeMap;

use super::env_file::Format;
use super::keys;
use super::locate;
use super::node::{At, Fields};
use super::service::Context;
use crate::error::Result;

/// Variables by name; `None` takes one away.
type Environment = BTreeMap<String, Option<String>>;

/// The variables of the files, in their order, and over them those of `environment`.
pub(super) fn environment(service: &Fields<'_>, context: &Context<'_>) -> Result<Environment> {
    let mut environment = Environment::new();
    if let Some(files) = service.get("env_file") {
        for at in files.items("a list of files")? {
            from_file(&at, context, &mut environment)?;
        }
    }
    let Some(at) = service.get("environment") else {
        return Ok(environment);
    };
    for (name, at) in at.named("a mapping, or a list of NAME=VALUE")? {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(at.error(format_args!("{name:?} is no name of a variable")));
        }
        let value = match at.node.is_null() {
            true => context.variable(name),
            false => Some(at.text("a text")?.to_owned()),
        };
        environment.insert(name.to_owned(), value);
    }
    Ok(environment)
}

fn from_file(at: &At<'_>, context: &Context<'_>, environment: &mut Environment) -> Result<()> {
    let (path, required, format) = match at.node.text() {
        Some(_) => (at.clone(), true, Format::Usual),
        None => {
            let fields = at.fields(keys::ENV_FILE)?;
            let format = fields.read("format", |at| match at.text("raw")? {
                "raw" => Ok(Format::Raw),
                other => Err(at.error(format_args!(
                    "{other:?} is not \"raw\", the only format with a name"
                ))),
            })?;
            (
                fields.required("path")?,
                fields.read("required", At::bool)?.unwrap_or(true),
                format.unwrap_or(Format::Usual),
            )
        }
    };
    let file = path.path(path.word("a file")?, context.home())?;
    let lookup = |name: &str| context.variable(name);
    let read = locate::env_file(&file, required, format, &lookup);
    let read = read.map_err(|error| error.during(format_args!("{}: {}", path.node.place, path.path)))?;
    environment.extend(read.into_iter().flatten());
    Ok(())
}
