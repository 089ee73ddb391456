//! Keys of providers: where they come from, and how they stay out of logs.

use std::fmt;

use agent::ports::PortError;
use async_trait::async_trait;

/// The name of Anthropic's key, in the environment and in the secret alike.
pub const ANTHROPIC_API_KEY: &str = "ANTHROPIC_API_KEY";

/// The name of the address that stands beside the key, if it is not for Anthropic itself.
pub const ANTHROPIC_BASE_URL: &str = "ANTHROPIC_BASE_URL";

/// A provider's key. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes a key as it was found; surrounding white space is dropped. `None` if nothing is left.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The text with every occurrence of the key struck out: a provider may repeat it in an error.
    pub(crate) fn strike_from(&self, text: &str) -> String {
        text.replace(&self.0, "***")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// Where keys come from: the environment, Secrets Manager, or one after the other. The caller brings it.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The key of this name, or what stands beside it ([`ANTHROPIC_BASE_URL`]); `None` if nobody has set it.
    ///
    /// # Errors
    /// If the place cannot be asked, which is not the same as having no key.
    async fn key(&self, name: &str) -> Result<Option<ApiKey>, PortError>;

    /// Where it looks, for people: `the environment or the secret gatewright/local/models`.
    fn place(&self) -> String;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_trimmed_and_never_printed() {
        let key = ApiKey::new(" sk-secret\n").unwrap();
        assert_eq!(key.expose(), "sk-secret");
        assert_eq!(format!("{key:?}"), "ApiKey(***)");
        assert_eq!(key.strike_from("bad key sk-secret!"), "bad key ***!");
        assert_eq!(ApiKey::new(" \n"), None);
    }
}
