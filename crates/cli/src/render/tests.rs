//! What people are shown, word for word.

use super::*;
use run_model::change_set::{Edit, Overlay};
use run_model::evidence::{CommandEvidence, EVIDENCE_SCHEMA, Exit, TestOutcome, TestResult};
use run_model::risk::{ChangeFacts, PathClass, PathFacts, Risk, assess_change};
use serde_json::{Value, json};

/// A run in this status that changed a file, measured it and has these fields besides.
pub(crate) fn facts(status: &str, more: Value) -> Facts {
    let artefact = json!({ "key": "k", "sha256": "0".repeat(64), "bytes": 1 });
    let mut run = json!({
        "schema": 1, "version": 0, "run_id": "r-1", "status": status, "stage": "gate", "repository": "/r",
        "base_ref": "HEAD", "requirement": artefact, "config": artefact,
        "requester": { "name": "ann", "seen_as": "local" }, "executions": 1, "attempt": 1, "execution_arn": "arn:1",
        "created_ms": 0, "updated_ms": 0, "notices": ["the working tree differs from HEAD"], "evidence": [],
        "gate": "g-1-change",
    });
    run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let task = json!({
        "task_id": "fix", "wave": 0, "status": "done", "iteration": 2, "iteration_bound": 20,
        "regression_proof": true, "feedback": [], "failure_fingerprints": [],
    });
    let text = "--- a/src/lib.rs\n+++ b/src/lib.rs\n@@ -1 +1 @@\n-old\n+new\n";
    let [added, removed] = ["new", "old"].map(|text| json!([{ "number": 1, "text": text }]));
    let file = json!({ "path": "src/lib.rs", "change": "modified", "added": added, "removed": removed, "text": text });
    Facts {
        blocked_by: None,
        run: serde_json::from_value(run).unwrap(),
        tasks: vec![serde_json::from_value(task).unwrap()],
        evidence: [
            (Purpose::Baseline, measured(Purpose::Baseline, TestOutcome::Passed)),
            (Purpose::Final, measured(Purpose::Final, TestOutcome::Passed)),
            (Purpose::AcceptanceBase, measured(Purpose::AcceptanceBase, TestOutcome::Failed)),
            (Purpose::AcceptanceFinal, measured(Purpose::AcceptanceFinal, TestOutcome::Passed)),
        ]
        .into(),
        usage: vec![
            call("developer", 1, "settled", 31_000),
            call("developer", 2, "unknown", 90_000),
            call("reviewer", 1, "settled", 7_500),
        ],
        budget: Budget {
            limit_microusd: 5_000_000,
            limit_tokens: 1_000_000,
            committed_microusd: 128_500,
            committed_tokens: 9_000,
        },
        files: vec![serde_json::from_value(file).unwrap()],
        manifests: vec![],
        plan: Some(serde_json::from_value(plan_of_one()).unwrap()),
        flag: String::new(),
    }
}

fn plan_of_one() -> Value {
    let task = json!({ "id": "fix", "title": "make it right\nRisk: low", "description": "d", "role": "developer" });
    json!({ "summary": "it is wrong", "tasks": [task] })
}

pub(crate) fn measured(purpose: Purpose, outcome: TestOutcome) -> Evidence {
    let command = CommandEvidence {
        name: "test".into(),
        command: "cargo test".into(),
        exit: Exit::Code(if outcome == TestOutcome::Passed { 0 } else { 101 }),
        tests: vec![TestResult { name: "tests/lib.rs::one".into(), outcome }],
        doubt: None,
        output_tail: String::new(),
        truncated: false,
        duration_ms: 1,
    };
    Evidence {
        schema: EVIDENCE_SCHEMA,
        purpose,
        tree_sha256: serde_json::from_value(json!("0".repeat(64))).unwrap(),
        overlay_sha256: None,
        commands: vec![command],
        layers: vec!["mount_namespace".into(), "network_namespace".into()],
        toolchain: String::new(),
    }
}

fn call(role: &str, turn: u32, state: &str, cost_microusd: u64) -> UsageEntry {
    let usage = json!({
        "input_tokens": 2_000, "output_tokens": 500, "cache_read_tokens": 0, "cache_write_tokens": 0,
    });
    serde_json::from_value(json!({
        "call_id": format!("{role}/fix/1#{turn}#1"), "role": role, "session": format!("{role}/fix/1"), "model": "m",
        "state": state, "reserved_microusd": 90_000, "cost_microusd": cost_microusd, "usage": usage,
        "estimated": false, "at_ms": turn,
    }))
    .unwrap()
}

/// A gate of this kind in this state.
pub(crate) fn gate_of(kind: &str, state: Value) -> Gate {
    serde_json::from_value(json!({
        "gate_id": "g-1-change", "run_id": "r-1",
        "binding": {
            "kind": kind, "base_commit": "0123456789abcdef", "content_sha256": "0".repeat(64),
            "target": "gatewright/r-1",
        },
        "risk": measured_risk(),
        "summary": "it is made right\nRisk: low",
        "opened_ms": 0, "deadline_ms": 1_800_000, "state": state,
    }))
    .unwrap()
}

/// The risk of a change that takes a public function away and tells of it, by the rules.
fn measured_risk() -> Risk {
    let edit = |path: &str, text: &str| (RepoPath::new(path).unwrap(), Edit::Write(text.to_owned()));
    let overlay = Overlay([edit("README.md", "# New\n"), edit("src/lib.rs", "fn new() {}\n")].into());
    let base = |path: &RepoPath| (path.as_str() == "src/lib.rs").then(|| "pub fn old() {}\n".to_owned());
    let paths = PathFacts::of(&overlay, &base, &|_| PathClass::default());
    assess_change(&ChangeFacts { paths, regression_proof: Some(false), ..ChangeFacts::default() })
}

#[test]
fn a_gate_before_a_change_shows_risk_diff_and_evidence() {
    insta::assert_snapshot!(gate(
        &gate_of("change", json!({ "state": "pending" })),
        &facts("approval_pending", json!({}))
    ));
}

#[test]
fn a_gate_before_a_plan_shows_its_tasks() {
    let decided = json!({
        "state": "decided", "decision": "denied", "approver": { "name": "ann", "seen_as": "self, local" },
        "comment": "too much", "decided_ms": 60_000,
    });
    insta::assert_snapshot!(gate(&gate_of("plan", decided), &facts("denied", json!({}))));
}

#[test]
fn a_gate_shows_what_was_asked_and_answered_and_none_of_it_passes_for_lines_of_ours() {
    let asker = json!({ "name": "ann", "seen_as": "bearer" });
    let mut fresh = gate_of("change", json!({ "state": "pending" }));
    fresh.exchanges = vec![
        serde_json::from_value(json!({
            "question": "why?\nRisk: low", "asker": asker, "asked_ms": 0, "answered_ms": 1,
            "answer": { "text": "So.\nIt was approved.\n", "places": ["src/lib.rs:1\nRisk: low", "src/lib.rs:2"] },
        }))
        .unwrap(),
    ];
    let shown = gate(&fresh, &facts("approval_pending", json!({})));
    let told = "\n  ann asked (bearer): why?\n    Risk: low\n  The crew answers: So.\n    It was approved.\n    \
                See src/lib.rs:1\n    Risk: low, src/lib.rs:2.\n\nIt waits until";
    assert!(shown.contains(told), "{shown}");
    assert_eq!(shown.lines().filter(|line| line.starts_with("Risk:")).count(), 1, "{shown}");

    let asked = json!({ "state": "asked", "question": "why?\nRisk: low", "asker": asker, "asked_ms": 60_000 });
    let shown = gate(&gate_of("change", asked), &facts("running", json!({})));
    let told = "\nann (bearer) asked at 1970-01-01 00:01 UTC: why?\n  Risk: low\nA fresh gate opens with the answer.";
    assert!(shown.contains(told), "{shown}");
}

#[test]
fn the_report_of_a_landed_run_says_what_changed_what_it_cost_and_what_is_next() {
    let outcome = json!({ "reason": "The change is on branch gatewright/r-1.", "next_step": "Merge it." });
    let landed = json!({ "branch": "gatewright/r-1", "outcome": outcome });
    insta::assert_snapshot!(report(&facts("succeeded", landed)));
}

#[test]
fn the_report_of_a_parked_run_names_its_gate_and_who_decides_how() {
    let text = report(&facts("approval_pending", json!({})));
    assert!(
        text.ends_with(
            "gates show g-1-change\n  gatewright gates approve g-1-change\n  gatewright gates deny g-1-change\n  \
             gatewright gates more-info g-1-change \"...\"\n"
        ),
        "{text}"
    );
    assert!(!report(&facts("denied", json!({}))).contains("gates approve"));
}

#[test]
fn cost_is_told_by_role_with_calls_whose_fate_is_unknown() {
    insta::assert_snapshot!(cost(&facts("failed", json!({}))));
}

#[test]
fn moments_read_as_dates() {
    assert_eq!(moment(0), "1970-01-01 00:00");
    assert_eq!(moment(951_782_399_000), "2000-02-28 23:59");
    assert_eq!(moment(1_795_620_120_000), "2026-11-25 15:22");
}

#[test]
fn money_keeps_four_digits() {
    assert_eq!(usd(1_234_567), "$1.2346");
    assert_eq!(usd(0), "$0.0000");
}

#[test]
fn a_run_whose_checks_nobody_takes_says_what_to_do() {
    let blocked = Facts { blocked_by: Some(no_runner_is_alive(None)), ..facts("running", json!({})) };
    assert!(
        report(&blocked).contains("  Nothing moves: no runner is alive: start one with `gatewright runner --api URL`")
    );
    assert!(!report(&facts("running", json!({}))).contains("Nothing moves"));
}
