//! `minirun restore`.

use std::path::PathBuf;

use super::args;
use super::checkpoint::CommonArgs;
use crate::container::network::Flags;
use crate::container::options::{Options as CreateOptions, Terminal};
use crate::container::restore::{self, Options};
use crate::container::store::Store;
use crate::error::Result;
use crate::init::process::Keep;
use crate::spec::id::Id;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The bundle's directory
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Socket that gets the master of the container's terminal
    #[arg(long, value_name = "PATH")]
    console_socket: Option<PathBuf>,
    /// File for the process id
    #[arg(long, value_name = "PATH")]
    pid_file: Option<PathBuf>,
    /// Return as soon as the container runs
    #[arg(short, long)]
    detach: bool,
    /// Accepted: no process but the container's own is waited for
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// Accepted: CRIU enters the root in its own way
    #[arg(long, hide = true)]
    no_pivot: bool,
    /// Profile that the processes get: apparmor:NAME or selinux:NAME
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// SELinux context that mounts with one get
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
    /// The new container's id
    id: Id,
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    let shown = if args.detach {
        Terminal::Nobody
    } else {
        Terminal::Relay
    };
    let create = CreateOptions {
        id: args.id.clone(),
        bundle: args::bundle(args.bundle.as_deref())?,
        terminal: args.console_socket.clone().map_or(shown, Terminal::Socket),
        pidfd_socket: None,
        pid_file: args.pid_file.clone(),
        no_pivot: args.no_pivot,
        no_new_keyring: false,
        keep: Keep::default(),
        // A program that is restored has said that it is ready.
        notify: None,
        network: Flags::default(),
        native: false,
    };
    let options = Options {
        images: args.common.image_path.clone(),
        work: args.common.work_path.clone(),
        detach: args.detach,
        lsm_profile: args.lsm_profile.clone(),
        lsm_mount_context: args.lsm_mount_context.clone(),
        common: args.common.common(),
    };
    restore::restore(store, &create, &options)
}
