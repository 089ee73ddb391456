//! One request and what its answer means.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::remote::ApiAddress;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest a function of the API takes is half a minute.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// An archive may be large and the line slow: what counts is that something still comes.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the API did not do what it was asked, by what the reader does next.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Whoever answers is not the API of a stage: mend the address.
    #[error("{address} is not the API of a stage ({answer}): write the stack's output ApiUrl")]
    NotTheApi {
        /// The address.
        address: ApiAddress,
        /// What was answered.
        answer: String,
    },
    /// The bearer is revoked, expired or mistyped, or it is a person's: make another one.
    #[error("{0}: make one with `gatewright aws tokens add --stage STAGE --runner NAME`")]
    Bearer(&'static str),
    /// The claim counts no more: stop working on the job.
    #[error("the claim is lost")]
    Lost,
    /// The API does not take what was sent; its words say why.
    #[error("{0}")]
    Rejected(String),
    /// An input's address holds no more, or nothing is there: the job needs new ones.
    #[error("an input cannot be read at its address ({0})")]
    Input(StatusCode),
    /// Nobody answered, or an outage did: try again.
    #[error("the stage does not answer: {0}")]
    Unreachable(String),
}

impl ApiError {
    /// Whether the same request may be answered otherwise in a while.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// The API, as it is asked.
pub(crate) struct Calls {
    address: ApiAddress,
    bearer: HeaderValue,
    http: Client,
}

impl Calls {
    pub(crate) fn new(address: ApiAddress, bearer: &str) -> Result<Self, ApiError> {
        let unsendable = |_| ApiError::Bearer("the runner's bearer holds characters that no bearer has");
        let mut bearer = HeaderValue::from_str(&format!("Bearer {bearer}")).map_err(unsendable)?;
        bearer.set_sensitive(true);
        // A redirect would carry the bearer to a stranger.
        let mut http = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT_TIMEOUT);
        http = http.read_timeout(READ_TIMEOUT.max(ANSWER_TIMEOUT));
        if address.is_within() {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| unreachable(&error))?;
        Ok(Self { address, bearer, http })
    }

    /// The answer's body; `None` if there is nothing to say.
    pub(crate) async fn post(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<Option<Value>, ApiError> {
        let body = serde_json::to_vec(body).map_err(|problem| ApiError::Rejected(problem.to_string()))?;
        let request = self.http.post(self.address.route(path)).timeout(ANSWER_TIMEOUT);
        let request = request.header(AUTHORIZATION, self.bearer.clone()).header(CONTENT_TYPE, "application/json");
        let answer = request.body(body).send().await.map_err(|error| unreachable(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| unreachable(&error))?;
        let said: Option<Value> = serde_json::from_str(&text).ok();
        match (status.as_u16(), said) {
            (200, Some(said)) => Ok(Some(said)),
            (204, _) => Ok(None),
            (429 | 500..=599, _) => Err(ApiError::Unreachable(format!("it answers {status}"))),
            (_, Some(said)) if said["error"]["name"].is_string() => Err(refusal(status, &said["error"])),
            // The gateway's own, which knows nothing of our errors.
            (413, _) => Err(ApiError::Rejected("what was sent is larger than the stage takes".into())),
            _ => Err(self.not_the_api(format!("it answers {status}"))),
        }
    }

    /// An answer as what it should be.
    pub(crate) fn read<T: DeserializeOwned>(&self, answer: Value) -> Result<T, ApiError> {
        serde_json::from_value(answer).map_err(|problem| {
            self.not_the_api(format!("its answer does not read: {problem}; is its version another?"))
        })
    }

    /// What lies at a signed address, which is asked without the bearer.
    pub(crate) async fn fetch(&self, url: &str) -> Result<Vec<u8>, ApiError> {
        let answer = self.http.get(url).send().await.map_err(|error| unreachable(&error))?;
        match answer.status() {
            StatusCode::OK => Ok(answer.bytes().await.map_err(|error| unreachable(&error))?.into()),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(ApiError::Unreachable(format!("its object storage answers {status}")))
            }
            status => Err(ApiError::Input(status)),
        }
    }

    pub(crate) fn not_the_api(&self, answer: String) -> ApiError {
        ApiError::NotTheApi { address: self.address.clone(), answer }
    }
}

fn refusal(status: StatusCode, error: &Value) -> ApiError {
    match status {
        StatusCode::UNAUTHORIZED => {
            ApiError::Bearer("the runner's bearer does not count (revoked, expired or mistyped)")
        }
        StatusCode::FORBIDDEN => ApiError::Bearer("this bearer is not a runner's"),
        StatusCode::CONFLICT | StatusCode::NOT_FOUND => ApiError::Lost,
        _ => {
            let said = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
            ApiError::Rejected(format!("{} ({})", said("message"), said("cure")))
        }
    }
}

/// Without the address, which may be a signed one.
fn unreachable(error: &reqwest::Error) -> ApiError {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let deepest = causes.last().map_or_else(|| "no answer in time".to_owned(), ToString::to_string);
    ApiError::Unreachable(deepest)
}
