//! `gatewright gates`: look at gates, ask, and decide.

use std::path::Path;

use run_model::GateId;
use run_model::gate::{Gate, GateDecision, Question};
use serde_json::json;

use crate::arguments::{Asking, At, Decision, GatesCommand, Waiting};
use crate::place::Place;
use crate::problem::Problem;
use crate::render::{self, Facts};
use crate::{follow, machines, screen};

pub(crate) async fn run(state: &Path, at: At, command: GatesCommand) -> Result<u8, Problem> {
    let place = Place::read(state, &at).await?;
    match command {
        GatesCommand::List { json } => list(place, json).await,
        GatesCommand::Show { gate } => show(place, &id(&gate)?).await,
        GatesCommand::Approve(decision) => decide(place, decision, GateDecision::Approved).await,
        GatesCommand::Deny(decision) => decide(place, decision, GateDecision::Denied).await,
        GatesCommand::MoreInfo(asking) => ask(place, asking).await,
    }
}

fn id(text: &str) -> Result<GateId, Problem> {
    GateId::new(text).map_err(Problem::input)
}

async fn list(place: Place, as_json: bool) -> Result<u8, Problem> {
    let gates = place.store().pending_gates().await;
    place.close().await;
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

async fn show(place: Place, gate_id: &GateId) -> Result<u8, Problem> {
    let gate = place.store().gate(gate_id).await?;
    let run = place.store().run(&gate.run_id).await?;
    let text = render::gate(&gate, &Facts::of(place.store(), run).await?);
    place.close().await;
    screen::print(&text);
    Ok(0)
}

/// Decides. If nobody drives the run, this process does, to its end or its next gate.
async fn decide(place: Place, decision: Decision, what: GateDecision) -> Result<u8, Problem> {
    let gate = shown(&place, &decision.gate, decision.hash).await?;
    let place = place.driving().await?;
    let decided = place.decide(&gate, what, "self, local", decision.comment).await?;
    screen::tell(render::decided(&decided, what));
    let code = go_on(place, &decided).await?;
    // Denying is what was asked for, so the run's ending is no failure of this command.
    Ok(if what == GateDecision::Denied && code == 2 { 0 } else { code })
}

/// Asks. If nobody drives the run, this process does, until the fresh gate shows the answer.
async fn ask(place: Place, asking: Asking) -> Result<u8, Problem> {
    let question = Question::new(&asking.question).map_err(Problem::input)?;
    let gate = shown(&place, &asking.gate, asking.hash).await?;
    let place = place.driving().await?;
    let asked = place.ask(&gate, "self, local", &question).await?;
    screen::tell(render::asked(&asked, &place.flag()));
    let code = go_on(place, &asked).await?;
    // That it waits again is what was asked for.
    Ok(if code == 4 { 0 } else { code })
}

/// The gate, if it stands before what the person was shown.
async fn shown(place: &Place, gate: &str, hash: Option<String>) -> Result<Gate, Problem> {
    let gate = place.store().gate(&id(gate)?).await?;
    let now = gate.binding.hash();
    if let Some(shown) = hash.filter(|shown| shown.len() < 8 || !now.as_str().starts_with(shown.as_str())) {
        let message = format!("--hash {shown}: the gate stands before {} by now; look at it again", now.short());
        return Err(Problem::input(message));
    }
    Ok(gate)
}

/// Lets the run of a gate that no longer waits go on: if nobody drives it, in this process, to its end or its next gate.
async fn go_on(place: Place, gate: &Gate) -> Result<u8, Problem> {
    let execution = machines::name_of(&place.store().run(&gate.run_id).await?.execution_arn).to_owned();
    place.take_up(&execution).await?;
    if !place.is_driver() {
        return Ok(0);
    }
    let waiting = Waiting { yes: false, no_wait: true, json: false };
    follow::follow(place, &gate.run_id, execution, &waiting).await
}
