//! A provider over HTTP, whatever it speaks: one POST a call, and what can go wrong with it.

mod failure;
#[cfg(test)]
pub(crate) mod fake_provider;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agent::ports::{Model, ModelError, ModelRequest, ModelResponse};
use async_trait::async_trait;
use bytes::Bytes;
use config::{Dialect, Server};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use run_model::{Clock, Randomness};
use serde_json::Value;

pub(crate) use self::failure::{Failure, Said};
use crate::ConnectError;
use crate::anthropic::Messages;
use crate::error::with_sources;
use crate::key::{ApiKey, key_names};
use crate::openai::ChatCompletions;
use crate::patience::Patience;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a provider's language settles: where a call goes, how the key travels, and the shapes of question and answer.
pub(crate) trait Wire: Send + Sync {
    /// For people: `Anthropic Messages`.
    fn name(&self) -> &'static str;

    /// What follows the server's address.
    fn path(&self) -> &'static str;

    /// The header that carries this key.
    fn key_header(&self, key: &str) -> (HeaderName, String);

    /// Every other header, the content type aside.
    fn headers(&self) -> HeaderMap {
        HeaderMap::new()
    }

    /// The body of a request.
    fn body(&self, request: &ModelRequest) -> Value;

    /// Reads the body of a 200.
    fn answer(&self, request: &ModelRequest, body: &[u8]) -> Result<ModelResponse, Failure>;

    /// Whether bodies from now on leave out or rename what this server refused of `sent`.
    fn gives_way(&self, _sent: &Value, _refused: &Said) -> bool {
        false
    }
}

/// Speaks to a provider, or to a server that speaks its language. Answers are not streamed.
pub(crate) struct Live {
    wire: Box<dyn Wire>,
    http: Client,
    base_url: String,
    timeout_seconds: u64,
    key: Option<ApiKey>,
    key_name: &'static str,
    headers: HeaderMap,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("wire", &self.wire.name())
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

impl Live {
    /// A client of this server; without a key it is asked without one. One answer may take `timeout_seconds`, with every
    /// attempt at it.
    ///
    /// # Errors
    /// [`ConnectError`] if the key cannot travel in a header or there is no TLS; nothing is sent yet.
    pub(crate) fn new(
        server: &Server<'_>,
        key: Option<ApiKey>,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
    ) -> Result<Self, ConnectError> {
        let base_url = server.base_url.trim_end_matches('/').to_owned();
        let wire: Box<dyn Wire> = match server.dialect {
            Dialect::Anthropic => Box::new(Messages),
            Dialect::OpenAi => Box::new(ChatCompletions::at(&base_url)),
        };
        let key_name = key_names(server.dialect).key;
        let mut headers = wire.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &key {
            let (name, value) = wire.key_header(key.expose());
            let mut value = HeaderValue::from_str(&value).map_err(|_| ConnectError::UnsendableKey(key_name))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        // A redirect would carry the key to a stranger.
        let mut builder = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT_TIMEOUT);
        if base_url.starts_with("http://") {
            // Settings allow this within the machine only, where a proxy has no business.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ConnectError::Client(with_sources(&error)))?;
        let timeout_seconds = server.timeout_seconds;
        Ok(Self { wire, http, base_url, timeout_seconds, key, key_name, headers, clock, randomness })
    }

    /// Who answers, for the header of a recording.
    #[cfg(feature = "recording")]
    pub(crate) fn name(&self) -> String {
        format!("{} at {}", self.wire.name(), self.base_url)
    }

    async fn attempt(&self, request: &ModelRequest, body: &Value, left_ms: i64) -> Result<ModelResponse, Failure> {
        tokio::select! {
            done = self.exchange(request, Bytes::from(body.to_string())) => done,
            () = self.clock.sleep_for(left_ms) => {
                Err(Failure::Lost(format!("no answer within {} s", self.timeout_seconds)))
            }
        }
    }

    async fn exchange(&self, request: &ModelRequest, body: Bytes) -> Result<ModelResponse, Failure> {
        let url = format!("{}{}", self.base_url, self.wire.path());
        let sent = self.http.post(url).headers(self.headers.clone()).body(body).send().await;
        // Settings allow this within the machine only.
        let is_within = self.base_url.starts_with("http://");
        let response = sent.map_err(|error| Failure::of_sending(error, is_within))?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        let answer = response.bytes().await.map_err(|error| Failure::lost("the answer broke off", error))?;
        match failure::stranger(&answer) {
            Some(stranger) => Err(stranger),
            None => self.wire.answer(request, &answer),
        }
    }

    async fn refusal(&self, response: Response) -> Failure {
        let status = response.status();
        let retry_after_ms = failure::retry_after_ms(response.headers(), self.clock.now_ms());
        // The status says enough if the body is lost.
        let body = response.bytes().await.unwrap_or_default();
        Failure::Status { status, retry_after_ms, said: Said::read(&body) }
    }

    fn error(&self, failure: Failure, model: &str) -> ModelError {
        let key = self.key.as_ref();
        failure.into_error(&self.base_url, model, self.key_name, |text| {
            key.map_or_else(|| text.to_owned(), |key| key.strike_from(text))
        })
    }
}

#[async_trait]
impl Model for Live {
    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        let mut patience = Patience::new();
        // One for all attempts together: whoever calls has reserved that much time and no more.
        let limit_ms = i64::try_from(self.timeout_seconds).unwrap_or(i64::MAX).saturating_mul(1_000);
        let deadline_ms = self.clock.now_ms().saturating_add(limit_ms);
        loop {
            let body = self.wire.body(request);
            // However the clock is set meanwhile, an answer that is paid for is taken.
            let left_ms = (deadline_ms - self.clock.now_ms()).min(limit_ms);
            let failure = match self.attempt(request, &body, left_ms).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            if failure.said().is_some_and(|said| self.wire.gives_way(&body, said)) {
                tracing::info!(session = %request.session, turn = request.turn, "the server is asked otherwise");
                continue;
            }
            let asked_ms = failure.retry_after_ms();
            let wait = failure.is_passing().then(|| patience.next_wait_ms(asked_ms, self.randomness.unit())).flatten();
            let is_in_time = |wait_ms: &u64| self.clock.now_ms().saturating_add_unsigned(*wait_ms) < deadline_ms;
            let Some(wait_ms) = wait.filter(is_in_time) else {
                return Err(self.error(failure, &request.model));
            };
            tracing::info!(session = %request.session, turn = request.turn, wait_ms, "the provider is asked again");
            self.clock.sleep_for(i64::try_from(wait_ms).unwrap_or(i64::MAX)).await;
        }
    }
}
