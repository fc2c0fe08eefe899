//! The record on disk and the verbs on a container.
//!
//! [`store`] is the directory of all records and the lock of each, [`record`] what is written there, [`process`] how a
//! recorded process is told from one that got its number later. The verbs are one file each. [`delete`] works from the
//! record alone and is also how a failed `create` undoes itself, so the way back is the same after an error, after a
//! kill and at the end of an ordinary life.

pub mod console;
pub mod create;
pub mod delete;
pub mod exec;
pub mod files;
pub mod inspect;
pub mod kill;
pub mod network;
pub mod options;
pub mod pause;
pub mod pid_file;
mod prepare;
pub mod process;
pub mod record;
pub mod relay;
pub mod run;
pub mod start;
pub mod store;
