#![doc = include_str!("../README.md")]

mod anthropic;
mod error;
mod key;
mod patience;
#[cfg(feature = "recording")]
mod recording;

use std::sync::Arc;

use agent::ports::Model;
use config::{Provider, RunConfig};
use run_model::{Clock, Randomness};

pub use anthropic::Anthropic;
pub use error::ConnectError;
pub use key::{ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL, ApiKey, KeySource};
#[cfg(feature = "recording")]
pub use recording::{Fingerprint, Record, Replay, Scripted, cassette, cassette::CassetteError};

/// The model that these settings name. Who answers is settled here and nowhere else.
///
/// # Errors
/// [`ConnectError`] if a key is missing, if it would go to a server that nobody but the settings names, or if a cassette
/// cannot be read; nothing has been asked yet.
pub async fn connect(
    config: &RunConfig,
    keys: &dyn KeySource,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
) -> Result<Arc<dyn Model>, ConnectError> {
    match &config.provider {
        live @ Provider::Anthropic { .. } => Ok(Arc::new(connect_live(live, keys, clock, randomness).await?)),
        #[cfg(feature = "recording")]
        kept => recording::connect(kept, keys, clock, randomness).await,
        #[cfg(not(feature = "recording"))]
        kept => Err(ConnectError::NoRecordings(kept.kind())),
    }
}

/// The keys that this provider asks for, by the names under which a [`KeySource`] has them.
pub fn keys_of(provider: &Provider) -> &'static [&'static str] {
    match provider {
        Provider::Anthropic { .. } => &[ANTHROPIC_API_KEY],
        Provider::Record { upstream, .. } => keys_of(upstream),
        Provider::Replay { .. } | Provider::Scripted { .. } => &[],
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
    let server = server(base_url, keys).await?;
    Anthropic::new(&server, *timeout_seconds, key, clock, randomness)
}

/// Where the key goes. Settings come from a repository, so whoever may write there would get the key if they alone named the
/// server: it goes to Anthropic itself, stays on this machine, or goes to the address that stands beside it.
async fn server(base_url: &str, keys: &dyn KeySource) -> Result<String, ConnectError> {
    let beside = keys.key(ANTHROPIC_BASE_URL).await.map_err(ConnectError::KeySource)?;
    let beside = beside.as_ref().map(|address| address.expose().trim_end_matches('/'));
    let asked = base_url.trim_end_matches('/');
    match beside {
        // A key that is for another server is of no use to Anthropic, and none of its business.
        Some(address) if asked == address || config::is_the_providers_own(asked) => {
            let bad = |source| ConnectError::BadServer { place: keys.place(), source };
            config::check_server(address).map_err(bad)?;
            Ok(address.to_owned())
        }
        _ if config::is_the_providers_own(asked) || config::is_on_this_machine(asked) => Ok(asked.to_owned()),
        _ => Err(ConnectError::StrangeServer { base_url: base_url.to_owned(), place: keys.place() }),
    }
}
