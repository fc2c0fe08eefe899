//! `minirun compose stats`.

use super::ProjectArgs;
use super::chosen::Chosen;
use crate::cli::stats::{self, Show};
use crate::container::store::Store;
use crate::error::Result;

/// Show what the containers use
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only of these services
    services: Vec<String>,
    #[command(flatten)]
    show: Show,
}

pub(super) fn run(store: &Store, project: &ProjectArgs, args: &Args) -> Result<u8> {
    let chosen = Chosen::new(project, &args.services)?;
    stats::show(store, &args.show, || chosen.containers(store)).map(|()| 0)
}
