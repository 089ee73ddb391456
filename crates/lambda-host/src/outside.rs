//! Time and chance of the real world.

use std::time::{Duration, SystemTime};

use run_model::time::Sleep;
use run_model::{Clock, Randomness};

/// The system's clock. Sleeping needs a Tokio runtime with time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the outside that time comes in from")]
    fn now_ms(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    fn sleep_until(&self, moment_ms: i64) -> Sleep {
        let clock = *self;
        Box::pin(async move {
            // Again and again, because the system's clock may be set back meanwhile.
            while let Some(left_ms) = u64::try_from(moment_ms - clock.now_ms()).ok().filter(|left_ms| *left_ms > 0) {
                tokio::time::sleep(Duration::from_millis(left_ms)).await;
            }
        })
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandomness;

impl Randomness for OsRandomness {
    /// # Panics
    /// If the operating system has no randomness: whatever would be made without it could be guessed.
    fn fill(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the operating system gives no randomness: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeping_ends_at_its_moment_and_not_before() {
        let begun_ms = SystemClock.now_ms();
        SystemClock.sleep_until(begun_ms + 20).await;
        assert!(SystemClock.now_ms() >= begun_ms + 20);
        SystemClock.sleep_until(0).await;
    }

    #[test]
    fn chance_does_not_repeat() {
        assert_ne!(OsRandomness.hex_id(16), OsRandomness.hex_id(16));
    }
}
