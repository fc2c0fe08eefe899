//! Readiness: whether those who ask for a name that several containers share are sent to a container.
//!
//! A container that is not ready keeps its address, its ports, its part in policies, its id and its host name; only the
//! names that it was given as aliases are answered without it. A name whose holders are all not ready exists and has no
//! address. netd gets to know it from the leases' directory, so it outlives netd.

use super::address::lease::Leases;
use super::check_container_id;
use super::definition::{self, Definition, Dirs};
use super::file;
use super::kernel::link::Host;
use super::names;
use crate::error::{Error, Kind, Result};

/// Takes the container's shared names away, or gives them back, on every network that it is on. Saying the same again is
/// fine, and repairs what was killed half way.
///
/// # Errors
/// NotFound when it is on no network, else what could not be written or told to netd; say it again then.
pub fn ready(dirs: &Dirs, container: &str, ready: bool) -> Result<()> {
    check_container_id(container)?;
    let mut host = Host::open()?;
    let mut found = false;
    for network in definition::names(dirs)? {
        let dir = dirs.network(&network);
        if Leases::new(&network, dir.clone()).of(container)?.is_none() {
            continue;
        }
        let _lock = file::lock(&dir.join("lock"))?;
        let leases = Leases::new(&network, dir);
        // It may have left while we waited.
        let (Some(lease), Some(definition)) = (leases.of(container)?, Definition::load(dirs, &network)?)
        else {
            continue;
        };
        found = true;
        // First, so that whoever starts another netd meanwhile tells it the same.
        leases.set_ready(container, ready)?;
        names::renew(dirs, &mut host, &definition, &lease, ready)?;
    }
    match found {
        true => Ok(()),
        false => Err(Error::new(
            Kind::NotFound,
            format_args!("container {container} is on no network"),
        )
        .hint("`minirun network topology` shows who is")),
    }
}

/// Whether others are sent to the container on all of these networks, as [`ready`] said last.
pub fn is_ready(dirs: &Dirs, container: &str, networks: &[String]) -> bool {
    networks
        .iter()
        .all(|network| Leases::new(network, dirs.network(network)).is_ready(container))
}
