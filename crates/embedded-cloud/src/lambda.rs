//! Lambda `Invoke`: the REST face of the function registry.

use bytes::Bytes;
use http::{Method, Request, Response};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::error::AwsError;
use crate::http::json_response;
use crate::registry::{FunctionError, FunctionRegistry, InvocationContext, InvokeError};

/// Every path of the Lambda API that is answered begins so.
pub(crate) const FUNCTIONS_PATH: &str = "/2015-03-31/functions/";

/// Milliseconds a function may run: Lambda's longest, 15 minutes.
pub(crate) const LONGEST_INVOCATION_MS: i64 = 15 * 60 * 1000;

/// Answers `POST /2015-03-31/functions/NAME/invocations`; anything else is refused by name.
pub(crate) async fn handle(
    request: &Request<Bytes>,
    functions: &FunctionRegistry,
    context: InvocationContext,
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
    let function = percent_decode_str(function).decode_utf8_lossy();
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
    answer(functions.invoke(&function, event, context).await)
}

fn answer(result: Result<Value, InvokeError>) -> Result<Response<Bytes>, AwsError> {
    let (failed, payload) = match result {
        Ok(payload) => (false, payload),
        Err(InvokeError::Function(error)) => (true, error.payload()),
        Err(InvokeError::NotFound(name)) => {
            let message = format!("Function not found: {name}");
            return Err(AwsError { status: 404, code: "ResourceNotFoundException".into(), message });
        }
    };
    let mut response = json_response(200, &payload);
    let headers = response.headers_mut();
    headers.insert("x-amz-executed-version", http::HeaderValue::from_static("$LATEST"));
    if failed {
        headers.insert("x-amz-function-error", http::HeaderValue::from_static("Unhandled"));
    }
    Ok(response)
}

/// What Lambda answers for a function that did not end in time.
pub(crate) fn timed_out() -> Result<Response<Bytes>, AwsError> {
    let seconds = LONGEST_INVOCATION_MS / 1000;
    answer(Err(FunctionError::new("Sandbox.Timedout", format!("Task timed out after {seconds} seconds")).into()))
}
