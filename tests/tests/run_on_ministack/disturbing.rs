//! What goes wrong on the way costs time, and nothing twice.

use std::time::Duration;

use forge::testing::FakeGitHub;
use run_model::budget::UsageState;
use serde_json::json;
use tests::{Hitch, Provider, Script};

use crate::stage::{RIGHT, Stage, commit, request, script, turns};

/// The third call is the developer's first; the plan and the design come before.
const DEVELOPERS_FIRST: usize = 3;

fn distinct(mut turns: Vec<&str>) -> bool {
    let count = turns.len();
    turns.sort_unstable();
    turns.dedup();
    turns.len() == count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_model_is_asked_again_by_the_machine() {
    let script = script();
    let provider = Provider::with_hitches(&script, &[(DEVELOPERS_FIRST, Hitch::Throttle)]);
    let stage = Stage::with(&provider, "").await;
    let run = stage.ask(&request()).await;
    stage.approved(&run).await;
    let (usage, calls) = (stage.usage(&run).await, script.responses().len());
    assert_eq!(provider.requests().len(), calls + 1);
    let settled = turns(&usage, UsageState::Settled);
    assert!(settled.len() == calls && distinct(settled), "{usage:#?}");
    assert!(stage.deployed.entered("TaskArn", "Develop").await == 1, "it is one state, retried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lambda_that_is_killed_in_the_middle_of_a_turn_goes_on_from_its_last() {
    let script = script();
    // Its second turn: the first one is recorded.
    let provider = Provider::with_hitches(&script, &[(DEVELOPERS_FIRST + 1, Hitch::Silence)]);
    let stage = Stage::with(&provider, "").await;
    let run = stage.ask(&request()).await;
    tokio::task::block_in_place(|| provider.until(DEVELOPERS_FIRST + 1));
    assert_eq!(stage.deployed.kill("developer"), 1);
    stage.approved(&run).await;
    let (usage, calls) = (stage.usage(&run).await, script.responses().len());
    let asked = provider.requests();
    assert_eq!(asked.len(), calls + 1, "the call in flight was asked again, and no other");
    assert_eq!(asked[DEVELOPERS_FIRST], asked[DEVELOPERS_FIRST + 1]);
    let (settled, unknown) = (turns(&usage, UsageState::Settled), turns(&usage, UsageState::Unknown));
    assert!(settled.len() == calls && distinct(settled.clone()), "{usage:#?}");
    assert!(unknown.len() == 1 && settled.contains(&unknown[0]), "what may have been paid is shown: {usage:#?}");
}

/// Twelve seconds more than one call may take, and calls that take thirteen: every turn is an invocation of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_outlasts_its_function_goes_on_and_repeats_nothing() {
    let write = |content: String| [("write_file", json!({ "path": "sum.sh", "content": content }))];
    let test = "test \"$(sh sum.sh 1 2)\" = 3\n";
    let script = Script::default()
        .planned()
        .calls("developer", 1, &write("echo $(($1 * $2))\n".into()))
        .develops(1, "sum.sh", &format!("{RIGHT}\n"))
        .tests(1, "tests/two.sh", test)
        .approves(1);
    let slow = |number| (number, Hitch::Slow(Duration::from_secs(13)));
    let provider =
        Provider::with_hitches(&script, &[DEVELOPERS_FIRST, DEVELOPERS_FIRST + 1, DEVELOPERS_FIRST + 2].map(slow));
    let github = FakeGitHub::start().await;
    commit(&github, "main", &provider, "timeout_seconds = 20\n");
    let stage = Stage::over(github, &[("Timeout: 900", "Timeout: 52")]).await;
    let run = stage.ask(&request()).await;
    stage.approved(&run).await;
    let (usage, calls) = (stage.usage(&run).await, script.responses().len());
    assert_eq!(provider.requests().len(), calls, "nothing is asked twice");
    let settled = turns(&usage, UsageState::Settled);
    assert!(settled.len() == calls && usage.len() == calls && distinct(settled), "{usage:#?}");
    assert!(stage.deployed.entered("TaskArn", "Develop").await >= 3);
}
