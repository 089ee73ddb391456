//! `gatewright gates`: look at gates and decide.

use std::path::Path;

use run_model::GateId;
use run_model::gate::{Approver, GateDecision};
use serde_json::json;

use crate::arguments::{Decision, GatesCommand, Waiting};
use crate::local::Local;
use crate::problem::Problem;
use crate::render::{self, Facts};
use crate::{follow, machines, screen, settings};

pub(crate) async fn run(state: &Path, command: GatesCommand) -> Result<u8, Problem> {
    match command {
        GatesCommand::List { json } => list(state, json).await,
        GatesCommand::Show { gate } => show(state, &id(&gate)?).await,
        GatesCommand::Approve(decision) => decide(state, decision, GateDecision::Approved).await,
        GatesCommand::Deny(decision) => decide(state, decision, GateDecision::Denied).await,
    }
}

fn id(text: &str) -> Result<GateId, Problem> {
    GateId::new(text).map_err(Problem::input)
}

async fn list(state: &Path, as_json: bool) -> Result<u8, Problem> {
    let local = Local::read(state).await?;
    let gates = local.store.pending_gates().await;
    local.close().await;
    let gates = gates?;
    if as_json {
        screen::print_json(&json!(gates));
    } else if gates.is_empty() {
        screen::print("no gate waits");
    }
    for gate in gates.iter().filter(|_| !as_json) {
        let until = render::moment(gate.deadline_ms);
        screen::print(format!(
            "{:<32} {:<8} until {until} UTC  {}",
            gate.gate_id,
            gate.risk.level.as_str(),
            screen::hanging(&gate.summary, "  ")
        ));
    }
    Ok(0)
}

async fn show(state: &Path, gate_id: &GateId) -> Result<u8, Problem> {
    let local = Local::read(state).await?;
    let gate = local.store.gate(gate_id).await?;
    let run = local.store.run(&gate.run_id).await?;
    let text = render::gate(&gate, &Facts::of(&local.store, run).await?);
    local.close().await;
    screen::print(&text);
    Ok(0)
}

/// Decides. If nobody drives the run, this process does, to its end or its next gate.
async fn decide(state: &Path, decision: Decision, what: GateDecision) -> Result<u8, Problem> {
    let gate_id = id(&decision.gate)?;
    let local = Local::read(state).await?;
    let gate = local.store.gate(&gate_id).await?;
    let hash = gate.binding.hash();
    if let Some(shown) = decision.hash.filter(|shown| shown.len() < 8 || !hash.as_str().starts_with(shown.as_str())) {
        let message = format!("--hash {shown}: the gate stands before {} by now; look at it again", hash.short());
        return Err(Problem::input(message));
    }
    let local = local.driving().await?;
    let approver = Approver { name: settings::person(), seen_as: "self, local".into() };
    let decided = local.store.decide(&gate_id, &hash, what, approver, decision.comment).await?;
    let word = if what == GateDecision::Approved { "approved" } else { "denied" };
    screen::tell(format!("{gate_id} {word}"));
    let execution = machines::name_of(&local.store.run(&decided.run_id).await?.execution_arn).to_owned();
    local.take_up(&execution).await?;
    if !local.is_driver() {
        return Ok(0);
    }
    let waiting = Waiting { yes: false, no_wait: true, json: false };
    let code = follow::follow(local, &decided.run_id, execution, &waiting).await?;
    // Denying is what was asked for, so the run's ending is no failure of this command.
    Ok(if what == GateDecision::Denied && code == 2 { 0 } else { code })
}
