//! `minirun exec`.

use std::path::PathBuf;

use oci_spec::runtime::{Process, Spec};

use super::args;
use super::plain::{Line, Plain};
use crate::container::exec::{self, Options};
use crate::container::options::Terminal;
use crate::container::store::Store;
use crate::error::{Error, Result};
use crate::init::process::Keep;
use crate::log;
use crate::spec::id::Id;
use crate::spec::load;
use crate::spec::user::{UserArg, Who};
use crate::spec::validate::process as validate;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Socket that gets the master of the program's terminal
    #[arg(long, value_name = "PATH")]
    console_socket: Option<PathBuf>,
    /// Socket that gets a pidfd of the program
    #[arg(long, value_name = "PATH")]
    pidfd_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Environment variable NAME=VALUE; may be repeated
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// Give the program a terminal
    #[arg(short, long)]
    tty: bool,
    /// UID[:GID] of the program
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<UserArg>,
    /// Supplementary group; may be repeated
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// process.json to run instead of the arguments; - is standard input
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Return as soon as the program runs
    #[arg(short, long)]
    detach: bool,
    /// File for the process id
    #[arg(long, value_name = "PATH")]
    pid_file: Option<PathBuf>,
    /// SELinux label of the program
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// AppArmor profile of the program
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Set no_new_privs
    #[arg(long)]
    no_new_privs: bool,
    /// Add a capability; may be repeated
    #[arg(short, long, value_name = "CAPABILITY")]
    cap: Vec<String>,
    /// Pass this many descriptors after standard error to the program
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Run in this control group below the container's; may be repeated, on cgroup v1 for some controllers each
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    cgroup: Vec<String>,
    /// Go ahead in a paused container
    #[arg(long)]
    ignore_paused: bool,
    /// The container's id
    id: Id,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Plain for Args {
    const SHORT: &'static [(&'static str, &'static str)] = &[
        ("e", "env"),
        ("t", "tty"),
        ("u", "user"),
        ("g", "additional-gids"),
        ("p", "process"),
        ("d", "detach"),
        ("c", "cap"),
    ];
    const WORDS: usize = 1;

    fn take(line: &mut Line) -> Option<Self> {
        Some(Args {
            console_socket: line.value("console-socket")?,
            pidfd_socket: line.value("pidfd-socket")?,
            cwd: line.value("cwd")?,
            env: line.values("env")?,
            tty: line.flag("tty"),
            user: line.value("user")?,
            additional_gids: line.values("additional-gids")?,
            process: line.value("process")?,
            detach: line.flag("detach"),
            pid_file: line.value("pid-file")?,
            process_label: line.value("process-label")?,
            apparmor: line.value("apparmor")?,
            no_new_privs: line.flag("no-new-privs"),
            cap: line.values("cap")?,
            preserve_fds: line.value("preserve-fds")?.unwrap_or(0),
            cgroup: line.values("cgroup")?,
            ignore_paused: line.flag("ignore-paused"),
            id: line.word()?,
            // What begins like an option may be one.
            command: line
                .words()
                .filter(|words: &Vec<String>| !words.first().is_some_and(|first| first.starts_with('-')))?,
        })
    }
}

impl Args {
    pub(super) fn keep(&self) -> Result<Keep> {
        // Socket activation is for the container's first process.
        args::keep(self.preserve_fds).map(|keep| Keep { listen: 0, ..keep })
    }
}

pub(super) fn run(store: &Store, args: &Args, keep: Keep) -> Result<u8> {
    let shown = if args.detach {
        Terminal::Nobody
    } else {
        Terminal::Relay
    };
    let options = Options {
        terminal: args.console_socket.clone().map_or(shown, Terminal::Socket),
        pidfd_socket: args.pidfd_socket.clone(),
        pid_file: args.pid_file.clone(),
        detach: args.detach,
        ignore_paused: args.ignore_paused,
        subgroups: args
            .cgroup
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_>>()?,
        keep,
    };
    exec::exec(store, &args.id, |spec| process(args, spec), &options)
}

/// The process to run: a document of its own, or the container's with what the flags change.
fn process(args: &Args, spec: &Spec) -> Result<Process> {
    let process = match &args.process {
        Some(path) => {
            let (process, warnings) = load::load_process(path)?;
            warnings.iter().for_each(log::warn);
            process
        }
        None => changed(args, spec)?,
    };
    validate(&process)?;
    Ok(process)
}

fn changed(args: &Args, spec: &Spec) -> Result<Process> {
    let mut process = spec.process().clone().unwrap_or_default();
    if args.command.is_empty() {
        return Err(Error::invalid("arguments", "the program to execute is missing")
            .hint("exec ID PROGRAM [ARGUMENT...], or --process FILE"));
    }
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(args.env.iter().cloned());
    process.set_env(Some(env));
    if let Some(profile) = &args.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &args.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(user) = &args.user {
        let (Who::Id(uid), None | Some(Who::Id(_))) = (&user.user, &user.group) else {
            return Err(Error::invalid("--user", "must be numbers: UID[:GID]"));
        };
        process.user_mut().set_uid(*uid);
        if let Some(Who::Id(gid)) = user.group {
            process.user_mut().set_gid(gid);
        }
    }
    let mut groups = process.user().additional_gids().clone().unwrap_or_default();
    groups.extend(&args.additional_gids);
    process.user_mut().set_additional_gids(Some(groups));
    add_capabilities(&mut process, &args.cap)?;
    Ok(process)
}

/// `--cap` adds to the sets that a program of a fresh execve keeps: all but the inheritable one (CVE-2022-29162).
fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let parse = |name: &String| {
        name.strip_prefix("CAP_").unwrap_or(name).parse().map_err(|_| {
            Error::invalid(
                "--cap",
                format_args!("{name:?} is not a capability of capabilities(7)"),
            )
        })
    };
    let added = names
        .iter()
        .map(parse)
        .collect::<Result<Vec<oci_spec::runtime::Capability>>>()?;
    let mut sets = process.capabilities().clone().unwrap_or_default();
    let with = |set: &Option<oci_spec::runtime::Capabilities>| {
        Some(
            set.iter()
                .flatten()
                .copied()
                .chain(added.iter().copied())
                .collect(),
        )
    };
    let (bounding, effective, permitted) = (
        with(sets.bounding()),
        with(sets.effective()),
        with(sets.permitted()),
    );
    sets.set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}
