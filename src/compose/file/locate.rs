//! Which files a project is read from, where it is, and which variables there are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::Options;
use super::env_file::{Assignments, Format, parse};
use super::node::clean;
use crate::error::{Error, Kind, OsContext, Result};

/// The files that are looked for, the best first, and the endings of what goes over the one that is found.
const NAMES: [(&str, &str); 4] = [
    ("compose", "yaml"),
    ("compose", "yml"),
    ("docker-compose", "yaml"),
    ("docker-compose", "yml"),
];

/// The most bytes that an env file may have.
const MAX_ENV_FILE: usize = 1 << 20;

/// Where a project is.
#[derive(Debug)]
pub(super) struct Setting {
    /// At least one, absolute.
    pub(super) files: Vec<PathBuf>,
    /// Absolute.
    pub(super) directory: PathBuf,
    /// The caller's environment, over the project's env files.
    pub(super) variables: BTreeMap<String, String>,
}

impl Setting {
    /// # Errors
    /// NotFound when there is no Compose file.
    pub(super) fn find(options: &Options) -> Result<Self> {
        let absolute = |path: &Path| clean(&options.working_directory.join(path));
        let start = match &options.project_directory {
            Some(directory) => absolute(directory),
            None => options.working_directory.clone(),
        };
        let mut files: Vec<PathBuf> = options.files.iter().map(|path| absolute(path)).collect();
        if files.is_empty() {
            files = match variables(options, &start)?.get("COMPOSE_FILE") {
                Some(list) if !list.is_empty() => {
                    list.split(':').map(|path| absolute(Path::new(path))).collect()
                }
                _ => look_upwards(&start)?,
            };
        }
        let of_file = files.first().and_then(|first| first.parent());
        let directory = match (&options.project_directory, of_file) {
            (None, Some(directory)) => directory.to_owned(),
            _ => start,
        };
        Ok(Self {
            variables: variables(options, &directory)?,
            files,
            directory,
        })
    }
}

/// The first directory from `start` upwards that has a Compose file: that file and what goes over it.
fn look_upwards(start: &Path) -> Result<Vec<PathBuf>> {
    for directory in start.ancestors() {
        for (name, ending) in NAMES {
            let file = directory.join(format!("{name}.{ending}"));
            if !file.is_file() {
                continue;
            }
            let over = ["yaml", "yml"].map(|ending| directory.join(format!("{name}.override.{ending}")));
            let over = over.into_iter().find(|path| path.is_file());
            return Ok([file].into_iter().chain(over).collect());
        }
    }
    let names = NAMES.map(|(name, ending)| format!("{name}.{ending}")).join(", ");
    Err(Error::new(
        Kind::NotFound,
        format_args!("no Compose file in {} or above it", start.display()),
    )
    .hint(format_args!("it is called {names}, or given with --file")))
}

/// The caller's environment over `--env-file`, or over the `.env` of a directory if it has one.
fn variables(options: &Options, directory: &Path) -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    let lookup = |name: &str| options.environment.get(name).cloned();
    let given = options
        .env_files
        .iter()
        .map(|path| (options.working_directory.join(path), true));
    let mut files: Vec<_> = given.collect();
    if files.is_empty() {
        files.push((directory.join(".env"), false));
    }
    for (path, required) in files {
        let Some(read) = env_file(&path, required, Format::Usual, &lookup)? else {
            continue;
        };
        variables.extend(read.into_iter().filter_map(|(name, value)| Some((name, value?))));
    }
    variables.extend(options.environment.clone());
    Ok(variables)
}

/// The variables of an env file; `None` when there is none and none is required.
///
/// # Errors
/// With the line that is wrong.
pub(super) fn env_file(
    path: &Path,
    required: bool,
    format: Format,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Assignments>> {
    let raw = match contents(path, MAX_ENV_FILE) {
        Err(error) if error.kind() == Kind::NotFound && !required => return Ok(None),
        contents => contents?,
    };
    let text = String::from_utf8(raw).map_err(|_| Error::invalid(path.display(), "the file is not UTF-8"))?;
    let wrong = |line: usize, why: &str| Error::invalid(format_args!("{}:{line}", path.display()), why);
    let read = parse(&text, format, lookup).map_err(|error| wrong(error.line, &error.why))?;
    let nul = |text: &str| text.contains('\0');
    match read
        .iter()
        .any(|(name, value)| nul(name) || value.as_deref().is_some_and(nul))
    {
        true => Err(Error::invalid(
            path.display(),
            "a value has a NUL character in it",
        )),
        false => Ok(Some(read)),
    }
}

/// The bytes of a regular file that has no more than `most`.
///
/// # Errors
/// NotFound when it does not exist.
pub(super) fn contents(path: &Path, most: usize) -> Result<Vec<u8>> {
    let file = match File::open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(Error::new(
                Kind::NotFound,
                format_args!("{} does not exist", path.display()),
            ));
        }
        file => file.os("open", path.display())?,
    };
    if file.metadata().os("stat", path.display())?.is_dir() {
        return Err(Error::invalid(path.display(), "is a directory, expected a file"));
    }
    let mut raw = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit)
        .read_to_end(&mut raw)
        .os("read", path.display())?;
    match raw.len() > most {
        true => Err(Error::invalid(
            path.display(),
            format_args!("the file has more than {most} bytes"),
        )),
        false => Ok(raw),
    }
}

/// The name that the command line gives, or `COMPOSE_PROJECT_NAME` of the caller's environment or of `variables`.
///
/// # Errors
/// When it is none.
pub(super) fn given_name(options: &Options, variables: &BTreeMap<String, String>) -> Result<Option<String>> {
    const VARIABLE: &str = "COMPOSE_PROJECT_NAME";
    let by_variable = options
        .environment
        .get(VARIABLE)
        .or_else(|| variables.get(VARIABLE));
    let by_variable = by_variable.filter(|name| !name.is_empty());
    let (from, name) = match (&options.project_name, by_variable) {
        (Some(name), _) => ("--project-name", name),
        (None, Some(name)) => (VARIABLE, name),
        (None, None) => return Ok(None),
    };
    check_name(name).map_err(|why| Error::invalid(from, why))?;
    Ok(Some(name.clone()))
}

/// Whether this may be the name of a project.
///
/// # Errors
/// In words, why not.
pub(super) fn check_name(name: &str) -> std::result::Result<(), String> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fine = name.bytes().next().is_some_and(letter)
        && name.len() <= 63
        && name.bytes().all(|byte| letter(byte) || b"_-".contains(&byte));
    match fine {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is no project's name: up to 63 lower-case letters, digits, \"-\" and \"_\", the first a letter or digit"
        )),
    }
}

/// What of a directory's name can be the name of a project.
///
/// # Errors
/// When nothing can.
pub(super) fn name_of_directory(directory: &Path) -> Result<String> {
    let name = directory
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let allowed =
        |letter: &char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_-".contains(*letter);
    let name: String = name.chars().filter(allowed).collect();
    let name: String = name.trim_start_matches(['_', '-']).chars().take(63).collect();
    match name.as_str() {
        "" => Err(
            Error::invalid("project name", format_args!("{} makes none", directory.display()))
                .hint("give it with --project-name, or as `name` in the file"),
        ),
        _ => Ok(name),
    }
}
