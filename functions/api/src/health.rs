//! Whether everything that a stage is made of is there and answers.

use std::sync::PoisonError;

use futures::future::join_all;
use http_host::Answer;
use serde_json::{Value, json};
use store::StoreError;

use crate::Context;

const MACHINES: [&str; 3] = ["pipeline", "task-graph", "task"];

/// How long what was seen counts, in milliseconds: anybody may ask, and each look is eight calls of AWS.
const FRESH_MS: i64 = 5_000;

/// How the stage is, as it was seen within the last moments.
pub(crate) async fn show(context: &Context) -> Result<Answer, Answer> {
    let now_ms = context.clock.now_ms();
    let seen = context.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((_, answer)) = seen.filter(|(seen_ms, _)| now_ms < seen_ms + FRESH_MS) {
        return Ok(answer);
    }
    let answer = look(context).await;
    *context.health.lock().unwrap_or_else(PoisonError::into_inner) = Some((now_ms, answer.clone()));
    Ok(answer)
}

/// Every component with its state: `ok`, `missing`, `empty` (a secret without a value) or `unreachable`.
async fn look(context: &Context) -> Answer {
    let names = context.store.names();
    let secrets = [&names.models_secret, &names.forge_secret, &names.signing_secret];
    let (table, bucket, secrets, machines, runners) = futures::join!(
        context.store.has_table(),
        context.store.has_bucket(),
        join_all(secrets.map(|name| context.store.has_secret(name))),
        join_all(MACHINES.map(|name| machine(context, name))),
        context.store.runners_alive(),
    );
    // No component: a stage without a runner is well, and its runs say what they wait for.
    let runners_alive = runners.ok().map(|runners| runners.len());
    let there = |found: Result<bool, StoreError>| state(found.map(|there| if there { "ok" } else { "missing" }));
    let mut components = vec![component("table", there(table)), component("bucket", there(bucket))];
    let kinds = ["secret models", "secret forge", "secret signing"];
    components.extend(kinds.into_iter().zip(secrets).map(|(name, secret)| {
        let word = |secret| match secret {
            None => "missing",
            Some(false) => "empty",
            Some(true) => "ok",
        };
        component(name, state(secret.map(word)))
    }));
    components
        .extend(MACHINES.into_iter().zip(machines).map(|(name, state)| component(&format!("machine {name}"), state)));
    let is_well = components.iter().all(|component| component["state"] == "ok");
    let status = if is_well { "ok" } else { "degraded" };
    let body =
        json!({ "status": status, "stage": names.stage, "components": components, "runners_alive": runners_alive });
    Answer::json(if is_well { 200 } else { 503 }, body)
}

fn component(name: &str, state: &str) -> Value {
    json!({ "name": name, "state": state })
}

fn state(found: Result<&'static str, StoreError>) -> &'static str {
    found.unwrap_or_else(|error| {
        tracing::warn!(error = error.with_causes(), "a component does not answer");
        "unreachable"
    })
}

async fn machine(context: &Context, name: &str) -> &'static str {
    let Some(arn) = machine_arn(&context.pipeline_arn, name) else { return "missing" };
    match context.step_functions.describe_state_machine().state_machine_arn(arn).send().await {
        Ok(machine) if machine.status().is_none_or(|status| status.as_str() == "ACTIVE") => "ok",
        Ok(_) => "missing",
        Err(error) if error.as_service_error().is_some_and(|error| error.is_state_machine_does_not_exist()) => {
            "missing"
        }
        Err(error) => {
            tracing::warn!(?error, machine = name, "a machine does not answer");
            "unreachable"
        }
    }
}

/// The ARN of a machine of the same stage: its name ends where that of the pipeline does.
fn machine_arn(pipeline_arn: &str, name: &str) -> Option<String> {
    let parts: Vec<&str> = pipeline_arn.split(':').collect();
    let stage = parts.get(6)?.strip_suffix("pipeline")?;
    Some(format!("{}:{stage}{name}", parts.get(..6)?.join(":")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_of_a_stage_stand_beside_its_pipeline() {
        let arn = "arn:aws:states:eu-north-1:123456789012:stateMachine:gatewright-dev-pipeline:live";
        let expected = "arn:aws:states:eu-north-1:123456789012:stateMachine:gatewright-dev-task-graph";
        assert_eq!(machine_arn(arn, "task-graph").as_deref(), Some(expected));
        let local = "arn:aws:states:us-east-1:000000000000:stateMachine:pipeline";
        assert!(machine_arn(local, "task").unwrap().ends_with(":stateMachine:task"));
        assert_eq!(machine_arn("arn:aws:states", "task"), None);
    }
}
