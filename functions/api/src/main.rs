//! The Lambda: settings from the environment, then one event after the other.

use std::sync::Arc;

use lambda_host::{Environment, HostError, OsRandomness, SystemClock};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), HostError> {
    let sdk = lambda_host::sdk_config_from_environment()?;
    let names = lambda_host::names_from_environment()?;
    let pipeline = Environment::of_process().require("GATEWRIGHT_PIPELINE_ARN")?.to_owned();
    let context = Arc::new(api::Context::new(&sdk, names, Arc::new(SystemClock), Arc::new(OsRandomness), pipeline));
    lambda_host::serve("api", move |event, _deadline_ms| {
        let context = context.clone();
        async move { api::handle(&context, event).await }
    })
    .await
}
