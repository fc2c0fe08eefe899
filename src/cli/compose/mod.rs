//! `minirun compose`: one file per verb, and the options that all of them have.

mod ask;
mod chosen;
mod config;
mod down;
mod events;
mod exec;
mod fill_volume;
mod foreground;
mod logs;
mod ls;
mod port;
mod progress;
mod ps;
mod replica;
mod restart;
mod scale;
mod start;
mod stats;
mod stop;
mod supervise;
mod top;
mod up;

use std::path::PathBuf;

use clap::Subcommand;

use crate::compose::file::{self, Options};
use crate::compose::model::Project;
use crate::container::store::Store;
use crate::error::{OsContext, Result};

/// Stacks of containers from Compose files
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    project: ProjectArgs,
    #[command(subcommand)]
    verb: Verb,
}

/// Which project; before the verb.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ProjectArgs {
    /// A Compose file, repeatable: later ones go over earlier ones. $COMPOSE_FILE or compose.yaml here or above otherwise
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// The project's name; $COMPOSE_PROJECT_NAME, the file's or its directory's otherwise
    #[arg(short, long, value_name = "NAME")]
    project_name: Option<String>,
    /// Activate the services of a profile, repeatable; $COMPOSE_PROFILES otherwise
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,
    /// A file of variables, repeatable; .env beside the Compose file otherwise
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// What paths are relative to; the first file's directory otherwise
    #[arg(long, value_name = "DIR")]
    project_directory: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Config(config::Args),
    Events(events::Args),
    Logs(logs::Args),
    Stats(stats::Args),
    Top(top::Args),
    Down(down::Args),
    Exec(exec::Args),
    FillVolume(fill_volume::Args),
    Ls(ls::Args),
    Port(port::Args),
    Ps(ps::Args),
    Restart(restart::Args),
    Scale(scale::Args),
    Start(start::Args),
    Stop(stop::Args),
    Supervise(supervise::Args),
    Up(up::Args),
}

impl Args {
    /// Whether the verb only reads files.
    pub(super) fn only_reads(&self) -> bool {
        matches!(self.verb, Verb::Config(_))
    }
}

impl ProjectArgs {
    /// Reads the project. `services` are those that the verb names: their profiles are active.
    fn load(&self, services: &[String]) -> Result<Project> {
        file::load(&self.options(services)?)
    }

    /// The project's name; its files are read only when nothing else tells.
    fn name(&self) -> Result<String> {
        match &self.project_name {
            Some(name) => Ok(name.clone()),
            None => self.load(&[]).map(|project| project.name),
        }
    }

    fn options(&self, services: &[String]) -> Result<Options> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Options {
            files: self.file.clone(),
            project_name: self.project_name.clone(),
            project_directory: self.project_directory.clone(),
            env_files: self.env_file.clone(),
            profiles: self.profile.clone(),
            services: services.to_vec(),
            environment: environment.collect(),
            working_directory: std::env::current_dir().os("find", "the working directory")?,
        })
    }
}

pub(super) fn run(store: Option<&Store>, args: &Args) -> Result<u8> {
    let project = &args.project;
    let Some(store) = store else {
        return match &args.verb {
            Verb::Config(verb) => config::run(project, verb),
            // `only_reads` says which verbs come without a store.
            _ => Ok(1),
        };
    };
    match &args.verb {
        Verb::Config(verb) => config::run(project, verb),
        Verb::Events(verb) => events::run(store, project, verb),
        Verb::Logs(verb) => logs::run(project, verb),
        Verb::Stats(verb) => stats::run(store, project, verb),
        Verb::Top(verb) => top::run(store, project, verb),
        Verb::Down(verb) => down::run(store, project, verb),
        Verb::Exec(verb) => exec::run(store, &project.name()?, verb),
        Verb::FillVolume(verb) => fill_volume::run(verb),
        Verb::Ls(verb) => ls::run(store, verb),
        Verb::Port(verb) => port::run(store, &project.name()?, verb),
        Verb::Ps(verb) => ps::run(store, &project.name()?, verb),
        Verb::Restart(verb) => restart::run(store, &project.name()?, verb),
        Verb::Scale(verb) => scale::run(store, &project.name()?, verb),
        Verb::Start(verb) => start::run(store, &project.name()?, verb),
        Verb::Stop(verb) => stop::run(store, &project.name()?, verb),
        Verb::Supervise(verb) => supervise::run(store, verb),
        Verb::Up(verb) => up::run(store, project, verb),
    }
}
