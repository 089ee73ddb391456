//! The bucket's wire: the few requests of S3 that the store makes, signed here and sent by the SDK's own runtime, which tries
//! again what failed in passing. S3's client crate would be a tenth of each program, half of it checksums that nobody asks for.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::client::interceptors::context::{Error, InterceptorContext, Output};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::client::ser_de::DeserializeResponse;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use futures::future::BoxFuture;
use http::{HeaderValue, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use roxmltree::{Document, Node};
use run_model::Clock;

use crate::error::Cause;

/// What S3 signs percent-encoded in a value.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same in a key, which is a path.
const KEY: &AsciiSet = &VALUE.remove(b'/');
/// How S3 answers a write that would be one over another.
const PRECONDITION_FAILED: u16 = 412;
/// How S3 says that it is busy or broken, and to come again.
const PASSING: &[u16] = &[429, 500, 502, 503, 504];
/// The same by names: another write of the key is under way, or the body came too slowly. Their status means other things too.
const PASSING_BY_NAME: [&str; 2] = ["ConditionalRequestConflict", "RequestTimeout"];

/// Why a request came to nothing.
pub(crate) type Failed = SdkError<Refused, HttpResponse>;

/// What S3 said instead of doing it.
#[derive(Debug, thiserror::Error)]
#[error("S3 answered {status}: {reason}")]
pub(crate) struct Refused {
    status: u16,
    code: String,
    reason: String,
}

/// One bucket.
pub(crate) struct Bucket {
    name: String,
    endpoint: String,
    region: String,
    credentials: Option<SharedCredentialsProvider>,
    clock: Arc<dyn Clock>,
    exchange: Operation<HttpRequest, SdkBody, Refused>,
}

impl Bucket {
    /// A bucket by its name, where and as whom this configuration says. Nothing is connected yet.
    pub(crate) fn new(sdk: &SdkConfig, name: &str, clock: Arc<dyn Clock>) -> Self {
        // Without a region S3 answers in its first one.
        let region = sdk.region().map_or("us-east-1", |region| region.as_ref()).to_owned();
        let endpoint = endpoint(sdk).unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let exchange = exchange(sdk, &endpoint);
        Self { name: name.to_owned(), endpoint, region, credentials: sdk.credentials_provider(), clock, exchange }
    }

    /// Puts an object, over whatever is there.
    pub(crate) async fn put(&self, key: &str, body: Vec<u8>) -> Result<(), Failed> {
        self.send("PUT", self.path(key, ""), &[], body).await.map(drop)
    }

    /// Puts an object where there is none. What is there stays as it is.
    pub(crate) async fn put_if_missing(&self, key: &str, body: Vec<u8>) -> Result<(), Failed> {
        match self.send("PUT", self.path(key, ""), &[("if-none-match", "*")], body).await {
            Err(failed) if failed.as_service_error().is_some_and(|refused| refused.status == PRECONDITION_FAILED) => {
                Ok(())
            }
            done => done.map(drop),
        }
    }

    /// An object's bytes, as they come.
    pub(crate) async fn get(&self, key: &str) -> Result<ByteStream, Failed> {
        self.send("GET", self.path(key, ""), &[], Vec::new()).await.map(ByteStream::new)
    }

    /// Deletes an object, if it is there.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), Failed> {
        self.send("DELETE", self.path(key, ""), &[], Vec::new()).await.map(drop)
    }

    /// Makes the bucket.
    pub(crate) async fn create(&self) -> Result<(), Failed> {
        self.send("PUT", self.path("", ""), &[], Vec::new()).await.map(drop)
    }

    /// A listing of the first keys that begin so, at most so many, for [`keys`] to read.
    pub(crate) async fn list(&self, prefix: &str, limit: usize) -> Result<ByteStream, Failed> {
        let query = format!("?list-type=2&max-keys={limit}&prefix={}", utf8_percent_encode(prefix, VALUE));
        self.send("GET", self.path("", &query), &[], Vec::new()).await.map(ByteStream::new)
    }

    /// In a box, so that the future of all this is compiled once, here, and not in each crate that waits for an object.
    fn send<'a>(
        &'a self,
        method: &'static str,
        path: String,
        headers: &'a [(&'static str, &'static str)],
        body: Vec<u8>,
    ) -> BoxFuture<'a, Result<SdkBody, Failed>> {
        Box::pin(async move {
            let signed = self.signed(method, &path, headers, body).await;
            self.exchange.invoke(signed.map_err(SdkError::construction_failure)?).await
        })
    }

    /// An address where an object can be read without credentials for so long.
    pub(crate) async fn presigned(&self, key: &str, lifetime: Duration) -> Result<String, Cause> {
        let mut settings = settings();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        settings.expires_in = Some(lifetime);
        let mut request = Request::get(format!("{}{}", self.endpoint, self.path(key, ""))).body(())?;
        self.sign(&mut request, &[], SignableBody::UnsignedPayload, settings).await?;
        Ok(request.uri().to_string())
    }

    /// The bucket stands in the path and not in the host: a certificate does not hold for a name with dots in it.
    fn path(&self, key: &str, query: &str) -> String {
        let separator = if key.is_empty() { "" } else { "/" };
        format!("/{}{separator}{}{query}", self.name, utf8_percent_encode(key, KEY))
    }

    async fn signed(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &'static str)],
        body: Vec<u8>,
    ) -> Result<HttpRequest, Cause> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.endpoint)).body(())?;
        self.sign(&mut request, headers, SignableBody::Bytes(&body), settings()).await?;
        // The runtime puts the endpoint before it again.
        *request.uri_mut() = path.parse()?;
        Ok(HttpRequest::try_from(request.map(|()| SdkBody::from(body)))?)
    }

    async fn sign(
        &self,
        request: &mut Request<()>,
        headers: &[(&'static str, &'static str)],
        body: SignableBody<'_>,
        settings: SigningSettings,
    ) -> Result<(), Cause> {
        let provider = self.credentials.as_ref().ok_or("there are no credentials")?;
        let identity = provider.provide_credentials().await?.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::UNIX_EPOCH + Duration::from_millis(self.clock.now_ms().unsigned_abs()))
            .settings(settings)
            .build()?
            .into();
        let uri = request.uri().to_string();
        let signable = SignableRequest::new(request.method().as_str(), &uri, headers.iter().copied(), body)?;
        let signature = sign(signable, &parameters)?.into_parts().0;
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        signature.apply_to_request_http1x(request);
        Ok(())
    }
}

/// S3 takes a path as it is, and wants to know the hash of a body.
fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings
}

/// Where S3 answers if not at AWS: what is said for it alone goes before what is said for all services.
fn endpoint(sdk: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url");
    let own = key.build().ok().and_then(|key| sdk.service_config()?.load_config(key));
    let said = own.or_else(|| sdk.endpoint_url().map(str::to_owned))?;
    Some(said.trim_end_matches('/').to_owned())
}

/// How a signed request is sent and its answer read, with the configuration's own patience.
fn exchange(sdk: &SdkConfig, endpoint: &str) -> Operation<HttpRequest, SdkBody, Refused> {
    let retries = sdk.retry_config().cloned().unwrap_or_else(RetryConfig::standard);
    let mut builder = Operation::builder()
        .service_name("S3")
        .operation_name("object")
        .no_auth()
        .endpoint_url(endpoint)
        .standard_retry(&retries)
        .retry_classifier(TransientErrorClassifier::<Refused>::new())
        .retry_classifier(HttpStatusCodeClassifier::new_from_codes(PASSING))
        .retry_classifier(ByName);
    if let Some(client) = sdk.http_client() {
        builder = builder.http_client(client);
    }
    if let Some(timeouts) = sdk.timeout_config() {
        builder = builder.timeout_config(timeouts.clone());
    }
    if let Some(sleep) = sdk.sleep_impl() {
        builder = builder.sleep_impl(sleep);
    }
    if let Some(protection) = sdk.stalled_stream_protection() {
        builder = builder.stalled_stream_protection(protection);
    }
    builder.serializer(Ok).deserializer_impl(Reader).build()
}

/// Hands out the body of a good answer before it has come, since whoever asked may have no room for it.
#[derive(Debug)]
struct Reader;

impl DeserializeResponse for Reader {
    fn deserialize_streaming_with_config(
        &self,
        response: &mut HttpResponse,
        _: &ConfigBag,
    ) -> Option<Result<Output, OrchestratorError<Error>>> {
        response.status().is_success().then(|| Ok(Output::erase(response.take_body())))
    }

    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let body = response.body().bytes().unwrap_or_default();
        Err(OrchestratorError::operation(Error::erase(Refused::of(response.status().as_u16(), body))))
    }
}

/// Tries again what S3 refuses by one of [`PASSING_BY_NAME`].
#[derive(Debug)]
struct ByName;

impl ClassifyRetry for ByName {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(|answer| answer.err()?.as_operation_error());
        match error.and_then(|error| error.downcast_ref::<Refused>()) {
            Some(refused) if PASSING_BY_NAME.contains(&refused.code.as_str()) => RetryAction::transient_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "S3's names for what passes"
    }
}

impl Refused {
    fn of(status: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let document = Document::parse(&text).ok();
        let said = |name| document.as_ref().and_then(|document| text_of(document.root_element(), name));
        let code = said("Code").unwrap_or_default();
        let reason = said("Message").map(|message| format!("{code}, {message}"));
        Self { status, code, reason: reason.unwrap_or_else(|| "no reason is given".to_owned()) }
    }
}

/// Whether S3 refused for this reason.
pub(crate) fn is_refused(failed: &Failed, code: &str) -> bool {
    failed.as_service_error().is_some_and(|refused| refused.code == code)
}

/// The keys of a listing.
pub(crate) async fn keys(listing: ByteStream) -> Result<Vec<String>, Cause> {
    let listing = listing.collect().await?.to_vec();
    let document = Document::parse(std::str::from_utf8(&listing)?)?;
    let objects = document.root_element().children().filter(|node| node.tag_name().name() == "Contents");
    Ok(objects.filter_map(|object| text_of(object, "Key")).collect())
}

/// The text of the element of this name in another, whatever its namespace.
fn text_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    let found = node.children().find(|child| child.tag_name().name() == name)?;
    found.text().map(str::to_owned)
}
