//! Lives of replicas, told step by step.

use super::*;
use crate::compose::model::RestartWhen;

const OPEN: Gate = Gate {
    create: true,
    start: true,
    stop: true,
};

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn settings(when: RestartWhen) -> Settings {
    Settings {
        restart: Restart {
            when,
            ..Restart::default()
        },
        health: None,
        grace: seconds(10),
    }
}

fn with_health() -> Settings {
    Settings {
        health: Some(Healthcheck {
            test: vec!["true".to_owned()],
            interval: seconds(1),
            timeout: seconds(1),
            retries: 1,
            start_period: Duration::ZERO,
            start_interval: seconds(1),
        }),
        ..settings(RestartWhen::No)
    }
}

/// Steps once, and expects that there is nothing more.
#[track_caller]
fn only(replica: &mut Replica, now: Instant, gate: Gate) -> Option<Action> {
    let action = replica.step(now, gate);
    assert_eq!(replica.step(now, gate), None, "after {action:?}");
    action
}

/// A replica that was started, for the tests of what follows.
fn running(settings: Settings, now: Instant) -> Replica {
    let mut replica = Replica::new(settings);
    replica.want();
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Create));
    replica.created(now, Ok(()));
    let mut action = replica.step(now, OPEN);
    if action == Some(Action::Ready(false)) {
        action = replica.step(now, OPEN);
    }
    assert_eq!(action, Some(Action::Start));
    replica.started(now, Ok(()));
    assert!(replica.is_running());
    replica
}

#[test]
fn a_replica_is_created_at_once_and_started_when_its_dependencies_are_ready() {
    let now = Instant::now();
    let mut replica = Replica::new(settings(RestartWhen::No));
    assert_eq!(replica.step(now, OPEN), None, "nobody wants it");
    replica.want();
    let closed = Gate { start: false, ..OPEN };
    assert_eq!(only(&mut replica, now, closed), Some(Action::Create));
    replica.created(now, Ok(()));
    assert_eq!(replica.step(now, closed), None);
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Start));
}

#[test]
fn nothing_is_created_while_its_networks_are_being_replaced() {
    let now = Instant::now();
    let mut replica = Replica::new(settings(RestartWhen::No));
    replica.want();
    assert_eq!(
        replica.step(
            now,
            Gate {
                create: false,
                ..OPEN
            }
        ),
        None
    );
}

#[test]
fn a_crash_is_followed_by_removal_a_wait_and_a_new_start_that_asks_no_dependencies() {
    let now = Instant::now();
    let mut replica = running(settings(RestartWhen::Always), now);
    replica.exited(now + seconds(1), Some(1));
    assert_eq!(only(&mut replica, now + seconds(1), OPEN), Some(Action::Delete));
    replica.deleted(now + seconds(1), Ok(()));
    let due = now + seconds(1) + Duration::from_millis(100);
    assert_eq!(
        (replica.step(now + seconds(1), OPEN), replica.wake()),
        (None, Some(due))
    );
    let closed = Gate { start: false, ..OPEN };
    assert_eq!(only(&mut replica, due, closed), Some(Action::Create));
    replica.created(due, Ok(()));
    assert_eq!(only(&mut replica, due, closed), Some(Action::Start));
    assert_eq!(replica.restarts(), 1);
}

#[test]
fn what_ended_for_good_stays_away_until_a_verb_wants_it() {
    let now = Instant::now();
    let mut replica = running(settings(RestartWhen::OnFailure), now);
    replica.exited(now, Some(0));
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Delete));
    replica.deleted(now, Ok(()));
    assert!(replica.is_done() && replica.end().unwrap().is_success());
    assert_eq!(
        (replica.step(now + seconds(100), OPEN), replica.wake()),
        (None, None)
    );
    replica.want();
    assert_eq!(replica.step(now, OPEN), Some(Action::Create));
}

#[test]
fn a_stop_is_a_signal_and_after_the_grace_a_kill_and_no_restart() {
    let now = Instant::now();
    let mut replica = running(settings(RestartWhen::Always), now);
    replica.unwant(now, None);
    assert_eq!(
        replica.step(now, Gate { stop: false, ..OPEN }),
        None,
        "its dependents go first"
    );
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Stop));
    assert_eq!(replica.wake(), Some(now + seconds(10)));
    assert_eq!(only(&mut replica, now + seconds(10), OPEN), Some(Action::Kill));
    replica.exited(now + seconds(10), Some(137));
    assert_eq!(only(&mut replica, now + seconds(10), OPEN), Some(Action::Delete));
    replica.deleted(now + seconds(10), Ok(()));
    assert_eq!(
        (replica.step(now + seconds(99), OPEN), replica.exists()),
        (None, false)
    );
}

#[test]
fn a_second_stop_can_shorten_the_grace() {
    let now = Instant::now();
    let mut replica = running(settings(RestartWhen::No), now);
    replica.unwant(now, None);
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Stop));
    replica.unwant(now + seconds(1), Some(Duration::ZERO));
    assert_eq!(only(&mut replica, now + seconds(1), OPEN), Some(Action::Kill));
}

#[test]
fn a_stop_during_creation_deletes_what_was_created_without_starting_it() {
    let now = Instant::now();
    let mut replica = Replica::new(settings(RestartWhen::Always));
    replica.want();
    assert_eq!(replica.step(now, OPEN), Some(Action::Create));
    replica.unwant(now, None);
    assert_eq!(replica.step(now, OPEN), None);
    replica.created(now, Ok(()));
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Delete));
    replica.deleted(now, Ok(()));
    assert_eq!(replica.step(now, OPEN), None);
}

#[test]
fn an_outdated_replica_is_stopped_and_comes_back_at_once() {
    let now = Instant::now();
    let mut replica = running(settings(RestartWhen::No), now);
    replica.replace();
    assert!(!replica.is_running());
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Stop));
    replica.exited(now, Some(143));
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Delete));
    replica.deleted(now, Ok(()));
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Create));
}

#[test]
fn a_failed_creation_is_cleaned_up_and_remembered() {
    let now = Instant::now();
    let mut replica = Replica::new(settings(RestartWhen::No));
    replica.want();
    assert_eq!(replica.step(now, OPEN), Some(Action::Create));
    replica.created(now, Err(Error::new(Kind::NotFound, "no such program")));
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Delete));
    replica.deleted(now, Ok(()));
    assert!(replica.is_done());
    assert_eq!(replica.end().unwrap().failure.as_deref(), Some("no such program"));
}

#[test]
fn an_end_before_the_news_of_the_start_is_an_end_of_a_run() {
    let now = Instant::now();
    let mut replica = Replica::new(settings(RestartWhen::No));
    replica.want();
    assert_eq!(replica.step(now, OPEN), Some(Action::Create));
    replica.created(now, Ok(()));
    assert_eq!(replica.step(now, OPEN), Some(Action::Start));
    replica.exited(now, Some(0));
    assert_eq!(replica.phase(), Phase::Starting);
    replica.started(now, Ok(()));
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Delete));
    assert!(replica.end().unwrap().is_success());
}

#[test]
fn what_cannot_be_deleted_is_tried_again() {
    let now = Instant::now();
    let mut replica = running(settings(RestartWhen::Always), now);
    replica.exited(now, Some(1));
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Delete));
    replica.deleted(now, Err("busy".to_owned()));
    assert_eq!(
        (replica.step(now, OPEN), replica.wake()),
        (None, Some(now + REMOVE_AGAIN))
    );
    assert_eq!(only(&mut replica, now + REMOVE_AGAIN, OPEN), Some(Action::Delete));
    replica.deleted(now + REMOVE_AGAIN, Ok(()));
    assert_eq!(replica.step(now + seconds(2), OPEN), Some(Action::Create));
}

#[test]
fn a_replica_with_a_health_check_is_found_by_name_only_while_it_is_healthy() {
    let now = Instant::now();
    let mut replica = Replica::new(with_health());
    replica.want();
    assert_eq!(replica.step(now, OPEN), Some(Action::Create));
    replica.created(now, Ok(()));
    assert_eq!(
        replica.step(now, OPEN),
        Some(Action::Ready(false)),
        "before its program runs"
    );
    assert_eq!(replica.step(now, OPEN), Some(Action::Start));
    replica.started(now, Ok(()));
    let mut at = now;
    for (failure, ready) in [(None, true), (Some(String::new()), false), (None, true)] {
        at += seconds(1);
        assert_eq!(only(&mut replica, at, OPEN), Some(Action::Check));
        assert!(replica.checked(at, failure));
        assert_eq!(only(&mut replica, at, OPEN), Some(Action::Ready(ready)));
    }
}

#[test]
fn an_adopted_replica_keeps_its_name_until_a_check_says_otherwise() {
    let now = Instant::now();
    let mut replica = Replica::adopted(with_health(), now - seconds(60), now);
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Check));
    assert!(replica.checked(now, Some("no".to_owned())));
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Ready(false)));
}

#[test]
fn what_is_left_of_a_replica_that_died_unseen_is_removed_and_it_is_started_again() {
    let now = Instant::now();
    let mut replica = Replica::remains(settings(RestartWhen::OnFailure), now);
    assert_eq!(only(&mut replica, now, OPEN), Some(Action::Delete));
    replica.deleted(now, Ok(()));
    assert_eq!(only(&mut replica, now + seconds(1), OPEN), Some(Action::Create));
}
