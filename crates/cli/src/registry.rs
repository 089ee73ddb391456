//! Which functions this machine's cloud can invoke: the same handlers that are deployed as Lambdas.

use std::path::Path;
use std::sync::Arc;

use aws_types::SdkConfig;
use embedded_cloud::{ACCOUNT, FunctionError as CloudError, FunctionRegistry, REGION};
use lambda_host::OsRandomness;
use run_model::{Clock, FunctionError, Randomness};
use schedules::{OneShots, Place};
use store::Names;
use tokio::sync::Notify;

use crate::machines::machine_arn;

/// Every function, by its one name.
pub(crate) const FUNCTIONS: [&str; 14] = [
    "api",
    "architect",
    "code-host",
    "developer",
    "events",
    "gate-callback",
    "gate-open",
    "janitor",
    "orchestrator",
    "reviewer",
    "run-control",
    "task-callback",
    "test-runner",
    "tester",
];

/// The functions over this SDK configuration; `jobs` is told when a check job was written.
pub(crate) fn build(
    sdk: &SdkConfig,
    names: &Names,
    scratch: &Path,
    clock: &Arc<dyn Clock>,
    jobs: Arc<Notify>,
) -> FunctionRegistry {
    let chance: Arc<dyn Randomness> = Arc::new(OsRandomness);
    let mut registry = FunctionRegistry::new();
    macro_rules! service {
        ($name:literal, $function:ident) => {
            let context = Arc::new($function::Context::new(sdk, names.clone(), clock.clone(), chance.clone()));
            registry = registry.with($name, move |event, _| {
                let context = context.clone();
                async move { $function::handle(&context, event).await.map_err(named) }
            });
        };
    }
    // What these begin is looked after by one-shots.
    macro_rules! looked_after {
        ($name:literal, $function:ident) => {
            let context = $function::Context::new(sdk, names.clone(), clock.clone(), chance.clone());
            let context = Arc::new(context.with_one_shots(one_shots(sdk, names)));
            registry = registry.with($name, move |event, _| {
                let context = context.clone();
                async move { $function::handle(&context, event).await.map_err(named) }
            });
        };
    }
    macro_rules! role {
        ($name:literal, $function:ident) => {
            let context = Arc::new($function::Context::new(
                sdk,
                names.clone(),
                clock.clone(),
                chance.clone(),
                scratch.to_owned(),
            ));
            registry = registry.with($name, move |event, invocation| {
                let context = context.clone();
                async move { $function::handle(&context, event, invocation.deadline_ms).await.map_err(named) }
            });
        };
    }
    service!("code-host", code_host);
    service!("events", events);
    service!("gate-callback", gate_callback);
    looked_after!("gate-open", gate_open);
    service!("janitor", janitor);
    looked_after!("run-control", run_control);
    service!("task-callback", task_callback);
    role!("architect", architect);
    role!("developer", developer);
    role!("orchestrator", orchestrator);
    role!("reviewer", reviewer);
    role!("tester", tester);
    let pipeline = machine_arn("pipeline");
    let context = Arc::new(api::Context::new(sdk, names.clone(), clock.clone(), chance.clone(), pipeline));
    registry = registry.with("api", move |event, _| {
        let context = context.clone();
        async move { api::handle(&context, event).await.map_err(named) }
    });
    let context = Arc::new(test_runner::Context::new(sdk, names.clone(), clock.clone(), chance));
    registry.with("test-runner", move |event, _| {
        let (context, jobs) = (context.clone(), jobs.clone());
        async move {
            let queued = test_runner::handle(&context, event).await.map_err(named)?;
            jobs.notify_one();
            Ok(queued)
        }
    })
}

/// One-shots that call this machine's `janitor`.
pub(crate) fn one_shots(sdk: &SdkConfig, names: &Names) -> OneShots {
    let place = Place {
        group: names.schedule_group.clone(),
        function_arn: format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:janitor"),
        role_arn: format!("arn:aws:iam::{ACCOUNT}:role/schedules"),
    };
    OneShots::new(sdk, place)
}

fn named(error: FunctionError) -> CloudError {
    CloudError::new(error.name.as_str(), error.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands at a deployment's entrances, which one machine has not got.
    const ONLY_DEPLOYED: [&str; 1] = ["janitor"];

    #[test]
    fn every_folder_of_functions_is_registered_or_only_deployed() {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions");
        let folders = std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
        let folders = folders.filter(|folder| folder.join("Cargo.toml").is_file());
        let names: Vec<String> =
            folders.map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned()).collect();
        for name in &names {
            let here = FUNCTIONS.contains(&name.as_str());
            assert!(here || ONLY_DEPLOYED.contains(&name.as_str()), "functions/{name} is not registered");
        }
        for name in FUNCTIONS {
            assert!(names.iter().any(|folder| folder == name), "{name} is no folder of functions/");
        }
    }

    #[tokio::test]
    async fn every_function_is_registered_under_its_name() {
        let sdk = SdkConfig::builder().behavior_version(aws_sdk_sfn::config::BehaviorVersion::latest()).build();
        let clock: Arc<dyn Clock> = Arc::new(lambda_host::SystemClock);
        let registry = build(&sdk, &Names::for_stage("local"), Path::new("/nowhere"), &clock, Arc::default());
        let mut names: Vec<&str> = registry.names().collect();
        names.sort_unstable();
        assert_eq!(names, FUNCTIONS);
    }
}
