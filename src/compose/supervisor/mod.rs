//! The process that keeps one stack running: starts it in order, asks whether it works, starts again what ends.
//!
//! `compose up` starts it and it ends after `compose down`; there is no daemon beside it. It has one thread and one loop:
//!
//! ```text
//!            .-> settle: each replica says what is due (replica.rs), the gates say what has to wait (gate.rs),
//!            |           and it is done (launch.rs, check.rs): a child process, a signal
//!            |   answer: verbs whose goal is reached, or cannot be, get their last line (goal.rs), and those who wait
//!            |           for services to end (vigil.rs)
//!            `-- wait:   poll(2) over children and containers by pidfd, clients, the replicas' output, and the next
//!                        moment at which a replica has something to do (run.rs); netd, which answers names, is found
//!                        missing there too (names.rs)
//! ```
//!
//! Verbs only change what the stack *shall* be ([`place::Desired`], written to disk first; request.rs). Everything else
//! follows from the difference to what is, so a verb may come while another is under way, and a supervisor that was killed
//! is replaced by one that reads the wish, looks at what runs (adopt.rs) and goes on.
//!
//! Containers are made by this same binary in child processes (`create`, `start`, `exec` for health checks, `delete
//! --force`), so that they have the protections and the way back of the runtime, and a slow one keeps nobody waiting. The
//! supervisor is a subreaper: when `create` has returned, it is the parent of the container's first process and hears its
//! exit status. Processes of containers that it adopted are strangers' children; they are watched all the same.
//!
//! The outputs of a replica are two named pipes, which its process holds open for reading and writing. So it gets neither
//! an error nor an end of file when the supervisor dies, and the next one reads on.

mod adopt;
pub mod backoff;
mod check;
mod child;
mod gate;
mod goal;
pub mod health;
mod launch;
mod members;
mod names;
mod network;
mod output;
pub mod place;
pub mod process;
pub mod replica;
mod request;
mod run;
mod status;
mod talk;
mod vigil;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use self::check::Check;
use self::child::Children;
use self::goal::Goal;
use self::names::Names;
use self::output::Output;
use self::place::{Desired, Place};
use self::replica::{Replica, Settings};
use self::talk::Clients;
use self::vigil::Vigil;
use super::model::Service;
use super::protocol::{Answer, Phase, Progress};
use crate::container::store::Store;
use crate::net::Dirs;

/// The stack, as it is and as it shall be.
struct Stack {
    name: String,
    store: Store,
    dirs: Dirs,
    place: Place,
    /// Nothing before the first `up`.
    desired: Option<Desired>,
    /// By container id.
    members: BTreeMap<String, Member>,
    /// Networks, by their real names, that are to be made anew when nobody is on them.
    stale: BTreeSet<String>,
    /// Networks to be removed when nobody is on them.
    unused: Vec<String>,
    names: Names,
    children: Children,
    clients: Clients,
    goals: Vec<Goal>,
    vigils: Vec<Vigil>,
    /// The last goal was reached, and there is nothing left.
    over: bool,
}

/// A replica with all that belongs to it.
struct Member {
    /// What the file says; of an orphan what it said.
    service: Service,
    number: u32,
    replica: Replica,
    /// The file does not know it any more.
    orphan: bool,
    /// To be forgotten once it is gone.
    leaving: bool,
    /// Of what the container there is was made of.
    hash: String,
    /// The next container shall have nothing of what this one wrote to its root.
    fresh: bool,
    /// Volumes without which it cannot be created, and which are being made.
    awaits: BTreeSet<String>,
    /// On which networks.
    networks: Vec<String>,
    /// Its first process, while it lives.
    init: Option<i32>,
    /// Counts containers, so that news of an earlier one are not taken for the current one's.
    run: u64,
    /// The health check that is under way.
    check: Option<Check>,
    output: Output,
}

impl Member {
    fn new(service: &Service, number: u32, replica: Replica) -> Self {
        Self {
            service: service.clone(),
            number,
            replica,
            orphan: false,
            leaving: false,
            hash: String::new(),
            fresh: false,
            awaits: BTreeSet::new(),
            networks: Vec::new(),
            init: None,
            run: 0,
            check: None,
            output: Output::default(),
        }
    }

    fn is_of(&self, service: &str) -> bool {
        self.service.name == service && !self.orphan
    }
}

impl From<&Service> for Settings {
    fn from(service: &Service) -> Self {
        Self {
            restart: service.restart,
            health: service.healthcheck.clone(),
            grace: service.stop_grace_period,
        }
    }
}

impl Stack {
    fn new(name: String, store: Store, place: Place, clients: Clients) -> Self {
        Self {
            name,
            store,
            dirs: Dirs::default(),
            place,
            desired: None,
            members: BTreeMap::new(),
            stale: BTreeSet::new(),
            unused: Vec::new(),
            names: Names::default(),
            children: Children::default(),
            clients,
            goals: Vec::new(),
            vigils: Vec::new(),
            over: false,
        }
    }

    /// Tells everybody who listens.
    fn tell(&mut self, kind: &str, name: &str, phase: Phase, detail: impl Into<String>) {
        self.clients.tell(&Answer::Progress(Progress {
            kind: kind.to_owned(),
            name: name.to_owned(),
            phase,
            detail: detail.into(),
        }));
    }

    fn tell_replica(&mut self, id: &str, phase: Phase, detail: impl Into<String>) {
        self.tell("Container", id, phase, detail);
    }

    fn warn(&mut self, text: String) {
        crate::log::warn(&text);
        self.clients.tell(&Answer::Warning(text));
    }

    /// Writes down what the stack shall be.
    fn save(&self) -> crate::error::Result<()> {
        match &self.desired {
            Some(desired) => self.place.save(desired),
            None => Ok(()),
        }
    }
}
