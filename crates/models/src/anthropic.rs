//! The Anthropic Messages API.

mod wire;

use agent::ports::{ModelRequest, ModelResponse};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::live::{Failure, Wire};

/// The version of the API whose shapes [`wire`] knows.
const API_VERSION: &str = "2023-06-01";

/// The dialect; there is nothing to remember of a server.
pub(crate) struct Messages;

impl Wire for Messages {
    fn name(&self) -> &'static str {
        "Anthropic Messages"
    }

    fn path(&self) -> &'static str {
        "/v1/messages"
    }

    fn key_header(&self, key: &str) -> (HeaderName, String) {
        (HeaderName::from_static("x-api-key"), key.to_owned())
    }

    fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static("anthropic-version"), HeaderValue::from_static(API_VERSION))])
    }

    fn body(&self, request: &ModelRequest) -> Value {
        wire::request(request)
    }

    fn answer(&self, _request: &ModelRequest, body: &[u8]) -> Result<ModelResponse, Failure> {
        wire::response(body).map_err(Failure::Lost)
    }
}
