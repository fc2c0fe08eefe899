//! The record on disk and the verbs on a container.
//!
//! [`store`] is the directory of all records and the lock of each, [`record`] what is written there, [`crate::process`] how a
//! recorded process is told from one that got its number later. The verbs are one file each. [`delete`] works from the
//! record alone and is also how a failed `create` undoes itself, so the way back is the same after an error, after a
//! kill and at the end of an ordinary life.

pub mod caller;
pub mod checkpoint;
pub mod connect;
pub mod console;
pub mod create;
pub mod criu;
pub mod delete;
pub mod events;
pub mod exec;
pub mod files;
pub mod inspect;
pub mod kill;
pub mod members;
pub mod network;
pub mod notify;
pub mod options;
mod ownership;
pub mod pause;
pub mod pid_file;
mod prepare;
pub mod record;
pub mod relay;
pub mod restore;
pub mod run;
mod seccomp_agent;
pub mod start;
pub mod statistics;
pub mod store;
pub mod update;
pub mod usage;

/// Annotations of config.json that begin like this change what the runtime does; no others do.
pub const ANNOTATION_PREFIX: &str = "minirun.";

#[cfg(test)]
mod tests {
    #[test]
    fn every_annotation_that_counts_has_the_prefix_that_features_announces() {
        let annotations = super::network::ANNOTATIONS.into_iter();
        for annotation in annotations.chain([super::prepare::DEFAULT_DEVICES_ANNOTATION]) {
            assert!(annotation.starts_with(super::ANNOTATION_PREFIX), "{annotation}");
        }
    }
}
