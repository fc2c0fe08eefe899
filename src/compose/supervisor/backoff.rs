//! Whether a replica that has ended is started again, and after which wait. Pure.

use std::time::Duration;

use crate::compose::model::{Restart, RestartWhen};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
/// A replica that ran so long was a success, unless the file says how long.
const SUCCESS: Duration = Duration::from_secs(10);

/// What is remembered of a replica's restarts in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The wait before the next start; `None` when there is none. `status` is the exit status, if anybody knows it; `ran`
    /// how long the replica was running, nothing when it could not be started.
    ///
    /// As in Docker the wait is 100 ms and doubles up to a minute. An unknown status counts as a failure: better started
    /// once too often than never.
    pub fn next(&mut self, policy: &Restart, status: Option<i32>, ran: Option<Duration>) -> Option<Duration> {
        if ran.is_some_and(|ran| ran >= policy.window.unwrap_or(SUCCESS)) {
            self.attempts = 0;
        }
        let again = match policy.when {
            RestartWhen::No => false,
            RestartWhen::Always | RestartWhen::UnlessStopped => true,
            RestartWhen::OnFailure => status != Some(0),
        };
        if !again || policy.attempts.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        let doubled = FIRST.saturating_mul(1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX));
        self.attempts = self.attempts.saturating_add(1);
        Some(policy.delay.unwrap_or_else(|| doubled.min(LONGEST)))
    }

    /// How many restarts there were in a row.
    pub fn attempts(self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: Option<Duration> = Some(Duration::from_millis(5));

    fn policy(when: RestartWhen) -> Restart {
        Restart {
            when,
            ..Restart::default()
        }
    }

    #[test]
    fn the_wait_doubles_from_a_tenth_of_a_second_to_a_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..40)
            .map(|_| {
                backoff
                    .next(&policy(RestartWhen::Always), Some(1), CRASH)
                    .unwrap()
                    .as_millis()
            })
            .collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!((waits[9], waits[10], waits[39]), (51_200, 60_000, 60_000));
    }

    #[test]
    fn a_replica_that_ran_for_a_while_starts_anew_with_a_short_wait() {
        let mut backoff = Backoff::default();
        let always = policy(RestartWhen::Always);
        for _ in 0..5 {
            backoff.next(&always, Some(1), CRASH);
        }
        let wait = backoff.next(&always, Some(1), Some(Duration::from_secs(10)));
        assert_eq!(wait, Some(FIRST));
    }

    #[test]
    fn on_failure_starts_again_what_failed_or_ended_unseen_and_leaves_what_is_done() {
        let restarts = |status| {
            Backoff::default()
                .next(&policy(RestartWhen::OnFailure), status, CRASH)
                .is_some()
        };
        assert_eq!(
            [Some(1), Some(137), None, Some(0)].map(restarts),
            [true, true, true, false]
        );
    }

    #[test]
    fn attempts_are_counted_until_one_was_a_success() {
        let twice = Restart {
            attempts: Some(2),
            window: Some(Duration::from_secs(3)),
            ..policy(RestartWhen::OnFailure)
        };
        let mut backoff = Backoff::default();
        let mut again = |ran| backoff.next(&twice, Some(1), ran).is_some();
        assert_eq!([again(CRASH), again(None), again(CRASH)], [true, true, false]);
        assert!(again(Some(Duration::from_secs(3))));
    }

    #[test]
    fn a_delay_in_the_file_goes_before_the_usual_one() {
        let slow = Restart {
            delay: Some(Duration::from_secs(7)),
            ..policy(RestartWhen::Always)
        };
        let mut backoff = Backoff::default();
        assert_eq!(
            [backoff.next(&slow, None, CRASH), backoff.next(&slow, None, CRASH)],
            [slow.delay; 2]
        );
    }

    #[test]
    fn without_a_policy_the_end_is_the_end() {
        assert_eq!(
            Backoff::default().next(&policy(RestartWhen::No), Some(1), CRASH),
            None
        );
    }
}
