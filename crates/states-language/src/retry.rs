//! When a failed state is tried again.

use crate::definition::{Catcher, Retrier};
use crate::error::Failure;

/// The first retrier that means the failure, with its position. Only this one counts, even when it is used up.
pub(crate) fn retrier<'m>(retriers: &'m [Retrier], failure: &Failure) -> Option<(usize, &'m Retrier)> {
    retriers.iter().enumerate().find(|(_, retrier)| retrier.errors.iter().any(|name| failure.is(name)))
}

/// The first catcher that means the failure, with its position.
pub(crate) fn catcher<'m>(catchers: &'m [Catcher], failure: &Failure) -> Option<(usize, &'m Catcher)> {
    catchers.iter().enumerate().find(|(_, catcher)| catcher.errors.iter().any(|name| failure.is(name)))
}

/// The pause before attempt `used + 2`, in milliseconds, when `used` retries have been made:
/// `IntervalSeconds * BackoffRate^used`, at most `MaxDelaySeconds`; with full jitter a random part of it.
pub(crate) fn delay_ms(retrier: &Retrier, used: u32, random: impl FnOnce() -> f64) -> i64 {
    let grown = retrier.interval_seconds * retrier.backoff_rate.powf(f64::from(used));
    let capped = grown.min(retrier.max_delay_seconds.unwrap_or(MAX_DELAY_SECONDS));
    let seconds = if retrier.full_jitter { capped * random() } else { capped };
    (seconds * 1_000.0).round() as i64
}

/// A year, the longest that an execution may last.
const MAX_DELAY_SECONDS: f64 = 31_622_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn retrier_of(interval: f64, rate: f64, max_delay: Option<f64>, full_jitter: bool) -> Retrier {
        Retrier {
            errors: Vec::new(),
            interval_seconds: interval,
            backoff_rate: rate,
            max_attempts: 3,
            max_delay_seconds: max_delay,
            full_jitter,
        }
    }

    #[test]
    fn the_pause_grows_by_the_rate_up_to_its_limit() {
        let cases = [
            (retrier_of(1.0, 2.0, None, false), vec![1_000, 2_000, 4_000, 8_000]),
            (retrier_of(3.0, 1.5, None, false), vec![3_000, 4_500, 6_750, 10_125]),
            (retrier_of(5.0, 1.0, None, false), vec![5_000, 5_000, 5_000, 5_000]),
            (retrier_of(2.0, 3.0, Some(10.0), false), vec![2_000, 6_000, 10_000, 10_000]),
            (retrier_of(2.0, 3.0, Some(10.0), true), vec![500, 1_500, 2_500, 2_500]),
        ];
        for (retrier, expected) in cases {
            let delays: Vec<i64> = (0..4).map(|used| delay_ms(&retrier, used, || 0.25)).collect();
            assert_eq!(delays, expected, "{retrier:?}");
        }
    }

    #[test]
    fn a_pause_never_outgrows_a_year() {
        assert_eq!(delay_ms(&retrier_of(99_999_999.0, 10.0, None, false), 400, || 0.0), 31_622_400_000);
    }
}
