//! `minirun compose top`.

use super::ProjectArgs;
use super::chosen::Chosen;
use crate::cli::{follow, ps};
use crate::container::store::Store;
use crate::error::Result;
use crate::spec::state::Status;

/// Show the processes of the containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only of these services
    services: Vec<String>,
}

pub(super) fn run(store: &Store, project: &ProjectArgs, args: &Args) -> Result<u8> {
    let mut text = String::new();
    for id in Chosen::new(project, &args.services)?.containers(store)? {
        let (entry, record) = store.read(&id)?;
        if entry.status(&record)? == Status::Stopped {
            continue;
        }
        text += &format!("{id}\n{}\n", ps::table(&record, &[])?);
    }
    follow::print(text.as_bytes()).map(|_| 0)
}
