//! The runtime killed with -9 at random moments: delete --force leaves nothing, and says 0 only then.
//!
//! `MINIRUN_SEED` repeats a run, `MINIRUN_CRASH_ROUNDS` (100) sets its length.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Container, Host, Random, Running};

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
        let delay = random.duration(takes);
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

fn run_on_a_network(container: &Container<'_>) -> Running {
    container
        .verb("run")
        .args(["--detach"])
        .args([container.bundle()])
        .spawn()
}

#[test]
fn a_run_on_a_network_killed_at_any_moment_leaves_nothing_after_delete_force() {
    killed_at_random("run on a network", |_| (), run_on_a_network);
}

#[test]
fn a_delete_on_a_network_killed_at_any_moment_leaves_nothing_after_delete_force() {
    let delete =
        |container: &Container<'_>| container.verb("delete").args(["--force", container.id()]).spawn();
    killed_at_random(
        "delete on a network",
        |container| drop(run_on_a_network(container).wait().succeeds()),
        delete,
    );
}
