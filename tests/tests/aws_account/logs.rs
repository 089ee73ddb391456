//! What every function said about a run.

use std::sync::Arc;

use lambda_host::{OsRandomness, SystemClock};
use run_model::run::{Outcome, RunStatus};
use run_model::time::VirtualClock;
use run_model::{Clock, RunId};
use serde_json::{Value, json};
use store::{Names, NewEvent, Store};

use crate::{BUDGET, Place, says};

#[tokio::test]
async fn what_all_functions_logged_is_shown_in_order_and_masked() {
    let place = Place::deployed().await;
    let now = place.admit("r-7").await;
    let line = |more: Value| {
        let mut line = json!({ "timestamp": "2026-11-25T10:00:00Z", "level": "INFO", "target": "x", "run": "r-7" });
        more.as_object().unwrap().iter().for_each(|(name, value)| line[name] = value.clone());
        line.to_string()
    };
    {
        let mut account = place.account.state();
        for function in tests::machines::functions() {
            account.logs.insert(format!("/aws/lambda/gatewright-dev-{function}"), Vec::new());
        }
        let mut log = |function: &str, after_ms: i64, text: String| {
            let group = format!("/aws/lambda/gatewright-dev-{function}");
            account.logs.get_mut(&group).unwrap().push((now + after_ms, text));
        };
        for step in 0..5 {
            log(
                "developer",
                10 + step * 10,
                line(json!({ "message": format!("turn {step}"), "task": "t-1", "role": "developer" })),
            );
        }
        log("api", 5, line(json!({ "message": "a run was asked for", "key": "sk-ant-api03-abcdefghijklm" })));
        log("reviewer", 25, line(json!({ "message": "between", "run": "r-7", "task": "t-1" })));
        log("reviewer", 26, json!({ "run": "r-77", "message": "of another run" }).to_string());
        log("events", 99, "r-7: half a line that is no JSON {".into());
        log("events", -86_400_000, line(json!({ "message": "before it began" })));
    }
    let ended = place.run(&["logs", "--run", "r-7", "--stage", "dev", "--json"]).expect(0);
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(
        shown,
        [
            "a run was asked for",
            "turn 0",
            "turn 1",
            "between",
            "turn 2",
            "turn 3",
            "turn 4",
            "r-7: half a line that is no JSON {"
        ]
    );
    assert!(lines.is_sorted_by_key(|line| line["time_ms"].as_i64().unwrap()));
    assert_eq!((&lines[1]["role"], &lines[1]["function"]), (&json!("developer"), &json!("developer")));
    assert_eq!(lines[0]["key"], "***");
    let words = place.run(&["logs", "--run", "r-7", "--stage", "dev"]).expect(0);
    says(&words, &["reviewer      INFO  between task=t-1", "developer     INFO  turn 4 task=t-1 role=developer"]);
    assert!(!words.said("sk-ant"));
    says(&place.run(&["logs", "--run", "r-8", "--stage", "dev"]).expect(65), &["run r-8"]);
}

#[tokio::test]
async fn the_log_of_a_run_that_ended_long_ago_is_followed_to_its_end() {
    let place = Place::deployed().await;
    let then_ms = SystemClock.now_ms() - 3_600_000;
    let clock = Arc::new(VirtualClock::at(then_ms));
    let past = Store::new(&place.cloud.sdk_config(), Names::for_stage("dev"), clock, Arc::new(OsRandomness));
    past.admit(place.record("r-7", then_ms).await, BUDGET).await.unwrap();
    let outcome = Outcome { reason: "stopped".into(), next_step: String::new() };
    let run = RunId::new("r-7").unwrap();
    past.end_run(&run, RunStatus::Stopped, outcome, NewEvent::new("run.ended", "stopped")).await.unwrap();
    let said = (then_ms, r#"{"run":"r-7","level":"INFO","message":"the last word"}"#.to_owned());
    place.account.state().logs.insert("/aws/lambda/gatewright-dev-api".into(), vec![said]);
    let ended = place.run(&["logs", "--run", "r-7", "--stage", "dev", "--follow"]).expect(0);
    says(&ended, &["the last word", "no log group /aws/lambda/gatewright-dev-developer"]);
    assert_eq!(ended.stdout.lines().count(), 1);
}
