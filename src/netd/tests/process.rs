//! The test program as netd: what [`client`](crate::netd::client) starts in place of `minirun netd`.

use std::path::Path;
use std::process::Command;

/// The directory that a test program which is netd serves.
const DIR: &str = "MINIRUN_TEST_NETD";

/// The command that makes this test program netd.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "netd::tests::process::netd",
        ])
        // A filter that fits no test: it tells one netd from another in /proc.
        .arg(dir)
        .env(DIR, dir);
    command
}

#[test]
#[ignore = "this is netd, when another test starts it"]
fn netd() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    if let Some(server) = crate::netd::process::prepare(Path::new(&dir)).unwrap() {
        server.run().unwrap();
        // The harness' main thread is not here any more.
        std::process::exit(0);
    }
}
