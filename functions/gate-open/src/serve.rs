//! The function as a Lambda.

use std::sync::Arc;

use lambda_host::{Environment, HostError, OsRandomness, SystemClock};
use schedules::{OneShots, Place};

use crate::{Context, handle};

/// Serves the function as a Lambda: settings from the environment, then one event after the other.
///
/// # Errors
/// As [`lambda_host::serve`]; [`HostError::MissingVariable`] if a setting is not there.
pub async fn serve() -> Result<(), HostError> {
    let sdk = lambda_host::sdk_config_from_environment()?;
    let names = lambda_host::names_from_environment()?;
    let environment = Environment::of_process();
    let place = Place {
        group: names.schedule_group.clone(),
        function_arn: environment.require("GATEWRIGHT_JANITOR_ARN")?.to_owned(),
        role_arn: environment.require("GATEWRIGHT_SCHEDULES_ROLE_ARN")?.to_owned(),
    };
    let context = Context::new(&sdk, names, Arc::new(SystemClock), Arc::new(OsRandomness));
    let context = Arc::new(context.with_one_shots(OneShots::new(&sdk, place)));
    lambda_host::serve("gate-open", move |event, _deadline_ms| {
        let context = context.clone();
        async move { handle(&context, event).await }
    })
    .await
}
