//! Questions at gates: what the crew needs to answer one, and what becomes of its answer. A question never ends a run.

use run_model::change_set::ChangeSet;
use run_model::gate::{Answer, Answered, Exchange, Gate, GateKind, GateState, Inquiry};
use run_model::run::{ArtefactRef, RunRecord};
use run_model::{ErrorName, FunctionError, GateId, RunId};
use serde_json::{Value, json};
use store::NewEvent;

use crate::{Context, Failure, change};

/// How much of a failure is told as an answer, in characters.
const LONGEST_REASON: usize = 600;

/// What the machine hands to whoever answers a question: the inquiry, its number, and what the crew has changed.
pub(crate) async fn errand(context: &Context, run: &RunRecord, gate: &Gate) -> Result<Value, FunctionError> {
    let GateState::Asked { question, asker, .. } = &gate.state else { return Ok(Value::Null) };
    let kind = gate.binding.kind;
    let earlier = context.store.exchanges(run, &gate.binding).await?;
    let inquiry = Inquiry { kind, question: question.clone(), seen_as: asker.seen_as.clone(), earlier };
    Ok(json!({
        "gate_id": gate.gate_id,
        "kind": kind,
        "number": number(context, gate).await?,
        "inquiry": context.store.put_json(&run.run_id, &inquiry).await?,
        "overlay": changed(context, run, kind).await?,
    }))
}

/// The number of this question among those at gates of its kind, from 1. Those count too that were dropped with what they were
/// about: the answer's session is named by it, and no question may be given the answer to another.
async fn number(context: &Context, gate: &Gate) -> Result<usize, FunctionError> {
    let is_asked =
        |other: &&Gate| other.binding.kind == gate.binding.kind && matches!(other.state, GateState::Asked { .. });
    let gates = context.store.run_gates(&gate.run_id).await?;
    let until = gates.iter().position(|other| other.gate_id == gate.gate_id).unwrap_or(gates.len());
    Ok(gates.iter().take(until).filter(is_asked).count() + 1)
}

/// What the crew has changed so far: nothing at the plan's gate, all that the tasks made where they ask for dependencies.
async fn changed(context: &Context, run: &RunRecord, kind: GateKind) -> Result<Option<ArtefactRef>, FunctionError> {
    let overlay = match (kind, &run.change_set) {
        (GateKind::Plan, _) => return Ok(None),
        (GateKind::Change, Some(change_set)) => context.store.get_json::<ChangeSet>(change_set).await?.overlay,
        (GateKind::Setup | GateKind::Change, _) => {
            let tasks = context.store.tasks(&run.run_id).await?;
            change::merged_overlay(context, &tasks.iter().collect::<Vec<_>>()).await?
        }
    };
    Ok(Some(context.store.put_json(&run.run_id, &overlay).await?))
}

/// The errand that an earlier execution left: a question over the very same that nobody has answered. `null` if there is none.
pub(crate) async fn left_over(context: &Context, run: &RunRecord, kind: GateKind) -> Result<Value, FunctionError> {
    // Most runs come to their first gate here.
    let (Some(_), Some(binding)) = (&run.gate, run.binding(kind)) else { return Ok(Value::Null) };
    let is_open = |gate: &Gate| {
        let answered = run.answered.iter().any(|answered| answered.gate_id == gate.gate_id);
        gate.binding == binding && matches!(gate.state, GateState::Asked { .. }) && !answered
    };
    let gates = context.store.run_gates(&run.run_id).await?;
    match gates.iter().rev().find(|gate| is_open(gate)) {
        Some(gate) => errand(context, run, gate).await,
        None => Ok(Value::Null),
    }
}

/// Keeps what was answered, or why nothing was, for the fresh gate to show. Once more changes nothing.
pub(crate) async fn keep(
    context: &Context,
    run_id: RunId,
    gate_id: &GateId,
    output: Option<ArtefactRef>,
    error: Option<Failure>,
) -> Result<Value, FunctionError> {
    let run = context.store.run(&run_id).await?;
    if run.answered.iter().any(|answered| answered.gate_id == *gate_id) {
        return Ok(json!({}));
    }
    let gate = context.store.gate(gate_id).await?;
    let GateState::Asked { question, asker, asked_ms } = gate.state else {
        return Err(FunctionError::new(ErrorName::Internal, format!("nothing was asked at {gate_id}")));
    };
    let answer: Answer = match output.filter(|_| error.is_none()) {
        Some(output) => context.store.get_json(&output).await?,
        None => unanswered(error.as_ref()),
    };
    let told = told(&answer);
    let exchange = Exchange { question, asker, asked_ms, answer, answered_ms: context.clock.now_ms() };
    let exchange = context.store.put_json(&run_id, &exchange).await?;
    let (kind, binding_hash) = (gate.binding.kind, gate.binding.hash());
    let answered = Answered { gate_id: gate.gate_id, kind, binding_hash, exchange: exchange.clone() };
    let keep = |run: &mut RunRecord| {
        if !run.answered.iter().any(|known| known.gate_id == answered.gate_id) {
            run.answered.push(answered.clone());
        }
        let (role, artefact) = (Some("reviewer".to_owned()), Some(exchange.clone()));
        NewEvent { role, artefact, ..NewEvent::new("gate.answered", told.as_str()) }
    };
    context.store.update_run_telling(&run_id, keep).await?;
    Ok(json!({}))
}

/// What is said in place of an answer.
fn unanswered(error: Option<&Failure>) -> Answer {
    let reason = error.map_or_else(|| "it said nothing".to_owned(), Failure::reason);
    let reason: String = reason.chars().take(LONGEST_REASON).collect();
    Answer { text: format!("There is no answer, since the crew could not give one: {reason}"), places: Vec::new() }
}

fn told(answer: &Answer) -> String {
    let places = if answer.places.is_empty() { String::new() } else { format!(" ({})", answer.places.join(", ")) };
    format!("answers: {}{places}", answer.text)
}
