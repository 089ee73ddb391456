//! The Lambda: settings from the environment, then one event after the other.

use std::sync::Arc;

use lambda_host::{HostError, OsRandomness, SystemClock};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), HostError> {
    let sdk = lambda_host::sdk_config_from_environment()?;
    let names = lambda_host::names_from_environment()?;
    let context = Arc::new(janitor::Context::new(&sdk, names, Arc::new(SystemClock), Arc::new(OsRandomness)));
    lambda_host::serve("janitor", move |event, _deadline_ms| {
        let context = context.clone();
        async move { janitor::handle(&context, event).await }
    })
    .await
}
