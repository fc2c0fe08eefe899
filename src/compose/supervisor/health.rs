//! Whether a replica works, from the results of its health checks. Pure: the time is passed in.
//!
//! ```text
//!             passed                       `retries` failures in a row
//! starting ----------> healthy <----------> unhealthy
//!     \                        passed        ^
//!      `-- `retries` failures after the start period --'
//! ```
//!
//! As in Docker, with one difference: a new replica is not left alone for a whole interval. It is asked after 0.1 s, 0.2 s,
//! 0.4 s and so on, so that what waits for it goes on soon, and until the first interval is over failures do not count,
//! as in the start period.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::compose::model::Healthcheck;

/// The first wait of a new replica.
const FIRST: Duration = Duration::from_millis(100);

/// What is known of a replica's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Too early to say.
    Starting,
    /// It works.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Start a check.
    Check,
    /// End the check that is under way: it has failed.
    GiveUp,
}

/// The health of one run of a replica.
#[derive(Clone, Debug)]
pub struct Health {
    config: Healthcheck,
    started: Instant,
    status: Status,
    failures: u32,
    /// The last early check's wait.
    wait: Duration,
    next: Next,
    output: String,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Check(Instant),
    Result { deadline: Instant, given_up: bool },
}

impl Health {
    /// For a replica that has just been started.
    pub fn new(config: Healthcheck, now: Instant) -> Self {
        Self {
            config,
            started: now,
            status: Status::Starting,
            failures: 0,
            wait: FIRST,
            next: Next::Check(now + FIRST),
            output: String::new(),
        }
    }

    /// For a replica that was found running: its first check is due.
    pub fn adopted(config: Healthcheck, started: Instant, now: Instant) -> Self {
        Self {
            next: Next::Check(now),
            ..Self::new(config, started)
        }
    }

    /// Takes another configuration, from the next check on.
    pub fn configure(&mut self, config: Healthcheck) {
        self.config = config;
    }

    /// What is known.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What the last failed check said; empty when none failed.
    pub fn output(&self) -> &str {
        &self.output
    }

    /// When [`Health::due`] has to be asked again.
    pub fn wake(&self) -> Option<Instant> {
        match self.next {
            Next::Check(at) => Some(at),
            Next::Result { given_up: true, .. } => None,
            Next::Result { deadline, .. } => Some(deadline),
        }
    }

    /// What is due now; each is told once.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        match self.next {
            Next::Check(at) if at <= now => {
                let deadline = now + self.config.timeout;
                let given_up = false;
                self.next = Next::Result { deadline, given_up };
                Some(Due::Check)
            }
            Next::Result {
                deadline,
                given_up: false,
            } if deadline <= now => {
                let given_up = true;
                self.next = Next::Result { deadline, given_up };
                Some(Due::GiveUp)
            }
            _ => None,
        }
    }

    /// The check that was under way could not say anything: another one follows soon.
    pub fn unchecked(&mut self, now: Instant) {
        self.next = Next::Check(now + FIRST);
    }

    /// The check that was under way has ended; `failure` is what it said if it failed. True when the status changed.
    pub fn checked(&mut self, now: Instant, failure: Option<String>) -> bool {
        let before = self.status;
        let early = now < self.started + self.config.start_period.max(self.config.interval);
        match failure {
            None => {
                self.status = Status::Healthy;
                self.failures = 0;
            }
            Some(said) => {
                self.output = match self.next {
                    Next::Result { given_up: true, .. } => {
                        format!("no answer within {:?}. {said}", self.config.timeout)
                    }
                    _ => said,
                };
                if !(early && self.status == Status::Starting) {
                    self.failures = self.failures.saturating_add(1);
                    if self.failures >= self.config.retries {
                        self.status = Status::Unhealthy;
                    }
                }
            }
        }
        let wait = match self.status {
            Status::Starting if early => {
                self.wait = (self.wait * 2).min(self.config.start_interval.max(FIRST));
                self.wait
            }
            _ => self.config.interval,
        };
        self.next = Next::Check(now + wait);
        self.status != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    fn config() -> Healthcheck {
        Healthcheck {
            test: vec!["true".to_owned()],
            interval: seconds(10),
            timeout: seconds(2),
            retries: 2,
            start_period: seconds(30),
            start_interval: seconds(5),
        }
    }

    fn fail(health: &mut Health, at: Instant) -> bool {
        assert_eq!(health.due(at), Some(Due::Check));
        health.checked(at, Some("no".to_owned()))
    }

    #[test]
    fn a_new_replica_is_asked_soon_then_less_often() {
        let start = Instant::now();
        let mut health = Health::new(config(), start);
        let mut waits = Vec::new();
        let mut now = start;
        for _ in 0..8 {
            let next = health.wake().unwrap();
            waits.push((next - now).as_millis());
            now = next;
            assert!(!fail(&mut health, now));
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(health.status(), Status::Starting);
    }

    #[test]
    fn failures_count_when_the_start_period_is_over() {
        let start = Instant::now();
        let mut health = Health::new(config(), start);
        assert!(!fail(&mut health, start + seconds(29)));
        assert!(!fail(&mut health, start + seconds(34)));
        assert!(fail(&mut health, start + seconds(44)));
        assert_eq!((health.status(), health.output()), (Status::Unhealthy, "no"));
    }

    #[test]
    fn one_success_ends_the_start_period_and_failures_count_from_then_on() {
        let start = Instant::now();
        let mut health = Health::new(config(), start);
        let first = start + FIRST;
        assert_eq!(health.due(first), Some(Due::Check));
        assert!(health.checked(first, None));
        assert_eq!(health.status(), Status::Healthy);
        assert_eq!(health.wake(), Some(first + seconds(10)));
        assert!(!fail(&mut health, first + seconds(10)));
        assert!(fail(&mut health, first + seconds(20)));
        assert_eq!(health.status(), Status::Unhealthy);
    }

    #[test]
    fn failures_must_be_in_a_row_and_an_unhealthy_replica_recovers() {
        let start = Instant::now();
        let mut health = Health::adopted(config(), start - seconds(100), start);
        let mut now = start;
        for passed in [false, true, false, true] {
            assert_eq!(health.due(now), Some(Due::Check));
            health.checked(now, (!passed).then(String::new));
            now += seconds(10);
        }
        assert_eq!(health.status(), Status::Healthy);
        assert!(!fail(&mut health, now));
        assert!(fail(&mut health, now + seconds(10)));
        assert_eq!(health.due(now + seconds(20)), Some(Due::Check));
        assert!(health.checked(now + seconds(20), None));
        assert_eq!(health.status(), Status::Healthy);
    }

    #[test]
    fn a_check_that_hangs_is_given_up_once_and_has_failed() {
        let start = Instant::now();
        let mut health = Health::adopted(config(), start - seconds(100), start);
        assert_eq!(health.due(start), Some(Due::Check));
        assert_eq!(health.due(start + seconds(1)), None);
        assert_eq!(health.wake(), Some(start + seconds(2)));
        assert_eq!(health.due(start + seconds(2)), Some(Due::GiveUp));
        assert_eq!((health.due(start + seconds(3)), health.wake()), (None, None));
        health.checked(start + seconds(3), Some(String::new()));
        assert!(health.output().contains("no answer within 2s"));
    }
}
