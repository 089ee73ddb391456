#![doc = include_str!("../README.md")]

mod serve;

use std::sync::Arc;

use aws_sdk_sfn::error::{ProvideErrorMetadata, SdkError};
use aws_types::SdkConfig;
use run_model::{Clock, ErrorName, FunctionError, Randomness};
use serde_json::{Value, json};
use store::{Answer, Names, OutboxItem, OutboxState, Store, StoreError};

pub use crate::serve::serve;

/// The longest error name that `SendTaskFailure` takes.
const LONGEST_ERROR: usize = 256;
/// The longest cause that it takes.
const LONGEST_CAUSE: usize = 32_768;

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
        let item = OutboxItem::from_image(&record["dynamodb"]["NewImage"]);
        let Some(item) = item.filter(|item| item.state == OutboxState::Waiting) else { continue };
        if let Err(error) = deliver(context, &item).await {
            tracing::warn!(outbox_id = item.id, %error, "an answer could not be delivered yet");
            failures.push(json!({ "itemIdentifier": record["dynamodb"]["SequenceNumber"] }));
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}

async fn deliver(context: &Context, item: &OutboxItem) -> Result<(), FunctionError> {
    let state = match context.store.answer_for(item.kind, &item.about).await {
        Ok(answer) => send(context, &item.id, answer).await?,
        // No second try would find more; the state that waits ends by its own bound.
        Err(error @ (StoreError::NotFound(_) | StoreError::Corrupt { .. } | StoreError::NewerSchema { .. })) => {
            tracing::error!(outbox_id = item.id, %error, "an answer cannot be delivered");
            OutboxState::Orphaned
        }
        Err(error) => return Err(error.into()),
    };
    context.store.mark_outbox(&item.id, state).await?;
    Ok(())
}

async fn send(context: &Context, outbox_id: &str, answer: Answer) -> Result<OutboxState, FunctionError> {
    let token = answer.token;
    let refusal = match answer.result {
        Ok(output) => {
            let call = context.step_functions.send_task_success().task_token(token).output(output.to_string());
            call.send().await.err().map(|error| Refusal::of(&error))
        }
        Err((name, cause)) => {
            let (name, cause) = (cut(name, LONGEST_ERROR), cut(cause, LONGEST_CAUSE));
            let call = context.step_functions.send_task_failure().task_token(token).error(name).cause(cause);
            call.send().await.err().map(|error| Refusal::of(&error))
        }
    };
    match refusal {
        None => Ok(OutboxState::Delivered),
        Some(Refusal::NobodyWaits) => Ok(OutboxState::Orphaned),
        Some(Refusal::ForGood(code)) => {
            tracing::error!(outbox_id, code, "Step Functions does not take an answer");
            Ok(OutboxState::Orphaned)
        }
        Some(Refusal::ForNow(problem)) => {
            Err(FunctionError::new(ErrorName::StoreUnavailable, format!("Step Functions: {problem}")))
        }
    }
}

/// Why Step Functions did not take an answer. Its message is not kept: it may repeat the token.
enum Refusal {
    /// The state was answered before, or has ended by another way.
    NobodyWaits,
    /// The answer itself is not taken, however often it is sent.
    ForGood(String),
    /// Another time it may be.
    ForNow(String),
}

/// Refusals that another time, or other credentials of the same role, may not meet.
const PASSING: [&str; 8] = [
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "KmsThrottlingException",
    "RequestTimeoutException",
    "ExpiredTokenException",
    "ExpiredToken",
];

/// Whether the answer was that this request is wrong (4xx), not that the service is.
fn is_refused<E>(error: &SdkError<E>) -> bool {
    error.raw_response().is_some_and(|response| response.status().is_client_error())
}

impl Refusal {
    fn of<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Self {
        match error.code() {
            Some("TaskTimedOut" | "TaskDoesNotExist" | "InvalidToken") => Self::NobodyWaits,
            // What blocks one answer would block all that come after it, so only what passes by itself is tried again.
            Some(code) if is_refused(error) && !PASSING.contains(&code) => Self::ForGood(code.to_owned()),
            Some(code) => Self::ForNow(code.to_owned()),
            None => Self::ForNow("no answer".to_owned()),
        }
    }
}

/// The beginning of a text, at most this many bytes.
fn cut(mut text: String, longest: usize) -> String {
    text.truncate(text.floor_char_boundary(longest));
    text
}
