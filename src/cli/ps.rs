//! `minirun ps`.

use std::collections::HashSet;
use std::process::Command;

use crate::container::members;
use crate::container::record::Record;
use crate::container::store::Store;
use crate::error::{Error, Kind, OsContext, Result};
use crate::spec::id::Id;
use crate::spec::state::Status;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Shape of the list: the host's ps(1) as a table, or process ids as JSON
    #[arg(short, long, default_value = "table")]
    format: Format,
    /// The container's id
    id: Id,
    /// Options for ps(1), `-ef` unless given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    let (entry, record) = store.read(&args.id)?;
    if entry.status(&record)? == Status::Stopped {
        return Err(Error::new(
            Kind::WrongState,
            format_args!("container not running: {}", args.id),
        ));
    }
    match args.format {
        Format::Json => println!("{}", serde_json::json!(members::pids(&record)?)),
        Format::Table => print!("{}", table(&record, &args.options)?),
    }
    Ok(0)
}

/// What ps(1) says of a container's processes, with a heading.
pub(super) fn table(record: &Record, options: &[String]) -> Result<String> {
    let pids = members::pids(record)?;
    let options = match options {
        [] => &["-ef".to_owned()][..],
        options => options,
    };
    let output = Command::new("ps").args(options).output().os("run", "ps")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(
            Kind::Program,
            format_args!("ps failed ({}): {}", output.status, message.trim()),
        ));
    }
    filter(
        &String::from_utf8_lossy(&output.stdout),
        &pids.into_iter().collect(),
    )
}

/// The heading and the lines whose PID column holds one of `pids`.
fn filter(table: &str, pids: &HashSet<i32>) -> Result<String> {
    let mut lines = table.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| {
            Error::new(Kind::Program, "ps printed no PID column")
                .hint("give it options that print one, such as -ef")
        })?;
    let belongs = |line: &&str| {
        line.split_whitespace()
            .nth(column)
            .and_then(|pid| pid.parse().ok())
            .is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(heading)
        .chain(lines.filter(belongs))
        .flat_map(|line| [line, "\n"])
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_are_shown_under_the_heading() {
        let table = "UID   PID PPID CMD\nroot  1   0    init\nroot  77  1    sleep 1\n";
        assert_eq!(
            filter(table, &HashSet::from([77])).unwrap(),
            "UID   PID PPID CMD\nroot  77  1    sleep 1\n"
        );
    }

    #[test]
    fn a_table_without_process_ids_is_an_error() {
        assert!(filter("CMD\ninit\n", &HashSet::new()).is_err());
    }
}
