//! Every request that a function makes of AWS, as it leaves the SDK.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_types::SdkConfig;
use serde_json::Value;

/// What was asked, in order; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Asked>>>);

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    /// Of a service that speaks JSON: the operation, and what was sent.
    Json { operation: String, body: Value },
    /// Of the object store: the method, and the object's key after the bucket's name.
    Object { method: String, key: String },
}

impl Recorder {
    /// The same configuration, whose clients are listened to.
    pub(crate) fn listening(&self, sdk: &SdkConfig) -> SdkConfig {
        let inner = sdk.http_client().unwrap();
        sdk.to_builder().http_client(Client { inner, recorder: self.clone() }).build()
    }

    /// What was asked since this was called last.
    pub(crate) fn taken(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn note(&self, request: &HttpRequest) {
        let asked = match request.headers().get("x-amz-target") {
            Some(target) => Asked::Json {
                operation: target.rsplit('.').next().unwrap().to_owned(),
                body: serde_json::from_slice(request.body().bytes().unwrap()).unwrap(),
            },
            None => {
                let uri: http::Uri = request.uri().parse().unwrap();
                let (_, key) = uri.path().trim_start_matches('/').split_once('/').unwrap();
                Asked::Object { method: request.method().to_owned(), key: key.to_owned() }
            }
        };
        self.0.lock().unwrap().push(asked);
    }
}

#[derive(Debug)]
struct Client {
    inner: SharedHttpClient,
    recorder: Recorder,
}

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector { inner, recorder: self.recorder.clone() })
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    recorder: Recorder,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.recorder.note(&request);
        self.inner.call(request)
    }
}
