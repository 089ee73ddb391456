//! The Lambda: settings from the environment, then one event after the other.

use std::sync::Arc;

use lambda_host::{HostError, OsRandomness, SystemClock};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), HostError> {
    let sdk = lambda_host::sdk_config_from_environment()?;
    let names = lambda_host::names_from_environment()?;
    let scratch = std::env::temp_dir().join("gatewright");
    let context = reviewer::Context::new(&sdk, names, Arc::new(SystemClock), Arc::new(OsRandomness), scratch);
    let context = Arc::new(context);
    lambda_host::serve("reviewer", move |event, deadline_ms| {
        let context = context.clone();
        async move { reviewer::handle(&context, event, deadline_ms).await }
    })
    .await
}
