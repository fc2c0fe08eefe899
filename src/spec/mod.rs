//! config.json: what it says and whether that can be.
//!
//! | file | what it holds |
//! |---|---|
//! | [`load`] | reads config.json or process.json safely: size cap, position and path of what is wrong |
//! | `json` | the guided parser under `load`: JSON checked against a [`shape`](self) while it is read |
//! | `shape` | the shapes of the documents: every property of the specification, its type and its allowed values |
//! | [`mod@validate`] | the rules that types cannot say: ranges, what needs which namespace, what is not supported yet |
//! | [`sysctl`] | `linux.sysctl`: the names, the namespaces they belong to, their paths below /proc/sys |
//! | [`id`] | the container id |
//! | [`list`] | lists of CPUs and memory nodes: `0-3,7` |
//! | [`user`] | `--user`, and lookups in the text of /etc/passwd and /etc/group |
//! | [`state`] | the state document of `state`, `list` and hooks |
//! | [`features`] | the features document |
//! | [`default`] | what `minirun spec` writes |
//!
//! Everything here is a pure function of its input, except that `load` reads the file it is told to read. What one room
//! alone acts on (mount options, limit values, seccomp rules, rlimits) is checked where that room plans it.

pub mod default;
pub mod features;
pub mod id;
mod json;
pub mod list;
pub mod load;
pub mod net_device;
mod shape;
pub mod state;
pub mod sysctl;
pub mod user;
pub mod validate;

pub use self::validate::validate;

/// The newest version of the runtime specification whose properties minirun knows.
pub const OCI_VERSION: &str = "1.3.0";
