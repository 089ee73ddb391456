//! How runners get jobs and report them.

use run_model::evidence::{Evidence, Purpose};
use run_model::run::Priority;
use serde_json::{Value, json};

use crate::world::{START_MS, World, evidence};

#[tokio::test]
async fn a_runner_claims_fetches_and_reports() {
    let world = World::new().await;
    let run = world.run("k").await;
    let me = json!({ "instance": "i-1" });
    assert_eq!(world.as_runner("jobs/claim", &me).await, (204, Value::Null));
    let job = world.queue("j-1", &run, Priority::Normal).await;
    let (status, claim) = world.as_runner("jobs/claim", &me).await;
    assert_eq!((status, &claim["job"]["job_id"], &claim["lease_seconds"]), (200, &json!("j-1"), &json!(120)));
    assert!(!claim.to_string().contains("token of"));
    assert_eq!(world.fetch(claim["inputs"]["archive"].as_str().unwrap()).await, "the archive");
    assert_eq!(world.fetch(claim["inputs"]["held_out"].as_str().unwrap()).await, "held out");
    assert_eq!(claim["inputs"]["overlay"], Value::Null);
    assert_eq!(world.fetch(claim["inputs"]["setup"].as_str().unwrap()).await, "the manifests");
    assert_eq!(world.as_runner("jobs/claim", &me).await.0, 204, "one job, one claim");
    let report = |purpose| json!({ "instance": "i-1", "evidence": evidence(purpose) });
    let (status, _) = world.as_runner("jobs/j-1/evidence", &report(Purpose::Baseline)).await;
    assert_eq!(status, 400, "the evidence is for another purpose");
    for _ in 0..2 {
        assert_eq!(
            world.as_runner("jobs/j-1/evidence", &report(Purpose::Final)).await.0,
            204,
            "the answer may be lost"
        );
    }
    let answer = world.answer(&job).await;
    assert_eq!(answer.token, "token of j-1");
    let artefact = serde_json::from_value(answer.result.unwrap()["evidence"].clone()).unwrap();
    assert_eq!(world.store.get_json::<Evidence>(&artefact).await.unwrap(), evidence(Purpose::Final));
}

#[tokio::test]
async fn a_claim_without_a_heartbeat_is_another_runners() {
    let world = World::new().await;
    let job = world.queue("j-1", &world.run("k").await, Priority::Normal).await;
    let (one, two) = (json!({ "instance": "i-1" }), json!({ "instance": "i-2" }));
    assert_eq!(world.as_runner("jobs/claim", &one).await.0, 200);
    world.clock.advance(119_000);
    let (status, beat) = world.as_runner("jobs/j-1/heartbeat", &one).await;
    assert_eq!((status, &beat["lease_until_ms"]), (200, &json!(START_MS + 119_000 + 120_000)));
    world.clock.advance(119_000);
    assert_eq!(world.as_runner("jobs/claim", &two).await.0, 204, "it is alive");
    assert_eq!(world.as_runner("jobs/j-1/heartbeat", &two).await.0, 409, "it is another's");
    world.clock.advance(1_001);
    assert_eq!(world.as_runner("jobs/claim", &two).await.0, 200);
    assert_eq!(world.as_runner("jobs/j-1/heartbeat", &one).await.0, 409);
    let late = json!({ "instance": "i-1", "evidence": evidence(Purpose::Final) });
    assert_eq!(world.as_runner("jobs/j-1/evidence", &late).await.0, 409, "the first one was given up");
    let failed = json!({ "instance": "i-2", "name": "PolicyRefused", "message": "cannot confine" });
    assert_eq!(world.as_runner("jobs/j-1/failure", &failed).await.0, 204);
    let told = world.answer(&job).await.result.unwrap_err();
    assert_eq!(told, ("PolicyRefused".to_owned(), "cannot confine".to_owned()));
    assert_eq!(world.as_runner("jobs/j-2/failure", &failed).await.0, 404);
    let unnamed = json!({ "instance": "i-2", "name": "Whatever", "message": "m" });
    assert_eq!(world.as_runner("jobs/j-1/failure", &unnamed).await.0, 400);
    assert_eq!(world.as_runner("jobs/claim", &json!({ "instance": "a/b" })).await.0, 400);
}

#[tokio::test]
async fn a_job_that_is_given_back_is_the_next_runners_at_once() {
    let world = World::new().await;
    world.queue("j-1", &world.run("k").await, Priority::Normal).await;
    let (one, two) = (json!({ "instance": "i-1" }), json!({ "instance": "i-2" }));
    assert_eq!(world.as_runner("jobs/claim", &one).await.0, 200);
    assert_eq!(world.as_runner("jobs/j-1/give-back", &two).await.0, 409, "it is another's");
    assert_eq!(world.as_runner("jobs/j-1/give-back", &one).await.0, 204);
    assert_eq!(world.as_runner("jobs/claim", &two).await.0, 200);
}

#[tokio::test]
async fn a_run_whose_checks_nobody_takes_says_so_with_the_command() {
    let world = World::new().await;
    let run = world.run("k").await;
    let blocked = async || world.get(&format!("runs/{run}"), &[]).await.1["blocked_by"].clone();
    assert_eq!(blocked().await, Value::Null, "nothing waits");
    world.queue("j-1", &run, Priority::Normal).await;
    let said = "no runner is alive: start one with `gatewright runner --api https://api.example`";
    assert_eq!(blocked().await, json!(said));
    assert_eq!(world.as_runner("jobs/claim", &json!({ "instance": "i-1" })).await.0, 200);
    assert_eq!(blocked().await, Value::Null, "a runner has it");
    world.clock.advance(170_000);
    assert_eq!(world.as_runner("jobs/j-1/heartbeat", &json!({ "instance": "i-1" })).await.0, 200);
    world.clock.advance(110_000);
    assert_eq!(blocked().await, Value::Null, "it is at work");
    world.clock.advance(100_000);
    assert_eq!(blocked().await, json!(said), "it fell silent");
}

#[tokio::test]
async fn the_most_urgent_job_is_claimed_first() {
    let world = World::new().await;
    let run = world.run("k").await;
    for (id, priority) in [("j-low", Priority::Low), ("j-critical", Priority::Critical), ("j-high", Priority::High)] {
        world.queue(id, &run, priority).await;
        world.clock.advance(1_000);
    }
    let mut claimed = Vec::new();
    for _ in 0..3 {
        claimed.push(world.as_runner("jobs/claim", &json!({ "instance": "i" })).await.1["job"]["job_id"].clone());
    }
    assert_eq!(claimed, ["j-critical", "j-high", "j-low"]);
}
