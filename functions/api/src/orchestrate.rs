//! A requirement comes in over HTTP: who asks is written down, then the pipeline starts.

use aws_sdk_sfn::operation::start_execution::StartExecutionError;
use http_host::{Answer, Request};
use run_model::person::Person;
use run_model::repositories::NotListed;
use run_model::run::{Priority, Requester};
use run_model::{RunId, Sha256};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{Start, Started};

use crate::Context;

/// How much of a hash, and how many random bytes, make a run's id: nested executions bear it in their names.
const ID_DIGITS: usize = 20;
const LONGEST_KEY: usize = 128;
const LONGEST_REPOSITORY: usize = 200;
const GRANT: &str = "whoever owns the account grants one: gatewright aws tokens add --stage STAGE --person NAME --role \
                     developer, with --principal ARN for AWS credentials";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    repository: String,
    #[serde(alias = "description")]
    requirements: String,
    #[serde(default)]
    base: Option<String>,
    #[serde(default)]
    priority: Priority,
    #[serde(default)]
    budget_usd: Option<f64>,
    #[serde(default)]
    idempotency_key: Option<String>,
}

/// Starts a run, or finds the one that the same request started before.
pub(crate) async fn start(context: &Context, request: &Request<'_>) -> Result<Answer, Answer> {
    let person = http_host::person(&context.store, request).await?;
    if !person.may_ask() {
        let message = format!("{} has no role, and so may look at runs and not ask for one", person.name);
        return Err(Answer::not_allowed(message, GRANT));
    }
    let body: Body = request.json()?;
    check(&body)?;
    let listed = context.store.names().check_repository(&body.repository);
    listed.map_err(|refused| Answer::not_allowed(refused, NotListed::CURE))?;
    let run_id = run_id(context, &person, &body)?;
    let input = input(context, &run_id, &body).await?;
    let start = Start { requester: Requester::from(person), input };
    let started = context.store.put_start(run_id.as_str(), &start).await?;
    if started == Started::Different {
        return Err(used_before());
    }
    let call = context.step_functions.start_execution().state_machine_arn(&context.pipeline_arn);
    let sent = call.name(run_id.as_str()).input(start.input.to_string()).send().await;
    if let Err(error) = sent {
        match error.as_service_error() {
            // It ran and ended, or its first answer was lost.
            Some(StartExecutionError::ExecutionAlreadyExists(_)) if started == Started::Repeated => {}
            Some(StartExecutionError::ExecutionAlreadyExists(_)) => return Err(used_before()),
            _ => {
                tracing::error!(run = %run_id, ?error, "an execution could not be started");
                let cure = "repeat the request with the same idempotency_key";
                return Err(Answer::error(503, "Unavailable", "Step Functions did not start the run", cure));
            }
        }
    }
    let repeated = started == Started::Repeated;
    tracing::info!(run = %run_id, by = start.requester.name, repeated, "a run was asked for");
    let mut answer = json!({ "run_id": run_id, "status": "accepted", "repeated": repeated });
    if body.budget_usd.is_some() {
        answer["budget"] = "budget_usd, or limits.budget_usd of the repository's settings if that is less".into();
    }
    Ok(Answer::json(if repeated { 200 } else { 202 }, answer))
}

fn used_before() -> Answer {
    let message = "idempotency_key: was used for another request";
    Answer::error(409, "Conflict", message, "use a new key for a new request")
}

fn check(body: &Body) -> Result<(), Answer> {
    let plain = |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if !plain(&body.repository) || body.repository.len() > LONGEST_REPOSITORY {
        return Err(Answer::invalid(format!("repository: {:?} names none", body.repository), "use owner/name"));
    }
    if body.requirements.trim().is_empty() {
        return Err(Answer::invalid("requirements: is empty", "say in a sentence what should be different"));
    }
    if body.base.as_ref().is_some_and(|base| !plain(base)) {
        return Err(Answer::invalid("base: names nothing", "use a branch, a tag or a commit, or leave it out"));
    }
    if body.budget_usd.is_some_and(|usd| !(usd > 0.0 && usd < 1e9)) {
        return Err(Answer::invalid("budget_usd: is no amount", "use US dollars: 5.0"));
    }
    match &body.idempotency_key {
        Some(key) if key.is_empty() || key.len() > LONGEST_KEY => {
            Err(Answer::invalid("idempotency_key: is empty or too long", "use 1 to 128 bytes"))
        }
        _ => Ok(()),
    }
}

/// The key belongs to whoever asks: two people who count their requests do not meet.
fn run_id(context: &Context, person: &Person, body: &Body) -> Result<RunId, Answer> {
    let digits = match &body.idempotency_key {
        Some(key) => {
            Sha256::of_json(&(person.identities.first(), &body.repository, key)).as_str()[..ID_DIGITS].to_owned()
        }
        None => context.randomness.hex_id(ID_DIGITS / 2),
    };
    RunId::new(format!("r-{digits}")).map_err(|problem| Answer::invalid(problem, "repeat the request"))
}

/// The execution's input: only references, and only what was said.
async fn input(context: &Context, run_id: &RunId, body: &Body) -> Result<Value, Answer> {
    let requirement = context.store.put_artefact(run_id, body.requirements.clone().into_bytes()).await?;
    let mut input = Map::new();
    input.insert("repository".into(), body.repository.as_str().into());
    input.insert("requirement".into(), json!(requirement));
    input.extend(body.base.as_ref().map(|base| ("base".into(), base.as_str().into())));
    input.insert("priority".into(), json!(body.priority));
    let microusd = body.budget_usd.map(|usd| (usd * 1e6).round() as u64);
    input.extend(microusd.map(|microusd| ("budget_microusd".into(), microusd.into())));
    Ok(Value::Object(input))
}
