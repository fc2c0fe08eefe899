//! What the command line says to a supervisor, and hears: a JSON document a line over a unix stream socket.
//!
//! A connection carries one request. Its answers are any number of [`Answer::Progress`] and [`Answer::Warning`], then one
//! that ends it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::Project;
use super::supervisor::health;
use crate::error::Error;

/// Longer lines are refused. The largest real project has some 100 KiB.
pub const MAX_LINE: usize = 16 << 20;

/// What a verb wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Bring the services to what the file says; answered when they are started.
    Up(Box<Up>),
    /// Stop and remove everything; the supervisor ends.
    Down(Down),
    /// Stop services and what depends on nothing else of them.
    Stop {
        /// All when empty.
        services: Vec<String>,
        /// In place of the services' grace periods.
        grace: Option<Duration>,
    },
    /// Start services that were stopped or have ended.
    Start {
        /// All when empty.
        services: Vec<String>,
        /// Answered when they are healthy.
        wait: bool,
    },
    /// Stop services and start them again.
    Restart {
        /// All when empty.
        services: Vec<String>,
        /// In place of the services' grace periods.
        grace: Option<Duration>,
    },
    /// Change numbers of replicas.
    Scale {
        /// By service.
        replicas: BTreeMap<String, u32>,
    },
    /// Answered with [`Answer::Replicas`].
    Ps,
    /// Answered with [`Answer::Replicas`] when services have ended; until then with progress.
    Await {
        /// All when empty.
        services: Vec<String>,
        /// Which ends.
        until: Until,
    },
    /// Answered with progress for as long as the connection stands.
    Subscribe,
}

/// What [`Request::Await`] waits for. A replica that is going to be started again has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// No replica runs, or is going to.
    AllEnded,
    /// A replica has ended, unless it has done what another service waits for.
    OneEnded,
    /// A replica has ended with another status than 0.
    OneFailed,
}

/// The request of `up`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Up {
    /// What the files say.
    pub project: Project,
    /// The services to start, with those that they depend on; all when empty.
    pub services: Vec<String>,
    /// Numbers of replicas in place of the file's.
    pub scale: BTreeMap<String, u32>,
    /// Answered when the services are healthy.
    pub wait: bool,
    /// After so long the wait has failed.
    pub patience: Option<Duration>,
    /// Replace containers that are as the file says, too.
    pub force_recreate: bool,
    /// Replace no container.
    pub no_recreate: bool,
    /// Remove containers of services that the file does not know.
    pub remove_orphans: bool,
}

/// The request of `down`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Down {
    /// Remove named volumes, too.
    pub volumes: bool,
    /// In place of the services' grace periods.
    pub grace: Option<Duration>,
}

/// What the supervisor says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Something has happened.
    Progress(Progress),
    /// Something is odd.
    Warning(String),
    /// The last answer of [`Request::Ps`] and [`Request::Await`].
    Replicas(Vec<Status>),
    /// The last answer of every other request that succeeded.
    Done,
    /// The last answer of a request that failed.
    Error(Error),
}

/// Something has happened to a replica, network or volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// `Container`, `Network` or `Volume`.
    pub kind: String,
    /// The container's id, the network's or volume's name.
    pub name: String,
    /// What.
    pub phase: Phase,
    /// More about it; may be empty.
    pub detail: String,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words are what people read")]
pub enum Phase {
    Creating,
    Created,
    Waiting,
    Starting,
    Started,
    Healthy,
    Unhealthy,
    Running,
    Exited,
    Restarting,
    Stopping,
    Stopped,
    Removing,
    Removed,
    Failed,
}

impl Phase {
    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Creating => "Creating",
            Phase::Created => "Created",
            Phase::Waiting => "Waiting",
            Phase::Starting => "Starting",
            Phase::Started => "Started",
            Phase::Healthy => "Healthy",
            Phase::Unhealthy => "Unhealthy",
            Phase::Running => "Running",
            Phase::Exited => "Exited",
            Phase::Restarting => "Restarting",
            Phase::Stopping => "Stopping",
            Phase::Stopped => "Stopped",
            Phase::Removing => "Removing",
            Phase::Removed => "Removed",
            Phase::Failed => "Failed",
        }
    }

    /// Whether more will follow by itself.
    pub fn is_under_way(self) -> bool {
        matches!(
            self,
            Phase::Creating
                | Phase::Waiting
                | Phase::Starting
                | Phase::Restarting
                | Phase::Stopping
                | Phase::Removing
        )
    }
}

/// A replica, as `ps` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The container's id.
    pub id: String,
    /// Its service.
    pub service: String,
    /// Its number, from 1.
    pub replica: u32,
    /// `created`, `running`, `restarting`, `stopping`, `exited` and the like.
    pub state: String,
    /// What its health checks say, if it has any and runs.
    pub health: Option<health::Status>,
    /// What the last failed health check said.
    pub health_output: String,
    /// How its last run ended; nothing while it runs, or when nobody saw the end.
    pub exit_code: Option<i32>,
    /// Why it could not be created, started or removed.
    pub failure: Option<String>,
    /// For how long it has been running.
    pub running_for: Option<Duration>,
    /// How often it was restarted in a row.
    pub restarts: u32,
    /// The first process, as the host sees it.
    pub pid: Option<i32>,
    /// Published ports, as `0.0.0.0:8080->80/tcp`.
    pub ports: Vec<String>,
    /// The file does not know its service any more.
    pub orphan: bool,
}
