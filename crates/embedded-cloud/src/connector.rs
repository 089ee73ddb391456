//! Under the AWS SDK: its HTTP client, answered in-process or by the driver's socket.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;

use crate::REGION;
use crate::http::{Closed, LONGEST_BODY, Services};
use crate::socket::connect;

/// The process that drove the state folder is gone, or has stopped driving it.
///
/// It travels inside the SDK's dispatch failure: [`is_driver_gone`] finds it there. Whether the request was carried
/// out is unknown unless `source` says that no connection was made.
#[derive(Debug, thiserror::Error)]
#[error("the process that drove {} is gone: open the state folder again", state_dir.display())]
pub struct DriverGone {
    /// The state folder it drove.
    pub state_dir: PathBuf,
    /// How that was noticed.
    #[source]
    pub source: io::Error,
}

/// Whether an error, such as an SDK's, comes from a driver that went away.
pub fn is_driver_gone(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (**error).source()).any(|error| error.is::<DriverGone>())
}

/// A configuration with which every SDK client talks through the given connector, and to nothing else.
pub(crate) fn sdk_config(connector: impl HttpClient + 'static) -> SdkConfig {
    let credentials = Credentials::from_keys("local", "local", None);
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::standard())
        // Nothing stalls between two ends of one machine; a function may take its time to answer.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(connector)
        .build()
}

/// Answers in this process.
#[derive(Clone)]
pub(crate) struct InProcess {
    services: Arc<Services>,
    state_dir: PathBuf,
    /// Who asks, where that is counted besides what functions ask for.
    part: Option<&'static str>,
}

/// Asks the driver over its socket; one connection a request.
#[derive(Debug, Clone)]
pub(crate) struct OverSocket {
    state_dir: PathBuf,
}

impl InProcess {
    pub(crate) fn new(services: Arc<Services>, state_dir: &Path) -> Self {
        InProcess { services, state_dir: state_dir.to_owned(), part: None }
    }

    /// The same, with what it asks for counted as this part's.
    pub(crate) fn counted_as(self, part: &'static str) -> Self {
        InProcess { part: Some(part), ..self }
    }

    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = plain_request(request).await?;
        let response = match (self.services.meter.get(), self.part) {
            (Some(meter), Some(part)) => meter.within(part, self.services.answer(request)).await,
            _ => self.services.answer(request).await,
        };
        let response = response.map_err(|Closed| {
            let source = io::Error::new(io::ErrorKind::NotConnected, "the embedded cloud was shut down");
            gone(self.state_dir, source)
        })?;
        sdk_response(response)
    }
}

impl OverSocket {
    pub(crate) fn new(state_dir: &Path) -> Self {
        OverSocket { state_dir: state_dir.to_owned() }
    }

    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = plain_request(request).await?;
        let stream = match connect(&self.state_dir).await {
            Ok(stream) => stream,
            Err(error) => return Err(gone(self.state_dir, error).never_connected()),
        };
        match exchange(stream, request).await {
            Ok(response) => sdk_response(response),
            Err(error) => Err(gone(self.state_dir, io::Error::other(error))),
        }
    }
}

async fn exchange(
    stream: tokio::net::UnixStream,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    };
    // The connection is driven here and not in a task of its own: it ends with the request, whatever ends that.
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

/// The request with its body read, addressed as an HTTP/1.1 server sees it: path in the URI, host in a header.
async fn plain_request(request: HttpRequest) -> Result<Request<Bytes>, ConnectorError> {
    let user = |error: Box<dyn Error + Send + Sync>| ConnectorError::user(error);
    let request = request.try_into_http1x().map_err(|error| user(error.into()))?;
    let (mut head, body) = request.into_parts();
    let body = Limited::new(body, LONGEST_BODY).collect().await.map_err(user)?.to_bytes();
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(http::header::HOST)
    {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| user(error.into()))?;
        head.headers.insert(http::header::HOST, host);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse::<Uri>().map_err(|error| user(error.into()))?;
    // The body is whole now: its length is what it is, not what was announced for a stream.
    head.headers.remove(http::header::TRANSFER_ENCODING);
    head.headers.insert(http::header::CONTENT_LENGTH, body.len().into());
    Ok(Request::from_parts(head, body))
}

fn sdk_response(response: Response<Bytes>) -> Result<HttpResponse, ConnectorError> {
    HttpResponse::try_from(response.map(SdkBody::from)).map_err(|error| ConnectorError::other(error.into(), None))
}

/// Not an I/O error in the SDK's eyes: those it would retry, where opening the folder again is what helps.
fn gone(state_dir: PathBuf, source: io::Error) -> ConnectorError {
    ConnectorError::other(Box::new(DriverGone { state_dir, source }), None)
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").field("state_dir", &self.state_dir).finish_non_exhaustive()
    }
}

macro_rules! http_client {
    ($connector:ty) => {
        impl HttpConnector for $connector {
            fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
                HttpConnectorFuture::new(self.clone().answer(request))
            }
        }

        impl HttpClient for $connector {
            fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
                SharedHttpConnector::new(self.clone())
            }
        }
    };
}

http_client!(InProcess);
http_client!(OverSocket);
