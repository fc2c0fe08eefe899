//! What is mounted where: the bundle's own mounts, with those of the Compose file in place of them or after them.

use std::path::Path;

use serde_json::{Value, json};

use super::super::model::{Mount, MountKind};
use super::super::volume;
use super::{Source, array};
use crate::error::{Error, Kind, Result};

impl Source<'_> {
    pub(super) fn set_mounts(&self, config: &mut Value) -> Result<()> {
        let mut mounts: Vec<(usize, Value)> = Vec::new();
        for mount in &self.service.mounts {
            mounts.push((depth(&mount.target), self.mount(mount)?));
        }
        // What is mounted on a directory of another mount comes after it.
        mounts.sort_by_key(|(depth, _)| *depth);
        let all = array(&mut config["mounts"]);
        // The bundle's own relative ones begin at the bundle, which is another directory now.
        for mount in all.iter_mut().filter(|mount| is_bind(mount)) {
            if let Some(source) = mount["source"].as_str() {
                mount["source"] = json!(self.service.bundle.join(source));
            }
        }
        let targets: Vec<&str> = self
            .service
            .mounts
            .iter()
            .map(|mount| mount.target.as_str())
            .collect();
        all.retain(|mount| {
            !mount["destination"]
                .as_str()
                .is_some_and(|target| targets.contains(&target))
        });
        all.extend(mounts.into_iter().map(|(_, mount)| mount));
        Ok(())
    }

    fn mount(&self, mount: &Mount) -> Result<Value> {
        let access = if mount.read_only { "ro" } else { "rw" };
        let bind = |source: &Path| json!({"destination": mount.target, "type": "bind", "source": source, "options": ["rbind", "rprivate", access]});
        Ok(match &mount.kind {
            MountKind::Bind { source, .. } => bind(source),
            MountKind::Volume { name } => {
                let volume = self.project.volumes.get(name).ok_or_else(|| {
                    Error::new(
                        Kind::NotFound,
                        format_args!("volume {name:?} is not defined by the project"),
                    )
                })?;
                bind(&volume::path(&volume.name))
            }
            MountKind::Tmpfs { size, mode } => {
                let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), access.to_owned()];
                options.extend(size.map(|size| format!("size={size}")));
                options.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
                json!({"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options})
            }
        })
    }
}

/// As `create` takes it: by its options, whatever its type says.
fn is_bind(mount: &Value) -> bool {
    let options = mount["options"].as_array();
    options.is_some_and(|options| options.iter().any(|option| option == "bind" || option == "rbind"))
}

fn depth(target: &str) -> usize {
    target.split('/').filter(|part| !part.is_empty()).count()
}
