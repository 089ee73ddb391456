//! Functions that run elsewhere: behind any address that answers Lambda's `Invoke`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use run_model::Clock;
use serde_json::Value;

use crate::error::AwsError;
use crate::lambda::{FUNCTIONS_PATH, LONGEST_INVOCATION_MS};
use crate::registry::{FunctionError, InvokeError};

/// What a name keeps of itself in a path, as the SDKs write it.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Whatever answers Lambda's `Invoke` at an address; cheap to clone.
#[derive(Clone)]
pub struct LambdaEndpoint(Arc<Inner>);

struct Inner {
    url: String,
    region: String,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    http: reqwest::Client,
}

/// The endpoint's address is no `http://` or `https://` URL, or no HTTP client could be made for it.
#[derive(Debug, thiserror::Error)]
#[error("the Lambda endpoint {url} cannot be used: write it like http://127.0.0.1:9001")]
pub struct EndpointError {
    /// The address.
    pub url: String,
    /// What is wrong.
    #[source]
    pub source: reqwest::Error,
}

impl LambdaEndpoint {
    /// An endpoint at `url`, such as `http://127.0.0.1:4601`. Requests are signed with these credentials at the clock's
    /// time; a proxy of the environment is not used. Nothing is connected yet.
    ///
    /// # Errors
    /// [`EndpointError`] for an address that is no URL.
    pub fn new(
        url: &str,
        region: &str,
        credentials: Credentials,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EndpointError> {
        let unusable = |source| EndpointError { url: url.to_owned(), source };
        let longest = Duration::from_millis(LONGEST_INVOCATION_MS.unsigned_abs());
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(longest)
            .build()
            .map_err(unusable)?;
        http.post(url).build().map_err(unusable)?;
        let (url, region) = (url.trim_end_matches('/').to_owned(), region.to_owned());
        Ok(LambdaEndpoint(Arc::new(Inner { url, region, credentials, clock, http })))
    }

    /// Invokes a function by request and response; the name goes as it is, ARN and qualifier included.
    ///
    /// # Errors
    /// [`InvokeError::Function`] when it failed, [`InvokeError::Refused`] when it was not run or nobody knows.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Value, InvokeError> {
        let request = self.request(function, event.to_string().into_bytes()).map_err(|problem| {
            InvokeError::Refused(AwsError { status: 500, code: "SdkClientException".into(), message: problem })
        })?;
        let response = self.0.http.execute(request).await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (failed, code) = (header("x-amz-function-error").is_some(), header("x-amzn-errortype"));
        let body = response.bytes().await.map_err(unreachable)?;
        match status {
            200..=299 if !failed => answer(&body),
            200..=299 => Err(function_error(&body).into()),
            status => Err(InvokeError::Refused(refusal(status, code, &body))),
        }
    }

    fn request(&self, function: &str, body: Vec<u8>) -> Result<reqwest::Request, String> {
        let Inner { url, region, credentials, clock, http } = &*self.0;
        let url = format!("{url}{FUNCTIONS_PATH}{}/invocations", utf8_percent_encode(function, IN_PATH));
        let identity = credentials.clone().into();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(clock.now_ms()).unwrap_or_default());
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("lambda")
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let headers = [("content-type", "application/json")];
        let signable = SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(&body))
            .map_err(|error| error.to_string())?;
        let signed = sign(signable, &parameters).map_err(|error| error.to_string())?.into_parts().0;
        let mut request = http.post(&url).header("content-type", "application/json");
        for (name, value) in signed.headers() {
            request = request.header(name, value);
        }
        request.body(body).build().map_err(|error| error.to_string())
    }
}

/// Where it is; the credentials are nobody's business.
impl fmt::Debug for LambdaEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LambdaEndpoint").field(&self.0.url).finish()
    }
}

fn answer(body: &[u8]) -> Result<Value, InvokeError> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the function's answer is not JSON: {error}");
        InvokeError::Refused(AwsError { status: 502, code: "Unknown".into(), message })
    })
}

/// A function that does not say what went wrong is `Lambda.Unknown`, as Step Functions has it.
fn function_error(body: &[u8]) -> FunctionError {
    let payload: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |member: &str| payload.get(member).and_then(Value::as_str).map(str::to_owned);
    let whole = || String::from_utf8_lossy(body).into_owned();
    FunctionError::new(
        text("errorType").unwrap_or_else(|| "Lambda.Unknown".into()),
        text("errorMessage").unwrap_or_else(whole),
    )
}

/// Lambda's own refusal, by the name it gives or the one that its status means.
fn refusal(status: u16, code: Option<String>, body: &[u8]) -> AwsError {
    let payload: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |members: [&str; 2]| members.iter().find_map(|member| payload.get(*member)?.as_str().map(str::to_owned));
    let named = code.or_else(|| text(["__type", "code"]));
    // `namespace#Name:where-it-is-documented`: only the name counts.
    let named =
        named.map(|code| code.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default().to_owned());
    let by_status = match status {
        404 => "ResourceNotFoundException",
        429 => "TooManyRequestsException",
        500.. => "ServiceException",
        _ => "AWSLambdaException",
    };
    // What is not one of the operation's own exceptions has one name.
    let code = named.filter(|name| name.ends_with("Exception") && !name.starts_with("AccessDenied"));
    let message = text(["Message", "message"]).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    AwsError { status, code: code.unwrap_or_else(|| by_status.into()), message }
}

/// Whether the function ran is unknown, unless no connection was made.
fn unreachable(error: reqwest::Error) -> InvokeError {
    let code = if error.is_timeout() { "ClientExecutionTimeoutException" } else { "SdkClientException" };
    let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let message = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    InvokeError::Refused(AwsError { status: 503, code: code.into(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_name_that_machines_retry() {
        let code =
            |status, header: Option<&str>, body: &str| refusal(status, header.map(Into::into), body.as_bytes()).code;
        assert_eq!(code(429, None, ""), "TooManyRequestsException");
        assert_eq!(
            code(429, Some("TooManyRequestsException:http://x/"), r#"{"Reason":"x"}"#),
            "TooManyRequestsException"
        );
        assert_eq!(code(502, None, "<html>"), "ServiceException");
        assert_eq!(code(500, Some("EC2ThrottledException"), "{}"), "EC2ThrottledException");
        assert_eq!(code(403, Some("AccessDeniedException"), "{}"), "AWSLambdaException");
        assert_eq!(
            code(404, None, r#"{"__type":"com.amazon#ResourceNotFoundException"}"#),
            "ResourceNotFoundException"
        );
        assert_eq!(refusal(429, None, br#"{"message":"Rate exceeded"}"#).message, "Rate exceeded");
    }

    #[test]
    fn a_failure_without_a_name_is_unknown() {
        assert_eq!(
            function_error(br#"{"errorType":"ModelThrottled","errorMessage":"m"}"#).error_type,
            "ModelThrottled"
        );
        let bare = function_error(br#"{"errorMessage":"Task timed out after 3.00 seconds"}"#);
        assert_eq!(
            (bare.error_type.as_str(), bare.message.as_str()),
            ("Lambda.Unknown", "Task timed out after 3.00 seconds")
        );
        assert_eq!(function_error(b"gone").message, "gone");
    }
}
