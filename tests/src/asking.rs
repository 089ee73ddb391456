//! Asking a model server as a role does, without a run.

use std::sync::Arc;

use agent::ports::{Model, PortError};
use config::{Dialect, Provider, RunConfig};
use lambda_host::{OsRandomness, SystemClock};
use models::{ApiKey, KeySource};

/// A key for every provider, and no address.
struct AnyKey;

#[async_trait::async_trait]
impl KeySource for AnyKey {
    async fn key(&self, name: &str) -> Result<Option<ApiKey>, PortError> {
        Ok(name.ends_with("_API_KEY").then(|| ApiKey::new("a-key-for-the-loopback")).flatten())
    }

    fn place(&self) -> String {
        "the test".into()
    }
}

/// The model behind a server on this machine; one answer may take five minutes.
pub async fn connect(dialect: Dialect, base_url: String) -> Arc<dyn Model> {
    let timeout_seconds = 300;
    let provider = match dialect {
        Dialect::Anthropic => Provider::Anthropic { base_url, timeout_seconds },
        Dialect::OpenAi => Provider::OpenAi { base_url, timeout_seconds },
    };
    let config = RunConfig { provider, ..RunConfig::default() };
    models::connect(&config, &AnyKey, Arc::new(SystemClock), Arc::new(OsRandomness)).await.unwrap()
}
