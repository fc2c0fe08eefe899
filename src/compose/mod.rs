//! Stacks of containers from Compose files.
//!
//! A Compose file is read once, by [`file`], into a [`model::Project`]: every path absolute, every variable replaced, every
//! default filled in, every mistake told by file, line and column. Whatever runs the project sees the model alone;
//! [`order`] says which service comes before which, and [`normal`] prints it as a Compose file again.

pub mod bundle;
pub mod client;
pub mod file;
pub mod journal;
pub mod model;
pub mod normal;
pub mod order;
pub mod protocol;
pub mod supervisor;
pub mod volume;
