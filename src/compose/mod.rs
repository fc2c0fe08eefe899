//! Stacks of containers from Compose files.
//!
//! A Compose file is read once into a [`model::Project`]: every path absolute, every variable replaced, every
//! default filled in, every mistake told by file, line and column. Whatever runs the project sees the model alone.

pub mod journal;
pub mod model;
