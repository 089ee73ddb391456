//! Runs and their events as they are shown, and how the stage is.

use run_model::run::RunStatus;
use serde_json::{Value, json};
use store::NewEvent;

use crate::world::World;

#[tokio::test]
async fn runs_are_listed_page_by_page_and_shown() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for key in ["a", "b", "c"] {
        ids.push(world.run(key).await.to_string());
        world.clock.advance(1_000);
    }
    ids.reverse();
    let names = |page: &Value| -> Vec<String> {
        page["runs"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect()
    };
    let (_, all) = world.get("runs", &[]).await;
    assert_eq!((names(&all), &all["next"]), (ids.clone(), &Value::Null));
    let (_, first) = world.get("runs", &[("limit", "2")]).await;
    assert_eq!((names(&first), first["next"].as_str()), (ids[..2].to_vec(), Some(ids[1].as_str())));
    let (_, rest) = world.get("runs", &[("limit", "2"), ("after", &ids[1])]).await;
    assert_eq!((names(&rest), &rest["next"]), (ids[2..].to_vec(), &Value::Null));
    for bad in ["0", "101", "-1", "x"] {
        assert_eq!(world.get("runs", &[("limit", bad)]).await.0, 400, "{bad}");
    }
    let (status, run) = world.get(&format!("runs/{}", ids[0]), &[]).await;
    assert_eq!((status, &run["requester"]), (200, &json!({ "name": "ann", "seen_as": "bearer" })));
    assert_eq!((&run["budget_microusd"], &run["cost_microusd"], &run["gates"]), (&json!(9), &json!(0), &json!([])));
}

#[tokio::test]
async fn events_go_on_from_a_number() {
    let world = World::new().await;
    let id = world.run("k").await;
    for number in 0..3 {
        world.store.append_event(&id, NewEvent::new("notice", format!("n{number}"))).await.unwrap();
    }
    let (_, all) = world.get(&format!("runs/{id}/events"), &[]).await;
    assert_eq!((all["events"].as_array().unwrap().len(), &all["last"]), (4, &json!(4)));
    let (_, rest) = world.get(&format!("runs/{id}/events"), &[("after", "3")]).await;
    assert_eq!((&rest["events"][0]["message"], &rest["last"]), (&json!("n2"), &json!(4)));
    let (_, none) = world.get(&format!("runs/{id}/events"), &[("after", "4")]).await;
    assert_eq!(none, json!({ "events": [], "last": 4 }));
}

#[tokio::test]
async fn a_run_that_was_silent_for_too_long_is_reconciled_with_its_execution() {
    let world = World::new().await;
    let id = world.run("k").await;
    let path = format!("runs/{id}");
    let arn = world.store.run(&id).await.unwrap().execution_arn;
    world.clock.advance(16 * 60_000);
    assert_eq!(world.get(&path, &[]).await.1["status"], "running", "its execution goes on");
    world.step_functions.stop_execution().execution_arn(&arn).send().await.unwrap();
    let young = world.run("k2").await;
    let young_arn = world.store.run(&young).await.unwrap().execution_arn;
    world.step_functions.stop_execution().execution_arn(&young_arn).send().await.unwrap();
    let (_, run) = world.get(&path, &[]).await;
    assert_eq!(
        (&run["status"], &run["outcome"]["reason"]),
        (&json!("stopped"), &json!("It was stopped in Step Functions."))
    );
    assert_eq!(world.store.run(&id).await.unwrap().status, RunStatus::Stopped);
    assert_eq!(world.get(&format!("runs/{young}"), &[]).await.1["status"], "running", "the rule has time to tell");
}

#[tokio::test]
async fn health_names_each_component_that_is_not_well() {
    let world = World::new().await;
    let look = async || world.send(None, "GET", "/api/v1/health", &[], "").await;
    let (status, sick) = look().await;
    assert_eq!((status, &sick["status"]), (503, &json!("degraded")));
    let state = |health: &Value, name: &str| {
        let components = health["components"].as_array().unwrap();
        components.iter().find(|component| component["name"] == name).unwrap()["state"].clone()
    };
    assert_eq!((state(&sick, "secret models"), state(&sick, "secret signing")), (json!("missing"), json!("ok")));
    for name in ["models", "forge"] {
        let create =
            world.secrets.create_secret().name(format!("gatewright/dev/{name}")).secret_string("{\"k\": \"v\"}");
        create.send().await.unwrap();
    }
    assert_eq!(look().await, (503, sick), "a look is worth some seconds");
    world.clock.advance(5_000);
    let (status, well) = look().await;
    assert_eq!((status, &well["status"], &well["stage"]), (200, &json!("ok"), &json!("dev")), "{well}");
    assert_eq!(well["runners_alive"], 0);
    world.as_runner("jobs/claim", &json!({ "instance": "i-1" })).await;
    world.clock.advance(5_000);
    assert_eq!(look().await.1["runners_alive"], 1);
    assert_eq!(well["components"].as_array().unwrap().len(), 8);
    assert_eq!(state(&well, "machine task-graph"), "ok");
}
