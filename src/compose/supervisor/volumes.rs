//! The volumes of a stack, and the directories of the host that its services want.
//!
//! A new volume is filled by a child process, as that may take its time; replicas that want it wait for it in
//! [`Phase::Creating`](super::replica::Phase::Creating).

use std::time::Instant;

use super::Stack;
use super::child::Job;
use super::replica::Action;
use crate::compose::bundle;
use crate::compose::model::{MountKind, Project, Service};
use crate::compose::protocol::Phase;
use crate::compose::volume;
use crate::error::{Error, Kind, OsContext as _, Result};

/// The verb that fills a volume, and the name of its log.
const FILL: &str = "fill-volume";

impl Stack {
    /// True when what a replica mounts is there. Otherwise it is on its way, and the replica will be created then.
    pub(super) fn volumes_are_there(
        &mut self,
        id: &str,
        project: &Project,
        service: &Service,
    ) -> Result<bool> {
        for mount in &service.mounts {
            match &mount.kind {
                MountKind::Bind {
                    source,
                    create_host_path: true,
                } => {
                    if !source.exists() {
                        std::fs::create_dir_all(source).os("create", source.display())?;
                    }
                }
                MountKind::Volume { name } => {
                    let Some(named) = project.volumes.get(name) else {
                        continue;
                    };
                    if volume::exists(&named.name) {
                        continue;
                    }
                    if named.external {
                        return Err(Error::new(
                            Kind::NotFound,
                            format_args!(
                                "service {}: volume {} is external and does not exist",
                                service.name, named.name
                            ),
                        )
                        .hint(format_args!(
                            "create the directory {}",
                            volume::path(&named.name).display()
                        )));
                    }
                    self.fill(&named.name, service, &mount.target)?;
                    if let Some(member) = self.members.get_mut(id) {
                        member.awaits.insert(named.name.clone());
                    }
                }
                MountKind::Bind { .. } | MountKind::Tmpfs { .. } => {}
            }
        }
        Ok(self.members.get(id).is_none_or(|member| member.awaits.is_empty()))
    }

    fn fill(&mut self, name: &str, service: &Service, target: &str) -> Result<()> {
        let job = Job::Fill {
            volume: name.to_owned(),
        };
        if self.children.are_at(&job) {
            return Ok(());
        }
        self.tell("Volume", name, Phase::Creating, "");
        let mut command = self.minirun(name, FILL);
        command
            .args(["compose", FILL, name])
            .arg(bundle::rootfs(service)?)
            .arg(target);
        self.spawn(&mut command, job)
    }

    /// A volume is there, or why not: the replicas that waited for it go on.
    pub(super) fn filled(&mut self, name: &str, status: Option<i32>, now: Instant) {
        let result = self.result(name, FILL, status);
        match &result {
            Ok(()) => self.tell("Volume", name, Phase::Created, ""),
            Err(error) => self.tell("Volume", name, Phase::Failed, error.to_string()),
        }
        let mut go_on = Vec::new();
        for (id, member) in &mut self.members {
            if !member.awaits.remove(name) {
                continue;
            }
            match &result {
                // What was wanted of it is over: as if it had been created, so that it is removed.
                _ if !member.replica.is_wanted() => {
                    member.awaits.clear();
                    member.replica.created(now, Ok(()));
                }
                Err(error) => {
                    member.awaits.clear();
                    member
                        .replica
                        .created(now, Err(error.clone().during(format_args!("volume {name}"))));
                }
                Ok(()) if member.awaits.is_empty() => go_on.push(id.clone()),
                Ok(()) => {}
            }
        }
        for id in go_on {
            self.perform(&id, Action::Create, now);
        }
    }

    /// Nobody wants what is being filled any more.
    pub(super) fn give_volumes_up(&self) {
        self.children.kill(|job| matches!(job, Job::Fill { .. }));
    }

    /// Removes the volumes of this project.
    pub(super) fn remove_volumes(&mut self) -> Result<()> {
        let volumes = self
            .desired
            .as_ref()
            .map(|desired| desired.project.volumes.clone());
        let mut failure = Ok(());
        for named in volumes
            .unwrap_or_default()
            .into_values()
            .filter(|named| !named.external)
        {
            match volume::remove(&named.name) {
                Ok(true) => self.tell("Volume", &named.name, Phase::Removed, ""),
                Ok(false) => {}
                Err(error) => failure = failure.and(Err(error)),
            }
        }
        failure
    }
}
