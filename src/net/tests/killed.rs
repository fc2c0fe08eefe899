//! A process that is killed while it attaches leaves nothing that detach does not find.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::sandbox::{Sandbox, namespace, sandbox};
use crate::net::Dirs;

/// Where the victim keeps its state: the parent's test directory.
const STATE: &str = "MINIRUN_TEST_NET_STATE";

#[test]
fn attach_killed_at_any_moment_leaves_nothing_after_detach() {
    sandbox(|host| {
        let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        eprintln!("seed {seed}");
        for round in 0..40 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // Every other time the network is in use already, so that the short way through attach is hit as well.
            let neighbour = (round % 2 == 1).then(|| {
                let netns = namespace();
                host.attach("neighbour", &netns, &["default"]).unwrap();
                netns
            });
            let longest = if neighbour.is_some() { 3_000 } else { 12_000 };
            kill_after(host, Duration::from_micros((seed >> 33) % longest));
            host.detach("victim", &["default"]);
            if let Some(netns) = neighbour {
                assert_eq!(host.leases("default").len(), 1);
                host.delete("neighbour", netns, &["default"]);
            }
            host.assert_nothing_left();
        }
    });
}

/// Runs this test program again as the victim, on this thread's host, and kills it so long after it began to attach.
fn kill_after(host: &Sandbox, moment: Duration) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "net::tests::killed::victim",
        ])
        .env(STATE, host.dirs.run.parent().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    output
        .lines()
        .map(Result::unwrap)
        .find(|line| line.ends_with("attaching"))
        .unwrap();
    // Not to wait for something, but to choose where in attach the blow falls.
    thread::sleep(moment);
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
#[ignore = "the victim of the test above"]
fn victim() {
    let root = PathBuf::from(std::env::var_os(STATE).unwrap());
    let dirs = Dirs {
        run: root.join("run"),
        lib: root.join("lib"),
    };
    let netns = namespace();
    println!("attaching");
    let endpoints = super::sandbox::parse(&["default"]);
    let _ = crate::net::attach(&dirs, &super::sandbox::request("victim", "", &netns, &endpoints));
    loop {
        thread::park();
    }
}
