//! `minirun network`: one file per verb.

mod connect;
mod create;
mod flows;
mod inspect;
mod ls;
mod policy;
mod prune;
mod ready;
mod reconcile;
mod rm;
mod topology;

use clap::Subcommand;

use crate::container::store::Store;
use crate::error::Result;
use crate::net::Dirs;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Connect(connect::ConnectArgs),
    Create(create::Args),
    Disconnect(connect::DisconnectArgs),
    Flows(flows::Args),
    Inspect(inspect::Args),
    #[command(alias = "list")]
    Ls(ls::Args),
    Policy(policy::Args),
    Prune(prune::Args),
    Ready(ready::Args),
    Reconcile(reconcile::Args),
    #[command(alias = "remove")]
    Rm(rm::Args),
    Topology(topology::Args),
}

/// How lists are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    let dirs = Dirs::default();
    match &args.verb {
        Verb::Connect(args) => connect::connect(store, args),
        Verb::Create(args) => create::run(&dirs, args),
        Verb::Disconnect(args) => connect::disconnect(store, args),
        Verb::Flows(args) => flows::run(&dirs, args),
        Verb::Inspect(args) => inspect::run(&dirs, args),
        Verb::Ls(args) => ls::run(&dirs, args),
        Verb::Policy(args) => policy::run(&dirs, args),
        Verb::Prune(args) => prune::run(&dirs, args),
        Verb::Ready(args) => ready::run(&dirs, args),
        Verb::Reconcile(args) => reconcile::run(&dirs, args),
        Verb::Rm(args) => rm::run(&dirs, args),
        Verb::Topology(args) => topology::run(&dirs, args),
    }
    .map(|()| 0)
}
