//! `minirun compose ls`.

use crate::cli::table;
use crate::compose::client;
use crate::compose::supervisor::place::Place;
use crate::container::store::Store;
use crate::error::Result;

/// List the stacks that are up
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the names only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    let projects = Place::projects(store)?;
    if args.quiet {
        projects.iter().for_each(|project| println!("{project}"));
        return Ok(0);
    }
    let mut rows = Vec::new();
    for project in projects {
        let replicas = client::replicas(store, &project)?;
        let running = replicas
            .iter()
            .filter(|replica| replica.state == "running")
            .count();
        let files = Place::of(store, &project)?
            .load()?
            .map(|desired| desired.project.files)
            .unwrap_or_default();
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        rows.push([
            project,
            format!("running {running} of {}", replicas.len()),
            files.join(", "),
        ]);
    }
    table::print(["NAME", "STATUS", "FILES"], rows);
    Ok(0)
}
