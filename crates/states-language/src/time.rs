//! Instants as text.

use chrono::{DateTime, SecondsFormat};

/// RFC 3339 in UTC with milliseconds, as the context object shows instants.
pub(crate) fn format(ms: i64) -> String {
    // Only beyond the year 262,142 is there no date.
    DateTime::from_timestamp_millis(ms).map_or_else(String::new, |t| t.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Milliseconds since the Unix epoch, rounded up, so that nothing fires early.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let instant = DateTime::parse_from_rfc3339(text).ok()?;
    let partial = i64::from(instant.timestamp_subsec_nanos() % 1_000_000 != 0);
    Some(instant.timestamp_millis() + partial)
}
