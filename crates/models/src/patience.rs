//! How long one call waits for a provider that is busy: a few seconds, with jitter. Longer waits are the machine's, which
//! waits for nothing.

/// All waits of one call together.
const TOTAL_MS: u64 = 5_000;
/// The first wait before jitter; each further one is twice as long.
const FIRST_WAIT_MS: u64 = 500;
const RETRIES: u32 = 3;

/// What is left of one call's patience.
#[derive(Debug)]
pub(crate) struct Patience {
    left_ms: u64,
    retries: u32,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { left_ms: TOTAL_MS, retries: 0 }
    }

    /// How long to wait before the next attempt; `None` if the call should give up. `asked_ms` is what the provider asks
    /// for: never shortened, so a long one ends the call. `chance` is in `[0, 1)`.
    pub(crate) fn next_wait_ms(&mut self, asked_ms: Option<u64>, chance: f64) -> Option<u64> {
        let full = FIRST_WAIT_MS << self.retries;
        let jittered = full / 2 + (full as f64 / 2.0 * chance) as u64;
        let wait = asked_ms.unwrap_or(0).max(jittered);
        if self.retries == RETRIES || wait > self.left_ms {
            return None;
        }
        self.retries += 1;
        self.left_ms -= wait;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(asked: Option<u64>, chance: f64) -> Vec<u64> {
        let mut patience = Patience::new();
        std::iter::from_fn(|| patience.next_wait_ms(asked, chance)).collect()
    }

    #[test]
    fn waits_grow_with_jitter_and_stay_within_five_seconds() {
        assert_eq!(waits(None, 0.0), [250, 500, 1_000]);
        assert_eq!(waits(None, 0.5), [375, 750, 1_500]);
        assert!(waits(None, 0.999).iter().sum::<u64>() <= TOTAL_MS);
    }

    #[test]
    fn what_the_provider_asks_for_is_never_shortened() {
        assert_eq!(waits(Some(2_000), 0.0), [2_000, 2_000]);
        assert_eq!(waits(Some(5_001), 0.0), Vec::<u64>::new());
    }
}
