//! `minirun compose events`.

use super::ProjectArgs;
use super::chosen::{Chosen, PROJECT, SERVICE};
use crate::cli::events::{self, Filter, Format};
use crate::cli::when::When;
use crate::container::store::Store;
use crate::error::Result;

/// Show what happens to the containers, as it happens
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only of these services
    services: Vec<String>,
    /// Begin with those since then: 2026-01-02T03:04:05Z, seconds since 1970, or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// End then; in the past: show and end
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Lines of JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(store: &Store, project: &ProjectArgs, args: &Args) -> Result<u8> {
    let chosen = Chosen::new(project, &args.services)?;
    let label = |name: &str, value: String| Filter::Label(name.to_owned(), Some(value));
    let mut filters = vec![label(PROJECT, chosen.project)];
    filters.extend(chosen.services.into_iter().map(|service| label(SERVICE, service)));
    let format = if args.json { Format::Json } else { Format::Text };
    events::show(store, args.since, args.until, &filters, format).map(|()| 0)
}
