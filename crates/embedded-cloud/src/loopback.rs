//! The keeper of the loopback's door: programs of this machine may come in, web pages may not.
//!
//! A page in a browser can send requests to loopback ports, with `fetch` or by a name that resolves to 127.0.0.1. It
//! cannot leave out `Origin` or `Sec-Fetch-Site`, cannot set `Authorization` without being asked first, and cannot name
//! another host than its own. Signatures are not checked: whoever is on this machine may say anything.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use run_model::Clock;
use run_model::time::VirtualClock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::durable::DurableWriter;
use crate::error::AwsError;
use crate::http::{error_response, json_response};
use crate::socket::Doorkeeper;

/// Where a standing clock's moment is kept in the state folder.
pub(crate) const CLOCK_FILE: &str = "clock.json";
/// The one path that is not AWS's but ours.
const CLOCK_PATH: &str = "/_gatewright/clock";
/// Furthest that one request advances the clock: ten years.
const FURTHEST_SECONDS: f64 = 315_360_000.0;

/// A clock that stands still until it is told to advance, also from one process to the next.
#[derive(Clone, Default)]
pub struct StandingClock(VirtualClock);

#[derive(Serialize, Deserialize)]
struct Moment {
    now_ms: i64,
}

impl StandingClock {
    /// The clock of a state folder: it stands where the last process left it, at `now_ms` if there was none.
    ///
    /// # Errors
    /// If the folder has a moment that cannot be read.
    pub fn of(state_dir: &Path, now_ms: i64) -> io::Result<Self> {
        let now_ms = match std::fs::read(state_dir.join(CLOCK_FILE)) {
            Ok(bytes) => serde_json::from_slice::<Moment>(&bytes)?.now_ms,
            Err(error) if error.kind() == io::ErrorKind::NotFound => now_ms,
            Err(error) => return Err(error),
        };
        Ok(StandingClock(VirtualClock::at(now_ms)))
    }
}

impl Clock for StandingClock {
    fn now_ms(&self) -> i64 {
        self.0.now_ms()
    }

    fn sleep_until(&self, moment_ms: i64) -> run_model::time::Sleep {
        self.0.sleep_until(moment_ms)
    }
}

/// Keeps the loopback's door.
pub(crate) struct Loopback {
    clock: Option<StandingClock>,
    writer: Arc<DurableWriter>,
    path: PathBuf,
    /// One advance at a time.
    advancing: Mutex<()>,
}

impl Loopback {
    pub(crate) fn new(clock: Option<StandingClock>, writer: Arc<DurableWriter>, path: PathBuf) -> io::Result<Self> {
        let keeper = Loopback { clock, writer, path, advancing: Mutex::default() };
        if let Some(clock) = &keeper.clock {
            keeper.keep(clock.now_ms())?;
        }
        Ok(keeper)
    }

    fn keep(&self, now_ms: i64) -> io::Result<()> {
        self.writer.replace(&self.path, &[&serde_json::to_vec(&Moment { now_ms })?])
    }

    fn clock(&self, method: &Method, body: &[u8]) -> Result<Value, AwsError> {
        let Some(clock) = &self.clock else {
            return Err(AwsError::validation("time is real here: start the cloud with --virtual-time to move it"));
        };
        if method == Method::POST {
            self.advance(clock, seconds(body)?)?;
        } else if method != Method::GET {
            return Err(AwsError::validation("GET tells the time, POST {\"advance_seconds\": N} moves it"));
        }
        Ok(json!({ "now_ms": clock.now_ms() }))
    }

    /// The moment is on the disk before anybody sees it: after a crash time has not gone back.
    fn advance(&self, clock: &StandingClock, seconds: f64) -> Result<(), AwsError> {
        let _one_at_a_time = self.advancing.lock().unwrap_or_else(PoisonError::into_inner);
        let milliseconds = (seconds * 1_000.0).round() as i64;
        self.keep(clock.now_ms() + milliseconds).map_err(|error| AwsError::internal(error.to_string()))?;
        clock.0.advance(milliseconds);
        Ok(())
    }
}

fn seconds(body: &[u8]) -> Result<f64, AwsError> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let seconds = body.get("advance_seconds").and_then(Value::as_f64);
    seconds.filter(|seconds| (0.0..=FURTHEST_SECONDS).contains(seconds)).ok_or_else(|| {
        AwsError::validation(format!("say {{\"advance_seconds\": N}} with N between 0 and {FURTHEST_SECONDS}"))
    })
}

impl Doorkeeper for Loopback {
    fn turn_away(&self, head: &Parts) -> Option<Response<Bytes>> {
        let (code, message) = refusal(head)?;
        Some(error_response(&AwsError { status: 403, code: code.into(), message: message.into() }))
    }

    fn answer(&self, head: &Parts, body: &[u8]) -> Option<Response<Bytes>> {
        (head.uri.path() == CLOCK_PATH).then(|| match self.clock(&head.method, body) {
            Ok(answer) => json_response(200, &answer),
            Err(error) => error_response(&error),
        })
    }
}

/// Why a request does not come from a program of this machine that means AWS.
fn refusal(head: &Parts) -> Option<(&'static str, &'static str)> {
    let text = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if text("origin").is_some() || text("sec-fetch-site").is_some() {
        return Some(("AccessDeniedException", "requests of web pages are not answered"));
    }
    let host = head.uri.authority().map(|authority| authority.as_str()).or_else(|| text("host"));
    if !host.is_some_and(is_loopback) {
        return Some(("AccessDeniedException", "the Host of a request must be 127.0.0.1, [::1] or localhost"));
    }
    let presigned = head.method == Method::GET && head.uri.query().is_some_and(is_presigned);
    if !text("authorization").is_some_and(is_signed) && !presigned {
        let message = "sign the request as for AWS (any access key and any secret will do): no Authorization header";
        return Some(("MissingAuthenticationToken", message));
    }
    None
}

/// Whether a Host names this machine's loopback; buckets may stand in front of `localhost`.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=..., Signature=...`
fn is_signed(authorization: &str) -> bool {
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256 ").unwrap_or_default();
    let scope = fields.split_once("Credential=").and_then(|(_, rest)| rest.split(',').next()).unwrap_or_default();
    scope.split('/').count() == 5
        && scope.ends_with("/aws4_request")
        && fields.contains("SignedHeaders=")
        && fields.contains("Signature=")
}

/// A link to an object, as a holder of credentials makes it for somebody without. Only reads: a page may follow it too.
fn is_presigned(query: &str) -> bool {
    ["X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Credential=", "X-Amz-Signature="]
        .iter()
        .all(|part| query.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str =
        "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/states/aws4_request, SignedHeaders=host, Signature=0";

    fn refused(headers: &[(&str, &str)]) -> Option<&'static str> {
        let mut request = http::Request::post("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        refusal(&request.body(()).unwrap().into_parts().0).map(|(code, _)| code)
    }

    #[test]
    fn only_signed_requests_of_programs_come_in() {
        let (host, signed) = (("host", "127.0.0.1:4566"), ("authorization", SIGNED));
        assert_eq!(refused(&[host, signed]), None);
        assert_eq!(refused(&[host, signed, ("origin", "http://127.0.0.1:4566")]), Some("AccessDeniedException"));
        assert_eq!(refused(&[host, signed, ("origin", "null")]), Some("AccessDeniedException"));
        assert_eq!(refused(&[host, signed, ("sec-fetch-site", "cross-site")]), Some("AccessDeniedException"));
        for (name, code) in [
            ("localhost:1", None),
            ("bucket.localhost:1", None),
            ("[::1]:1", None),
            ("127.8.8.8", None),
            ("evil.example:4566", Some("AccessDeniedException")),
            ("127.0.0.1.evil.example", Some("AccessDeniedException")),
            ("localhost.evil.example", Some("AccessDeniedException")),
            ("192.168.0.1", Some("AccessDeniedException")),
            ("", Some("AccessDeniedException")),
        ] {
            assert_eq!(refused(&[("host", name), signed]), code, "{name}");
        }
        assert_eq!(refused(&[signed]), Some("AccessDeniedException"));
        for unsigned in ["", "Bearer x", "Basic Credential=a/b/c/d/aws4_request", "AWS4-HMAC-SHA256 Credential=a"] {
            assert_eq!(refused(&[host, ("authorization", unsigned)]), Some("MissingAuthenticationToken"), "{unsigned}");
        }
    }

    #[test]
    fn a_presigned_link_reads_and_does_not_write() {
        let link = "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k&X-Amz-Signature=0";
        for (method, code) in [(Method::GET, None), (Method::PUT, Some("MissingAuthenticationToken"))] {
            let request = http::Request::builder().method(method).uri(link).header("host", "localhost").body(());
            assert_eq!(refusal(&request.unwrap().into_parts().0).map(|(code, _)| code), code);
        }
    }
}
