#![doc = include_str!("../README.md")]

mod health;
mod jobs;
mod orchestrate;
mod runs;
mod serve;

use std::sync::{Arc, Mutex};

use aws_types::SdkConfig;
use http_host::{Answer, Request};
use run_model::{Clock, FunctionError, Randomness, RunId};
use serde_json::Value;
use store::{Names, Store};

pub use crate::serve::serve;

/// What the function needs, built once per cold start.
pub struct Context {
    store: Store,
    step_functions: aws_sdk_sfn::Client,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    pipeline_arn: String,
    /// When it was last looked how the stage is, and what was seen.
    health: Mutex<Option<(i64, Answer)>>,
}

impl Context {
    /// Connects lazily to the store and to Step Functions behind `sdk`; `pipeline_arn` is the machine's or its alias'.
    pub fn new(
        sdk: &SdkConfig,
        names: Names,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
        pipeline_arn: String,
    ) -> Self {
        let store = Store::new(sdk, names, clock.clone(), randomness.clone());
        Self {
            store,
            step_functions: aws_sdk_sfn::Client::new(sdk),
            clock,
            randomness,
            pipeline_arn,
            health: Mutex::default(),
        }
    }
}

/// Answers one request of the HTTP API.
///
/// # Errors
/// `InvalidInput` if the event is no such request; whatever is wrong with a request itself is an answer.
pub async fn handle(context: &Context, event: Value) -> Result<Value, FunctionError> {
    let request = Request::read(&event)?;
    let answer = answer(context, &request).await.unwrap_or_else(|refused| refused);
    let path = request.path().join("/");
    tracing::info!(method = request.method, path, status = answer.status, error = answer.error_name(), "answered");
    Ok(answer.into_event())
}

async fn answer(context: &Context, request: &Request<'_>) -> Result<Answer, Answer> {
    let path = request.path();
    match (request.method, path.as_slice()) {
        ("GET", ["health"]) if request.group.is_some() => health::show(context).await,
        ("POST", ["orchestrate" | "tasks"]) => orchestrate::start(context, request).await,
        ("GET", ["runs"]) => runs::list(context, request).await,
        ("GET", ["runs", run]) => runs::show(context, request, &run_id(run)?).await,
        ("GET", ["runs", run, "events"]) => runs::events(context, request, &run_id(run)?).await,
        ("POST", ["jobs", "claim"]) => jobs::claim(context, request).await,
        ("POST", ["jobs", job, "heartbeat"]) => jobs::heartbeat(context, request, job).await,
        ("POST", ["jobs", job, "evidence"]) => jobs::evidence(context, request, job).await,
        ("POST", ["jobs", job, "give-back"]) => jobs::give_back(context, request, job).await,
        ("POST", ["jobs", job, "failure"]) => jobs::failure(context, request, job).await,
        (_, path) => Err(no_route(path)),
    }
}

fn no_route(path: &[&str]) -> Answer {
    match path {
        ["health" | "runs"] | ["runs", _] | ["runs", _, "events"] => Answer::method_not_allowed("GET"),
        ["orchestrate" | "tasks"]
        | ["jobs", "claim"]
        | ["jobs", _, "heartbeat" | "evidence" | "failure" | "give-back"] => Answer::method_not_allowed("POST"),
        _ => Answer::not_found("there is nothing at this address"),
    }
}

fn run_id(text: &str) -> Result<RunId, Answer> {
    RunId::new(text).map_err(|_| Answer::not_found(format!("there is no run {text:?}")))
}
