//! What is answered, as the HTTP API wants it.

use serde_json::{Value, json};
use store::StoreError;

/// An answer: a status and JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Answer {
    /// JSON with this status.
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body: Some(body) }
    }

    /// Nothing to say: 204.
    pub fn nothing() -> Self {
        Self { status: 204, headers: Vec::new(), body: None }
    }

    /// An error: its stable name, what happened, and what to do about it.
    pub fn error(status: u16, name: &str, message: impl std::fmt::Display, cure: &str) -> Self {
        let error = json!({ "name": name, "message": message.to_string(), "cure": cure });
        Self::json(status, json!({ "error": error }))
    }

    /// 400: the field or body, and the cure.
    pub fn invalid(message: impl std::fmt::Display, cure: &str) -> Self {
        Self::error(400, "InvalidInput", message, cure)
    }

    /// 401, the same whatever is wrong.
    pub fn unauthenticated() -> Self {
        let cure = "send \"Authorization: Bearer ...\"; `gatewright aws tokens add` makes one";
        let answer = Self::error(401, "Unauthenticated", "no bearer that counts", cure);
        Self { headers: vec![("www-authenticate", "Bearer".into())], ..answer }
    }

    /// 403: who asks may not.
    pub fn not_allowed(message: impl std::fmt::Display, cure: &str) -> Self {
        Self::error(403, "NotAllowed", message, cure)
    }

    /// 404.
    pub fn not_found(message: impl std::fmt::Display) -> Self {
        Self::error(404, "NotFound", message, "check the address and the id")
    }

    /// 405, with the methods that the path takes.
    pub fn method_not_allowed(allowed: &str) -> Self {
        let answer =
            Self::error(405, "MethodNotAllowed", "this path does not take this method", &format!("use {allowed}"));
        Self { headers: vec![("allow", allowed.into())], ..answer }
    }

    /// The error's name, if this is one.
    pub fn error_name(&self) -> Option<&str> {
        self.body.as_ref()?["error"]["name"].as_str()
    }

    /// The function's output.
    pub fn into_event(self) -> Value {
        let mut headers = json!({
            "content-type": "application/json",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        });
        for (name, value) in self.headers {
            headers[name] = value.into();
        }
        let body = self.body.map(|body| body.to_string()).unwrap_or_default();
        json!({ "statusCode": self.status, "headers": headers, "body": body, "isBase64Encoded": false })
    }
}

impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Self {
        use StoreError as E;
        let again = "look at it again, then repeat the request";
        match &error {
            E::NotFound(_) => Self::not_found(&error),
            E::AlreadyDecided { .. } => Self::error(409, "AlreadyDecided", &error, "nothing is left to decide"),
            E::EnoughQuestions(_) => Self::error(409, "EnoughQuestions", &error, "approve or deny"),
            E::BindingChanged(_) => Self::error(409, "BindingChanged", &error, again),
            E::DeadlinePassed(_) => Self::error(410, "DeadlinePassed", &error, "resume the run: it opens a fresh gate"),
            E::MayNotDecide(_) => Self::not_allowed(&error, "ask somebody who may; silence means no"),
            E::OutOfReach { .. } => Self::not_allowed(&error, "ask for what belongs to the run"),
            E::Conflict(_) | E::Fenced(_) | E::BudgetExceeded(_) => Self::error(409, "Conflict", &error, again),
            // What is broken inside goes to the log and not to whoever asks.
            E::Corrupt { .. } | E::NewerSchema { .. } | E::TooLarge { .. } => {
                tracing::error!(error = error.with_causes(), "a request met something that cannot be read");
                Self::error(500, "Internal", "something that is kept cannot be read", "look at the function's log")
            }
            E::Unavailable { .. } => {
                tracing::warn!(error = error.with_causes(), "a request met an outage");
                Self::error(503, "Unavailable", "the store does not answer", "repeat the request in a moment")
            }
        }
    }
}
