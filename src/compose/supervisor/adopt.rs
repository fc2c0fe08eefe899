//! Going on where another supervisor was killed: what was wished for is on disk, what there is says the records.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use super::child::Job;
use super::output::Output;
use super::replica::{Replica, Settings};
use super::{Member, Stack};
use crate::compose::bundle::{CONFIG_HASH, PROJECT, REPLICA, SERVICE};
use crate::container::record::Record;
use crate::container::store::Entry;
use crate::error::Result;
use crate::process::Process;
use crate::spec::state::Status;

impl Stack {
    /// Takes over whatever there is of the project.
    pub(super) fn adopt(&mut self, now: Instant) -> Result<()> {
        self.desired = self.place.load()?;
        self.lay_out(now);
        for id in self.store.ids()? {
            // One that is being deleted is gone in a moment.
            let Ok((entry, record)) = self.store.read(&id) else {
                continue;
            };
            if record.annotations.get(PROJECT) == Some(&self.name) {
                self.adopt_container(&entry, record, now)?;
            }
        }
        self.lay_out(now);
        let Some(desired) = self.desired.clone() else {
            return Ok(());
        };
        if let Some(down) = desired.down {
            self.bring_down(down, now);
            return Ok(());
        }
        for (id, member) in &mut self.members {
            if desired.stopped.contains(&member.service.name) {
                member.replica.unwant(now, None);
            } else if let Some(status) = desired.ended.get(id).filter(|_| !member.replica.exists()) {
                member.replica = Replica::finished(Settings::from(&member.service), *status);
            } else if !member.leaving && !member.orphan {
                member.replica.want();
            }
        }
        Ok(())
    }

    fn adopt_container(&mut self, entry: &Entry, record: Record, now: Instant) -> Result<()> {
        let id = record.id.to_string();
        let said = |key: &str| record.annotations.get(key).cloned().unwrap_or_default();
        let number = said(REPLICA).parse().unwrap_or(1);
        let known = self.members.get(&id).map(|member| member.service.clone());
        let Some(service) = known.or_else(|| self.service_of_orphan(&said(SERVICE))) else {
            return Ok(());
        };
        let settings = Settings::from(&service);
        let mut member = Member::new(&service, number, Replica::remains(settings.clone(), now));
        member.hash = said(CONFIG_HASH);
        member.networks = record.networks.clone();
        member.run = 1;
        let runs = matches!(entry.status(&record), Ok(Status::Running | Status::Paused));
        if let Some(init) = record.init.filter(|_| runs) {
            let run = member.run;
            if self.children.adopt(init, Job::Init { id: id.clone(), run })? {
                member.replica = Replica::adopted(settings, started(init, now), now);
                member.init = Some(init.pid);
            }
        }
        match Output::open(&self.place.bundle(&id), &self.place.logs(), &id, &service.logging) {
            Ok(output) => member.output = output,
            Err(error) => crate::log::warn(format_args!("{id}: its output is lost: {error}")),
        }
        self.members.insert(id, member);
        Ok(())
    }

    /// A container of a service that the file does not know any more is looked after with the little that is known.
    fn service_of_orphan(&self, name: &str) -> Option<crate::compose::model::Service> {
        let any = self.desired.as_ref()?.project.services.values().next()?.clone();
        Some(crate::compose::model::Service {
            name: name.to_owned(),
            restart: Default::default(),
            healthcheck: None,
            depends_on: Default::default(),
            networks: Default::default(),
            stop_signal: None,
            stop_grace_period: Duration::from_secs(10),
            ..any
        })
    }
}

/// When a process was started.
fn started(process: Process, now: Instant) -> Instant {
    let ticks = sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|ticks| u64::try_from(ticks).ok());
    let ticks = ticks.filter(|ticks| *ticks > 0).unwrap_or(100);
    let started = Duration::from_millis(process.start_time.saturating_mul(1000) / ticks);
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .unwrap_or(started);
    now.checked_sub(since_boot.saturating_sub(started)).unwrap_or(now)
}
