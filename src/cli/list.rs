//! `minirun list`.

use super::privileges;
use super::table;
use crate::container::store::Store;
use crate::error::{Error, Kind, Result};
use crate::log;
use crate::spec::state::State;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Shape of the list
    #[arg(short, long, default_value = "table")]
    format: Format,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    if !store.root().exists() && !privileges::is_default_root(store.root()) {
        return Err(Error::new(
            Kind::NotFound,
            format_args!("--root {} does not exist", store.root().display()),
        ));
    }
    let ids = store.ids()?;
    if args.quiet {
        ids.iter().for_each(|id| println!("{id}"));
        return Ok(0);
    }
    // One damaged container must not hide the others.
    let state = |id| store.read(id).and_then(|(entry, record)| entry.state(&record));
    let states: Vec<State> = ids
        .iter()
        .filter_map(|id| {
            state(id)
                .inspect_err(|error| log::warn(format_args!("{id}: {error}")))
                .ok()
        })
        .collect();
    match args.format {
        Format::Json if states.is_empty() => println!("null"),
        Format::Json => println!(
            "{}",
            serde_json::Value::from_iter(states.iter().map(|state| serde_json::json!(state)))
        ),
        Format::Table => print_table(&states),
    }
    Ok(0)
}

fn print_table(states: &[State]) {
    let rows = states.iter().map(|state| {
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.clone(),
            state.created.clone(),
            state.owner.clone(),
        ]
    });
    table::print(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], rows);
}
