//! What the process may do: capabilities, labels of security modules, rlimits, seccomp.
//!
//! Each file translates its section of config.json into a plan, and puts the plan on the calling process, which is the
//! container's and has one thread. The order on that process is the kernel's doing:
//!
//! ```text
//! labels.apply()                         in time for the next execve
//! rlimits.apply()                        while hard limits may be raised
//! capabilities.drop_bounding()           while there is CAP_SETPCAP
//! filter.load()                          without no_new_privs: while there is CAP_SYS_ADMIN
//! PR_SET_KEEPCAPS, change of user        which would else empty the permitted set
//! capabilities.apply()                   ambient needs permitted and inheritable
//! no_new_privs, rlimits.apply_low()
//! filter.load()                          with no_new_privs: the last call before execve
//! ```

pub mod capabilities;
pub mod labels;
pub mod rlimits;
pub mod seccomp;
