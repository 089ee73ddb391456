//! Answers that are kept, and who gives them again: the feature `recording`, which nothing that is deployed has.

pub mod cassette;
mod fingerprint;
mod record;
mod replay;
mod scripted;

use std::sync::Arc;

use agent::ports::Model;
use config::Provider;
use run_model::{Clock, Randomness};

pub use self::fingerprint::Fingerprint;
pub use self::record::Record;
pub use self::replay::Replay;
pub use self::scripted::Scripted;
use crate::{ConnectError, KeySource, connect_live};

/// A provider that answers from a file, or keeps in one what a live provider answers.
pub(crate) async fn connect(
    provider: &Provider,
    keys: &dyn KeySource,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
) -> Result<Arc<dyn Model>, ConnectError> {
    match provider {
        Provider::Replay { cassette } => Ok(Arc::new(Replay::open(cassette)?)),
        Provider::Scripted { script } => Ok(Arc::new(Scripted::open(script)?)),
        Provider::Record { cassette, upstream } => {
            let live = connect_live(upstream, keys, clock.clone(), randomness).await?;
            Ok(Arc::new(Record::open(cassette, live.name(), Arc::new(live), clock.as_ref())?))
        }
        live => Ok(Arc::new(connect_live(live, keys, clock, randomness).await?)),
    }
}
