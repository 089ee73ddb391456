//! A role near its deadline answers `continue` and is called again; one that wants checks gets them: in every machine.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::sync::{Arc, Mutex};

use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::types::ExecutionStatus;
use embedded_cloud::{FunctionError, FunctionRegistry};
use run_model::Clock;
use serde_json::{Value, json};
use tests::Stage;
use tests::machines::{functions, roles};

/// Every call, in order: the function and what it was given.
#[derive(Default)]
struct Calls(Mutex<Vec<(String, Value)>>);

impl Calls {
    fn of(&self, function: &str) -> Vec<Value> {
        let calls = self.0.lock().unwrap();
        calls.iter().filter(|(name, _)| name == function).map(|(_, event)| event.clone()).collect()
    }

    /// Notes a call and says how often its function was called before.
    fn note(&self, function: &str, event: &Value) -> usize {
        let before = self.of(function).len();
        self.0.lock().unwrap().push((function.to_owned(), event.clone()));
        before
    }

    /// What run-control was given for an action.
    fn ruled(&self, action: &str) -> Value {
        self.of("run-control").into_iter().find(|event| event["action"] == action).unwrap()
    }
}

/// What a role answers, call by call.
fn answers(role: &str) -> &'static [&'static str] {
    match role {
        "developer" | "tester" => &["continue", "needs_checks", "continue", "done"],
        _ => &["continue", "done"],
    }
}

/// A session's answer; only the last one has an output.
fn step(role: &str, call: usize) -> Value {
    let status = answers(role)[call];
    let made = |by: &str| if status == "continue" { Value::Null } else { json!({ "made_by": by }) };
    json!({"status": status, "output": if status == "done" { made(role) } else { Value::Null }, "overlay": made(role)})
}

/// What the rules say of a run in which everything goes well.
fn rule(event: &Value, waves_before: usize) -> Value {
    match event["action"].as_str().unwrap() {
        "admit" => json!({"run_id": "r-1", "held_out": false, "attempt": 1}),
        "accept-design" => json!({"gate": {"needed": false, "timeout_seconds": 0}}),
        // The second wave turns out to be empty, as if the first one had failed.
        "next-wave" if waves_before == 0 => json!({"tasks": [{"task_id": "fix"}], "parallel": 2, "more": true}),
        "next-wave" => json!({"tasks": [], "parallel": 2, "more": false}),
        "begin-task" => json!({"iteration": 1, "overlay": null}),
        "pick-tests" => json!({"tests": null}),
        "judge-task" => json!({"next": "review"}),
        "conclude-review" => json!({"next": "end"}),
        "merge" => json!({"next": "verify", "overlay": null}),
        "assess" => json!({"next": "publish", "gate": {"needed": false, "timeout_seconds": 0}}),
        "finish" => json!({"status": "succeeded", "reason": "", "next_step": ""}),
        _ => json!({}),
    }
}

/// What comes of the answers to checks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    Arrive,
    /// They are never delivered; what was measured stands in the table.
    AreLost,
}

fn registry(stage: &Stage, calls: &Arc<Calls>, answers: Answers) -> FunctionRegistry {
    let roles = roles();
    functions().into_iter().fold(FunctionRegistry::new(), |registry, name| {
        let (calls, client, is_role) = (calls.clone(), stage.step_functions.clone(), roles.contains(&name));
        registry.with(&name.clone(), move |event, _| {
            let waves = calls.of("run-control").iter().filter(|event| event["action"] == "next-wave").count();
            let before = calls.note(&name, &event);
            let measured = json!({"evidence": {"measured": event["visit"]["overlay"]}});
            let (client, answer) = (
                client.clone(),
                match name.as_str() {
                    role if is_role => step(role, before),
                    "run-control" => rule(&event, waves),
                    "test-runner" if event["action"] == "look" => measured.clone(),
                    _ => json!({}),
                },
            );
            async move {
                if let Some(token) = event["token"].as_str().filter(|_| answers == Answers::Arrive) {
                    let output = measured.to_string();
                    let told = client.send_task_success().task_token(token).output(output).send().await;
                    told.map_err(|error| FunctionError::new("Untold", error.to_string()))?;
                }
                Ok(answer)
            }
        })
    })
}

#[tokio::test]
async fn every_role_is_called_until_it_is_done_and_gets_the_checks_it_asks_for() {
    let (mut stage, calls) = (Stage::set().await, Arc::new(Calls::default()));
    let functions = registry(&stage, &calls, Answers::Arrive);
    let execution = stage.play(functions, "r-1", &request()).await;
    let ended = stage.ended(&execution).await;
    assert_eq!(*ended.status(), ExecutionStatus::Succeeded, "{ended:?}");
    everything_was_told(&calls);
}

fn request() -> Value {
    json!({"repository": "/r", "requirements": "make it right"})
}

/// Every role was called until it was done, and was told what it asked for.
fn everything_was_told(calls: &Calls) {
    for role in roles() {
        let told: Vec<Value> = calls.of(&role).into_iter().map(|event| event["evidence"].clone()).collect();
        // The checks are made on what the session had by then, and told once.
        let measured = json!({"measured": {"made_by": role}});
        let expected: Vec<Value> =
            (0..answers(&role).len())
                .map(|call| {
                    if call > 0 && answers(&role)[call - 1] == "needs_checks" { measured.clone() } else { Value::Null }
                })
                .collect();
        assert_eq!(told, expected, "{role}");
    }
    assert_eq!(calls.ruled("accept-plan")["output"], json!({"made_by": "orchestrator"}));
    assert_eq!(calls.ruled("accept-design")["output"], json!({"made_by": "architect"}));
    assert_eq!(calls.of("tester")[0]["overlay"], json!({"made_by": "developer"}));
    assert_eq!(calls.ruled("judge-task")["overlay"], json!({"made_by": "tester"}));
    assert_eq!(calls.ruled("conclude-review")["output"], json!({"made_by": "reviewer"}));
}

/// A check state waits so long, in milliseconds.
const WAIT_MS: i64 = 7_200_000;

/// Lets every wait for checks pass, until the execution has ended. While one waits nothing else is due as soon, and while
/// nothing moves the clock each stands exactly its bound ahead.
async fn let_the_waits_pass(stage: &Stage, execution: &str) -> DescribeExecutionOutput {
    loop {
        let described = stage.step_functions.describe_execution().execution_arn(execution).send().await.unwrap();
        if *described.status() != ExecutionStatus::Running {
            return described;
        }
        if stage.clock.next_due_ms() == Some(stage.clock.now_ms() + WAIT_MS) {
            stage.clock.advance(WAIT_MS);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_check_whose_answer_is_lost_goes_on_with_the_evidence_that_stands_in_the_table() {
    let (mut stage, calls) = (Stage::set().await, Arc::new(Calls::default()));
    let functions = registry(&stage, &calls, Answers::AreLost);
    let execution = stage.play(functions, "r-1", &request()).await;
    let ended = let_the_waits_pass(&stage, &execution).await;
    assert_eq!(*ended.status(), ExecutionStatus::Succeeded, "{ended:?}");
    everything_was_told(&calls);
    let asked = |action: &str| {
        let of = calls.of("test-runner").into_iter().filter(|event| event["action"] == action);
        of.map(|event| event["visit"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(asked("queue"), asked("look"), "what is looked for is what was asked for");
    let purposes: Vec<Value> = asked("look").into_iter().map(|visit| visit["purpose"].clone()).collect();
    assert_eq!(purposes, ["baseline", "session", "session", "task", "final"]);
}
