//! The runtime killed with -9 at random moments: delete --force leaves nothing, and says 0 only then.
//!
//! `MINIRUN_SEED` repeats a run, `MINIRUN_CRASH_ROUNDS` (100) sets its length.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Container, Host, Running};

/// splitmix64: a handful of random delays is no reason for a dependency.
struct Random(u64);

impl Random {
    fn seeded(test: &str) -> Random {
        let seed = std::env::var("MINIRUN_SEED")
            .ok()
            .map(|seed| seed.parse().unwrap())
            .unwrap_or_else(|| {
                let now = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap();
                now.as_nanos() as u64
            });
        // Shown when the test fails.
        println!("{test}: MINIRUN_SEED={seed}");
        Random(seed)
    }

    /// Less than `limit`.
    fn below(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        Duration::from_nanos(z % (limit.as_nanos() as u64).max(1))
    }
}

fn rounds() -> u32 {
    std::env::var("MINIRUN_CRASH_ROUNDS")
        .ok()
        .map_or(100, |rounds| rounds.parse().unwrap())
}

/// Kills `verb` at random moments of the time that it takes; `prepare` brings a container to where the verb starts.
fn killed_at_random(verb: &str, prepare: impl Fn(&Container<'_>), spawn: impl Fn(&Container<'_>) -> Running) {
    let host = Host::new();
    let mut random = Random::seeded(verb);
    // How long it takes undisturbed, the longest of three.
    let mut takes = Duration::ZERO;
    for _ in 0..3 {
        let container = host.container("timed").sleeping();
        prepare(&container);
        let start = Instant::now();
        spawn(&container).wait().succeeds();
        takes = takes.max(start.elapsed());
        container.delete_force().succeeds();
    }
    let mut killed = 0;
    for round in 0..rounds() {
        let container = host.container("crash").sleeping();
        prepare(&container);
        let delay = random.below(takes);
        let running = spawn(&container);
        std::thread::sleep(delay);
        running.signal(Signal::SIGKILL);
        killed += u32::from(running.wait().code == -9);
        container.delete_force().succeeds();
        let leaked = host.leaks();
        assert!(
            leaked.is_empty(),
            "round {round}, {verb} killed after {delay:?} of {takes:?}: {leaked:#?}"
        );
        container
            .verb("state")
            .args([container.id()])
            .output()
            .fails_with(&["does not exist"]);
    }
    println!("{verb}: {killed} of {} were killed before they ended", rounds());
}

fn create(container: &Container<'_>) -> Running {
    container.verb("create").args(container.bundle_and_id()).spawn()
}

#[test]
fn a_create_killed_at_any_moment_leaves_nothing_after_delete_force() {
    killed_at_random("create", |_| (), create);
}

#[test]
fn a_start_killed_at_any_moment_leaves_nothing_after_delete_force() {
    let start = |container: &Container<'_>| container.verb("start").args([container.id()]).spawn();
    killed_at_random(
        "start",
        |container| drop(create(container).wait().succeeds()),
        start,
    );
}

#[test]
fn a_delete_killed_at_any_moment_leaves_nothing_after_delete_force() {
    let prepare = |container: &Container<'_>| {
        create(container).wait().succeeds();
        container.start().succeeds();
    };
    let delete =
        |container: &Container<'_>| container.verb("delete").args(["--force", container.id()]).spawn();
    killed_at_random("delete", prepare, delete);
}
