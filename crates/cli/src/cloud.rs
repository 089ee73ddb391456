//! `gatewright cloud serve`: this machine's cloud on a port of the loopback, for any AWS SDK.

use std::path::Path;
use std::sync::Arc;

use embedded_cloud::{LambdaEndpoint, REGION, StandingClock, StatusRule};
use lambda_host::SystemClock;
use run_model::Clock;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{CloudCommand, ServeOptions};
use crate::local::{Driving, Local};
use crate::problem::{Problem, causes};
use crate::screen;
use crate::settings::environment;

pub(crate) async fn run(state: &Path, command: CloudCommand) -> Result<u8, Problem> {
    match command {
        CloudCommand::Serve(options) => serve(state, options).await,
    }
}

async fn serve(state: &Path, options: ServeOptions) -> Result<u8, Problem> {
    // From here on, so that no signal falls between two of the steps below.
    let stop = stop_signal()?;
    let standing = match options.virtual_time {
        true => Some(StandingClock::of(state, SystemClock.now_ms())?),
        false => None,
    };
    let driving = driving(&options, standing.clone())?;
    let mut local = Local::drive_as(state, driving).await?;
    let Some(cloud) = local.driven() else {
        let message = format!("{} is driven by another process: stop it, or choose another --state", state.display());
        return Err(Problem::missing(message));
    };
    let address = cloud.serve_loopback_on(options.port, standing).await?;
    screen::print(format!(
        "export AWS_ENDPOINT_URL=http://{address} AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION} \
         AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local"
    ));
    let stays = state.display();
    screen::tell(format!("Every user of this machine can reach it. Ctrl-C stops it; the state stays in {stays}."));
    let ended = tokio::select! {
        () = stop => Ok(0),
        said = local.failed() => Err(Problem::missing(said)),
    };
    local.close().await;
    ended
}

fn driving(options: &ServeOptions, standing: Option<StandingClock>) -> Result<Driving, Problem> {
    let mut driving = Driving { takes_up_all: true, ..Driving::default() };
    if let Some(standing) = standing {
        driving.clock = Arc::new(standing);
    }
    if let Some(url) = &options.lambda_endpoint {
        let region = environment("AWS_REGION").unwrap_or_else(|| REGION.to_owned());
        let (key, secret) = (environment("AWS_ACCESS_KEY_ID"), environment("AWS_SECRET_ACCESS_KEY"));
        let local = || "local".to_owned();
        let credentials = embedded_cloud::Credentials::from_keys(
            key.unwrap_or_else(local),
            secret.unwrap_or_else(local),
            environment("AWS_SESSION_TOKEN"),
        );
        let endpoint = LambdaEndpoint::new(url, &region, credentials, Arc::new(SystemClock));
        driving.endpoint = Some(endpoint.map_err(|error| Problem::input(causes(&error)))?);
        driving.status_rule = None;
    }
    if let Some(function) = &options.status_target {
        driving.status_rule = Some(StatusRule { function: function.clone(), pattern: options.status_pattern.clone() });
    }
    Ok(driving)
}

/// Ends with Ctrl-C or the polite signal to stop.
fn stop_signal() -> Result<impl Future<Output = ()>, Problem> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
