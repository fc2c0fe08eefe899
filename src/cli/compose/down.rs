//! `minirun compose down`.

use super::ProjectArgs;
use super::ask::{ask, seconds};
use crate::compose::protocol::{Down, Request};
use crate::compose::supervisor::place::Place;
use crate::compose::volume;
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

pub(super) fn run(store: &Store, project: &ProjectArgs, args: &Args) -> Result<u8> {
    let name = project.name()?;
    if !Place::of(store, &name)?.exists() {
        if args.volumes && remove_volumes(project)? {
            return Ok(0);
        }
        log::warn(format_args!(
            "project {name} is not up: there is nothing to remove"
        ));
        return Ok(0);
    }
    let down = Down {
        volumes: args.volumes,
        grace: seconds(args.timeout),
    };
    ask(store, &name, &Request::Down(down), false).map(|()| 0)
}

/// Those that an earlier `down` has left, which nobody uses. True when there were any.
fn remove_volumes(project: &ProjectArgs) -> Result<bool> {
    let volumes = project.load(&[])?.volumes;
    let own = volumes.values().filter(|volume| !volume.external);
    let mut any = false;
    for named in own {
        if volume::remove(&named.name)? {
            eprintln!(" Volume {} Removed", named.name);
            any = true;
        }
    }
    Ok(any)
}
