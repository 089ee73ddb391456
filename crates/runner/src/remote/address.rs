//! Where a stage's API is.

use std::fmt;

use reqwest::Url;

/// The address of a stage's API: `https`, or `http` within this machine, since a bearer is sent there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAddress(String);

impl ApiAddress {
    /// Reads an address such as `https://id.execute-api.eu-north-1.amazonaws.com`, with or without `/api/v1` at its end.
    ///
    /// # Errors
    /// What is wrong with it and what to write instead, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let cure = "write the stack's output ApiUrl (https://...)";
        let url = Url::parse(text.trim()).map_err(|problem| format!("{problem}: {cure}"))?;
        let within = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && within) {
            return Err(format!("the bearer would travel in the clear: {cure}"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("it holds more than an address: {cure}"));
        }
        let path = url.as_str().trim_end_matches('/');
        Ok(Self(path.strip_suffix("/api/v1").unwrap_or(path).to_owned()))
    }

    /// Whether it is this machine's own, where a proxy has no business.
    pub(crate) fn is_within(&self) -> bool {
        self.0.starts_with("http://")
    }

    pub(crate) fn route(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.0)
    }
}

impl fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_people_copy_it() {
        for text in ["https://x.example", "https://x.example/", " https://x.example/api/v1/ "] {
            assert_eq!(ApiAddress::parse(text).unwrap().route("jobs/claim"), "https://x.example/api/v1/jobs/claim");
        }
        let staged = ApiAddress::parse("http://127.0.0.1:4566/_aws/execute-api/x/$default").unwrap();
        assert_eq!(staged.route("a"), "http://127.0.0.1:4566/_aws/execute-api/x/$default/api/v1/a");
    }

    #[test]
    fn a_bearer_does_not_travel_in_the_clear() {
        for bad in
            ["", "x.example", "http://x.example", "ftp://localhost", "https://u:p@x.example", "https://x.example/?a=b"]
        {
            let problem = ApiAddress::parse(bad).unwrap_err();
            assert!(problem.contains("ApiUrl"), "{bad}: {problem}");
        }
    }
}
