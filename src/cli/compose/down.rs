//! `minirun compose down`.

use super::ask::{ask, seconds};
use crate::compose::protocol::{Down, Request};
use crate::compose::supervisor::place::Place;
use crate::container::store::Store;
use crate::error::Result;
use crate::log;

/// Stop and remove containers and networks
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Remove named volumes, too
    #[arg(short, long)]
    volumes: bool,
    /// Seconds from the stop signal to SIGKILL; the services' own otherwise
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Accepted: what the project has made goes, whether or not the file knows it
    #[arg(long)]
    remove_orphans: bool,
}

pub(super) fn run(store: &Store, project: &str, args: &Args) -> Result<u8> {
    if !Place::of(store, project)?.exists() {
        log::warn(format_args!(
            "project {project} is not up: there is nothing to remove"
        ));
        return Ok(0);
    }
    let down = Down {
        volumes: args.volumes,
        grace: seconds(args.timeout),
    };
    ask(store, project, &Request::Down(down), false).map(|()| 0)
}
