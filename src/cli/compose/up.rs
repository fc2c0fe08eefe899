//! `minirun compose up`.

use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::ask::{ask, seconds};
use super::{ProjectArgs, scale};
use crate::compose::protocol::{Request, Up};
use crate::container::store::Store;
use crate::error::{Error, Kind, OsContext as _, Result};

/// Create and start services; Ctrl-C stops them
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
    let up = Up {
        project,
        services: args.services.clone(),
        scale: args.scale.iter().cloned().collect(),
        wait: args.wait,
        patience: seconds(args.wait_timeout),
        force_recreate: args.force_recreate,
        no_recreate: args.no_recreate,
        remove_orphans: args.remove_orphans,
    };
    ask(store, &name, &Request::Up(Box::new(up)), args.quiet)?;
    if !args.detach && !args.wait {
        attach(store, &name)?;
    }
    Ok(0)
}

/// Shows what the services write until Ctrl-C, which stops them; a second one kills them.
fn attach(store: &Store, name: &str) -> Result<()> {
    let mut logs = Command::new("/proc/self/exe")
        .arg("--root")
        .arg(store.root())
        .args(["compose", "--project-name", name, "logs", "--follow"])
        .spawn()
        .os("execute", "minirun compose logs")?;
    // The terminal tells both processes. The logs end with that, and then it is for us to act.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().os("block", "signals")?;
    signals.wait().os("wait for", "Ctrl-C")?;
    // Told by kill(1), it has not heard of it.
    let _ = logs.kill();
    logs.wait().os("wait for", "minirun compose logs")?;
    let stop = |grace| Request::Stop {
        services: Vec::new(),
        grace,
    };
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| ask(store, name, &stop(None), false));
        let again = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .os("create", "a signalfd")?;
        while !stopping.is_finished() {
            let mut fds = [PollFd::new(again.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(50_u8)).is_ok_and(|ready| ready > 0) {
                again.read_signal().os("read", "a signal")?;
                ask(store, name, &stop(Some(Duration::ZERO)), true)?;
            }
        }
        stopping
            .join()
            .unwrap_or_else(|_| Err(Error::new(Kind::Os, "stopping has failed")))
    })
}
