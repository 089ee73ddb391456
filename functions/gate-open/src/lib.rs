#![doc = include_str!("../README.md")]

mod serve;

use std::sync::Arc;

use aws_types::SdkConfig;
use config::RunConfig;
use run_model::gate::{Gate, GateKind, GateState};
use run_model::plan::Plan;
use run_model::run::{RunRecord, Stage};
use run_model::{Clock, ErrorName, FunctionError, GateId, Randomness, RunId};
use schedules::OneShots;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Names, Store};

pub use crate::serve::serve;

/// What the function needs, built once per cold start.
pub struct Context {
    store: Store,
    clock: Arc<dyn Clock>,
    one_shots: Option<OneShots>,
}

/// After a gate's deadline until the state that waits at it has ended.
const GRACE_MS: i64 = 180_000;

impl Context {
    /// Connects lazily to the store behind `sdk`.
    pub fn new(sdk: &SdkConfig, names: Names, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self { store: Store::new(sdk, names, clock.clone(), randomness), clock, one_shots: None }
    }

    /// Has every gate looked after when its deadline is over.
    #[must_use]
    pub fn with_one_shots(self, one_shots: OneShots) -> Self {
        Self { one_shots: Some(one_shots), ..self }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    token: String,
    run_id: RunId,
    kind: GateKind,
}

/// Opens the gate and keeps the task token; the answer comes by callback: `{"decision": ..., "gate_id": ...}`.
///
/// A repeated call for the same contract finds the gate that is open and gives it the new token.
///
/// # Errors
/// `InvalidInput`, `NotFound`, `StoreUnavailable`; `Internal` if the run has nothing to decide on yet.
pub async fn handle(context: &Context, input: Value) -> Result<Value, FunctionError> {
    let input: Input = serde_json::from_value(input).map_err(|problem| FunctionError::invalid("input", problem))?;
    let run = context.store.run(&input.run_id).await?;
    let config: RunConfig = context.store.get_json(&run.config).await?;
    let gate = contract(context, &run, &config, input.kind).await?;
    let stage = match input.kind {
        GateKind::Plan => Stage::PlanGate,
        GateKind::Setup => Stage::SetupGate,
        GateKind::Change => Stage::Gate,
    };
    context.store.enter_stage(&input.run_id, stage).await?;
    let gate = context.store.open_gate(gate, &input.token).await?;
    let level = gate.risk.level.as_str();
    tracing::info!(run = %gate.run_id, gate = %gate.gate_id, risk = level, "a gate stands");
    if let Some(one_shots) = &context.one_shots {
        let look_after = json!({ "run_id": gate.run_id });
        one_shots.at(&format!("gate-{}", gate.gate_id), gate.deadline_ms + GRACE_MS, &look_after).await?;
    }
    Ok(json!({ "gate_id": gate.gate_id }))
}

/// The contract as it stands now: what is bound, how risky it is, until when it counts.
async fn contract(
    context: &Context,
    run: &RunRecord,
    config: &RunConfig,
    kind: GateKind,
) -> Result<Gate, FunctionError> {
    let missing =
        |what: &str| FunctionError::new(ErrorName::Internal, format!("{} has no {what} to decide on", run.run_id));
    let binding = run.binding(kind).ok_or_else(|| missing(kind.as_str()))?;
    let (risk, summary) = match (kind, &run.proposed_setup) {
        (GateKind::Setup, Some(proposed)) => (Some(proposed.risk.clone()), proposed.summary.clone()),
        (GateKind::Plan, _) => (run.plan_risk.clone(), summary(context, run).await?),
        _ => (run.risk.clone(), summary(context, run).await?),
    };
    let risk = risk.ok_or_else(|| missing("risk"))?;
    // Low risk opens no gate by itself; whoever opens one all the same gives it the shortest wait.
    let wait = config.limits.gate_wait_seconds(risk.level).unwrap_or(30 * 60);
    let opened_ms = context.clock.now_ms();
    let exchanges = context.store.exchanges(run, &binding).await?;
    // What was asked has closed the gate at which it was asked, so there is a fresh one after each answer.
    let after = if exchanges.is_empty() { String::new() } else { format!("-q{}", exchanges.len()) };
    let name = format!("{}-{}-{}{after}", run.run_id, run.executions, binding.hash().short());
    let gate_id = GateId::new(name).map_err(|problem| FunctionError::new(ErrorName::Internal, problem.to_string()))?;
    Ok(Gate {
        gate_id,
        run_id: run.run_id.clone(),
        binding,
        risk,
        summary,
        opened_ms,
        deadline_ms: opened_ms + i64::from(wait) * 1000,
        state: GateState::Pending,
        approvals: Vec::new(),
        exchanges,
    })
}

/// What the plan says of itself.
async fn summary(context: &Context, run: &RunRecord) -> Result<String, FunctionError> {
    let missing = || FunctionError::new(ErrorName::Internal, format!("{} has no plan", run.run_id));
    let plan = run.plan.as_ref().ok_or_else(missing)?;
    Ok(context.store.get_json::<Plan>(plan).await?.summary)
}
