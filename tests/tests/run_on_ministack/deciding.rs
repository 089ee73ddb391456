//! A person decides over HTTP, or nobody does.

use serde_json::json;
use tests::Provider;

use crate::stage::{RIGHT, Stage, request, script};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_approved_over_http_and_merged() {
    let stage = Stage::playing(&script()).await;
    let run = stage.ask(&request()).await;
    let (status, again) = stage.deployed.ask(&stage.ann, "/api/v1/orchestrate", Some(request())).await;
    assert_eq!((status, &again["run_id"]), (200, &json!(run)), "{again}");
    let gate = stage.gate(&run).await;
    let (own, refusal) = stage.decide(&stage.ann, &gate, "approve").await;
    assert_eq!(own, 403, "one's own run: {refusal}");
    let (nobody, _) = stage.decide("gwb_nobody", &gate, "approve").await;
    assert_eq!(nobody, 401);
    let ended = stage.approved(&run).await;
    assert!(stage.github.pulls().iter().all(|pull| pull.merged.is_some()), "{:?}", stage.github.pulls());
    assert!(ended["cost_microusd"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_change_is_not_merged() {
    let stage = Stage::playing(&script()).await;
    let run = stage.ask(&request()).await;
    let gate = stage.gate(&run).await;
    assert_eq!(stage.decide(&stage.ben, &gate, "deny").await.0, 200);
    assert_eq!(stage.ended(&run).await["status"], "denied");
    assert_ne!(stage.github.git(&["show", "main:sum.sh"]), RIGHT);
}

/// The one-shot at the gate's deadline or, two minutes later, the state's own bound ends the run.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_nobody_decides_on_times_out() {
    let provider = Provider::playing(&script());
    let stage = Stage::with(&provider, "[limits.gate_seconds]\nmedium = 5\nhigh = 5\n").await;
    let run = stage.ask(&request()).await;
    let gate = stage.gate(&run).await;
    assert_eq!(stage.ended(&run).await["status"], "timed_out");
    let (late, refusal) = stage.decide(&stage.ben, &gate, "approve").await;
    assert!(matches!(late, 409 | 410), "{late}: {refusal}");
    assert_ne!(stage.github.git(&["show", "main:sum.sh"]), RIGHT);
}
