//! Pauses that grow, and differ by chance so that runners do not ask in step.

use std::sync::Arc;

use run_model::{Clock, Randomness};

pub(crate) struct Pauses {
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    first_ms: i64,
    longest_ms: i64,
    next_ms: i64,
}

impl Pauses {
    pub(crate) fn new(clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>, first_ms: i64, longest_ms: i64) -> Self {
        Self { clock, randomness, first_ms, longest_ms, next_ms: first_ms }
    }

    /// The next pause is the first one again.
    pub(crate) fn reset(&mut self) {
        self.next_ms = self.first_ms;
    }

    /// Waits, up to a quarter more or less; the next pause is half as long again.
    pub(crate) async fn pause(&mut self) {
        let pause_ms = (self.next_ms as f64 * (0.75 + self.randomness.unit() / 2.0)) as i64;
        self.next_ms = (self.next_ms + self.next_ms / 2).min(self.longest_ms);
        self.clock.sleep_for(pause_ms).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use run_model::time::{SeededRandomness, VirtualClock};

    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_again() {
        let clock = VirtualClock::at(0);
        let mut pauses = Pauses::new(Arc::new(clock.clone()), Arc::new(SeededRandomness::new(1)), 2_000, 30_000);
        let mut next = || {
            let mut pause = Box::pin(pauses.pause());
            assert!((&mut pause).now_or_never().is_none());
            let length_ms = clock.next_due_ms().unwrap() - run_model::Clock::now_ms(&clock);
            clock.advance(length_ms);
            assert!(pause.now_or_never().is_some());
            length_ms
        };
        let lengths: Vec<i64> = (0..12).map(|_| next()).collect();
        assert!((1_500..=2_500).contains(&lengths[0]) && lengths[5] > 2 * lengths[0], "{lengths:?}");
        assert!(lengths[9..].iter().all(|length| (22_500..=37_500).contains(length)), "{lengths:?}");
        pauses.reset();
        assert_eq!(pauses.next_ms, 2_000);
    }
}
