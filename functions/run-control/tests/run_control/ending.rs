//! How a run ends.

use agent::ports::{CallEstimate, Ledger};
use run_model::SessionId;
use run_model::budget::TokenUsage;
use run_model::run::{Ending, Outcome, RunStatus, Stage};
use serde_json::{Value, json};

use crate::world::{World, config};

async fn finish(world: &World, error: Value) -> Value {
    world.act("finish", json!({ "error": error })).await.unwrap()
}

#[tokio::test]
async fn a_landed_change_is_success_with_its_cost() {
    let world = World::planned(&config(), &[("t1", &[])]).await;
    let call = CallEstimate {
        call_id: "developer/t1/1#1#1".into(),
        role: "developer".into(),
        session: SessionId::new("developer", None, 1),
        model: "m".into(),
        cost_microusd: 500_000,
        tokens: 100,
    };
    let reserved = world.store.reserve(&world.run_id, call).await.unwrap();
    let usage = TokenUsage { input_tokens: 10, ..TokenUsage::default() };
    world.store.settle(&world.run_id, &reserved, usage, 250_000, false).await.unwrap();
    let landed = |run: &mut run_model::run::RunRecord| {
        (run.commit, run.branch) = (Some("c1".into()), Some("gatewright/r-1".into()));
    };
    world.store.update_run(&world.run_id, landed).await.unwrap();
    let told = finish(&world, json!(null)).await;
    let expected = json!({
        "run_id": "r-1", "status": "succeeded", "reason": "The change is on branch gatewright/r-1.",
        "next_step": "Merge it with `git merge gatewright/r-1` in /r.", "branch": "gatewright/r-1", "commit": "c1",
        "pull_request": null, "evidence": [{ "purpose": "baseline", "object": world.run().await.evidence[0].1.key }], "cost_usd": 0.25,
    });
    assert_eq!(told, expected);
    assert_eq!(world.run().await.stage, Stage::Report);
    let [ended] = &world.events("run.ended").await[..] else { panic!("it was not told once") };
    assert_eq!(ended.message, "succeeded: The change is on branch gatewright/r-1.");
}

#[tokio::test]
async fn the_end_that_was_found_is_told_and_stays() {
    let world = World::planned(&config(), &[("t1", &[])]).await;
    let outcome = Outcome { reason: "ann denied it.".into(), next_step: "Ask ann.".into() };
    let ending = Ending { status: RunStatus::Denied, outcome: outcome.clone() };
    world.store.update_run(&world.run_id, |run| run.ending = Some(ending.clone())).await.unwrap();
    assert_eq!(finish(&world, json!(null)).await["status"], "denied");
    let run = world.run().await;
    assert_eq!((run.status, run.outcome, run.ending), (RunStatus::Denied, Some(outcome), None));
    let late = json!({ "Error": "Internal", "Cause": "late" });
    assert_eq!(finish(&world, late).await["reason"], "ann denied it.", "a run that has ended stays as it ended");
}

#[tokio::test]
async fn an_error_is_the_reason_in_its_own_words_with_its_cure() {
    let wrapped = |name: &str, message: &str| {
        let lambda = json!({ "errorType": name, "errorMessage": message }).to_string();
        json!({ "Error": name, "Cause": lambda })
    };
    let nested = |name: &str, message: &str| json!({ "Error": "States.TaskFailed", "Cause": wrapped(name, message).to_string() });
    for (error, reason, cure) in [
        (wrapped("BudgetExceeded", "the budget cannot carry it"), "the budget cannot carry it", "higher budget"),
        (nested("MergeConflict", "src/x.rs was changed"), "src/x.rs was changed", "ask for less at once"),
        (nested("ModelRefused", "no key"), "no key", "Put right what was refused, then `gatewright runs resume r-1`"),
        (
            nested("ModelUnavailable", "no route"),
            "no route",
            "base_url in gatewright.toml, ANTHROPIC_BASE_URL or OPENAI_BASE_URL",
        ),
        (
            wrapped("NotMeasurable", "setup command `x` exited with 1\n  last words"),
            "setup command `x` exited with 1\n  last words",
            "Mend [[setup]] or [[checks]] in gatewright.toml, commit, and start again.",
        ),
        (
            wrapped("RequirementRefused", "refused by the crew: no. Instead: this"),
            "refused by the crew: no. Instead: this",
            "Start again with what it says instead",
        ),
        (wrapped("ModelThrottled", "429"), "429", "limit allows it again, `gatewright runs resume r-1`"),
        (wrapped("ForgeFailed", "git: no"), "git: no", "`gatewright runs events r-1`"),
        (json!({ "Error": "States.Timeout", "Cause": "" }), "States.Timeout", "`gatewright runs resume r-1`"),
        (json!({ "Error": "States.Timeout" }), "States.Timeout", "`gatewright runs resume r-1`"),
    ] {
        let world = World::planned(&config(), &[("t1", &[])]).await;
        let told = finish(&world, error).await;
        assert_eq!((&told["status"], &told["reason"]), (&json!("failed"), &json!(reason)));
        assert!(told["next_step"].as_str().unwrap().contains(cure), "{told}");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let world = World::planned(&config(), &[("t1", &[])]).await;
    for (action, input) in
        [("deploy", json!({})), ("merge", json!({ "force": true })), ("begin-task", json!({ "task_id": "T 1" }))]
    {
        let error = world.act(action, input).await.unwrap_err();
        assert_eq!(error.name, run_model::ErrorName::InvalidInput, "{error}");
    }
    let error = world.act("begin-task", json!({ "task_id": "t9" })).await.unwrap_err();
    assert_eq!(error.name, run_model::ErrorName::NotFound);
}
