//! Time and chance come in from outside, so that a two-hour gate times out in a millisecond of test.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A future that ends when a clock has reached a moment.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The only source of time. Moments are milliseconds since the Unix epoch.
pub trait Clock: Send + Sync {
    /// Now, in milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;

    /// Ends once `now_ms()` is at least `moment_ms`; at once if it already is. A clock that is set is noticed within a second.
    fn sleep_until(&self, moment_ms: i64) -> Sleep;

    /// Ends when so much time has passed, even if the clock is set meanwhile; at once if it is not more than 0. For pauses and for
    /// the patience with somebody who answers; what has a moment of its own, such as a deadline, is for `sleep_until`.
    fn sleep_for(&self, milliseconds: i64) -> Sleep {
        self.sleep_until(self.now_ms().saturating_add(milliseconds))
    }
}

/// The only source of chance.
pub trait Randomness: Send + Sync {
    /// Fills `bytes` with random bytes: unguessable in production, seeded in tests.
    fn fill(&self, bytes: &mut [u8]);

    /// A lower-case hexadecimal identifier of `bytes` random bytes.
    fn hex_id(&self, bytes: usize) -> String {
        let mut buffer = vec![0; bytes];
        self.fill(&mut buffer);
        hex::encode(buffer)
    }

    /// A number in `[0, 1)`.
    fn unit(&self) -> f64 {
        let mut buffer = [0; 8];
        self.fill(&mut buffer);
        (u64::from_le_bytes(buffer) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A clock that moves only when told to.
#[derive(Clone, Default)]
pub struct VirtualClock(Arc<Mutex<VirtualTime>>);

#[derive(Default)]
struct VirtualTime {
    now_ms: i64,
    next_sleeper: u64,
    sleepers: BTreeMap<(i64, u64), Waker>,
}

impl VirtualClock {
    /// A clock that stands at `now_ms`.
    pub fn at(now_ms: i64) -> Self {
        let clock = Self::default();
        clock.lock().now_ms = now_ms;
        clock
    }

    /// Moves the clock on by `milliseconds` and wakes who was waiting for that.
    pub fn advance(&self, milliseconds: i64) {
        let due = {
            let mut time = self.lock();
            time.now_ms += milliseconds;
            let now_ms = time.now_ms;
            let later = time.sleepers.split_off(&(now_ms + 1, 0));
            std::mem::replace(&mut time.sleepers, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// The moment the next sleeper waits for, if anybody sleeps.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.lock().sleepers.keys().next().map(|(due, _)| *due)
    }

    fn lock(&self) -> MutexGuard<'_, VirtualTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now_ms(&self) -> i64 {
        self.lock().now_ms
    }

    fn sleep_until(&self, moment_ms: i64) -> Sleep {
        let number = {
            let mut time = self.lock();
            time.next_sleeper += 1;
            time.next_sleeper
        };
        Box::pin(VirtualSleep { clock: self.clone(), key: (moment_ms, number) })
    }
}

struct VirtualSleep {
    clock: VirtualClock,
    key: (i64, u64),
}

impl Future for VirtualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut time = self.clock.lock();
        if time.now_ms >= self.key.0 {
            return Poll::Ready(());
        }
        time.sleepers.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&self.key);
    }
}

/// Chance that repeats: the same seed gives the same bytes (SplitMix64).
pub struct SeededRandomness(Mutex<u64>);

impl SeededRandomness {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Randomness for SeededRandomness {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll_once(sleep: &mut Sleep) -> Poll<()> {
        sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_sleeper_wakes_exactly_at_its_moment() {
        let clock = VirtualClock::at(1_000);
        let mut sleep = clock.sleep_until(1_500);
        assert_eq!(poll_once(&mut sleep), Poll::Pending);
        assert_eq!(clock.next_due_ms(), Some(1_500));
        clock.advance(499);
        assert_eq!(poll_once(&mut sleep), Poll::Pending);
        clock.advance(1);
        assert_eq!(poll_once(&mut sleep), Poll::Ready(()));
    }

    #[test]
    fn a_dropped_sleeper_is_forgotten() {
        let clock = VirtualClock::at(0);
        let mut sleep = clock.sleep_until(10);
        assert_eq!(poll_once(&mut sleep), Poll::Pending);
        drop(sleep);
        assert_eq!(clock.next_due_ms(), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_chance() {
        let ids = |seed| SeededRandomness::new(seed).hex_id(12);
        assert_eq!(ids(7), ids(7));
        assert_ne!(ids(7), ids(8));
        assert!((0.0..1.0).contains(&SeededRandomness::new(3).unit()));
    }
}
