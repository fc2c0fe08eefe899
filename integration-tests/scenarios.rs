//! Scenarios against the built binary: each runs in a host of its own (see [`harness`]), as root.
//!
//! `MINIRUN_BIN` names the runtime, by default `bin/minirun`. The same program runs in the cgroup v2 machine
//! (`integration-tests/vm/run.sh`), so a scenario asks the harness which cgroup version it is on.

// Helpers are not in `cfg(test)`, where the lint allows these by itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

#[path = "scenarios/addresses.rs"]
mod addresses;
#[path = "scenarios/apparmor.rs"]
mod apparmor;
#[path = "scenarios/attacks.rs"]
mod attacks;
#[path = "scenarios/bad_input.rs"]
mod bad_input;
#[path = "scenarios/checkpoint.rs"]
mod checkpoint;
#[path = "scenarios/compose.rs"]
mod compose;
#[path = "scenarios/compose_config.rs"]
mod compose_config;
#[path = "scenarios/compose_foreground.rs"]
mod compose_foreground;
#[path = "scenarios/compose_storage.rs"]
mod compose_storage;
#[path = "scenarios/container_events.rs"]
mod container_events;
#[path = "scenarios/crash.rs"]
mod crash;
#[path = "scenarios/events.rs"]
mod events;
#[path = "scenarios/faults.rs"]
mod faults;
#[path = "scenarios/firewall.rs"]
mod firewall;
#[path = "scenarios/hooks.rs"]
mod hooks;
#[path = "scenarios/id_mapped.rs"]
mod id_mapped;
#[path = "scenarios/lifecycle.rs"]
mod lifecycle;
#[path = "scenarios/limits.rs"]
mod limits;
#[path = "scenarios/logs.rs"]
mod logs;
#[path = "scenarios/mount_rules.rs"]
mod mount_rules;
#[path = "scenarios/mounts.rs"]
mod mounts;
#[path = "scenarios/names.rs"]
mod names;
#[path = "scenarios/namespaces.rs"]
mod namespaces;
#[path = "scenarios/native.rs"]
mod native;
#[path = "scenarios/net_devices.rs"]
mod net_devices;
#[path = "scenarios/network.rs"]
mod network;
#[path = "scenarios/network_bad_input.rs"]
mod network_bad_input;
#[path = "scenarios/network_faults.rs"]
mod network_faults;
#[path = "scenarios/network_killed.rs"]
mod network_killed;
#[path = "scenarios/network_verbs.rs"]
mod network_verbs;
#[path = "scenarios/notify.rs"]
mod notify;
#[path = "scenarios/parity.rs"]
mod parity;
#[path = "scenarios/policy.rs"]
mod policy;
#[path = "scenarios/process.rs"]
mod process;
#[path = "scenarios/publish.rs"]
mod publish;
#[path = "scenarios/resctrl.rs"]
mod resctrl;
#[path = "scenarios/rootless.rs"]
mod rootless;
#[path = "scenarios/scheduling.rs"]
mod scheduling;
#[path = "scenarios/seccomp.rs"]
mod seccomp;
#[path = "scenarios/seccomp_agent.rs"]
mod seccomp_agent;
#[path = "scenarios/selinux.rs"]
mod selinux;
#[path = "scenarios/stats.rs"]
mod stats;
#[path = "scenarios/subgroups.rs"]
mod subgroups;
#[path = "scenarios/syscall_budget.rs"]
mod syscall_budget;
#[path = "scenarios/systemd.rs"]
mod systemd;
#[path = "scenarios/topology.rs"]
mod topology;
#[path = "scenarios/update.rs"]
mod update;
