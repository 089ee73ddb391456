//! Calls that failed, and the cure for the failures that people meet.

use serde_json::Value;

use super::Element;
use crate::problem::{Problem, causes};

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The service said no: `code` says why, for programs.
    #[error("{service} answered {status} {code}: {message}")]
    Refused {
        service: &'static str,
        status: u16,
        code: String,
        message: String,
        /// What our own API says to do about it.
        cure: Option<String>,
    },
    /// Nobody answers there, or not in time.
    #[error("{service} cannot be reached")]
    Unreachable {
        service: &'static str,
        #[source]
        source: reqwest::Error,
    },
    /// It answered something else than it should.
    #[error("{service} answered what cannot be read")]
    Unreadable { service: &'static str },
    /// The environment names an address that is none.
    #[error("{url} is no address for {service}: check AWS_REGION and AWS_ENDPOINT_URL")]
    NoAddress { service: &'static str, url: String },
    /// The request could not be written down.
    #[error("a request for {service} could not be signed: {error}")]
    Unsigned { service: &'static str, error: String },
}

impl CallError {
    /// Reads an answer that is an error, in whichever way it is written.
    pub(super) fn refused(service: &'static str, status: u16, kind: Option<&str>, text: &str) -> Self {
        let (said, message, cure) = in_xml(text).or_else(|| in_json(text)).unwrap_or_default();
        // In the header it may bear an address after a colon, in the body its namespace before a hash.
        let code = kind.map(str::to_owned).or(said).unwrap_or_else(|| format!("Http{status}"));
        let code = code.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default().to_owned();
        let message = message.unwrap_or_else(|| text.chars().take(300).collect());
        Self::Refused { service, status, code, message, cure }
    }

    /// The error's name, if the service said no.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether it was too many at once.
    pub(super) fn is_throttled(&self) -> bool {
        let known = ["Throttling", "TooManyRequests", "RequestLimitExceeded", "SlowDown"];
        self.code().is_some_and(|code| known.iter().any(|name| code.starts_with(name)))
            || matches!(self, Self::Refused { status: 429, .. })
    }
}

/// Code, message and cure.
type Said = (Option<String>, Option<String>, Option<String>);

/// `<ErrorResponse><Error><Code>..`, or the error itself as the root.
fn in_xml(text: &str) -> Option<Said> {
    let root = Element::parse(text)?;
    let of = |name: &str| root.text(&format!("Error/{name}")).or_else(|| root.text(name)).map(str::to_owned);
    Some((of("Code"), of("Message"), None))
}

/// `{"__type", "message"}` of AWS, or `{"error": {"name", "message", "cure"}}` of our API.
fn in_json(text: &str) -> Option<Said> {
    let body: Value = serde_json::from_str(text).ok()?;
    let of = |object: &Value, names: &[&str]| {
        names.iter().find_map(|name| object.get(name).and_then(Value::as_str)).map(str::to_owned)
    };
    let ours = &body["error"];
    let code = of(ours, &["name"]).or_else(|| of(&body, &["__type", "code", "Code"]));
    let message = of(ours, &["message"]).or_else(|| of(&body, &["message", "Message", "errorMessage"]));
    Some((code, message, of(ours, &["cure"])))
}

/// What people do about a failure of AWS, by its code. Several services name one thing differently.
pub(crate) fn cure(code: &str) -> Option<&'static str> {
    match code {
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" | "TokenRefreshRequired" => {
            Some("the session has ended: sign in again and export the new credentials")
        }
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidAccessKeyId"
        | "AuthFailure"
        | "InvalidToken"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => {
            Some("AWS does not know these credentials: check AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN")
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature" => Some(
            "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID, AWS_REGION is another one, or this machine's \
             clock is wrong",
        ),
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "ForbiddenException" => {
            Some("ask whoever administers the account for this right; infra/README.md lists what is needed")
        }
        "OptInRequired" => Some("the region is not enabled in this account: enable it, or use another AWS_REGION"),
        _ => None,
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let text = causes(&error);
        match &error {
            CallError::Refused { cure: Some(ours), .. } => Self::input(format!("{text}: {ours}")),
            CallError::Refused { code, .. } => Self::missing(match cure(code) {
                Some(cure) => format!("{text}: {cure}"),
                None => text,
            }),
            CallError::Unreachable { .. } => {
                Self::missing(format!("{text}: check the network, AWS_REGION and AWS_ENDPOINT_URL"))
            }
            _ => Self::missing(text),
        }
    }
}
