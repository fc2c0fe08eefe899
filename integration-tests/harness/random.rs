//! Random numbers for scenarios, from a seed that is shown when the scenario fails.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// splitmix64: a handful of random choices is no reason for a dependency.
pub(crate) struct Random(u64);

impl Random {
    /// Seeded from `MINIRUN_SEED`, which repeats a run, else from the clock.
    pub(crate) fn seeded(scenario: &str) -> Random {
        let seed = std::env::var("MINIRUN_SEED")
            .ok()
            .map(|seed| seed.parse().unwrap())
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
        // Shown when the test fails.
        println!("{scenario}: MINIRUN_SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// Less than `limit`.
    pub(crate) fn duration(&mut self, limit: Duration) -> Duration {
        Duration::from_nanos(self.below(limit.as_nanos() as u64))
    }

    /// One time out of two.
    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// One of these.
    pub(crate) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }

    /// Each of these one time out of two, in their order.
    pub(crate) fn some_of<T: Clone>(&mut self, choices: &[T]) -> Vec<T> {
        choices.iter().filter(|_| self.coin()).cloned().collect()
    }
}
