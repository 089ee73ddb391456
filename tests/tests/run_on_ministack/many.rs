//! Many runs at once share one stage, one runner and one repository.

use std::time::Duration;

use forge::testing::FakeGitHub;
use serde_json::{Value, json};
use tests::Provider;

use crate::stage::{RIGHT, Stage, commit, request, script};

/// At once. Each has a branch of its own, and a model.
const RUNS: usize = 50;
/// How often the list is looked at.
const PAUSE: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn fifty_runs_at_once_all_end_right() {
    let github = FakeGitHub::start().await;
    let branches: Vec<String> = (1..=RUNS).map(|number| format!("base-{number}")).collect();
    let providers: Vec<Provider> = branches.iter().map(|_| Provider::playing(&script())).collect();
    for (branch, provider) in branches.iter().zip(&providers) {
        commit(&github, branch, provider, "");
    }
    let stage = Stage::over(github, &[]).await;
    for branch in &branches {
        let mut request = request();
        request["base"] = json!(branch);
        request["idempotency_key"] = json!(branch);
        stage.ask(&request).await;
    }
    let mut decided = Vec::new();
    let runs = loop {
        let (_, listed) = stage.deployed.ask(&stage.ann, "/api/v1/runs?limit=100", None).await;
        let runs = listed["runs"].as_array().unwrap().clone();
        let waiting = runs.iter().filter(|run| run["status"] == "approval_pending").map(|run| run["run_id"].clone());
        for run in waiting.collect::<Vec<Value>>() {
            if !decided.contains(&run) {
                let gate = stage.gate(run.as_str().unwrap()).await;
                assert_eq!(stage.decide(&stage.ben, &gate, "approve").await.0, 200);
                decided.push(run);
            }
        }
        if runs.len() == RUNS && runs.iter().all(|run| run["outcome"].is_object()) {
            break runs;
        }
        tokio::time::sleep(PAUSE).await;
    };
    assert!(runs.iter().all(|run| run["status"] == "succeeded"), "{runs:#?}");
    for (branch, provider) in branches.iter().zip(&providers) {
        assert_eq!(stage.github.git(&["show", &format!("{branch}:sum.sh")]), RIGHT);
        assert_eq!(provider.requests().len(), script().responses().len(), "nothing is asked twice on {branch}");
    }
}
