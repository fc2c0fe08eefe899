//! minirun: an OCI container runtime with daemonless networking, in one small static binary.
//!
//! Called the way engines call runc it is a pure OCI runtime and touches no network. A person's `minirun run bundle/`
//! also joins the bridge network `default`, as `docker run` does.
//!
//! # The rooms
//!
//! | room | what happens there |
//! |---|---|
//! | [`cli`] | the command line: clap types, one file per verb, printing; no logic that another verb needs |
//! | [`compose`] | stacks of containers: Compose files, their meaning, and the process that keeps a stack running |
//! | [`container`] | the record on disk, its lock, and the verbs on a container: create, start, exec, kill, delete |
//! | [`spec`] | config.json: load, validate, the default of `minirun spec`; pure data, no side effects |
//! | [`init`] | from clone3 to execve: the conversation of parent and child, namespaces, hooks, console, process |
//! | [`rootfs`] | the root file system behind a descriptor: mounts, devices, pivot_root, masks |
//! | [`cgroup`] | one enum over cgroup v1 and v2: limits, device rules, freeze, kill, statistics |
//! | [`resctrl`] | shares of caches and memory bandwidth: classes of service and monitoring groups of the kernel's resctrl |
//! | [`security`] | capabilities, rlimits, seccomp (our own compiler) |
//! | [`net`] | network definitions, addresses, links, published ports, policies, repair; knows nothing of OCI |
//! | [`netd`] | names by DNS: the process that answers containers' questions and holds their ports, and how to reach it |
//! | [`sys`] | thin wrappers over system calls that nix lacks; the only `unsafe` in the crate |
//! | [`process`] | a process by number and start time, so that a reused number is not taken for it |
//! | [`tail`] | the last and the next lines of a file that is moved aside when it is full |
//! | [`error`], [`log`] | one error type; one place that writes the log |
//!
//! # Imports
//!
//! They run one way, down this list. The test `integration-tests/architecture.rs` reads the list from here and holds the
//! code to it. One file may look into every room: `cli/features.rs`, which asks each what it can do.
//!
//! ```text
//! cli       -> compose, container, resctrl, net, netd, init, spec, sys, tail, error, log
//! compose   -> container, net, rootfs, cgroup, spec, process, sys, tail, error, log
//! container -> init, rootfs, cgroup, resctrl, net, spec, process, sys, tail, error, log
//! init      -> rootfs, security, spec, sys, error, log
//! rootfs    -> sys, error, log
//! cgroup    -> sys, error, log
//! resctrl   -> process, sys, error
//! security  -> sys, error, log
//! net       -> netd, process, sys, error, log
//! netd      -> sys, error, log
//! spec      -> error
//! process   -> sys, error
//! tail      -> error
//! log       -> error
//! error     ->
//! sys       ->
//! ```
//!
//! # The way of one container
//!
//! `minirun run bundle/`: load and validate config.json; let every room translate its section of the specification into
//! a plan, before any side effect; write the record that names everything which is about to exist; make the cgroup; one
//! clone3 with all new namespaces; parent and child talk over one SOCK_SEQPACKET pair ([`init::protocol`]) until the
//! container is `created`; a start message lets the child execve. A failure anywhere unwinds what was done; a kill
//! anywhere leaves a record from which `delete --force` undoes everything.

pub mod cgroup;
pub mod cli;
pub mod compose;
pub mod container;
pub mod error;
pub mod init;
pub mod log;
pub mod net;
pub mod netd;
pub mod process;
pub mod resctrl;
pub mod rootfs;
pub mod security;
pub mod spec;
pub mod sys;
pub mod tail;
