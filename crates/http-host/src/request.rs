//! An event of the HTTP API (payload format 2.0) as a request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use run_model::FunctionError;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Answer;

/// The longest body that is looked at, in bytes.
pub const LONGEST_BODY: usize = 256 * 1024;

/// A group of routes: how it is known who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `/api/v1`: by a bearer.
    Bearer,
    /// `/iam/v1`: by AWS credentials, which the gateway has checked.
    Iam,
}

/// A request.
pub struct Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The group of routes; `None` if the path lies outside both.
    pub group: Option<Group>,
    path: Vec<&'a str>,
    event: &'a Value,
}

impl<'a> Request<'a> {
    /// Reads an event.
    ///
    /// # Errors
    /// `InvalidInput` if it is no event of the HTTP API.
    pub fn read(event: &'a Value) -> Result<Self, FunctionError> {
        let context = &event["requestContext"];
        let foreign = || FunctionError::invalid("event", "not a request of the HTTP API (payload format 2.0)");
        let method = context["http"]["method"].as_str().ok_or_else(foreign)?;
        let raw_path = event["rawPath"].as_str().ok_or_else(foreign)?;
        let mut path: Vec<&str> = raw_path.trim_start_matches('/').split('/').collect();
        // A named stage of the gateway stands before the route.
        if path.first().is_some_and(|first| context["stage"].as_str() == Some(first)) {
            path.remove(0);
        }
        let group = match path.as_slice() {
            ["api", "v1", ..] => Some(Group::Bearer),
            ["iam", "v1", ..] => Some(Group::Iam),
            _ => None,
        };
        let path = path.into_iter().skip(2).collect();
        Ok(Self { method, group, path, event })
    }

    /// The parts of the path after its group.
    pub fn path(&self) -> Vec<&'a str> {
        self.path.clone()
    }

    /// Where the API is asked, such as `https://id.execute-api.eu-north-1.amazonaws.com`, with the gateway's stage if that
    /// has a name; `None` if the event does not say it.
    pub fn address(&self) -> Option<String> {
        let context = &self.event["requestContext"];
        let domain = context["domainName"].as_str().filter(|domain| !domain.is_empty())?;
        let stage = context["stage"].as_str().filter(|stage| !matches!(*stage, "" | "$default"));
        Some(stage.map_or_else(|| format!("https://{domain}"), |stage| format!("https://{domain}/{stage}")))
    }

    /// A parameter of the query.
    pub fn query(&self, name: &str) -> Option<&'a str> {
        self.event["queryStringParameters"][name].as_str()
    }

    /// A parameter of the query as a number; `None` without it.
    ///
    /// # Errors
    /// 400 if it is no whole number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Answer> {
        let read = |text: &str| {
            text.parse().map_err(|_| Answer::invalid(format!("{name}: {text:?} is no number"), "use a whole number"))
        };
        self.query(name).map(read).transpose()
    }

    /// The bearer that was sent.
    pub(crate) fn bearer(&self) -> Option<&'a str> {
        let (scheme, bearer) = self.event["headers"]["authorization"].as_str()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(bearer)
    }

    /// The ARN of the principal that the gateway has authenticated.
    pub(crate) fn principal(&self) -> Option<&'a str> {
        self.event["requestContext"]["authorizer"]["iam"]["userArn"].as_str()
    }

    /// The body as JSON of this type.
    ///
    /// # Errors
    /// 413 if it is longer than [`LONGEST_BODY`]; 400 if it is no such JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Answer> {
        let body = self.event["body"].as_str().unwrap_or_default();
        let bytes = if self.event["isBase64Encoded"].as_bool() == Some(true) {
            STANDARD.decode(body).map_err(|_| Answer::invalid("the body is no base64", "send JSON"))?
        } else {
            body.as_bytes().to_vec()
        };
        if bytes.len() > LONGEST_BODY {
            let message = format!("the body has {} bytes, and {LONGEST_BODY} are the most", bytes.len());
            return Err(Answer::error(413, "TooLarge", message, "send less"));
        }
        serde_json::from_slice(&bytes).map_err(|problem| {
            Answer::invalid(format!("the body does not fit: {problem}"), "see the function's README")
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(path: &str, stage: &str, body: &str) -> Value {
        json!({
            "rawPath": path,
            "headers": { "authorization": "bearer gwb_1" },
            "queryStringParameters": { "limit": "7", "after": "x" },
            "requestContext": { "stage": stage, "http": { "method": "POST" } },
            "body": body,
            "isBase64Encoded": false,
        })
    }

    #[test]
    fn a_path_is_read_with_and_without_a_stage() {
        for (path, stage, group, rest) in [
            ("/api/v1/gates/g-1", "$default", Some(Group::Bearer), vec!["gates", "g-1"]),
            ("/dev/iam/v1/runs", "dev", Some(Group::Iam), vec!["runs"]),
            ("/dev/api/v1/runs", "$default", None, vec!["v1", "runs"]),
            ("/api/v2/runs", "$default", None, vec!["runs"]),
            ("/", "$default", None, vec![]),
        ] {
            let event = event(path, stage, "");
            let request = Request::read(&event).unwrap();
            assert_eq!((request.group, request.path()), (group, rest), "{path}");
        }
    }

    #[test]
    fn the_address_is_where_the_api_was_asked() {
        let mut event = event("/api/v1/runs", "$default", "");
        assert_eq!(Request::read(&event).unwrap().address(), None);
        event["requestContext"]["domainName"] = "x.example".into();
        assert_eq!(Request::read(&event).unwrap().address().as_deref(), Some("https://x.example"));
        event["requestContext"]["stage"] = "dev".into();
        assert_eq!(Request::read(&event).unwrap().address().as_deref(), Some("https://x.example/dev"));
    }

    #[test]
    fn what_was_sent_is_read_and_bad_things_are_named() {
        let good = event("/api/v1/x", "$default", "{\"a\": 1}");
        let request = Request::read(&good).unwrap();
        assert_eq!((request.bearer(), request.principal()), (Some("gwb_1"), None));
        assert_eq!(request.number("limit").unwrap(), Some(7));
        assert_eq!(request.number("after").unwrap_err().status, 400);
        assert_eq!(request.json::<Value>().unwrap()["a"], 1);
        let long = event("/api/v1/x", "$default", &"x".repeat(LONGEST_BODY + 1));
        assert_eq!(Request::read(&long).unwrap().json::<Value>().unwrap_err().status, 413);
        let mut encoded = event("/api/v1/x", "$default", &STANDARD.encode("{\"a\": 1}"));
        encoded["isBase64Encoded"] = true.into();
        assert_eq!(Request::read(&encoded).unwrap().json::<Value>().unwrap()["a"], 1);
        encoded["body"] = "%%".into();
        assert_eq!(Request::read(&encoded).unwrap().json::<Value>().unwrap_err().status, 400);
        assert!(Request::read(&json!({ "Records": [] })).is_err());
    }
}
