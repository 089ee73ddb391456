//! The Anthropic Messages API over HTTP.

mod failure;
#[cfg(test)]
mod fake_provider;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agent::ports::{Model, ModelError, ModelRequest, ModelResponse};
use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use run_model::{Clock, Randomness};

use self::failure::Failure;
use crate::ConnectError;
use crate::error::with_sources;
use crate::key::{ANTHROPIC_API_KEY, ApiKey};
use crate::patience::Patience;

/// The version of the API whose shapes [`wire`] knows.
const API_VERSION: &str = "2023-06-01";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Speaks to Anthropic, or to a server that speaks its language. Answers are not streamed.
pub struct Anthropic {
    http: Client,
    base_url: String,
    timeout_seconds: u64,
    key: ApiKey,
    key_header: HeaderValue,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

impl fmt::Debug for Anthropic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anthropic").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

impl Anthropic {
    /// A client of the server at `base_url` (without `/v1/messages`). One answer may take `timeout_seconds`, with every
    /// attempt at it.
    ///
    /// # Errors
    /// [`ConnectError`] if the key cannot travel in a header or there is no TLS; nothing is sent yet.
    pub fn new(
        base_url: &str,
        timeout_seconds: u64,
        key: ApiKey,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
    ) -> Result<Self, ConnectError> {
        let header = HeaderValue::from_str(key.expose());
        let mut key_header = header.map_err(|_| ConnectError::UnsendableKey(ANTHROPIC_API_KEY))?;
        key_header.set_sensitive(true);
        // A redirect would carry the key to a stranger.
        let mut builder = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT_TIMEOUT);
        if base_url.starts_with("http://") {
            // Settings allow this within the machine only, where a proxy has no business.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ConnectError::Client(with_sources(&error)))?;
        let base_url = base_url.trim_end_matches('/').to_owned();
        Ok(Self { http, base_url, timeout_seconds, key, key_header, clock, randomness })
    }

    /// Who answers, for the header of a recording.
    #[cfg(feature = "recording")]
    pub(crate) fn name(&self) -> String {
        format!("Anthropic Messages at {}", self.base_url)
    }

    async fn attempt(&self, body: &Bytes, deadline_ms: i64) -> Result<ModelResponse, Failure> {
        tokio::select! {
            done = self.exchange(body.clone()) => done,
            () = self.clock.sleep_until(deadline_ms) => {
                Err(Failure::Lost(format!("no answer within {} s", self.timeout_seconds)))
            }
        }
    }

    async fn exchange(&self, body: Bytes) -> Result<ModelResponse, Failure> {
        let request = self
            .http
            .post(format!("{}/v1/messages", self.base_url))
            .header(CONTENT_TYPE, "application/json")
            .header("anthropic-version", API_VERSION)
            .header("x-api-key", self.key_header.clone())
            .body(body);
        let response = request.send().await.map_err(Failure::of_sending)?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        let answer = response.bytes().await.map_err(|error| Failure::lost("the answer broke off", error))?;
        wire::response(&answer).map_err(Failure::Lost)
    }

    async fn refusal(&self, response: Response) -> Failure {
        let status = response.status();
        let retry_after_ms = failure::retry_after_ms(response.headers(), self.clock.now_ms());
        // The status says enough if the body is lost.
        let body = response.bytes().await.unwrap_or_default();
        Failure::Status { status, retry_after_ms, said: self.key.strike_from(&wire::error_message(&body)) }
    }
}

#[async_trait]
impl Model for Anthropic {
    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        let body = Bytes::from(wire::request(request).to_string());
        let mut patience = Patience::new();
        // One for all attempts together: whoever calls has reserved that much time and no more.
        let limit_ms = i64::try_from(self.timeout_seconds).unwrap_or(i64::MAX).saturating_mul(1_000);
        let deadline_ms = self.clock.now_ms().saturating_add(limit_ms);
        loop {
            let failure = match self.attempt(&body, deadline_ms).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let asked_ms = failure.retry_after_ms();
            let wait = failure.is_passing().then(|| patience.next_wait_ms(asked_ms, self.randomness.unit())).flatten();
            let is_in_time = |wait_ms: &u64| self.clock.now_ms().saturating_add_unsigned(*wait_ms) < deadline_ms;
            let Some(wait_ms) = wait.filter(is_in_time) else {
                return Err(failure.into_error(&self.base_url, &request.model));
            };
            tracing::debug!(session = %request.session, turn = request.turn, %failure, wait_ms, "the provider is asked again");
            self.clock.sleep_until(self.clock.now_ms().saturating_add_unsigned(wait_ms)).await;
        }
    }
}
