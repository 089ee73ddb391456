//! Who may start a run, and what a request has to be.

use std::collections::BTreeSet;

use embedded_cloud::{ACCOUNT, REGION};
use run_model::person::named;
use run_model::run::Priority;
use serde_json::{Value, json};
use store::{GrantKind, NewGrant};

use crate::world::World;

#[tokio::test]
async fn a_requirement_starts_a_run_of_whoever_asks() {
    let world = World::new().await;
    let asked = json!({
        "repository": "o/r", "requirements": "count", "base": "main", "priority": "high", "budget_usd": 2.5,
        "idempotency_key": "push-1",
    });
    let (status, started) = world.post("orchestrate", &asked).await;
    assert_eq!((status, &started["status"], &started["repeated"]), (202, &json!("accepted"), &json!(false)));
    assert!(started["budget"].as_str().unwrap().contains("limits.budget_usd"), "{started}");
    let id = started["run_id"].as_str().unwrap();
    let start = world.store.start(id).await.unwrap().unwrap();
    assert_eq!(start.requester.identities, [named("ann")].into());
    assert_eq!((&start.input["budget_microusd"], &start.input["priority"]), (&json!(2_500_000), &json!("high")));
    let arn = format!("arn:aws:states:{REGION}:{ACCOUNT}:execution:gatewright-dev-pipeline:{id}");
    let execution = world.step_functions.describe_execution().execution_arn(arn).send().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(execution.input().unwrap()).unwrap(), start.input);
    // A repeated request is the same run; tasks is the same entrance.
    for route in ["orchestrate", "tasks"] {
        let (status, again) = world.post(route, &asked).await;
        assert_eq!((status, &again["run_id"], &again["repeated"]), (200, &started["run_id"], &json!(true)));
    }
    assert_eq!(world.executions().await, 1);
    let mut other = asked.clone();
    other["requirements"] = "something else".into();
    assert_eq!(world.post("orchestrate", &other).await.0, 409);
    // The same key of somebody else is another run, and a request without a key is always new.
    let (_, by_iam) = world.send(None, "POST", "/iam/v1/orchestrate", &[], &asked.to_string()).await;
    assert_ne!(by_iam["run_id"], started["run_id"]);
    let (one, two) = (
        json!({ "repository": "o/r", "description": "count" }),
        json!({ "repository": "o/r", "description": "count" }),
    );
    assert_ne!(world.post("tasks", &one).await.1["run_id"], world.post("tasks", &two).await.1["run_id"]);
    assert_eq!(world.executions().await, 4);
}

#[tokio::test]
async fn a_start_that_was_lost_half_way_is_taken_up() {
    let world = World::new().await;
    let asked = json!({ "repository": "o/r", "requirements": "count", "idempotency_key": "k" });
    let id = world.post("orchestrate", &asked).await.1["run_id"].as_str().unwrap().to_owned();
    let arn = format!("arn:aws:states:{REGION}:{ACCOUNT}:execution:gatewright-dev-pipeline:{id}");
    world.step_functions.stop_execution().execution_arn(arn).send().await.unwrap();
    // Its execution has ended: the same request still is the same run and starts nothing.
    let (status, again) = world.post("orchestrate", &asked).await;
    assert_eq!((status, again["run_id"].as_str().unwrap()), (200, id.as_str()));
    let (status, shown) = world.get(&format!("runs/{id}"), &[]).await;
    assert_eq!((status, &shown["status"]), (200, &json!("stopped")), "an end before admission is shown");
    let other = json!({ "repository": "o/r", "requirements": "count", "idempotency_key": "k2" });
    let other = world.post("orchestrate", &other).await.1["run_id"].as_str().unwrap().to_owned();
    assert_eq!(world.get(&format!("runs/{other}"), &[]).await.1["status"], "accepted");
}

#[tokio::test]
async fn a_request_that_does_not_fit_starts_nothing() {
    let world = World::new().await;
    let with = |field: &str, value: Value| {
        let mut body = json!({ "repository": "o/r", "requirements": "count" });
        body[field] = value;
        body
    };
    for body in [
        json!({}),
        json!([]),
        json!({ "requirements": "count" }),
        with("repository", json!("")),
        with("repository", json!("o/r x")),
        with("requirements", json!("  ")),
        with("base", json!("")),
        with("priority", json!("urgent")),
        with("budget_usd", json!(0)),
        with("budget_usd", json!(-1.5)),
        with("idempotency_key", json!("")),
        with("idempotency_key", json!("x".repeat(129))),
        with("requester", json!({ "name": "root", "seen_as": "local" })),
        with("config", json!({ "auto_approve": true })),
    ] {
        let (status, refused) = world.post("orchestrate", &body).await;
        assert_eq!((status, &refused["error"]["name"]), (400, &json!("InvalidInput")), "{body}");
        assert!(!refused["error"]["cure"].as_str().unwrap().is_empty());
    }
    let (status, _) = world.post("orchestrate", &with("requirements", json!("x".repeat(256 * 1024)))).await;
    assert_eq!(status, 413);
    for text in ["", "{", "\u{0}", "null"] {
        assert_eq!(world.send(Some(&world.ann), "POST", "/api/v1/orchestrate", &[], text).await.0, 400, "{text:?}");
    }
    assert_eq!(world.executions().await, 0);
}

#[tokio::test]
async fn a_repository_that_the_stage_does_not_work_on_starts_nothing() {
    let world = World::new().await;
    for stranger in ["mallory/r", "https://github.com/mallory/r", "/o/r", "o/r2"] {
        let asked = json!({ "repository": stranger, "requirements": "count" });
        let (status, refused) = world.post("orchestrate", &asked).await;
        assert_eq!((status, &refused["error"]["name"]), (403, &json!("NotAllowed")), "{stranger}");
        assert!(refused["error"]["cure"].as_str().unwrap().contains("aws deploy --stage STAGE --repository"));
    }
    assert_eq!(world.executions().await, 0);
    let spelt = json!({ "repository": "https://github.com/O/r.git", "requirements": "count" });
    assert_eq!(world.post("orchestrate", &spelt).await.0, 202);
}

#[tokio::test]
async fn who_has_no_role_looks_on_and_workflows_ask() {
    let world = World::new().await;
    let viewer = NewGrant { name: "vic".into(), roles: BTreeSet::new(), lifetime_seconds: 60 };
    let (vic, _) = world.store.add_bearer(GrantKind::Person, viewer.clone()).await.unwrap();
    let asked = json!({ "repository": "o/r", "requirements": "count" }).to_string();
    let by_role = "123456789012:role/admin";
    world.store.revoke_grant(by_role).await.unwrap();
    for (bearer, path) in [(Some(vic.as_str()), "/api/v1/orchestrate"), (None, "/iam/v1/tasks")] {
        let (status, refused) = world.send(bearer, "POST", path, &[], &asked).await;
        assert_eq!((status, &refused["error"]["name"]), (403, &json!("NotAllowed")), "{path}");
        assert!(refused["error"]["cure"].as_str().unwrap().contains("aws tokens add"), "{refused}");
    }
    assert_eq!(world.send(Some(&vic), "GET", "/api/v1/runs", &[], "").await.0, 200);
    assert_eq!(world.executions().await, 0);
    world.store.grant_workflow(by_role, viewer).await.unwrap();
    let (status, started) = world.send(None, "POST", "/iam/v1/orchestrate", &[], &asked).await;
    assert_eq!(status, 202, "{started}");
    let start = world.store.start(started["run_id"].as_str().unwrap()).await.unwrap().unwrap();
    assert_eq!((start.requester.seen_as.as_str(), start.requester.is_known()), ("workflow", false));
}

#[tokio::test]
async fn nobody_asks_without_a_grant_and_nobody_does_what_is_anothers() {
    let world = World::new().await;
    let job = world.queue("j-1", &world.run("k").await, Priority::Normal).await;
    let of_people = [
        ("POST", "orchestrate".to_owned()),
        ("POST", "tasks".into()),
        ("GET", "runs".into()),
        ("GET", "runs/r-1".into()),
        ("GET", "runs/r-1/events".into()),
    ];
    let of_runners = [
        "claim".to_owned(),
        format!("{job}/heartbeat"),
        format!("{job}/evidence"),
        format!("{job}/failure"),
        format!("{job}/give-back"),
    ];
    let of_runners = of_runners.map(|route| ("POST", format!("jobs/{route}")));
    for (method, route) in of_people.iter().chain(&of_runners) {
        let path = format!("/api/v1/{route}");
        assert_eq!(world.send(None, method, &path, &[], "{}").await.0, 401, "{route}");
        assert_eq!(world.send(Some("gwb_no"), method, &path, &[], "{}").await.0, 401, "{route}");
    }
    for (method, route) in &of_people {
        assert_eq!(
            world.send(Some(&world.host), method, &format!("/api/v1/{route}"), &[], "{}").await.0,
            403,
            "{route}"
        );
    }
    for (method, route) in &of_runners {
        assert_eq!(
            world.send(Some(&world.ann), method, &format!("/api/v1/{route}"), &[], "{}").await.0,
            403,
            "{route}"
        );
        assert_eq!(
            world.send(Some(&world.host), method, &format!("/iam/v1/{route}"), &[], "{}").await.0,
            404,
            "{route}"
        );
    }
}

#[tokio::test]
async fn addresses_that_are_none_and_methods_that_do_not_fit_are_told_apart() {
    let world = World::new().await;
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/health", 404),
        ("GET", "/api/v1/", 404),
        ("GET", "/api/v1/runs/../../x", 404),
        ("GET", "/api/v1/runs/Not%20a%20run", 404),
        ("GET", "/api/v1/runs/r-1/x", 404),
        ("POST", "/api/v1/runs", 405),
        ("DELETE", "/api/v1/runs/r-1", 405),
        ("GET", "/api/v1/orchestrate", 405),
        ("HEAD", "/api/v1/health", 405),
        ("GET", "/api/v1/jobs/claim", 405),
    ] {
        assert_eq!(world.send(Some(&world.ann), method, path, &[], "").await.0, status, "{method} {path}");
    }
    assert_eq!(world.get("runs/r-0", &[]).await.0, 404);
    assert_eq!(world.get("runs/r-0/events", &[]).await.0, 404);
}
