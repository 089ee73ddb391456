#![doc = include_str!("../README.md")]

mod anthropic;
pub mod cassette;
mod error;
mod fingerprint;
mod key;
mod patience;
mod record;
mod replay;
mod scripted;

use std::sync::Arc;

use agent::ports::Model;
use config::{Provider, RunConfig};
use run_model::{Clock, Randomness};

pub use anthropic::Anthropic;
pub use error::{CassetteError, ConnectError};
pub use fingerprint::Fingerprint;
pub use key::{ANTHROPIC_API_KEY, ApiKey, KeySource};
pub use record::Record;
pub use replay::Replay;
pub use scripted::Scripted;

/// The model that these settings name. Who answers is settled here and nowhere else.
///
/// # Errors
/// [`ConnectError`] if a key is missing or a cassette cannot be read; nothing has been asked yet.
pub async fn connect(
    config: &RunConfig,
    keys: &dyn KeySource,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
) -> Result<Arc<dyn Model>, ConnectError> {
    match &config.provider {
        Provider::Replay { cassette } => Ok(Arc::new(Replay::open(cassette)?)),
        Provider::Scripted { script } => Ok(Arc::new(Scripted::open(script)?)),
        Provider::Record { cassette, upstream } => {
            let live = connect_live(upstream, keys, clock.clone(), randomness).await?;
            Ok(Arc::new(Record::open(cassette, live.name(), Arc::new(live), clock.as_ref())?))
        }
        live @ Provider::Anthropic { .. } => Ok(Arc::new(connect_live(live, keys, clock, randomness).await?)),
    }
}

async fn connect_live(
    provider: &Provider,
    keys: &dyn KeySource,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
) -> Result<Anthropic, ConnectError> {
    let Provider::Anthropic { base_url, timeout_seconds } = provider else {
        return Err(ConnectError::NotLive(provider.kind()));
    };
    let found = keys.key(ANTHROPIC_API_KEY).await.map_err(ConnectError::KeySource)?;
    let key = found.ok_or_else(|| ConnectError::NoKey { name: ANTHROPIC_API_KEY, place: keys.place() })?;
    Anthropic::new(base_url, *timeout_seconds, key, clock, randomness)
}
