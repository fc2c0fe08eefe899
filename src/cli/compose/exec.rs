//! `minirun compose exec`.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::replica;
use crate::container::store::Store;
use crate::error::{OsContext as _, Result};

/// Run a program in a replica of a service
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Number of the replica; the first that runs otherwise
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Give the program no terminal; it has one when standard input and output are one
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// Accepted: the program has standard input, and a terminal when there is one, anyway
    #[arg(short, long, hide = true)]
    interactive: bool,
    /// Accepted, as --interactive
    #[arg(short, long, hide = true, conflicts_with = "no_tty")]
    tty: bool,
    /// Return as soon as the program runs
    #[arg(short, long)]
    detach: bool,
    /// Environment variable NAME=VALUE; may be repeated
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// UID[:GID] of the program
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The service
    service: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Becomes `minirun exec`, which runs from a copy of the binary that no container can write to.
pub(super) fn run(store: &Store, project: &str, args: &Args) -> Result<u8> {
    let id = replica::running(store, project, &args.service, args.index)?.id;
    let terminal =
        !args.no_tty && !args.detach && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut command = Command::new("/proc/self/exe");
    command.arg("--root").arg(store.root()).arg("exec");
    for (option, given) in [("--tty", terminal), ("--detach", args.detach)] {
        if given {
            command.arg(option);
        }
    }
    for variable in &args.env {
        command.args(["--env", variable]);
    }
    for (option, value) in [("--user", &args.user), ("--cwd", &args.workdir)] {
        if let Some(value) = value {
            command.args([option, value]);
        }
    }
    Err(command.arg(id).args(&args.command).exec()).os("execute", "minirun exec")
}
