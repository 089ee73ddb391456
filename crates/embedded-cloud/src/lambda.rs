//! Lambda `Invoke`: the REST face of the functions.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use percent_encoding::percent_decode_str;
use run_model::Clock;
use serde_json::Value;

use crate::error::AwsError;
use crate::http::json_response;
use crate::registry::{FunctionError, Functions, InvocationContext, InvokeError};

/// Every path of the Lambda API that is answered begins so.
pub(crate) const FUNCTIONS_PATH: &str = "/2015-03-31/functions/";

/// Milliseconds a function may run: Lambda's longest, 15 minutes.
pub(crate) const LONGEST_INVOCATION_MS: i64 = 15 * 60 * 1000;

/// Milliseconds before the second and the third try of what nobody waits for, as Lambda's asynchronous invocation has it.
const WAITS_MS: [i64; 2] = [60_000, 120_000];

/// Whom functions are invoked for by the cloud itself, and at what time.
#[derive(Clone)]
pub(crate) struct Invoker {
    pub(crate) functions: Functions,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Invoker {
    /// Invokes with the longest time that Lambda gives; a function that takes longer has failed.
    pub(crate) async fn invoke(&self, function: &str, event: Value, request_id: String) -> Result<Value, InvokeError> {
        let deadline_ms = self.clock.now_ms() + LONGEST_INVOCATION_MS;
        let seconds = LONGEST_INVOCATION_MS / 1000;
        tokio::select! {
            answer = self.functions.invoke(function, event, InvocationContext { deadline_ms, request_id }) => answer,
            () = self.clock.sleep_for(LONGEST_INVOCATION_MS) => {
                Err(FunctionError::new("Sandbox.Timedout", format!("Task timed out after {seconds} seconds")).into())
            }
        }
    }

    /// Hands an event over for which nobody waits: three tries, then it is given up and that is logged.
    pub(crate) async fn hand_over(&self, function: &str, event: &Value, request_id: &str) {
        let mut waits = WAITS_MS.into_iter();
        while let Err(error) = self.invoke(function, event.clone(), request_id.to_owned()).await {
            let wait_ms = waits.next();
            tracing::warn!(function, request_id, %error, wait_ms, "an event was not taken");
            let Some(wait_ms) = wait_ms else { return };
            self.clock.sleep_for(wait_ms).await;
        }
    }
}

/// Answers `POST /2015-03-31/functions/NAME/invocations`; anything else is refused by name.
pub(crate) async fn handle(
    request: &Request<Bytes>,
    invoker: &Invoker,
    request_id: String,
) -> Result<Response<Bytes>, AwsError> {
    let function = request
        .uri()
        .path()
        .strip_prefix(FUNCTIONS_PATH)
        .and_then(|rest| rest.strip_suffix("/invocations"))
        .filter(|_| request.method() == Method::POST)
        .ok_or_else(|| {
            AwsError::unknown_operation("lambda", &format!("{} {}", request.method(), request.uri().path()))
        })?;
    let mut function = percent_decode_str(function).decode_utf8_lossy().into_owned();
    if let Some(qualifier) = request.uri().query().and_then(|query| query.strip_prefix("Qualifier=")) {
        function = format!("{function}:{}", percent_decode_str(qualifier).decode_utf8_lossy());
    }
    let kind = request.headers().get("x-amz-invocation-type").map_or("RequestResponse".as_bytes(), |v| v.as_bytes());
    if kind != b"RequestResponse" {
        let name = format!("Invoke with InvocationType {}", String::from_utf8_lossy(kind));
        return Err(AwsError::unknown_operation("lambda", &name));
    }
    let event = match request.body().is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(request.body()).map_err(|error| {
            let message = format!("Could not parse request body into json: {error}");
            AwsError::client("InvalidRequestContentException", message)
        })?,
    };
    answer(invoker.invoke(&function, event, request_id).await)
}

fn answer(result: Result<Value, InvokeError>) -> Result<Response<Bytes>, AwsError> {
    let (failed, payload) = match result {
        Ok(payload) => (false, payload),
        Err(InvokeError::Function(error)) => (true, error.payload()),
        Err(InvokeError::NotFound(name)) => {
            let message = format!("Function not found: {name}");
            return Err(AwsError { status: 404, code: "ResourceNotFoundException".into(), message });
        }
        Err(InvokeError::Refused(error)) => return Err(error),
    };
    let mut response = json_response(200, &payload);
    let headers = response.headers_mut();
    headers.insert("x-amz-executed-version", http::HeaderValue::from_static("$LATEST"));
    if failed {
        headers.insert("x-amz-function-error", http::HeaderValue::from_static("Unhandled"));
    }
    Ok(response)
}
