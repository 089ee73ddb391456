//! How to reach GitHub, and as whom: the fields of the secret for the forge.

use std::time::Duration;

use http::Uri;
use octocrab::Octocrab;
use octocrab::models::AppId;
use serde_json::{Map, Value};

use super::error::GitHubError;

/// Where GitHub's own API is.
const GITHUB: &str = "https://api.github.com";
/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where GitHub is, and as whom it is asked.
#[derive(Clone)]
pub struct Settings {
    pub(super) address: Address,
    pub(super) credentials: Credentials,
    pub(super) patience: Duration,
}

/// The API's address in two parts.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// Scheme and host, as `https://api.github.com`.
    pub(super) origin: String,
    /// The host alone, with a port if there is one.
    pub(super) host: String,
    /// The path before every route: empty, or `/api/v3` on GitHub Enterprise Server.
    pub(super) prefix: String,
}

#[derive(Clone)]
pub(super) enum Credentials {
    Token(String),
    App { id: AppId, key: String },
}

impl Settings {
    /// Reads the secret's fields: `github_token` (a fine-grained personal access token), or `github_app_id` and
    /// `github_private_key` (PEM) of a GitHub App; and `github_api_url` if GitHub is not at `https://api.github.com`
    /// (`https://HOST/api/v3` for GitHub Enterprise Server).
    ///
    /// The address stands beside the key that it gets: settings that come from a repository cannot send the key elsewhere.
    ///
    /// # Errors
    /// [`GitHubError::Secret`] with what is wrong, never with what stands in it.
    pub fn from_secret(secret: &Map<String, Value>) -> Result<Self, GitHubError> {
        let text = |name: &str| secret.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let bad = |problem: &str| GitHubError::Secret(problem.to_owned());
        let address = Address::parse(text("github_api_url").unwrap_or(GITHUB))?;
        let id = secret.get("github_app_id").and_then(|id| id.as_u64().or_else(|| id.as_str()?.trim().parse().ok()));
        let credentials = match (text("github_token"), id, text("github_private_key")) {
            (Some(token), ..) if token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Credentials::Token(token.to_owned())
            }
            (Some(_), ..) => return Err(bad("has a github_token with characters that no token has")),
            (None, Some(id), Some(key)) => {
                let key = key.to_owned();
                let read = Octocrab::builder().app_from_rsa_pem(AppId(id), &key);
                read.map_err(|_| bad("has a github_private_key that is no RSA key in PEM"))?;
                Credentials::App { id: AppId(id), key }
            }
            _ => return Err(bad("has neither github_token nor github_app_id and github_private_key")),
        };
        Ok(Self { address, credentials, patience: PATIENCE })
    }

    /// The same, with another bound on how long one call may take (30 s).
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }
}

impl Address {
    fn parse(url: &str) -> Result<Self, GitHubError> {
        let bad = || GitHubError::Secret("has a github_api_url that is no https address".to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or_else(bad)?;
        let on_this_machine = matches!(authority.host(), "127.0.0.1" | "localhost" | "[::1]");
        if (scheme != "https" && !on_this_machine) || authority.as_str().contains('@') {
            return Err(bad());
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { origin: format!("{scheme}://{authority}"), host: authority.to_string(), prefix })
    }

    /// The host that repositories' https addresses have.
    pub(super) fn web_host(&self) -> &str {
        self.host.strip_prefix("api.").unwrap_or(&self.host)
    }

    /// Where GraphQL is asked: beside the REST API on GitHub Enterprise Server, below it on GitHub.
    pub(super) fn graphql(&self) -> String {
        self.prefix
            .strip_suffix("/v3")
            .map_or_else(|| format!("{}/graphql", self.prefix), |api| format!("{api}/graphql"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(secret: Value) -> Result<Settings, GitHubError> {
        Settings::from_secret(secret.as_object().unwrap())
    }

    #[test]
    fn a_secret_that_opens_nothing_says_why_and_never_what() {
        for (secret, problem) in [
            (json!({}), "neither github_token nor"),
            (json!({ "github_token": "" }), "neither github_token nor"),
            (json!({ "github_token": "s3cret\nline" }), "characters that no token has"),
            (json!({ "github_app_id": 1 }), "neither github_token nor"),
            (json!({ "github_app_id": 1, "github_private_key": "s3cret" }), "no RSA key"),
            (json!({ "github_token": "s3cret", "github_api_url": "http://example.com" }), "no https address"),
            (json!({ "github_token": "s3cret", "github_api_url": "https://a:b@example.com" }), "no https address"),
            (json!({ "github_token": "s3cret", "github_api_url": "github" }), "no https address"),
        ] {
            let said = settings(secret).err().unwrap().to_string();
            assert!(said.contains(problem) && !said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn github_and_enterprise_servers_have_their_own_places() {
        let places = |url: &str| {
            let address = settings(json!({ "github_token": "t", "github_api_url": url })).unwrap().address;
            (address.web_host().to_owned(), address.prefix.clone(), address.graphql())
        };
        let text = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(places(GITHUB), text("github.com", "", "/graphql"));
        assert_eq!(places("https://ghe.acme.com/api/v3/"), text("ghe.acme.com", "/api/v3", "/api/graphql"));
        assert_eq!(places("http://127.0.0.1:4000"), text("127.0.0.1:4000", "", "/graphql"));
    }
}
