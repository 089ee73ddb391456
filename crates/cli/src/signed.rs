//! Signed calls: any AWS service over plain HTTP, for the few operations that are not worth an SDK crate each.
//!
//! One request is signed (Signature Version 4) with the environment's credentials and sent; on top of it are AWS' three ways
//! to write one down: query (a form in, XML out), JSON 1.1 (the operation in a header) and REST with JSON.

mod failure;
#[cfg(test)]
mod tests;
mod xml;

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use lambda_host::{Environment, SystemClock};
use reqwest::{Client, Method, Request, Url};
use run_model::Clock;
use serde_json::Value;

pub(crate) use failure::{CallError, cure};
pub(crate) use xml::Element;

use crate::problem::{Problem, causes};

/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before a call that was throttled, and so did nothing, is sent again.
const PAUSES: [Duration; 3] = [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];

/// A service of AWS: how it is called, where it answers and what its signatures are for.
#[derive(Debug)]
pub(crate) struct Service {
    /// For people, and in `AWS_ENDPOINT_URL_<SERVICE>` in capitals.
    pub(crate) name: &'static str,
    /// In signatures.
    pub(crate) signing: &'static str,
    /// In `<host>.<region>.amazonaws.com`.
    pub(crate) host: &'static str,
    /// Of the query protocol; empty for the others.
    pub(crate) version: &'static str,
    /// Whether there is one for all regions, which answers in us-east-1.
    pub(crate) global: bool,
}

/// A service that answers in every region, at the host that bears its signing name.
const fn regional(name: &'static str, host: &'static str, version: &'static str) -> Service {
    Service { name, signing: host, host, version, global: false }
}

pub(crate) const CLOUDFORMATION: Service = regional("CloudFormation", "cloudformation", "2010-05-15");
/// Our HTTP API, whose address is an output of the stack.
pub(crate) const API: Service = regional("the stage's API", "execute-api", "");

/// How regions begin that lie in partitions of their own, with other addresses and ARNs (`aws-cn`, `aws-us-gov`, ...).
const ELSEWHERE: [&str; 5] = ["cn-", "us-gov-", "us-iso", "eu-isoe-", "eusc-"];

/// A misspelt region has no address, which would look like a network that is down; one of another partition has services
/// that Gatewright does not know by their addresses.
pub(crate) fn check_region(region: &str) -> Result<(), Problem> {
    if ELSEWHERE.iter().any(|start| region.starts_with(start)) {
        return Err(Problem::input(format!(
            "AWS_REGION={region}: Gatewright works in AWS's commercial regions alone (eu-central-1, us-east-1, ...), and not \
             in China, GovCloud or the other partitions: use a region and an account there"
        )));
    }
    let parts: Vec<&str> = region.split('-').collect();
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number = |part: &&str| part.len() == 1 && part.bytes().all(|byte| byte.is_ascii_digit());
    match parts.split_last() {
        Some((last, words)) if is_number(last) && words.len() >= 2 && words.iter().all(is_word) => Ok(()),
        _ => Err(Problem::input(format!("AWS_REGION={region}: there is no such region; use one like eu-central-1"))),
    }
}

/// Calls with the environment's credentials.
pub(crate) struct Signed {
    environment: Environment,
    region: String,
    credentials: Credentials,
    http: Client,
}

impl Signed {
    /// Calls in the region and with the credentials of this environment. Nothing is connected yet.
    pub(crate) fn of(environment: &Environment) -> Result<Self, Problem> {
        let required = |name| environment.require(name).map(str::to_owned).map_err(|error| incomplete(&error));
        let (region, key) = (required("AWS_REGION")?, required("AWS_ACCESS_KEY_ID")?);
        check_region(&region)?;
        let token = environment.get("AWS_SESSION_TOKEN").map(str::to_owned);
        let credentials = Credentials::new(key, required("AWS_SECRET_ACCESS_KEY")?, token, None, "environment");
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build();
        let http = http.map_err(|error| Problem::missing(format!("no HTTP client: {}", causes(&error))))?;
        Ok(Self { environment: environment.clone(), region, credentials, http })
    }

    /// The environment's region.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// An operation of the query protocol, such as `DescribeStacks`; the answer's root element.
    pub(crate) async fn query(
        &self,
        service: &Service,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Element, CallError> {
        let url = self.address(service, "/")?;
        let mut form = url.clone();
        form.query_pairs_mut()
            .extend_pairs([("Action", action), ("Version", service.version)])
            .extend_pairs(parameters);
        let body = form.query().unwrap_or_default().to_owned();
        let content = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let text = self.send(service, Method::POST, &url, &content, body).await?;
        Element::parse(&text).ok_or(CallError::Unreadable { service: service.name })
    }

    /// An operation of the JSON protocol, by its full target, such as `Logs_20140328.FilterLogEvents`.
    pub(crate) async fn json(&self, service: &Service, target: &str, input: &Value) -> Result<Value, CallError> {
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let text = self.send(service, Method::POST, &self.address(service, "/")?, &headers, input.to_string()).await?;
        json(service, &text)
    }

    /// A REST operation by its path, such as `/2016-08-19/account-settings/`; null for an empty answer.
    pub(crate) async fn rest(
        &self,
        service: &Service,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        self.rest_at(service, method, &self.address(service, path)?, body).await
    }

    /// The same at an address of its own.
    pub(crate) async fn rest_at(
        &self,
        service: &Service,
        method: Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        json(service, &self.send(service, method, url, &[("content-type", "application/json")], body).await?)
    }

    /// Where a service answers: where the environment says, or at AWS.
    fn address(&self, service: &Service, path: &str) -> Result<Url, CallError> {
        let variable = format!("AWS_ENDPOINT_URL_{}", service.name.to_uppercase().replace([' ', '-'], "_"));
        let said = self.environment.get(&variable).or_else(|| self.environment.get("AWS_ENDPOINT_URL"));
        let base = match said {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None if service.global => format!("https://{}.amazonaws.com", service.host),
            None => format!("https://{}.{}.amazonaws.com", service.host, self.region),
        };
        Url::parse(&format!("{base}{path}")).map_err(|_| CallError::NoAddress { service: service.name, url: base })
    }

    /// Sends one request, again while it is throttled; the answer's text.
    async fn send(
        &self,
        service: &Service,
        method: Method,
        url: &Url,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<String, CallError> {
        let unreachable = |source| CallError::Unreachable { service: service.name, source };
        let mut pauses = PAUSES.into_iter();
        loop {
            let request = self.signed(service, &method, url, headers, &body)?;
            let response = self.http.execute(request).await.map_err(unreachable)?;
            let status = response.status().as_u16();
            let kind = response.headers().get("x-amzn-errortype").and_then(|value| value.to_str().ok());
            let kind = kind.map(str::to_owned);
            let text = response.text().await.map_err(unreachable)?;
            if (200..300).contains(&status) {
                return Ok(text);
            }
            let refused = CallError::refused(service.name, status, kind.as_deref(), &text);
            match pauses.next().filter(|_| refused.is_throttled()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(refused),
            }
        }
    }

    fn signed(
        &self,
        service: &Service,
        method: &Method,
        url: &Url,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Request, CallError> {
        let unsigned = |error: String| CallError::Unsigned { service: service.name, error };
        let identity = self.credentials.clone().into();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(SystemClock.now_ms().unsigned_abs());
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(if service.global { "us-east-1" } else { &self.region })
            .name(service.signing)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsigned(error.to_string()))?
            .into();
        let payload = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new(method.as_str(), url.as_str(), headers.iter().copied(), payload);
        let signable = signable.map_err(|error| unsigned(error.to_string()))?;
        let signature = sign(signable, &parameters).map_err(|error| unsigned(error.to_string()))?.into_parts().0;
        let mut request = self.http.request(method.clone(), url.clone());
        for (name, value) in headers.iter().copied().chain(signature.headers()) {
            request = request.header(name, value);
        }
        request.body(body.to_owned()).build().map_err(|error| unsigned(error.to_string()))
    }
}

/// What a missing region or missing credentials mean to people.
pub(crate) fn incomplete(error: &dyn std::error::Error) -> Problem {
    let cure =
        "AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY have to be set (and AWS_SESSION_TOKEN for a role)";
    Problem::missing(format!("{}: {cure}", causes(error)))
}

fn json(service: &Service, text: &str) -> Result<Value, CallError> {
    match text.trim() {
        "" => Ok(Value::Null),
        text => serde_json::from_str(text).map_err(|_| CallError::Unreadable { service: service.name }),
    }
}
