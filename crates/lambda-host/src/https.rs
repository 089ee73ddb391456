//! Under the AWS SDK: HTTPS by the client that asks the models too, so that a program holds one and not two.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use reqwest::redirect::Policy;
use reqwest::{Body, Client, Request};

/// How long a connection may take to stand: what the SDK's own client waits.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);

/// The connections of a process to AWS. They are made when they are first needed, and kept.
#[derive(Clone, Default)]
pub(crate) struct Https(Arc<OnceLock<Client>>);

impl Https {
    fn client(&self) -> Result<Client, ConnectorError> {
        if let Some(client) = self.0.get() {
            return Ok(client.clone());
        }
        // A signature holds for one host, so a redirect could not be followed.
        let built = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT_TIMEOUT).build();
        let client = built.map_err(|error| ConnectorError::user(error.into()))?;
        Ok(self.0.get_or_init(|| client).clone())
    }

    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let request = Request::try_from(request.map(Body::wrap)).map_err(failure)?;
        let response = self.client()?.execute(request).await.map_err(failure)?;
        let response = http::Response::<Body>::from(response).map(SdkBody::from_body_1_x);
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

/// What the SDK tries again: what took too long, and what the network failed at.
fn failure(error: reqwest::Error) -> ConnectorError {
    match &error {
        of_building if of_building.is_builder() => ConnectorError::user(error.into()),
        of_waiting if of_waiting.is_timeout() => ConnectorError::timeout(error.into()),
        _ => ConnectorError::io(error.into()),
    }
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Https")
    }
}

impl HttpConnector for Https {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().answer(request))
    }
}

impl HttpClient for Https {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
