//! What can go wrong in one attempt, and what the caller is told.

use std::fmt;

use agent::ports::ModelError;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::error::with_sources;
use crate::key::ANTHROPIC_API_KEY;

/// Why an attempt gave no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request never left.
    Unreachable(String),
    /// The request left and no whole answer came back: it may be charged, so it is not sent again behind the ledger's back.
    Lost(String),
    /// The provider answered with another status than 200, and charged nothing.
    Status { status: StatusCode, retry_after_ms: Option<u64>, said: String },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(what) | Self::Lost(what) => f.write_str(what),
            Self::Status { status, said, .. } => write!(f, "{}, {said}", status.as_u16()),
        }
    }
}

impl Failure {
    pub(super) fn of_sending(error: reqwest::Error) -> Self {
        if error.is_connect() || error.is_builder() {
            return Self::Unreachable(with_sources(&error.without_url()));
        }
        Self::lost("the connection was lost before an answer came", error)
    }

    pub(super) fn lost(what: &str, error: reqwest::Error) -> Self {
        Self::Lost(format!("{what}: {}", with_sources(&error.without_url())))
    }

    /// Whether the same request may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Lost(_) => false,
            Self::Status { status, .. } => is_throttle(*status) || is_their_side(*status),
        }
    }

    pub(super) fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Status { retry_after_ms, .. } => *retry_after_ms,
            Self::Unreachable(_) | Self::Lost(_) => None,
        }
    }

    pub(super) fn into_error(self, base_url: &str, model: &str) -> ModelError {
        let text = format!("{base_url}: {self}");
        match self {
            Self::Unreachable(_) => ModelError::Unavailable { message: text, may_be_charged: false },
            Self::Lost(_) => ModelError::Unavailable { message: text, may_be_charged: true },
            Self::Status { status, retry_after_ms, .. } if is_throttle(status) => {
                ModelError::Throttled { message: text, retry_after_ms }
            }
            Self::Status { status, .. } if is_their_side(status) => {
                ModelError::Unavailable { message: text, may_be_charged: false }
            }
            Self::Status { status, .. } => ModelError::Refused(format!("{text}; {}", cure(status, model))),
        }
    }
}

/// 529 is Anthropic's "overloaded".
fn is_throttle(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 529)
}

fn is_their_side(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
}

fn cure(status: StatusCode, model: &str) -> String {
    match status.as_u16() {
        401 => format!("check {ANTHROPIC_API_KEY}: it is wrong or was revoked"),
        402 => "add credit at the provider".into(),
        403 => format!("the key behind {ANTHROPIC_API_KEY} may not do this: give it access to {model} at the provider"),
        404 => format!(
            "the server does not know {model}, or is no such server: check model and base_url in gatewright.toml"
        ),
        413 => "the request is too large: lower context_tokens in gatewright.toml".into(),
        300..=399 => "redirects are not followed, they would carry the key along: write the final base_url".into(),
        _ => "check the role's model, max_output_tokens and context_tokens in gatewright.toml".into(),
    }
}

/// `retry-after` in milliseconds: seconds, or a date.
pub(super) fn retry_after_ms(headers: &HeaderMap, now_ms: i64) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (0.0..1e9).contains(&seconds).then_some((seconds * 1_000.0).ceil() as u64);
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    u64::try_from(date.timestamp_millis() - now_ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(value: &'static str) -> Option<u64> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        retry_after_ms(&headers, 1_445_412_470_000)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(waits("12"), Some(12_000));
        assert_eq!(waits("0.5"), Some(500));
        assert_eq!(waits("Wed, 21 Oct 2015 07:28:00 GMT"), Some(10_000));
        for useless in ["-1", "soon", "NaN", "Wed, 21 Oct 2015 07:27:00 GMT"] {
            assert_eq!(waits(useless), None, "{useless}");
        }
        assert_eq!(retry_after_ms(&HeaderMap::new(), 0), None);
    }
}
