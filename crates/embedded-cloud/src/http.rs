//! One door for every service: finds out which one a request means, and lets it answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use serde_json::Value;
use tokio::sync::RwLock;

use crate::dynamodb::{Capacity, DynamoDb};
use crate::error::AwsError;
use crate::lambda::{self, Invoker};
use crate::meter::{self, Meter, item};
use crate::objects::{self, Objects};
use crate::scheduler::{self, Scheduler};
use crate::secrets::Secrets;
use crate::step_functions::StepFunctions;

/// Longest request body, in bytes: what is answered is held in memory.
pub(crate) const LONGEST_BODY: usize = 512 * 1024 * 1024;

/// The cloud was shut down: nothing may touch the state folder through it any more.
#[derive(Debug)]
pub(crate) struct Closed;

/// Every service of one state folder.
pub(crate) struct Services {
    pub(crate) dynamodb: DynamoDb,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) step_functions: StepFunctions,
    /// Set once, when the cloud starts.
    invoker: OnceLock<Invoker>,
    /// Set once, if what is used is counted.
    pub(crate) meter: OnceLock<Arc<Meter>>,
    /// True once shut down. Whoever touches a file holds it for reading, until the disk is done.
    closed: Arc<RwLock<bool>>,
    requests: AtomicU64,
}

/// Which service a request is for, and which operation where a header names it.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    DynamoDb(String),
    Streams(String),
    StepFunctions(String),
    Secrets(String),
    Lambda,
    Objects,
    Scheduler,
    Unknown { service: String, operation: String },
}

impl Services {
    pub(crate) fn new(
        dynamodb: DynamoDb,
        secrets: Secrets,
        objects: Objects,
        scheduler: Scheduler,
        step_functions: StepFunctions,
    ) -> Self {
        Services {
            dynamodb,
            secrets: Arc::new(secrets),
            objects: Arc::new(objects),
            scheduler: Arc::new(scheduler),
            step_functions,
            invoker: OnceLock::new(),
            meter: OnceLock::new(),
            closed: Arc::default(),
            requests: AtomicU64::new(0),
        }
    }

    /// Gives the functions that can be invoked; false if they were given before.
    pub(crate) fn set_functions(&self, invoker: Invoker) -> bool {
        self.invoker.set(invoker).is_ok()
    }

    /// Refuses every request from now on, once those that write have ended.
    pub(crate) async fn close(&self) {
        *self.closed.write().await = true;
    }

    /// Answers any request. An error of a service is an answer; only a closed cloud gives none.
    pub(crate) async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Closed> {
        let answered = match Route::of(&request) {
            Route::DynamoDb(operation) => self.dynamodb(operation, request.into_body()).await?,
            Route::Streams(operation) => {
                let dynamodb = self.dynamodb.clone();
                self.on_disk(move || dynamodb.handle_streams(&operation, request.body())).await?
            }
            Route::Secrets(operation) => {
                let secrets = Arc::clone(&self.secrets);
                meter::note(None, &[(item::SECRETS_CALL, 1.0)]);
                let answer = self.on_disk(move || secrets.handle(&operation, request.body())).await?;
                answer.map(|body| json_response(200, &body))
            }
            Route::Objects => {
                let objects = Arc::clone(&self.objects);
                objects::count(&request);
                self.on_disk(move || Ok(objects.handle(&request))).await?
            }
            Route::Scheduler => {
                let scheduler = Arc::clone(&self.scheduler);
                self.on_disk(move || Ok(scheduler.handle(&request))).await?
            }
            Route::StepFunctions(operation) => self.step_functions(&operation, request.body()).await?,
            Route::Lambda => self.invoke(&request).await?,
            Route::Unknown { service, operation } => Err(AwsError::unknown_operation(&service, &operation)),
        };
        let mut response = answered.unwrap_or_else(|error| error_response(&error));
        response.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), self.request_id().into());
        Ok(response)
    }

    async fn dynamodb(&self, operation: String, body: Bytes) -> Result<Result<Response<Bytes>, AwsError>, Closed> {
        let (dynamodb, counted, text) = (self.dynamodb.clone(), meter::is_counted(), body.clone());
        let mut answer = self.on_disk(move || dynamodb.handle(&operation, &body, counted)).await?;
        if let Some(Capacity { written, read }) = answer.as_mut().ok().and_then(|it| it.extensions_mut().remove()) {
            let used = [(item::DYNAMODB_WRITE, written), (item::DYNAMODB_READ, read)];
            meter::note(std::str::from_utf8(&text).ok(), &used);
        }
        Ok(answer)
    }

    async fn step_functions(&self, operation: &str, body: &[u8]) -> Result<Result<Response<Bytes>, AwsError>, Closed> {
        if *self.closed.read().await {
            return Err(Closed);
        }
        let body = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(error) => {
                let message = format!("the request body is not JSON: {error}");
                return Ok(Err(AwsError::client("SerializationException", message)));
            }
        };
        Ok(self.step_functions.handle(operation, body).await.map(|answer| json_response(200, &answer)))
    }

    async fn invoke(&self, request: &Request<Bytes>) -> Result<Result<Response<Bytes>, AwsError>, Closed> {
        if *self.closed.read().await {
            return Err(Closed);
        }
        let Some(invoker) = self.invoker.get() else {
            return Ok(Err(AwsError::internal("the embedded cloud has not been started: it knows no function yet")));
        };
        Ok(lambda::handle(request, invoker, format!("invoke-{}", self.request_id())).await)
    }

    /// Runs what blocks off the async threads; it ends even if nobody waits for it, and before the cloud closes.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AwsError> + Send + 'static,
    ) -> Result<Result<T, AwsError>, Closed> {
        let closed = Arc::clone(&self.closed).read_owned().await;
        if *closed {
            return Err(Closed);
        }
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(closed);
            result
        });
        Ok(done.await.unwrap_or_else(|error| Err(AwsError::internal(format!("the service failed: {error}")))))
    }

    fn request_id(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }
}

impl Route {
    fn of(request: &Request<Bytes>) -> Self {
        if let Some(target) = header(request, "x-amz-target") {
            let (service, operation) = target.split_once('.').unwrap_or((target, ""));
            let operation = operation.to_owned();
            return match service {
                "DynamoDB_20120810" => Route::DynamoDb(operation),
                "DynamoDBStreams_20120810" => Route::Streams(operation),
                "AWSStepFunctions" => Route::StepFunctions(operation),
                "secretsmanager" => Route::Secrets(operation),
                _ => Route::Unknown { service: service.to_owned(), operation },
            };
        }
        match service_of(request) {
            _ if request.uri().path().starts_with(lambda::FUNCTIONS_PATH) => Route::Lambda,
            "s3" => Route::Objects,
            scheduler::SERVICE => Route::Scheduler,
            service => Route::Unknown {
                service: service.to_owned(),
                operation: format!("{} {}", request.method(), request.uri().path()),
            },
        }
    }
}

/// The service that the request was signed for, else the one in the host name, else object storage.
fn service_of(request: &Request<Bytes>) -> &str {
    let scope = header(request, "authorization").and_then(|authorization| {
        let (_, credential) = authorization.split_once("Credential=")?;
        credential.split(',').next()?.split('/').nth(3)
    });
    let host = || {
        let host = header(request, "host")?.split(':').next()?;
        let name = host.strip_suffix(".amazonaws.com")?;
        match name == "s3" || name.starts_with("s3.") || name.ends_with(".s3") || name.contains(".s3.") {
            true => Some("s3"),
            false => name.split('.').next(),
        }
    };
    scope.or_else(host).unwrap_or("s3")
}

fn header<'r>(request: &'r Request<Bytes>, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

/// A response of the JSON protocols.
pub(crate) fn json_response(status: u16, body: &Value) -> Response<Bytes> {
    raw_json_response(status, body.to_string().into())
}

/// A response of the JSON protocols whose body is text already.
pub(crate) fn raw_json_response(status: u16, body: Bytes) -> Response<Bytes> {
    let mut response = response(status, body);
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

/// A response without headers.
pub(crate) fn response(status: u16, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// An error in the shape of the JSON protocols.
pub(crate) fn error_response(error: &AwsError) -> Response<Bytes> {
    let mut response = json_response(error.status, &error.body());
    // The REST services name the error in a header, the others in the body.
    if let Ok(code) = HeaderValue::from_str(&error.code) {
        response.headers_mut().insert(HeaderName::from_static("x-amzn-errortype"), code);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(request: http::request::Builder) -> Route {
        Route::of(&request.body(Bytes::new()).unwrap())
    }

    #[test]
    fn requests_find_their_service() {
        let signed = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/s3/aws4_request, SignedHeaders=host";
        let sts = signed.replace("/s3/", "/sts/");
        assert_eq!(
            route(Request::post("/").header("x-amz-target", "DynamoDB_20120810.PutItem")),
            Route::DynamoDb("PutItem".into())
        );
        assert_eq!(route(Request::put("/k").header("host", "b.s3.us-east-1.amazonaws.com")), Route::Objects);
        assert_eq!(
            route(Request::put("/b/k").header("host", "127.0.0.1:1").header("authorization", signed)),
            Route::Objects
        );
        assert_eq!(route(Request::post("/2015-03-31/functions/f/invocations")), Route::Lambda);
        for request in [
            Request::post("/").header("host", "127.0.0.1:1").header("authorization", sts),
            Request::post("/").header("host", "sts.us-east-1.amazonaws.com"),
        ] {
            assert_eq!(route(request), Route::Unknown { service: "sts".into(), operation: "POST /".into() });
        }
    }
}
