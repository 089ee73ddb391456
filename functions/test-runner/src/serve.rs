//! The function as a Lambda.

use std::sync::Arc;

use lambda_host::{HostError, OsRandomness, SystemClock};

use crate::{Context, handle};

/// Serves the function as a Lambda: settings from the environment, then one event after the other.
///
/// # Errors
/// As [`lambda_host::serve`]; [`HostError::MissingVariable`] if a setting is not there.
pub async fn serve() -> Result<(), HostError> {
    let sdk = lambda_host::sdk_config_from_environment()?;
    let names = lambda_host::names_from_environment()?;
    let context = Arc::new(Context::new(&sdk, names, Arc::new(SystemClock), Arc::new(OsRandomness)));
    lambda_host::serve("test-runner", move |event, _deadline_ms| {
        let context = context.clone();
        async move { handle(&context, event).await }
    })
    .await
}
