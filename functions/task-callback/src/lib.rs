#![doc = include_str!("../README.md")]

use std::sync::Arc;

use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_types::SdkConfig;
use run_model::{Clock, ErrorName, FunctionError, Randomness};
use serde_json::{Value, json};
use store::{Names, OutboxItem, OutboxState, Store};

/// What the function needs, built once per cold start.
pub struct Context {
    store: Store,
    step_functions: aws_sdk_sfn::Client,
}

impl Context {
    /// Connects lazily to the store and to Step Functions behind `sdk`.
    pub fn new(sdk: &SdkConfig, names: Names, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self { store: Store::new(sdk, names, clock, randomness), step_functions: aws_sdk_sfn::Client::new(sdk) }
    }
}

/// Delivers each outbox item of a stream event; items that failed on the way are named for redelivery.
///
/// # Errors
/// `InvalidInput` if the event is not one of a DynamoDB stream.
pub async fn handle(context: &Context, event: Value) -> Result<Value, FunctionError> {
    let records = event["Records"].as_array().ok_or_else(|| FunctionError::invalid("Records", "not a stream event"))?;
    let mut failures = Vec::new();
    for record in records {
        let Some(item) = OutboxItem::from_image(&record["dynamodb"]["NewImage"]) else { continue };
        if let Err(error) = deliver(context, &item).await {
            tracing::warn!(outbox_id = item.id, %error, "an answer could not be delivered yet");
            failures.push(json!({ "itemIdentifier": record["dynamodb"]["SequenceNumber"] }));
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}

/// What became of an answer.
enum Delivery {
    Delivered,
    /// The task has ended by another way; nobody waits for this answer.
    NobodyWaits,
}

async fn deliver(context: &Context, item: &OutboxItem) -> Result<(), FunctionError> {
    let answer = context.store.answer_for(item.kind, &item.about).await?;
    let state = match send(context, &answer.token, answer.result).await? {
        Delivery::Delivered => OutboxState::Delivered,
        Delivery::NobodyWaits => OutboxState::Orphaned,
    };
    context.store.mark_outbox(&item.id, state).await?;
    Ok(())
}

async fn send(
    context: &Context,
    token: &str,
    result: Result<Value, (String, String)>,
) -> Result<Delivery, FunctionError> {
    let outcome = match result {
        Ok(output) => {
            let call = context.step_functions.send_task_success().task_token(token).output(output.to_string());
            call.send().await.map(drop).map_err(|error| (error.code().map(str::to_owned), error.to_string()))
        }
        Err((name, cause)) => {
            let call = context.step_functions.send_task_failure().task_token(token).error(name).cause(cause);
            call.send().await.map(drop).map_err(|error| (error.code().map(str::to_owned), error.to_string()))
        }
    };
    match outcome {
        Ok(()) => Ok(Delivery::Delivered),
        Err((Some(code), _)) if matches!(code.as_str(), "TaskTimedOut" | "TaskDoesNotExist" | "InvalidToken") => {
            Ok(Delivery::NobodyWaits)
        }
        Err((_, message)) => Err(FunctionError::new(ErrorName::StoreUnavailable, message)),
    }
}
