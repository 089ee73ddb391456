//! Many runs at once share one stage, two runners, one model and one repository.

use std::time::Duration;

use serde_json::{Value, json};
use tests::Provider;
use tokio::time::Instant;

use crate::stage::{RIGHT, Stage, request, script};

/// At once. They take two and a half minutes of processor: half of it the programs', a third MiniStack's.
const RUNS: usize = 50;
/// How often the list is looked at.
const PAUSE: Duration = Duration::from_secs(2);
/// After so long they are not all at their gates any more.
const PATIENCE: Duration = Duration::from_secs(900);

impl Stage {
    /// Every run, once each waits at its gate.
    async fn all_at_their_gates(&self) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let (_, listed) = self.deployed.ask(&self.ann, "/api/v1/runs?limit=100", None).await;
            let runs = listed["runs"].as_array().unwrap();
            assert!(runs.iter().all(|run| run["outcome"].is_null()), "{runs:#?}");
            if runs.len() == RUNS && runs.iter().all(|run| run["status"] == "approval_pending") {
                return runs.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{runs:#?}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// All are for the same branch, so that the first one that lands would void the others: ben denies them before.
#[tokio::test(flavor = "multi_thread")]
async fn many_runs_at_once_all_end_right() {
    let provider = Provider::for_many(&script());
    let mut stage = Stage::with(&provider, "").await;
    stage.start_another_runner().await;
    for number in 1..=RUNS {
        let mut request = request();
        request["idempotency_key"] = json!(format!("push-{number}"));
        stage.ask(&request).await;
    }
    let runs = stage.all_at_their_gates().await;
    let ids: Vec<&str> = runs.iter().map(|run| run["run_id"].as_str().unwrap()).collect();
    for run in &ids[1..] {
        let gate = stage.gate(run).await;
        assert_eq!(stage.decide(&stage.ben, &gate, "deny").await.0, 200);
    }
    for run in &ids[1..] {
        assert_eq!(stage.ended(run).await["status"], "denied");
    }
    assert_ne!(stage.github.git(&["show", "main:sum.sh"]), RIGHT);
    stage.approved(ids[0]).await;
    stage.deployed.expect_enough_memory();
    assert_eq!(provider.requests().len(), RUNS * script().responses().len(), "nothing is asked twice");
}
