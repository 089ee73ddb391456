//! An execution can be written out and read back at any point, and a step depends on nothing but its arguments.

use proptest::prelude::*;
use serde_json::{Value, json};
use states_language::{Action, Event, Execution, Machine, Outcome, Status, Step, step};

use crate::world::{Fixed, callback, failed, identity, invoke, machine, succeeded, task_of};

/// A machine with every kind of waiting, inside and outside of branches.
fn everything() -> Machine {
    let child = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Arguments": { "StateMachineArn": "child", "Input": { "id": "{% $uuid() %}", "r": "{% $random() / 3 %}" } },
        "TimeoutSeconds": 90,
        "Catch": [{ "ErrorEquals": ["States.ALL"], "Output": null, "Next": "Kept" }],
        "Next": "Kept",
    });
    let retry = json!([
        { "ErrorEquals": ["Once"], "MaxAttempts": 1, "JitterStrategy": "FULL" },
        { "ErrorEquals": ["States.Timeout"], "IntervalSeconds": 2, "BackoffRate": 1.7 },
    ]);
    let each = json!({
        "StartAt": "Work",
        "States": {
            "Work": invoke("f", json!({
                "TimeoutSeconds": 60, "Retry": retry,
                "Assign": { "item": "{% $states.context.Map.Item.Value %}" },
                "Catch": [{ "ErrorEquals": ["Mine"], "Next": "Gate" }], "Next": "Gate",
            })),
            "Gate": callback("gate", json!({ "HeartbeatSeconds": 40, "Retry": [{ "ErrorEquals": ["Busy"] }], "Next": "Child" })),
            "Child": child,
            "Kept": { "Type": "Succeed", "Output": "{% [$states.input, $outer / 3, $exists($item) ? $item : null] %}" },
        },
    });
    let pause = json!({ "StartAt": "Pause", "States": { "Pause": { "Type": "Wait", "Seconds": 45, "End": true } } });
    let map = json!({
        "StartAt": "Each",
        "States": { "Each": { "Type": "Map", "Items": [1.1, null, { "x": 0.1 }], "MaxConcurrency": 2, "ItemProcessor": each, "End": true } },
    });
    let states = json!({
        "Set": { "Type": "Pass", "Assign": { "outer": 10 }, "Next": "Both" },
        "Both": {
            "Type": "Parallel", "Branches": [pause, map],
            "Retry": [{ "ErrorEquals": ["Denied"], "MaxAttempts": 1 }],
            "Catch": [{ "ErrorEquals": ["States.ALL"], "Assign": { "why": "{% $states.errorOutput %}" }, "Next": "After" }],
            "Next": "After",
        },
        "After": { "Type": "Choice", "Choices": [{ "Condition": "{% $exists($why) %}", "Next": "Bad" }], "Default": "Good" },
        "Bad": { "Type": "Fail", "Error": "{% $why.Error %}" },
        "Good": { "Type": "Succeed" },
    });
    Machine::parse(&machine("Set", states)).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// What the outside does next: chosen by number, so that any list of numbers is a script.
fn next_event(pending: &[Action], choice: u16) -> Option<(Event, Option<i64>)> {
    let how = choice / 64;
    let (timers, calls): (Vec<_>, Vec<_>) =
        pending.iter().partition(|action| matches!(action, Action::SetTimer { .. }));
    let timer_next = calls.is_empty() || how % 16 == 15;
    let from = if timer_next && !timers.is_empty() { timers } else { calls };
    let action = *from.get(usize::from(choice) % from.len().max(1))?;
    let event = match action {
        Action::SetTimer { timer, due_ms } => return Some((Event::TimerFired { timer: *timer }, Some(*due_ms))),
        Action::InvokeFunction { token: Some(token), .. } if how.is_multiple_of(4) => {
            Event::TokenSucceeded { token: token.clone(), output: json!({ "ok": how, "third": f64::from(how) / 3.0 }) }
        }
        Action::InvokeFunction { token: Some(token), .. } if how % 4 == 1 => {
            let error = if how.is_multiple_of(3) { "Denied" } else { "Busy" };
            Event::TokenFailed { token: token.clone(), error: error.to_owned(), cause: "said so".to_owned() }
        }
        Action::InvokeFunction { token: Some(token), .. } if how % 4 == 2 => {
            Event::TokenHeartbeat { token: token.clone() }
        }
        Action::StartExecution { .. } => ended(action, how),
        call if how % 5 == 1 => {
            let error = if how.is_multiple_of(2) { "Once" } else { "Mine" };
            Event::TaskFailed { task: task_of(call), error: error.to_owned(), cause: String::new() }
        }
        call => Event::TaskSucceeded { task: task_of(call), output: json!([how, null, 0.1]) },
    };
    Some((event, None))
}

fn ended(action: &Action, how: u16) -> Event {
    let Action::StartExecution { task, machine, name, input } = action else { panic!("{action:?}") };
    let outcome: Outcome = match how % 3 {
        0 => failed("Mine", "because"),
        _ => succeeded(json!({ "half": f64::from(how) / 2.0 })),
    };
    let child = states_language::ChildExecution {
        execution_arn: format!("{machine}:{name}"),
        name: name.clone(),
        machine_arn: machine.clone(),
        started_ms: 1,
        stopped_ms: 2,
        input: input.clone(),
        outcome,
    };
    child.ended(*task)
}

/// Plays a script; before the steps that `reread` picks the execution is written out and read back.
fn play(machine: &Machine, script: &[u16], reread: impl Fn(usize) -> bool) -> (Vec<Step>, Execution) {
    let mut env = Fixed::new();
    let mut execution = Execution::new(identity(), json!({ "n": 0.1, "nothing": null }));
    let mut steps = vec![step(machine, &mut execution, Event::Start, &mut env)];
    for (i, choice) in script.iter().enumerate() {
        if reread(i) {
            let text = serde_json::to_vec(&execution).expect("written");
            let origin = serde_json::to_vec(execution.origin()).expect("written");
            let read: Execution = serde_json::from_slice(&text).expect("read");
            let read = read.with_origin(serde_json::from_slice(&origin).expect("read"));
            assert_eq!(read, execution, "what is read is what was written");
            execution = read;
        }
        let Some((event, at)) = next_event(&execution.pending_actions(), *choice) else { break };
        env.now_ms = at.unwrap_or(env.now_ms + 250).max(env.now_ms);
        steps.push(step(machine, &mut execution, event, &mut env));
    }
    (steps, execution)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn writing_and_reading_between_any_two_steps_changes_nothing(
        script in prop::collection::vec(any::<u16>(), 1..80),
        mask in any::<u64>(),
    ) {
        let machine = everything();
        let (kept, in_memory) = play(&machine, &script, |_| false);
        let (read, reread) = play(&machine, &script, |i| mask >> (i % 64) & 1 == 1);
        prop_assert_eq!(kept, read);
        prop_assert_eq!(in_memory, reread);
    }

    #[test]
    fn the_same_inputs_give_the_same_steps(script in prop::collection::vec(any::<u16>(), 1..80)) {
        let (first, second) = (everything(), everything());
        prop_assert_eq!(play(&first, &script, |_| false), play(&second, &script, |_| false));
    }

    #[test]
    fn an_execution_never_gets_stuck(script in prop::collection::vec(any::<u16>(), 1..80)) {
        let (steps, execution) = play(&everything(), &script, |_| false);
        let finished = steps.iter().flat_map(|step| &step.actions).filter(|action| matches!(action, Action::Finish(_))).count();
        let over = execution.status() != Status::Running;
        prop_assert_eq!(finished, usize::from(over));
        prop_assert_eq!(execution.pending_actions().is_empty(), over, "whoever runs waits for something");
        let ids: Vec<u64> = steps.iter().flat_map(|step| &step.history).map(|event| event.id).collect();
        prop_assert_eq!(ids, (1..=execution.history_length()).collect::<Vec<_>>());
    }
}

#[test]
fn scripts_reach_both_ends() {
    // Guards the properties above: a generator that never gets far would prove nothing.
    let machine = everything();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0_u16..200 {
        let script: Vec<u16> =
            (0..120_u16).map(|i| seed.wrapping_mul(7_919).wrapping_add(i.wrapping_mul(2_971))).collect();
        seen.insert(play(&machine, &script, |_| true).1.status().as_str());
    }
    assert!(seen.contains("SUCCEEDED") && seen.contains("FAILED"), "{seen:?}");
}

#[test]
fn a_waiting_execution_is_small() {
    let definition = machine("Only", json!({ "Only": callback("gate", json!({ "End": true })) }));
    let machine = Machine::parse(&definition).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let mut execution = Execution::new(identity(), json!({ "run_id": "run-1", "from": "start" }));
    step(&machine, &mut execution, Event::Start, &mut Fixed::new());
    let text = serde_json::to_string(&execution).expect("written");
    assert!(text.len() < 1_024, "{} bytes: {text}", text.len());
    let _: Value = serde_json::from_str(&text).expect("JSON");
}
