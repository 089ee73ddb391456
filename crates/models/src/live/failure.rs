//! What can go wrong in one attempt, and what the caller is told.

use std::fmt;

use agent::ports::ModelError;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use crate::error::with_sources;

/// The longest part of a provider's error text that is passed on.
const ERROR_CHARS: usize = 500;
/// In milliseconds, from those who find seconds too coarse.
const RETRY_AFTER_MS: &str = "retry-after-ms";

/// Why an attempt gave no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request never left.
    Unreachable(String),
    /// Nobody listens at an address of this machine, and nobody will for waiting.
    NobodyThere,
    /// Whoever answered with 200 speaks no such language: it is another server, which charged nothing.
    Stranger(String),
    /// The request left and no whole answer came back: it may be charged, so it is not sent again behind the ledger's back.
    Lost(String),
    /// The provider answered with another status than 200, and charged nothing.
    Status { status: StatusCode, retry_after_ms: Option<u64>, said: Said },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(what) | Self::Lost(what) => f.write_str(what),
            Self::NobodyThere => f.write_str("nobody listens there"),
            Self::Stranger(begin) => write!(f, "the answer is no JSON object but {begin:?}"),
            Self::Status { status, said, .. } => write!(f, "{}, {}", status.as_u16(), said.words),
        }
    }
}

impl Failure {
    pub(super) fn of_sending(error: reqwest::Error, is_within: bool) -> Self {
        if is_within && error.is_connect() && is_refused(&error) {
            return Self::NobodyThere;
        }
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
            Self::Lost(_) | Self::NobodyThere | Self::Stranger(_) => false,
            Self::Status { status, said, .. } => {
                said.meaning.is_none() && (is_throttle(*status) || is_their_side(*status))
            }
        }
    }

    pub(super) fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Status { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }

    /// What the server said with its refusal.
    pub(super) fn said(&self) -> Option<&Said> {
        match self {
            Self::Status { said, .. } => Some(said),
            _ => None,
        }
    }

    /// What the caller is told; `strike` takes the key out of what the server repeats, `key` is its name.
    pub(super) fn into_error(
        self,
        base_url: &str,
        model: &str,
        key: &str,
        strike: impl Fn(&str) -> String,
    ) -> ModelError {
        // Cut at last: half a key would not be recognised.
        let text: String = strike(&format!("{base_url}: {self}")).chars().take(ERROR_CHARS).collect();
        match self {
            Self::Unreachable(_) => ModelError::Unavailable { message: text, may_be_charged: false },
            Self::Lost(_) => ModelError::Unavailable { message: text, may_be_charged: true },
            Self::NobodyThere => ModelError::Refused(format!("{text}; start the server, or mend base_url")),
            Self::Stranger(_) => {
                ModelError::Refused(format!("{text}; it is no such server: check base_url and kind under [provider]"))
            }
            Self::Status { said: Said { meaning: Some(meaning), .. }, .. } => {
                ModelError::Refused(format!("{text}; {}", meaning.cure()))
            }
            Self::Status { status, retry_after_ms, .. } if is_throttle(status) => {
                ModelError::Throttled { message: text, retry_after_ms }
            }
            Self::Status { status, .. } if is_their_side(status) => {
                ModelError::Unavailable { message: text, may_be_charged: false }
            }
            Self::Status { status, .. } => ModelError::Refused(format!("{text}; {}", cure(status, model, key))),
        }
    }
}

/// Whether a 200 comes from a server of another kind: an answer is a JSON object in every language, whatever is wrong with it.
/// One that is empty may have been lost on its way.
pub(super) fn stranger(body: &[u8]) -> Option<Failure> {
    const SHOWN: usize = 60;
    let body = body.trim_ascii_start();
    let begin = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]).chars().take(SHOWN).collect();
    (!body.is_empty() && !body.starts_with(b"{")).then_some(Failure::Stranger(begin))
}

fn is_refused(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let mut found = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    found.any(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// What a server says beside a status that is no success.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its words, in one line.
    pub(crate) words: String,
    /// What no waiting will change, if it says so; a status alone does not tell.
    meaning: Option<Meaning>,
}

/// What providers say with a status that also means something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    NoCredit,
    TooLong,
}

impl Meaning {
    fn cure(self) -> &'static str {
        match self {
            Self::NoCredit => "add credit at the provider",
            Self::TooLong => {
                "the request is longer than the model's context: lower context_tokens in gatewright.toml to what the model \
                 and its server take"
            }
        }
    }

    /// By the codes of OpenAI, OpenRouter and llama.cpp, and by the words of those who give none.
    fn of(codes: &[&str], words: &str) -> Option<Self> {
        let has = |known: &[&str]| codes.iter().any(|code| known.contains(code));
        let says = |known: &[&str]| known.iter().any(|text| words.contains(text));
        if has(&["insufficient_quota", "billing_hard_limit_reached"]) || says(&["credit balance is too low"]) {
            Some(Self::NoCredit)
        } else if has(&["context_length_exceeded", "exceed_context_size_error"])
            || says(&["maximum context length", "prompt is too long"])
        {
            Some(Self::TooLong)
        } else {
            None
        }
    }
}

impl Said {
    /// Reads `{"error": {"type", "code", "message"}}`, `{"error": "..."}`, `{"detail": "..."}` or any other text.
    pub(crate) fn read(body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        Self::of_error(&value["error"]).unwrap_or_else(|| {
            let plain = [&value["error"], &value["message"], &value["detail"]];
            let plain = plain.into_iter().find_map(Value::as_str);
            Self::of(&[], plain.unwrap_or(&String::from_utf8_lossy(body)))
        })
    }

    /// Reads the object in `error`; `None` if it has no message.
    fn of_error(error: &Value) -> Option<Self> {
        let message = error["message"].as_str()?;
        let codes: Vec<&str> = [&error["code"], &error["type"]].into_iter().filter_map(Value::as_str).collect();
        let kind = codes.first().map(|code| format!("{code}: ")).unwrap_or_default();
        Some(Self::of(&codes, &format!("{kind}{message}")))
    }

    fn of(codes: &[&str], text: &str) -> Self {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let meaning = Meaning::of(codes, &words);
        let words = if words.is_empty() { "without a word".into() } else { words };
        Self { words, meaning }
    }
}

/// 529 is Anthropic's "overloaded".
fn is_throttle(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 529)
}

fn is_their_side(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
}

fn cure(status: StatusCode, model: &str, key: &str) -> String {
    match status.as_u16() {
        401 => format!("check {key}: it is missing, wrong or was revoked"),
        402 => Meaning::NoCredit.cure().into(),
        403 => format!("the key behind {key} may not do this: give it access to {model} at the provider"),
        404 => format!(
            "the server does not know {model}, or is no such server: check model and base_url in gatewright.toml"
        ),
        413 => "the request is too large: lower context_tokens in gatewright.toml".into(),
        300..=399 => "redirects are not followed, they would carry the key along: write the final base_url".into(),
        _ => "check the role's model, temperature, max_output_tokens and context_tokens in gatewright.toml".into(),
    }
}

/// `retry-after` in milliseconds: seconds, or a date.
pub(super) fn retry_after_ms(headers: &HeaderMap, now_ms: i64) -> Option<u64> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str, unit_ms: f64| {
        let number = text.parse::<f64>().ok()?;
        (0.0..1e9).contains(&number).then_some((number * unit_ms).ceil() as u64)
    };
    if let Some(fine) = text(RETRY_AFTER_MS).and_then(|text| number(text, 1.0)) {
        return Some(fine);
    }
    let text = text(RETRY_AFTER.as_str())?;
    if let Some(coarse) = number(text, 1_000.0) {
        return Some(coarse);
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
        let both = [(RETRY_AFTER_MS, "1500"), ("retry-after", "2")];
        let both = both.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        assert_eq!(
            retry_after_ms(&HeaderMap::from_iter::<[(reqwest::header::HeaderName, _); 2]>(both), 0),
            Some(1_500)
        );
    }
}
