#![doc = include_str!("../README.md")]

mod anthropic;
mod error;
mod key;
mod live;
mod openai;
mod patience;
#[cfg(feature = "recording")]
mod recording;
#[cfg(all(test, feature = "recording"))]
mod tests;

use std::sync::Arc;

use agent::ports::Model;
use config::{Dialect, Provider, RunConfig, Server};
use run_model::{Clock, Randomness};

use crate::live::Live;
pub use error::ConnectError;
pub use key::{ApiKey, KeyNames, KeySource, key_names};
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
        live @ (Provider::Anthropic { .. } | Provider::OpenAi { .. }) => {
            Ok(Arc::new(connect_live(live, keys, clock, randomness).await?))
        }
        #[cfg(feature = "recording")]
        kept => recording::connect(kept, keys, clock, randomness).await,
        #[cfg(not(feature = "recording"))]
        kept => Err(ConnectError::NoRecordings(kept.kind())),
    }
}

/// The names of the keys that this provider asks for, under which a [`KeySource`] has them: none if nobody is asked, or only a
/// server of this machine that does without.
pub fn keys_of(provider: &Provider) -> Vec<&'static str> {
    let server = provider.server().filter(|server| !may_go_without(server.dialect, server.base_url));
    server.map(|server| key_names(server.dialect).key).into_iter().collect()
}

/// Whether a server at this address may be asked without a key. Those that people run for themselves speak OpenAI's dialect, and
/// mostly ask for none.
fn may_go_without(dialect: Dialect, base_url: &str) -> bool {
    dialect == Dialect::OpenAi && config::is_on_this_machine(base_url)
}

async fn connect_live(
    provider: &Provider,
    keys: &dyn KeySource,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
) -> Result<Live, ConnectError> {
    let asked = provider.server().ok_or_else(|| ConnectError::NotLive(provider.kind()))?;
    let name = key_names(asked.dialect).key;
    let key = keys.key(name).await.map_err(ConnectError::KeySource)?;
    let address = address(&asked, keys).await;
    let goes_without = address.as_ref().is_ok_and(|address| may_go_without(asked.dialect, address));
    if key.is_none() && !goes_without {
        return Err(ConnectError::NoKey { name, place: keys.place() });
    }
    Live::new(&Server { base_url: &address?, ..asked }, key, clock, randomness)
}

/// Where the key goes. Settings come from a repository, so whoever may write there would get the key if they alone named the
/// server: it goes to the provider itself, stays on this machine, or goes to the address that stands beside it.
async fn address(server: &Server<'_>, keys: &dyn KeySource) -> Result<String, ConnectError> {
    let name = key_names(server.dialect).base_url;
    let beside = keys.key(name).await.map_err(ConnectError::KeySource)?;
    let beside = beside.as_ref().map(|address| address.expose().trim_end_matches('/'));
    let asked = server.base_url.trim_end_matches('/');
    match beside {
        // A key that is for another server is of no use to the provider, and none of its business.
        Some(address) if asked == address || server.is_the_providers_own() => {
            let bad = |source| ConnectError::BadServer { name, place: keys.place(), source };
            config::check_server(address).map_err(bad)?;
            Ok(address.to_owned())
        }
        _ if server.is_the_providers_own() || config::is_on_this_machine(asked) => Ok(asked.to_owned()),
        _ => Err(ConnectError::StrangeServer { name, base_url: server.base_url.to_owned(), place: keys.place() }),
    }
}
