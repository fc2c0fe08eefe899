//! Which containers a verb is about: those of a stack, or of some of its services.

use super::ProjectArgs;
use crate::compose::file;
use crate::container::record::Record;
use crate::container::store::Store;
use crate::error::{Error, Kind, Result, closest};
use crate::spec::id::Id;

/// The annotation that names a container's stack.
pub(super) const PROJECT: &str = "minirun.compose.project";

/// The annotation that names its service.
pub(super) const SERVICE: &str = "minirun.compose.service";

/// Services of a stack.
pub(super) struct Chosen {
    /// The stack's name.
    pub(super) project: String,
    /// Names of services; all when empty.
    pub(super) services: Vec<String>,
}

impl Chosen {
    /// Those that the command line names.
    ///
    /// # Errors
    /// A service that the files do not know, with a suggestion; with services, whatever is wrong with the files.
    pub(super) fn new(project: &ProjectArgs, services: &[String]) -> Result<Chosen> {
        if services.is_empty() {
            return Ok(Chosen {
                project: file::name(&project.options(&[])?)?,
                services: Vec::new(),
            });
        }
        let project = project.load(services)?;
        let known = || project.services.keys().map(String::as_str);
        if let Some(unknown) = services.iter().find(|name| !project.services.contains_key(*name)) {
            let error = Error::new(Kind::NotFound, format_args!("no such service: {unknown}"));
            return Err(match closest(unknown, known()) {
                Some(close) => error.hint(format_args!("did you mean {close}?")),
                None => error.hint(format_args!(
                    "there are: {}",
                    known().collect::<Vec<_>>().join(", ")
                )),
            });
        }
        Ok(Chosen {
            project: project.name,
            services: services.to_vec(),
        })
    }

    /// Whether this service is chosen.
    pub(super) fn has(&self, service: &str) -> bool {
        self.services.is_empty() || self.services.iter().any(|chosen| chosen == service)
    }

    /// The containers that there are, by service and number.
    ///
    /// # Errors
    /// When the containers cannot be listed.
    pub(super) fn containers(&self, store: &Store) -> Result<Vec<Id>> {
        let mut found = Vec::new();
        for id in store.ids()? {
            // One that is deleted meanwhile, or damaged, does not hide the others.
            let Ok((_, record)) = store.read(&id) else {
                continue;
            };
            let annotation = |name: &str| record.annotations.get(name).cloned().unwrap_or_default();
            let service = annotation(SERVICE);
            if annotation(PROJECT) == self.project && self.has(&service) {
                found.push((service, replica(&record), id));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(.., id)| id).collect())
    }
}

/// The number of a service's container.
fn replica(record: &Record) -> u32 {
    let number = record.annotations.get("minirun.compose.replica");
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
