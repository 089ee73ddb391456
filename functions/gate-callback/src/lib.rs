#![doc = include_str!("../README.md")]

mod serve;

use std::sync::Arc;

use aws_types::SdkConfig;
use http_host::{Answer, Request};
use run_model::gate::{Approver, Gate, GateDecision, GateState, Question, approver_roles, approvers_needed, may_ask};
use run_model::person::Person;
use run_model::run::Requester;
use run_model::{Clock, FunctionError, GateId, Randomness, Sha256};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Names, Store, StoreError, Vote};

pub use crate::serve::serve;

/// The longest comment that is kept, in bytes.
const LONGEST_COMMENT: usize = 4_000;

/// What the function needs, built once per cold start.
pub struct Context {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Context {
    /// Connects lazily to the store behind `sdk`.
    pub fn new(sdk: &SdkConfig, names: Names, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self { store: Store::new(sdk, names, clock.clone(), randomness), clock }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Approve,
    Deny,
    MoreInfo,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    decision: Word,
    binding: Sha256,
    #[serde(default)]
    comment: Option<String>,
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
    let ["gates", id] = request.path()[..] else {
        return Err(Answer::not_found("there is nothing at this address"));
    };
    if !matches!(request.method, "GET" | "POST") {
        return Err(Answer::method_not_allowed("GET, POST"));
    }
    let person = http_host::person(&context.store, request).await?;
    let unknown = |_| Answer::not_found(format!("there is no gate {id:?}"));
    let gate = context.store.gate(&GateId::new(id).map_err(unknown)?).await?;
    let requester = context.store.run(&gate.run_id).await?.requester;
    if request.method == "GET" {
        return Ok(Answer::json(200, shown(&gate, &requester, context.clock.now_ms())));
    }
    let Decision { decision, binding, comment } = request.json()?;
    if comment.as_ref().is_some_and(|comment| comment.len() > LONGEST_COMMENT) {
        return Err(Answer::invalid(format!("comment: is longer than {LONGEST_COMMENT} bytes"), "shorten it"));
    }
    let decision = match decision {
        Word::Approve => GateDecision::Approved,
        Word::Deny => GateDecision::Denied,
        Word::MoreInfo => {
            let asked = ask(context, &gate, &binding, &person, comment.as_deref().unwrap_or_default()).await?;
            return Ok(Answer::json(200, shown(&asked, &requester, context.clock.now_ms())));
        }
    };
    let vote = Vote { decision, binding_hash: binding, person, comment };
    let gate = context.store.vote(&gate.gate_id, &requester, &vote).await?;
    tracing::info!(run = %gate.run_id, gate = %gate.gate_id, by = vote.person.name, ?decision, "a person decided");
    let status = if gate.state == GateState::Pending { 202 } else { 200 };
    Ok(Answer::json(status, shown(&gate, &requester, context.clock.now_ms())))
}

/// A question counts from whoever may decide by role, from the requester too.
async fn ask(context: &Context, gate: &Gate, binding: &Sha256, person: &Person, text: &str) -> Result<Gate, Answer> {
    let unclear = |problem| Answer::invalid(format!("comment: {problem}"), "put the question into comment");
    let question = Question::new(text).map_err(unclear)?;
    may_ask(gate.risk.level, person).map_err(StoreError::from)?;
    let asker = Approver { name: person.name.clone(), seen_as: person.seen_as.clone() };
    let gate = context.store.ask(&gate.gate_id, binding, &asker, &question).await?;
    tracing::info!(run = %gate.run_id, gate = %gate.gate_id, by = asker.name, "a person asked");
    Ok(gate)
}

/// The gate for people.
fn shown(gate: &Gate, requester: &Requester, now_ms: i64) -> Value {
    let approvals = gate.approvals.iter().map(|approval| {
        json!({
            "by": approval.approver.name,
            "seen_as": approval.approver.seen_as,
            "comment": approval.comment,
            "approved_ms": approval.approved_ms,
        })
    });
    json!({
        "gate_id": gate.gate_id,
        "run_id": gate.run_id,
        "kind": gate.binding.kind,
        "state": state(gate, now_ms),
        "risk": gate.risk,
        "summary": gate.summary,
        "base_commit": gate.binding.base_commit,
        "target": gate.binding.target,
        "binding": gate.binding.hash(),
        "opened_ms": gate.opened_ms,
        "deadline_ms": gate.deadline_ms,
        "requester": { "name": requester.name, "seen_as": requester.seen_as },
        "approver_roles": approver_roles(gate.risk.level),
        "approvals_needed": approvers_needed(gate.risk.level, requester),
        "approvals": approvals.collect::<Vec<_>>(),
        "decision": decision(gate),
        "question": question(gate),
        "exchanges": gate.exchanges,
    })
}

/// The state in one word. A deadline that has passed counts, whether or not somebody has written it down.
fn state(gate: &Gate, now_ms: i64) -> &'static str {
    match gate.state {
        GateState::Pending if now_ms > gate.deadline_ms => "expired",
        _ => gate.state.word(),
    }
}

fn decision(gate: &Gate) -> Option<Value> {
    let GateState::Decided { approver, comment, decided_ms, .. } = &gate.state else { return None };
    let by = gate.decided_by();
    Some(json!({ "by": by, "seen_as": approver.seen_as, "comment": comment, "decided_ms": decided_ms }))
}

/// What was asked at this very gate.
fn question(gate: &Gate) -> Option<Value> {
    let GateState::Asked { question, asker, asked_ms } = &gate.state else { return None };
    Some(json!({ "by": asker.name, "seen_as": asker.seen_as, "text": question, "asked_ms": asked_ms }))
}
