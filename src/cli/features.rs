//! `minirun features`.

use crate::error::Result;
use crate::security;
use crate::spec::features::Known;

/// Print what this runtime can do as JSON
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run() -> Result<u8> {
    let capabilities = security::capabilities::names();
    let capabilities: Vec<&str> = capabilities.iter().map(String::as_str).collect();
    let known = Known {
        mount_options: &[],
        capabilities: &capabilities,
        seccomp_actions: &[],
        seccomp_operators: &[],
        seccomp_archs: &[],
        seccomp_flags: &[],
        cgroup_rdma: true,
        unsafe_annotations: &["minirun."],
    };
    println!("{}", known.document());
    Ok(0)
}
