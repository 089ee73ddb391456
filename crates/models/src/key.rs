//! Keys of providers: where they come from, and how they stay out of logs.

use std::fmt;

use agent::ports::PortError;
use async_trait::async_trait;
use config::Dialect;

/// What stands in the environment and in the secret alike, under these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyNames {
    /// The key.
    pub key: &'static str,
    /// The address of its server, if that is not the provider's own.
    pub base_url: &'static str,
}

/// The names for a provider of this dialect: those that its own tools read too.
pub const fn key_names(dialect: Dialect) -> KeyNames {
    match dialect {
        Dialect::Anthropic => KeyNames { key: "ANTHROPIC_API_KEY", base_url: "ANTHROPIC_BASE_URL" },
        Dialect::OpenAi => KeyNames { key: "OPENAI_API_KEY", base_url: "OPENAI_BASE_URL" },
    }
}

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
    /// The key of this name, or what stands beside it ([`KeyNames::base_url`]); `None` if nobody has set it.
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
