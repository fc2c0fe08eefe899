//! Capabilities (capabilities(7)): five sets, taken from config.json and put on the container's process.
//!
//! The order is the kernel's: the bounding set while there is CAP_SETPCAP, then, after the change of user with the
//! permitted set kept, inheritable, effective, permitted and at last ambient.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use oci_spec::runtime as oci;

use crate::error::{Error, Kind, Result};
use crate::log;

/// The sets of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    bounding: CapsHashSet,
    effective: CapsHashSet,
    permitted: CapsHashSet,
    inheritable: CapsHashSet,
    ambient: CapsHashSet,
}

impl Capabilities {
    /// Translates `process.capabilities`; pure. Without the object every set is empty, as in runc.
    pub fn plan(capabilities: Option<&oci::LinuxCapabilities>) -> Capabilities {
        let Some(given) = capabilities else {
            return Capabilities::default();
        };
        let set = |names: &Option<oci::Capabilities>| names.iter().flatten().filter_map(capability).collect();
        Capabilities {
            bounding: set(given.bounding()),
            effective: set(given.effective()),
            permitted: set(given.permitted()),
            inheritable: set(given.inheritable()),
            ambient: set(given.ambient()),
        }
    }

    /// Takes everything out of the bounding set that the configuration does not list. Needs CAP_SETPCAP.
    ///
    /// # Errors
    /// `EPERM` without it.
    pub fn drop_bounding(&self) -> Result<()> {
        // Without a read of the set first: dropping what is not there is allowed and costs the same call.
        for capability in caps::all().difference(&self.bounding) {
            match caps::drop(None, CapSet::Bounding, *capability) {
                Ok(()) => {}
                // A capability that this kernel does not have.
                Err(_) if !matches!(caps::has_cap(None, CapSet::Bounding, *capability), Ok(true)) => {}
                Err(error) => return Err(failed("drop from the bounding set", capability, &error)),
            }
        }
        Ok(())
    }

    /// Sets the other four, after the change of user. What the runtime itself does not have cannot be given and is
    /// warned about, and so is an ambient capability that the kernel refuses.
    ///
    /// # Errors
    /// When a set is refused.
    pub fn apply(&self) -> Result<()> {
        let ours = caps::read(None, CapSet::Permitted)
            .map_err(|error| failed("read", &"the permitted set", &error))?;
        let grantable = |wanted: &CapsHashSet| wanted & &ours;
        let lost: Vec<String> = (&self.permitted - &ours)
            .iter()
            .map(ToString::to_string)
            .collect();
        if !lost.is_empty() {
            log::warn(format_args!(
                "the runtime itself lacks {}: not given to the container",
                lost.join(", ")
            ));
        }
        for (set, value) in [
            (
                CapSet::Inheritable,
                &grantable(&self.inheritable) & &self.bounding,
            ),
            (CapSet::Effective, grantable(&self.effective)),
            (CapSet::Permitted, grantable(&(&self.permitted | &self.effective))),
        ] {
            caps::set(None, set, &value)
                .map_err(|error| failed("set", &format_args!("the {set:?} set"), &error))?;
        }
        for capability in &self.ambient {
            if let Err(error) = caps::raise(None, CapSet::Ambient, *capability) {
                log::warn(format_args!(
                    "process.capabilities.ambient: {capability}: {error}"
                ));
            }
        }
        Ok(())
    }
}

/// The names of all capabilities that we know, for `features`.
pub fn names() -> Vec<String> {
    let mut all: Vec<Capability> = caps::all().into_iter().collect();
    all.sort_by_key(Capability::index);
    all.iter().map(ToString::to_string).collect()
}

/// The other crate's word for the same capability.
fn capability(name: &oci::Capability) -> Option<Capability> {
    format!("CAP_{name}").parse().ok()
}

fn failed(what: &str, on: &dyn std::fmt::Display, error: &CapsError) -> Error {
    Error::new(
        Kind::Os,
        format_args!("process.capabilities: {what} {on}: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_specification_is_a_capability() {
        for known in caps::all() {
            let name: oci::Capability = serde_json::from_value(known.to_string().into()).unwrap();
            assert_eq!(capability(&name), Some(known));
        }
    }

    #[test]
    fn without_the_object_every_set_is_empty() {
        assert_eq!(Capabilities::plan(None), Capabilities::default());
    }

    #[test]
    fn each_set_is_its_own() {
        let given: oci::LinuxCapabilities = serde_json::from_value(serde_json::json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"]
        }))
        .unwrap();
        let planned = Capabilities::plan(Some(&given));
        assert_eq!(
            planned.bounding,
            CapsHashSet::from([Capability::CAP_KILL, Capability::CAP_CHOWN])
        );
        assert_eq!(planned.permitted, CapsHashSet::from([Capability::CAP_KILL]));
        assert!(planned.effective.is_empty() && planned.inheritable.is_empty() && planned.ambient.is_empty());
    }
}
