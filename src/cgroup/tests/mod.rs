//! Whole lives of cgroups: over fake trees, and as root over real groups of the host.

mod enforced;
mod fake;
mod real;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use oci_spec::runtime::LinuxResources;

use super::*;

/// A name that no other test of any run has at this time.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "minirun-test-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Says past the test runner's capture that the test of this thread did not run, and why.
fn skipped(reason: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("SKIPPED {name}: {reason}\n").as_bytes(),
    );
}

fn limits(json: serde_json::Value, layout: &Layout) -> Result<Limits> {
    let resources: LinuxResources = serde_json::from_value(json).unwrap();
    Limits::plan(Some(&resources), layout, DefaultDevices::Allow)
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// A directory that is removed in the end, whatever happens.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let path = std::env::temp_dir().join(unique());
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
