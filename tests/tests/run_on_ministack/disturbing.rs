//! What goes wrong on the way costs time, and nothing twice.

use std::time::Duration;

use forge::testing::FakeGitHub;
use run_model::RunId;
use run_model::budget::UsageState;
use run_model::run::RunStatus;
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

/// Nobody but the rule's target looks: no stop of ours, and no look at the run.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_in_the_console_is_ended_by_the_deployed_rule() {
    let provider = Provider::with_hitches(&script(), &[(1, Hitch::Silence)]);
    let stage = Stage::with(&provider, "").await;
    let run = RunId::new(stage.ask(&request()).await).unwrap();
    tokio::task::block_in_place(|| provider.until(1));
    stage.deployed.stop(&run).await;
    let ended = stage.deployed.record_when(&run, |run| run.status.is_final()).await;
    assert_eq!(ended.status, RunStatus::Stopped, "{:?}", ended.outcome);
}

/// IAM is enforced: with another secret in its policy, code-host reads none, as nobody else does.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_without_its_right_is_refused_and_the_run_says_by_whom() {
    let provider = Provider::playing(&script());
    let github = FakeGitHub::start().await;
    commit(&github, "main", &provider, "");
    let right = "Action: secretsmanager:GetSecretValue\n                Resource: !GetAtt ForgeSecret.Id";
    let other = right.replace("ForgeSecret", "SigningSecret");
    let stage = Stage::over(github, &[(right, &other)]).await;
    let run = stage.ask(&request()).await;
    let ended = stage.ended(&run).await;
    assert_eq!(ended["status"], "failed", "{ended:#}");
    let reason = ended["outcome"]["reason"].as_str().unwrap();
    assert!(reason.contains("AccessDenied") && reason.contains("CodeHostRole"), "{ended:#}");
    assert_eq!((stage.github.asked().len(), provider.requests().len()), (0, 0));
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
