//! `minirun compose logs`.

use super::ProjectArgs;
use super::chosen::Chosen;
use crate::cli::logs::{self, Logs, Style, Which};
use crate::compose::journal;
use crate::error::Result;

/// Show what the containers have written
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only of these services
    services: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// Without the names of the containers
    #[arg(long)]
    no_log_prefix: bool,
    /// Without colours, which only a terminal gets anyway, and none with $NO_COLOR
    #[arg(long)]
    no_color: bool,
}

pub(super) fn run(project: &ProjectArgs, args: &Args) -> Result<u8> {
    let chosen = Chosen::new(project, &args.services)?;
    let name = &chosen.project;
    let style = Style {
        timestamps: args.which.timestamps(),
        prefix: (!args.no_log_prefix).then(|| name.clone()),
        colour: logs::wants_colour(args.no_color),
    };
    let wanted = |container: &str| chosen.has(logs::service(name, container));
    let mut logs = Logs::open(&journal::directory(name), &args.which.selection(), style, &wanted)?;
    logs.show(args.which.follow()).map(|()| 0)
}
