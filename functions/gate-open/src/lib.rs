#![doc = include_str!("../README.md")]

mod serve;

use std::sync::Arc;

use aws_types::SdkConfig;
use config::RunConfig;
use run_model::change_set::ChangeSet;
use run_model::gate::{Binding, Exchange, Gate, GateKind, GateState};
use run_model::plan::Plan;
use run_model::run::{RunRecord, Stage, branch_name};
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
    let base_commit = run.snapshot.as_ref().ok_or_else(|| missing("snapshot"))?.commit.clone();
    let (content, risk, summary) = match kind {
        GateKind::Plan => {
            let plan = run.plan.as_ref().ok_or_else(|| missing("plan"))?;
            let summary = context.store.get_json::<Plan>(plan).await?.summary;
            (plan.sha256.clone(), run.plan_risk.clone(), summary)
        }
        GateKind::Setup => {
            let proposed = run.proposed_setup.clone().ok_or_else(|| missing("other dependencies"))?;
            (proposed.manifests.sha256, Some(proposed.risk), proposed.summary)
        }
        GateKind::Change => {
            let change = run.change_set.as_ref().ok_or_else(|| missing("change set"))?;
            let set: ChangeSet = context.store.get_json(change).await?;
            let plan = run.plan.as_ref().ok_or_else(|| missing("plan"))?;
            (set.hash(), run.risk.clone(), context.store.get_json::<Plan>(plan).await?.summary)
        }
    };
    let risk = risk.ok_or_else(|| missing("risk"))?;
    let target = if kind == GateKind::Change { run.target() } else { branch_name(&run.run_id) };
    let binding = Binding { kind, base_commit, content_sha256: content, target };
    // Low risk opens no gate by itself; whoever opens one all the same gives it the shortest wait.
    let wait = config.limits.gate_wait_seconds(risk.level).unwrap_or(30 * 60);
    let opened_ms = context.clock.now_ms();
    let exchanges = exchanges(context, run, &binding).await?;
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

/// What was asked and answered over the very same.
async fn exchanges(context: &Context, run: &RunRecord, binding: &Binding) -> Result<Vec<Exchange>, FunctionError> {
    let (hash, mut exchanges) = (binding.hash(), Vec::new());
    for answered in run.answered.iter().filter(|answered| answered.binding_hash == hash) {
        exchanges.push(context.store.get_json(&answered.exchange).await?);
    }
    Ok(exchanges)
}
