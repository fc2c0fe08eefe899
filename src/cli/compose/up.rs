//! `minirun compose up`.

use super::ask::{ask, seconds};
use super::foreground::{Foreground, Then};
use super::{ProjectArgs, scale};
use crate::compose::order;
use crate::compose::protocol::{Request, Until, Up};
use crate::container::store::Store;
use crate::error::{Error, Kind, Result};

/// Create and start services, and show what they write until all have ended; Ctrl-C stops them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Return when the services are started
    #[arg(short, long)]
    detach: bool,
    /// Return when the services are healthy; implies --detach
    #[arg(long)]
    wait: bool,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    wait_timeout: Option<u64>,
    /// Stop all services when one has ended; with its exit status
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    abort_on_container_exit: bool,
    /// Stop all services when one has failed; with its exit status
    #[arg(long, conflicts_with_all = ["detach", "wait", "abort_on_container_exit"])]
    abort_on_container_failure: bool,
    /// Stop all services when one has ended; with the exit status of this one
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "wait", "abort_on_container_failure"])]
    exit_code_from: Option<String>,
    /// Replace containers that are as the file says, too
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,
    /// Replace no container
    #[arg(long)]
    no_recreate: bool,
    /// Remove containers of services that the file does not know
    #[arg(long)]
    remove_orphans: bool,
    /// Number of replicas in place of the file's; may be repeated
    #[arg(long, value_name = "SERVICE=NUMBER", value_parser = scale::replicas)]
    scale: Vec<(String, u32)>,
    /// Print no progress
    #[arg(long)]
    quiet: bool,
    /// Services, with those that they depend on; all otherwise
    services: Vec<String>,
}

pub(super) fn run(store: &Store, project: &ProjectArgs, args: &Args) -> Result<u8> {
    let project = project.load(&args.services)?;
    let name = project.name.clone();
    let selected = order::with_dependencies(&project, &args.services);
    let selected = selected.into_iter().map(str::to_owned).collect();
    if let Some(service) = &args.exit_code_from
        && !project.services.contains_key(service)
    {
        return Err(Error::new(
            Kind::NotFound,
            format_args!("--exit-code-from: no such service: {service}"),
        ));
    }
    let up = Request::Up(Box::new(Up {
        project,
        services: args.services.clone(),
        scale: args.scale.iter().cloned().collect(),
        wait: args.wait,
        patience: seconds(args.wait_timeout),
        force_recreate: args.force_recreate,
        no_recreate: args.no_recreate,
        remove_orphans: args.remove_orphans,
    }));
    if args.detach || args.wait {
        return ask(store, &name, &up, args.quiet).map(|()| 0);
    }
    Foreground {
        store,
        project: &name,
        shown: &args.services,
        services: selected,
        until: args.until(),
        then: args.then(),
        quiet: args.quiet,
    }
    .run(up)
}

impl Args {
    fn until(&self) -> Until {
        match (&self.exit_code_from, self.abort_on_container_failure) {
            (_, true) => Until::OneFailed,
            (Some(_), _) => Until::OneEnded,
            (None, false) if self.abort_on_container_exit => Until::OneEnded,
            (None, false) => Until::AllEnded,
        }
    }

    fn then(&self) -> Then<'_> {
        match &self.exit_code_from {
            Some(service) => Then::StatusOf(service),
            None if self.until() == Until::AllEnded => Then::Success,
            None => Then::WhatEnded,
        }
    }
}
