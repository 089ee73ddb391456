//! The story of runs, word for word.

use super::*;
use crate::render::tests::{facts, gate_of};
use serde_json::{Value, json};

/// 2026-11-26, 10:00 UTC.
const BEGUN_MS: i64 = 1_795_687_200_000;

/// An event so many minutes after the run's beginning.
fn event(sequence: u64, minutes: i64, kind: &str, message: &str) -> RunEvent {
    let task = matches!(kind, "evidence.judged" | "review.concluded").then_some("fix");
    serde_json::from_value(json!({
        "sequence": sequence, "at_ms": BEGUN_MS + minutes * 60_000, "kind": kind, "task": task, "role": null,
        "message": message,
    }))
    .unwrap()
}

fn verdict() -> Verdict {
    serde_json::from_value(json!({
        "decision": "request_changes", "summary": "one case is left",
        "findings": [
            { "path": "src/lib.rs", "line": 3, "kind": "style", "severity": "low", "message": "a name" },
            { "path": "src/lib.rs", "line": 9, "kind": "correctness", "severity": "high",
              "message": "the largest number is still added to, so that the sum wraps around where it should stop" },
        ],
    }))
    .unwrap()
}

fn past(events: Vec<RunEvent>, gates: Vec<Gate>) -> Past {
    Past {
        requirement: "# add() must not overflow\n\nIt should stop\nat the largest number.\n".into(),
        verdicts: [(7, verdict())].into(),
        events,
        gates,
        is_orphaned: false,
    }
}

fn landed() -> Past {
    let red = "red: the checks fail in a way the base does not explain\n  fails now and did not on the base: a\n  \
               fails now and did not on the base: b\n  unexplained: check `lint` exited with 1\n  new test: c";
    let events = vec![
        event(1, 0, "run.admitted", "admitted for ann"),
        event(2, 1, "baseline.recorded", "test: 1 passed, 0 failed"),
        event(3, 2, "plan.accepted", "make it right\nRisk: low"),
        event(4, 3, "design.accepted", "one operator is wrong"),
        event(5, 4, "evidence.judged", red),
        event(6, 6, "evidence.judged", "green: no new failure against the base\n  new test: c"),
        event(7, 7, "review.concluded", "the reviewer asks for changes: one case is left"),
        event(8, 9, "change.assessed", "the evidence is green; medium risk"),
        event(9, 10, "gate.opened", "medium risk: waiting for a decision on g-1-change"),
        event(10, 24 * 60, "change.landed", "branch gatewright/r-1 is 0123456789ab"),
        event(11, 24 * 60, "run.ended", "succeeded: The change is on branch gatewright/r-1."),
    ];
    let approved = json!({
        "state": "decided", "decision": "approved", "approver": { "name": "ann", "seen_as": "self, local" },
        "comment": "looks right\nRisk: none", "decided_ms": 3 * 60_000,
    });
    past(events, vec![gate_of("change", approved)])
}

fn facts_of(status: &str, more: Value) -> Facts {
    let mut run = json!({ "created_ms": BEGUN_MS, "stage": "build" });
    run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    facts(status, run)
}

#[test]
fn a_landed_run_is_told_from_the_question_to_the_branch() {
    let told = story(&landed(), &facts_of("succeeded", json!({})));
    assert!(told.lines().all(|line| line.chars().count() <= READABLE), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn what_a_model_or_a_person_wrote_cannot_pass_for_a_line_of_the_story() {
    let told = story(&landed(), &facts_of("succeeded", json!({})));
    assert!(told.contains("Risk: none") && told.contains("Risk: low"), "{told}");
    assert!(!told.lines().any(|line| line.starts_with("Risk")), "{told}");
}

#[test]
fn a_run_that_nobody_drives_says_so_and_how_it_goes_on() {
    let mut orphan = landed();
    orphan.events.truncate(5);
    let running = facts_of("running", json!({}));
    assert!(!story(&orphan, &running).contains("nobody is at work"));
    orphan.is_orphaned = true;
    let told = story(&orphan, &running);
    assert!(told.contains("nobody is at work on it: `gatewright runs resume r-1`"), "{told}");
    assert!(told.contains("at work, at build") && told.contains("last heard of at 2026-11-26 10:04 UTC"), "{told}");
}

#[test]
fn spans_read_as_people_say_them() {
    let said = [0, 119_999, 120_000, 7_200_000 + 180_000].map(lasted);
    assert_eq!(said, ["0 s", "119 s", "2 min", "2 h 3 min"]);
}
