//! The one shape in which every service says no.

use serde_json::{Map, Value, json};

/// An error as AWS would answer it: HTTP status, error code, message.
///
/// The SDKs turn the code into their typed error, so it must be spelled as in the service's API reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct AwsError {
    /// HTTP status, 400 for a caller's mistake and 500 for ours.
    pub status: u16,
    /// Error code such as `ResourceNotFoundException`.
    pub code: String,
    /// What went wrong, for a person.
    pub message: String,
}

impl AwsError {
    /// A caller's mistake: status 400.
    pub fn client(code: impl Into<String>, message: impl Into<String>) -> Self {
        AwsError { status: 400, code: code.into(), message: message.into() }
    }

    /// A malformed or refused input: `ValidationException`.
    pub fn validation(message: impl Into<String>) -> Self {
        AwsError::client("ValidationException", message)
    }

    /// A failure of the embedded cloud itself: `InternalServerError`, status 500, which SDKs retry.
    pub fn internal(message: impl Into<String>) -> Self {
        AwsError { status: 500, code: "InternalServerError".into(), message: message.into() }
    }

    /// An operation that is not answered here, refused by its name.
    pub fn unknown_operation(service: &str, operation: &str) -> Self {
        AwsError::client(
            "UnknownOperationException",
            format!("the embedded cloud does not answer {operation} of {service}"),
        )
    }

    /// What the request names is not there: `ResourceNotFoundException`, status 404.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        AwsError { status: 404, code: "ResourceNotFoundException".into(), message: message.into() }
    }

    /// The body that the JSON protocols send: `__type` and `message`.
    pub fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("__type".into(), json!(self.code));
        body.insert("message".into(), json!(self.message));
        Value::Object(body)
    }
}
