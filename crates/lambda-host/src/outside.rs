//! Time and chance of the real world.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use run_model::time::Sleep;
use run_model::{Clock, Randomness};

/// Whoever sleeps until a moment looks at the clock so often: a machine that was asleep, or whose clock was set, tells nobody.
const LOOK_AGAIN_MS: i64 = 1_000;

/// The system's clock; `GATEWRIGHT_CLOCK_SHIFT=FILE` sets it forward or back in a debug build, for tests, by the milliseconds that
/// the file holds. Sleeping needs a Tokio runtime with time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the outside that time comes in from")]
    fn now_ms(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX).saturating_add(shift_ms())
    }

    fn sleep_until(&self, moment_ms: i64) -> Sleep {
        let clock = *self;
        Box::pin(async move {
            // Again and again, because the system's clock may be set meanwhile.
            loop {
                let left_ms = moment_ms.saturating_sub(clock.now_ms());
                if left_ms <= 0 {
                    break;
                }
                clock.sleep_for(left_ms.min(LOOK_AGAIN_MS)).await;
            }
        })
    }

    fn sleep_for(&self, milliseconds: i64) -> Sleep {
        let time = Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
        Box::pin(async move { tokio::time::sleep(time).await })
    }
}

/// By how much the clock is set for a test; a release build does not look.
fn shift_ms() -> i64 {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let file = std::env::var_os("GATEWRIGHT_CLOCK_SHIFT").filter(|_| cfg!(debug_assertions));
        file.map(PathBuf::from)
    });
    let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
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
