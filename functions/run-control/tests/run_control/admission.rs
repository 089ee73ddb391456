//! Who asks for what.

use run_model::ErrorName;
use run_model::run::{Priority, Requester, RunStatus, Stage};
use serde_json::{Value, json};
use store::Start;

use crate::world::{World, config};

#[tokio::test]
async fn a_request_from_the_console_gets_its_defaults() {
    let world = World::new().await;
    let checks = json!([{ "name": "test", "command": "make test" }]);
    let input = json!({ "repository": "/r", "requirements": "count to two", "config": { "checks": checks } });
    let entrance = world.admit(input).await.unwrap();
    assert_eq!(entrance, json!({ "run_id": "r-1", "held_out": false, "attempt": 1 }));
    let run = world.run().await;
    assert_eq!((run.status, run.stage, run.executions), (RunStatus::Running, Stage::Admit, 1));
    assert_eq!((run.repository.as_str(), run.base_ref.as_str()), ("/r", "HEAD"));
    assert_eq!((run.requester.name.as_str(), run.requester.seen_as.as_str()), ("console", "console"));
    assert_eq!(world.store.get_artefact(&run.requirement).await.unwrap(), b"count to two");
    let pinned: Value = world.store.get_json(&run.config).await.unwrap();
    assert_eq!((&pinned["limits"]["iterations"], &pinned["checks"][0]["format"]), (&json!(20), &json!("plain")));
    let budget = world.store.budget(&world.run_id).await.unwrap();
    assert_eq!((budget.limit_microusd, budget.committed_microusd), (5_000_000, 0));
    assert_eq!(world.events("run.admitted").await.len(), 1);
}

#[tokio::test]
async fn a_console_start_needs_a_repository_and_a_requirement_and_a_uuid_is_a_name() {
    let mut world = World::on_stage("dev").await;
    world.run_id = run_model::RunId::new("0b9fdd29-5c4e-4f0e-8a40-1f5f4a3a7c11").unwrap();
    world.admit(json!({ "repository": "o/r", "requirements": "count to two" })).await.unwrap();
    let run = world.run().await;
    assert_eq!((run.requester.is_known(), run.budget_microusd), (false, None));
    assert_eq!(world.store.budget(&world.run_id).await.unwrap().limit_microusd, 5_000_000);
}

#[tokio::test]
async fn the_requester_is_whom_the_entrance_wrote_down_for_exactly_this_input() {
    let input = json!({ "repository": "o/r", "requirements": "count", "budget_microusd": 7, "priority": "high" });
    let ann = Requester { name: "ann".into(), seen_as: "bearer".into(), identities: ["person:ann".to_owned()].into() };
    let other = json!({ "repository": "o/r", "requirements": "steal", "budget_microusd": 7, "priority": "high" });
    for (started_with, requester) in [(input.clone(), ann.clone()), (other, Requester::console())] {
        let world = World::on_stage("dev").await;
        let start = Start { requester: ann.clone(), input: started_with };
        world.store.put_start("r-1", &start).await.unwrap();
        world.admit(input.clone()).await.unwrap();
        let run = world.run().await;
        assert_eq!(run.requester, requester);
        assert_eq!((run.priority, run.budget_microusd), (Priority::High, Some(7)));
        assert_eq!(world.store.budget(&world.run_id).await.unwrap().limit_microusd, 7);
    }
}

#[tokio::test]
async fn on_aws_an_input_says_neither_who_asks_nor_by_which_settings() {
    let world = World::on_stage("dev").await;
    let elsewhere = json!({ "kind": "anthropic", "base_url": "https://elsewhere.invalid" });
    let hostile = json!({ "checks": config().checks, "provider": elsewhere, "protected": [], "manifests": [] });
    for (field, value, said) in [
        ("requester", json!({ "name": "ann", "seen_as": "local" }), "no input says who asks"),
        ("config", hostile, "config: a stage takes no settings from an input: leave it out"),
        ("config", json!({}), "gatewright.toml of the default branch"),
    ] {
        let mut input = json!({ "repository": "o/r", "requirements": "count" });
        input[field] = value;
        let error = world.admit(input).await.unwrap_err();
        assert_eq!(error.name, ErrorName::InvalidInput);
        assert!(error.message.contains(said), "{error}");
    }
    assert!(world.store.run(&world.run_id).await.is_err(), "nothing was admitted");
    let local = World::new().await;
    let ann = json!({ "name": "ann", "seen_as": "local" });
    local.admit(json!({ "repository": "/r", "requirements": "count", "requester": ann })).await.unwrap();
    assert_eq!(local.run().await.requester, Requester::local("ann"));
}

#[tokio::test]
async fn a_stage_works_on_its_own_repositories_alone_and_one_machine_on_any() {
    let world = World::on_stage("dev").await;
    for stranger in ["mallory/r", "https://github.com/mallory/r", "/r"] {
        let error = world.admit(json!({ "repository": stranger, "requirements": "count" })).await.unwrap_err();
        assert_eq!(error.name, ErrorName::PolicyRefused);
        assert!(error.message.contains(stranger) && error.message.contains("aws deploy --stage STAGE --repository"));
    }
    assert!(world.store.run(&world.run_id).await.is_err(), "nothing was admitted");
    world.admit(json!({ "repository": "https://github.com/o/r", "requirements": "count" })).await.unwrap();
    // It was taken from the list since: nobody resumes it.
    world.store.update_run(&world.run_id, |run| run.repository = "mallory/r".into()).await.unwrap();
    assert_eq!(world.resume("again", "snapshot").await.unwrap_err().name, ErrorName::PolicyRefused);
    World::new().await.admit(json!({ "repository": "/r", "requirements": "count" })).await.unwrap();
}

#[tokio::test]
async fn a_name_belongs_to_the_run_that_had_it_first() {
    let world = World::new().await;
    let asking = |text| json!({ "repository": "/r", "requirements": text, "config": config() });
    world.admit(asking("first")).await.unwrap();
    world.admit(asking("second")).await.unwrap();
    assert_eq!(world.store.get_artefact(&world.run().await.requirement).await.unwrap(), b"first");
}

#[tokio::test]
async fn a_request_that_cannot_be_met_is_refused_with_its_field() {
    let world = World::new().await;
    let elsewhere = |key| json!({ "key": key, "sha256": "0".repeat(64), "bytes": 1 });
    let with = |field: &str, value: Value| {
        let mut input = json!({ "repository": "/r", "requirements": "count", "config": config() });
        input[field] = value;
        input
    };
    for (input, said) in [
        (with("requirements", json!(" \n")), "requirements: is empty"),
        (with("requirements", json!(null)), "requirements: is empty"),
        (with("requirements", json!("x".repeat((1 << 20) + 1))), "requirements: is 1048577 bytes long"),
        (with("config", json!({})), "config: the project has no checks"),
        (with("config", json!({ "limit": 1 })), "unknown field `limit`"),
        (with("budget_microusd", json!(0)), "budget_microusd: is 0"),
        (with("repo", json!("/r")), "unknown field `repo`"),
        (json!({ "requirements": "count" }), "missing field `repository`"),
        (
            with("requirement", elsewhere("held-out/r-1/x")),
            "requirement: \"held-out/r-1/x\" does not lie under runs/r-1/",
        ),
        (with("acceptance", elsewhere("runs/r-1/x")), "acceptance: \"runs/r-1/x\" does not lie under held-out/r-1/"),
    ] {
        let error = world.admit(input).await.unwrap_err();
        assert_eq!(error.name, ErrorName::InvalidInput, "{error}");
        assert!(error.message.contains(said), "{error}");
    }
    assert!(world.store.run(&world.run_id).await.is_err());
}

#[tokio::test]
async fn an_execution_whose_name_is_no_run_id_is_refused() {
    let mut world = World::new().await;
    let input = json!({ "repository": "/r", "requirements": "count", "config": config() });
    let known = std::mem::replace(&mut world.run_id, run_model::RunId::new("r-2").unwrap());
    world.admit(input).await.unwrap();
    assert!(world.store.run(&known).await.is_err(), "the name is the run's id");
    let error =
        world.act("admit", json!({ "execution": { "name": "R 1", "arn": "a" }, "input": {} })).await.unwrap_err();
    assert_eq!(error.name, ErrorName::InvalidInput);
}
