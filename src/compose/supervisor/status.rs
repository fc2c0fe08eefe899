//! What `ps` shows.

use std::time::Instant;

use super::replica::Phase;
use super::{Member, Stack};
use crate::compose::protocol::Status;
use crate::net::Port;
use crate::spec::id::Id;

impl Stack {
    /// Every replica of which there is, or was, a container.
    pub(super) fn status(&self, now: Instant) -> Vec<Status> {
        let mut all: Vec<Status> = self
            .members
            .iter()
            .filter(|(_, member)| {
                member.replica.exists() || member.replica.end().is_some() || member.replica.is_wanted()
            })
            .map(|(id, member)| self.status_of(id, member, now))
            .collect();
        all.sort_by(|a, b| (&a.service, a.replica).cmp(&(&b.service, b.replica)));
        all
    }

    fn status_of(&self, id: &str, member: &Member, now: Instant) -> Status {
        let replica = &member.replica;
        let (health, end) = (
            replica.health(),
            replica.end().filter(|_| replica.since().is_none()),
        );
        Status {
            id: id.to_owned(),
            service: member.service.name.clone(),
            replica: member.number,
            state: state(member).to_owned(),
            health: health.map(|health| health.status()),
            health_output: health
                .map(|health| health.output().to_owned())
                .unwrap_or_default(),
            exit_code: end.and_then(|end| end.status),
            failure: end.and_then(|end| end.failure.clone()),
            running_for: replica.since().map(|since| now.saturating_duration_since(since)),
            restarts: replica.restarts(),
            pid: member.init,
            ports: self.ports(id),
            orphan: member.orphan,
        }
    }

    fn ports(&self, id: &str) -> Vec<String> {
        let record = id.parse::<Id>().and_then(|id| self.store.read(&id));
        let networks = record
            .map(|(_, record)| record.attachment.networks)
            .unwrap_or_default();
        networks
            .iter()
            .flat_map(|network| &network.ports)
            .map(port)
            .collect()
    }
}

fn state(member: &Member) -> &'static str {
    let replica = &member.replica;
    match replica.phase() {
        Phase::Running => "running",
        Phase::Stopping => "stopping",
        Phase::Creating | Phase::Created | Phase::Starting if replica.restarts() > 0 => "restarting",
        Phase::Creating => "creating",
        Phase::Created => "created",
        Phase::Starting => "starting",
        Phase::Absent | Phase::Ended | Phase::Removing => match replica.is_wanted() && !replica.is_done() {
            true if replica.end().is_some() => "restarting",
            true => "waiting",
            false => "exited",
        },
    }
}

/// As Docker writes it.
fn port(port: &Port) -> String {
    let address = match port.address {
        Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        Some(address) => address.to_string(),
        None => "0.0.0.0".to_owned(),
    };
    format!("{address}:{}->{}/{}", port.host, port.container, port.protocol)
}
