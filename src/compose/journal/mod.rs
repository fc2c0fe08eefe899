//! What the containers of a stack write to standard output and standard error: kept in files, and read back.
//!
//! ```text
//! container                  supervisor                     /var/lib/minirun/compose/PROJECT/logs/
//! stdout, stderr --fifo--->  [`Recorder`]: bytes to lines -->  ID.log, rotated to ID.log.1, ID.log.2
//!                                                                |
//! a terminal  <----------  [`Reader`]: lines of all services, in the order of their time
//! ```
//!
//! The files have the format of the Kubernetes container runtime interface, which log shippers know: see [`Record`].
//!
//! | file | what is in it |
//! |---|---|
//! | `record` | one line of a log file |
//! | `recorder` | from pipes to lines, a bounded amount of memory and work at a time |
//! | `rotated` | a log file that others take the place of when it is full |
//! | `reader` | lines of several log files, merged and followed |

use std::path::{Path, PathBuf};

mod reader;
mod record;
mod recorder;
mod rotated;

pub use self::reader::{Entry, Reader, Selection, logs_in};
pub use self::record::{Record, Stream};
pub use self::recorder::Recorder;

/// Where the logs of a stack are: `ID.log` and those that it took the place of.
pub fn directory(project: &str) -> PathBuf {
    Path::new("/var/lib/minirun/compose").join(project).join("logs")
}
