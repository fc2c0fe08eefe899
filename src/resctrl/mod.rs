//! Intel RDT and its likes (linux.intelRdt): shares of the processor's caches and of the memory bandwidth, through the
//! kernel's resctrl file system (Documentation/filesystems/resctrl.rst).
//!
//! A directory at the top of resctrl is a class of service: its file `schemata` has the shares, its file `tasks` the threads
//! that they are for. The top itself is the default class. A directory in a class' `mon_groups` counts what some of its
//! threads use. There are only as many classes as the processor has, often fifteen, so a container may join one that is there
//! already (`closID`); without a name it gets one of its own, which goes with it. In the order of a container's life:
//!
//! ```no_run
//! # use minirun::resctrl::{Mount, Plan};
//! # fn example(asked: &oci_spec::runtime::LinuxIntelRdt) -> minirun::error::Result<()> {
//! let plan = Plan::new(asked, "web", Mount::find)?; // looks, and changes nothing
//! let placing = plan.make(|group| {
//!     // ... the record is written, with `group` in it ...
//!     Ok(())
//! })?;
//! // ... the process is cloned, and waits ...
//! let group = placing.place(4711)?;
//! group.remove(false)?;
//! # Ok(()) }
//! ```
//!
//! A configuration without linux.intelRdt must not touch resctrl, and nothing here is called for one.

mod file;
mod group;
mod mount;
mod plan;
mod schemata;
mod statistics;

#[cfg(test)]
mod tests;

pub use self::group::{Group, Placing};
pub use self::mount::Mount;
pub use self::plan::Plan;
pub use self::schemata::Schemas;
pub use self::statistics::Statistics;

/// Whether `linux.intelRdt` is acted on, with `schemata` and `enableMonitoring`.
pub const SUPPORTED: bool = true;
