//! The command line: parse, dispatch, print. One file per verb; what verbs share is in [`args`].
//!
//! The grammar is runc's: global options before the command, options of `create`, `run` and others before or after the
//! id, everything after the id of `exec` belongs to the program.

pub mod args;
mod checkpoint;
mod compose;
mod container_events;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod follow;
mod inspect;
mod kill;
mod lazy;
mod list;
mod logs;
mod netd;
mod network;
mod one_dash;
mod pause;
mod plain;
mod privileges;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod stats;
mod table;
mod update;
mod when;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use nix::unistd::geteuid;

use self::lazy::Lazy;
use crate::container::store::Store;
use crate::error::Result;
use crate::init::exe;
use crate::log;

/// An OCI container runtime with daemonless networking.
#[derive(Debug, Parser)]
#[command(name = "minirun", disable_version_flag = true, arg_required_else_help = true)]
#[command(after_help = "Without an engine: minirun run BUNDLE/ runs a bundle on the network `default`.")]
struct Cli {
    /// Print the version and exit
    #[arg(short, long)]
    version: bool,
    /// Directory of the containers' state [default: /run/minirun, or $XDG_RUNTIME_DIR/minirun; called as runc or crun, that name]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// File to append the log to, instead of standard error
    #[arg(long, value_name = "FILE", value_parser = args::log_file)]
    log: Option<PathBuf>,
    /// Shape of the log's lines
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Log what is done
    #[arg(long)]
    debug: bool,
    /// Have systemd make the control groups of new containers: linux.cgroupsPath is slice:prefix:name then
    #[arg(long)]
    systemd_cgroup: bool,
    /// Who makes the control groups of new containers; disabled: they stay in the caller's [default: cgroupfs]
    #[arg(long, value_name = "WHO", conflicts_with = "systemd_cgroup")]
    cgroup_manager: Option<privileges::CgroupManager>,
    /// Do without the control groups that the caller may not make; auto: unless the caller is root
    #[arg(long, value_name = "BOOL", default_value = "auto")]
    rootless: privileges::Flag,
    /// Ignored: CRIU is looked up in PATH
    #[arg(long, value_name = "PATH", hide = true)]
    criu: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a running container to files with CRIU, for `restore`
    Checkpoint(Lazy<checkpoint::Args>),
    /// Stacks of containers from Compose files
    Compose(Lazy<compose::Args>),
    /// Create a container; `start` runs its program
    Create(Lazy<create::Args>),
    /// Delete a stopped container and everything that it was given
    Delete(Lazy<delete::Args>),
    /// Show what happens to containers and networks, or one container's statistics
    Events(Lazy<events::Args>),
    /// Run a program in a running container
    Exec(Lazy<exec::Args>),
    /// Print what this runtime can do as JSON
    Features(Lazy<features::Args>),
    /// Print everything that is known of a container as JSON
    Inspect(Lazy<inspect::Args>),
    /// Send a signal to a container's first process
    Kill(Lazy<kill::Args>),
    /// List all containers
    List(Lazy<list::Args>),
    /// Show what a container of a stack has written
    Logs(Lazy<logs::Args>),
    /// Answer containers' questions for names; minirun starts this itself
    #[command(hide = true)]
    Netd(Lazy<netd::Args>),
    /// Networks: make, list, join, repair
    Network(Lazy<network::Args>),
    /// Freeze all processes of a container
    Pause(Lazy<pause::PauseArgs>),
    /// List the processes of a container
    Ps(Lazy<ps::Args>),
    /// Make a container from what `checkpoint` wrote
    Restore(Lazy<restore::Args>),
    /// Let the processes of a paused container go on
    Resume(Lazy<pause::ResumeArgs>),
    /// Run a bundle: `run BUNDLE/` joins the network `default`; `run [-b BUNDLE] ID` is runc's form
    Run(Lazy<run::Args>),
    /// Write a config.json to start from
    Spec(Lazy<spec::Args>),
    /// Run the program of a created container
    Start(Lazy<start::Args>),
    /// Print the state of a container as JSON
    State(Lazy<state::Args>),
    /// Show what containers use: processor, memory, network, block devices, processes
    Stats(Lazy<stats::Args>),
    /// Change the limits of a container
    Update(Lazy<update::Args>),
}

/// The command line as clap knows it, for manual pages and shell completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// The whole program: the exit status for the caller.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = one_dash::with_two(args.collect());
    let name = args::program_name(args.first());
    let cli = match plain::read(&args).map_or_else(|| Cli::try_parse_from(&args), Ok) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if cli.version {
        print_version(&name);
        return ExitCode::SUCCESS;
    }
    // The library reports a missing command itself, but for a lone option.
    let Some(command) = &cli.command else {
        eprintln!("a command is required; see {name} --help");
        return ExitCode::FAILURE;
    };
    // Before the log is opened: it would take the number of a descriptor that the caller forgot to pass.
    let prepared = command.keep().and_then(|keep| {
        if enters_container(command) {
            keep.close_others()?;
        }
        open_log(&cli)?;
        if enters_container(command) {
            exe::protect(&args, geteuid())?;
        }
        Ok(keep)
    });
    match prepared.and_then(|keep| dispatch(&cli, command, &name, keep)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            log::error(&error);
            ExitCode::from(if matches!(command, Command::Exec(_)) {
                u8::MAX
            } else {
                1
            })
        }
    }
}

impl Command {
    /// The descriptors that the program is to get, as far as the command takes any.
    fn keep(&self) -> Result<crate::init::process::Keep> {
        match self {
            Command::Create(args) => args.create.keep(),
            Command::Run(args) => args.create.keep(),
            Command::Exec(args) => args.keep(),
            _ => Ok(Default::default()),
        }
    }
}

/// Whether a process of this command enters a container.
fn enters_container(command: &Command) -> bool {
    matches!(command, Command::Create(_) | Command::Run(_) | Command::Exec(_))
}

fn dispatch(cli: &Cli, command: &Command, name: &str, keep: crate::init::process::Keep) -> Result<u8> {
    match command {
        Command::Features(_) => return features::run(),
        Command::Spec(args) => return spec::run(args),
        Command::Compose(args) if args.only_reads() => return compose::run(None, args),
        _ => {}
    }
    let caller = privileges::caller(cli.rootless, cli.systemd_cgroup, cli.cgroup_manager);
    privileges::check(command, caller)?;
    let store = Store::new(privileges::root(cli.root.as_deref(), caller, name)?, caller);
    match command {
        Command::Checkpoint(args) => checkpoint::run(&store, args),
        Command::Compose(args) => compose::run(Some(&store), args),
        Command::Create(args) => create::run(&store, args, keep),
        Command::Delete(args) => delete::run(&store, args),
        Command::Events(args) => events::run(&store, args),
        Command::Exec(args) => exec::run(&store, args, keep),
        Command::Inspect(args) => inspect::run(&store, args),
        Command::Kill(args) => kill::run(&store, args),
        Command::List(args) => list::run(&store, args),
        Command::Logs(args) => logs::run(&store, args),
        Command::Netd(args) => netd::run(args),
        Command::Network(args) => network::run(&store, args),
        Command::Pause(args) => pause::pause(&store, args),
        Command::Ps(args) => ps::run(&store, args),
        Command::Restore(args) => restore::run(&store, args),
        Command::Resume(args) => pause::resume(&store, args),
        Command::Run(args) => run::run(&store, args, keep),
        Command::Start(args) => start::run(&store, args),
        Command::State(args) => state::run(&store, args),
        Command::Stats(args) => stats::run(&store, args),
        Command::Update(args) => update::run(&store, args),
        Command::Features(_) | Command::Spec(_) => Ok(0),
    }
}

fn open_log(cli: &Cli) -> Result<()> {
    let format = match cli.log_format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    log::init(cli.log.as_deref(), format, cli.debug)?;
    if cli.criu.is_some() {
        log::warn("--criu is ignored: CRIU is looked up in PATH");
    }
    Ok(())
}

/// What clap has to say: help is a success; a mistake shows the usage and exits with 1, as in runc.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed standard output is nothing to complain about here.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// moby takes the last line with the word "version", go-runc the one that starts with `runc version`.
fn print_version(name: &str) {
    println!("{name} version {}", env!("CARGO_PKG_VERSION"));
    if let Some(commit) = option_env!("MINIRUN_COMMIT") {
        println!("commit: {commit}");
    }
    println!("spec: {}", crate::spec::OCI_VERSION);
}
