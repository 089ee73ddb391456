//! One call of GitHub's API: sent once, bounded in time and size, and its failures told apart.

use std::time::Duration;

use http::header::LOCATION;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use octocrab::Octocrab;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::{Cause, GitHubError};
use super::settings::Address;
use crate::MAX_SNAPSHOT_BYTES;

/// The most that an answer has, in bytes. The largest is the listing of a tree, which GitHub bounds at 7 MB.
const LARGEST_ANSWER: usize = 64 << 20;
/// An archive may take longer than other answers.
const ARCHIVE_PATIENCE: u32 = 10;
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// GitHub, asked as somebody.
pub(super) struct Api {
    pub(super) octocrab: Octocrab,
    pub(super) address: Address,
    pub(super) patience: Duration,
}

/// What GitHub answered: anything but a rate limit or a failure on its side.
pub(super) struct Answer {
    action: &'static str,
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Api {
    /// Asks for something.
    pub(super) async fn get(&self, action: &'static str, route: &str) -> Result<Answer, GitHubError> {
        self.call(action, Method::GET, route, None).await
    }

    /// Sends something.
    pub(super) async fn send(
        &self,
        action: &'static str,
        method: Method,
        route: &str,
        body: &Value,
    ) -> Result<Answer, GitHubError> {
        self.call(action, method, route, Some(body)).await
    }

    async fn call(
        &self,
        action: &'static str,
        method: Method,
        route: &str,
        body: Option<&Value>,
    ) -> Result<Answer, GitHubError> {
        let uri = format!("{}{route}", self.address.prefix);
        exchange(&self.octocrab, action, (method, &uri), body, (self.patience, LARGEST_ANSWER)).await
    }

    /// Asks GraphQL and gives its `data`.
    pub(super) async fn graphql(
        &self,
        action: &'static str,
        query: &str,
        variables: Value,
    ) -> Result<Value, GitHubError> {
        let body = json!({ "query": query, "variables": variables });
        let route = self.address.graphql();
        let limits = (self.patience, LARGEST_ANSWER);
        let answer = exchange(&self.octocrab, action, (Method::POST, &route), Some(&body), limits).await?;
        let mut answer: Value = answer.read()?;
        let Some(error) = answer["errors"].as_array().and_then(|errors| errors.first()) else {
            return Ok(answer["data"].take());
        };
        let said = error["message"].as_str().unwrap_or_default().to_owned();
        Err(match error["type"].as_str() {
            Some("RATE_LIMITED") => GitHubError::Throttled { action, said, again: "within the hour".into() },
            _ => GitHubError::Rights { action, said },
        })
    }

    /// Fetches a file of at most so many bytes to which GitHub leads by a redirect. The key does not go along.
    pub(super) async fn download(
        &self,
        action: &'static str,
        route: &str,
        longest: u64,
    ) -> Result<Vec<u8>, GitHubError> {
        let longest = usize::try_from(longest.min(MAX_SNAPSHOT_BYTES)).unwrap_or(usize::MAX);
        let limits = (self.patience * ARCHIVE_PATIENCE, longest);
        let uri = format!("{}{route}", self.address.prefix);
        let answer = exchange(&self.octocrab, action, (Method::GET, &uri), None, limits).await?;
        if !answer.status.is_redirection() {
            return answer.bytes();
        }
        let place = answer.headers.get(LOCATION).and_then(|place| place.to_str().ok()).unwrap_or_default();
        let nobody = anonymous(&self.address).map_err(|source| GitHubError::Unavailable { action, source })?;
        exchange(&nobody, action, (Method::GET, place), None, limits).await?.bytes()
    }
}

/// GitHub, asked as nobody.
fn anonymous(address: &Address) -> Result<Octocrab, Cause> {
    Ok(Octocrab::builder().base_uri(address.origin.as_str())?.build()?)
}

/// A part of a route, with everything escaped that has a meaning there, slashes too.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

async fn exchange(
    octocrab: &Octocrab,
    action: &'static str,
    (method, uri): (Method, &str),
    body: Option<&Value>,
    (patience, largest): (Duration, usize),
) -> Result<Answer, GitHubError> {
    let unavailable = |source: Cause| match source.is::<LengthLimitError>() {
        true => GitHubError::TooLong { action, limit: largest },
        false => GitHubError::Unavailable { action, source },
    };
    let exchanged = async {
        let request = octocrab.build_request(http::Request::builder().method(method).uri(uri), body)?;
        let (parts, body) = octocrab.execute(request).await?.into_parts();
        let (mut pieces, mut body) = (Limited::new(body, largest), Vec::new());
        // Into one place: an archive is held once, and not in its pieces besides.
        while let Some(piece) = pieces.frame().await {
            if let Ok(piece) = piece?.into_data() {
                body.extend_from_slice(&piece);
            }
        }
        Ok::<_, Cause>(Answer { action, status: parts.status, headers: parts.headers, body })
    };
    let answer = tokio::time::timeout(patience, exchanged).await;
    let answer = answer.map_err(|_| unavailable(format!("no answer within {} s", patience.as_secs_f32()).into()))?;
    let answer = answer.map_err(unavailable)?;
    if let Some(again) = answer.asks_for_patience() {
        return Err(GitHubError::Throttled { action, said: answer.said(), again });
    }
    if answer.status.is_server_error() {
        return Err(unavailable(format!("{} {}", answer.status, answer.said()).into()));
    }
    Ok(answer)
}

impl Answer {
    /// When to ask again, if this is a rate limit (the primary one, or one of the secondary ones).
    fn asks_for_patience(&self) -> Option<String> {
        let header = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let refused = self.status == StatusCode::FORBIDDEN || self.status == StatusCode::TOO_MANY_REQUESTS;
        let limited = self.status == StatusCode::TOO_MANY_REQUESTS
            || header("retry-after").is_some()
            || header("x-ratelimit-remaining") == Some("0")
            || self.said().contains("secondary rate limit");
        (refused && limited).then(|| match (header("retry-after"), header("x-ratelimit-reset")) {
            (Some(seconds), _) => format!("after {seconds} s"),
            (None, Some(moment)) => format!("at {moment} s since 1970"),
            (None, None) => "within the hour".to_owned(),
        })
    }

    /// The status as a number.
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// GitHub's own words.
    pub(super) fn said(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let mut said = body["message"].as_str().unwrap_or_default().trim().trim_end_matches('.').to_owned();
        for error in body["errors"].as_array().into_iter().flatten() {
            if let Some(more) = error["message"].as_str().or_else(|| error.as_str()) {
                said.push_str(&format!("; {}", more.trim_end_matches('.')));
            }
        }
        said
    }

    /// The answer's content.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, GitHubError> {
        let (action, status) = (self.action, self.status());
        serde_json::from_slice(&self.bytes()?).map_err(|problem| GitHubError::Answered {
            action,
            status,
            said: format!("an answer that cannot be read: {problem}"),
        })
    }

    /// The answer's content; `None` if there is no such thing.
    pub(super) fn found<T: DeserializeOwned>(self) -> Result<Option<T>, GitHubError> {
        if self.status == StatusCode::NOT_FOUND { Ok(None) } else { self.read().map(Some) }
    }

    fn bytes(self) -> Result<Vec<u8>, GitHubError> {
        if self.status.is_success() { Ok(self.body) } else { Err(self.failure()) }
    }

    /// The failure that the status means where nothing else is known of it.
    pub(super) fn failure(self) -> GitHubError {
        let (action, status, said) = (self.action, self.status(), self.said());
        match status {
            // GitHub hides what somebody may not write, too.
            401 | 403 | 404 => GitHubError::Rights { action, said },
            409 => GitHubError::Raced { action, said },
            300..=399 => {
                let said = "the repository has another name now; use that one".to_owned();
                GitHubError::Answered { action, status, said }
            }
            _ => GitHubError::Answered { action, status, said },
        }
    }
}
