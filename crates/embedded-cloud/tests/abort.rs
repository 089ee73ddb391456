//! A process that really dies at a commit: this program runs itself, and looks at what its child left on the disk.
//!
//! It has a `main` of its own because the child must be told where to die, and the test harness passes nothing on.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use embedded_cloud::FunctionRegistry;
use embedded_cloud::step_functions::{CommitHook, CommitPoint, CommitSide, Options, StepFunctions};
use run_model::time::{SeededRandomness, VirtualClock};
use serde_json::json;

const DIE: &str = "die";
/// The first commit is the machine's, the second the execution's.
const START: u64 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, DIE, side, log] => child(side, Path::new(log)).await,
        _ => parent().await,
    }
}

async fn open(log: &Path, commit_hook: Option<CommitHook>) -> StepFunctions {
    let wait = json!({ "Type": "Wait", "Seconds": 60, "End": true });
    let machine = json!({ "QueryLanguage": "JSONata", "StartAt": "Wait", "States": { "Wait": wait } });
    let chance = Arc::new(SeededRandomness::new(1));
    let mut options = Options::new(log, Arc::new(VirtualClock::at(0)), chance);
    options.machines = vec![("m".into(), machine.to_string())];
    options.commit_hook = commit_hook;
    StepFunctions::open(options).await.unwrap()
}

async fn child(side: &str, log: &Path) {
    let side = if side == "before" { CommitSide::Before } else { CommitSide::After };
    let there = CommitPoint { number: START, side };
    let die: CommitHook =
        Arc::new(move |here| if here == there { std::process::abort() } else { ControlFlow::Continue(()) });
    let engine = open(log, Some(die)).await;
    engine.start(FunctionRegistry::new()).unwrap();
    let start = json!({ "stateMachineArn": engine.place().machine_arn("m"), "name": "e" });
    let _ = engine.handle("StartExecution", start).await;
}

async fn parent() {
    const SIGABRT: i32 = 6;
    for (side, status) in [("before", None), ("after", Some("RUNNING"))] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let child = Command::new(std::env::current_exe().unwrap()).args([DIE, side]).arg(&log).status().unwrap();
        assert_eq!(child.signal(), Some(SIGABRT), "{side}: {child}");
        let engine = open(&log, None).await;
        let arn = json!({ "executionArn": engine.place().execution_arn("m", "e") });
        let found = engine.handle("DescribeExecution", arn).await.ok();
        let found = found.as_ref().and_then(|execution| execution["status"].as_str());
        assert_eq!(found, status, "{side}");
    }
}
