//! The demo's first input: a defect of a published package goes through a deployed stage, answered by the demo's recording.

use std::fs;

use agent::ports::{Message, ModelError, ModelRequest, Part, Speaker};
use config::Dialect;
use forge::testing::FakeGitHub;
use run_model::SessionId;
use run_model::budget::UsageState;
use serde_json::{Value, json};
use tests::{Provider, World, demo};

use crate::comparing::{Beside, expect_the_same_alone};
use crate::stage::{Stage, turns};

/// A GitHub with the package as it was published: without settings of ours, so that they are detected.
async fn published(world: &World) -> FakeGitHub {
    let github = FakeGitHub::start().await;
    world.git(&["push", "--quiet", github.git_dir().to_str().unwrap(), "main"]);
    github
}

fn requirement() -> Value {
    let text = fs::read_to_string(demo::input().join("requirement.md")).unwrap();
    json!({ "repository": "acme/app", "requirements": text, "idempotency_key": "demo" })
}

/// No settings lead to the recording, so the secret does.
fn secret(provider: &Provider) -> Value {
    json!({ "ANTHROPIC_API_KEY": "a-key-for-the-loopback", "ANTHROPIC_BASE_URL": provider.url() })
}

fn recording() -> Provider {
    Provider::replaying(&demo::input().join("cassette.jsonl"))
}

/// What the recorded answers cost at the list price of the model that gave them: $3 and $15 for a million tokens.
fn recorded_cost_microusd() -> u64 {
    let usage = |line: &Value, field: &str| line["response"]["usage"][field].as_u64().unwrap();
    let cost = |line: &Value| 3 * usage(line, "input_tokens") + 15 * usage(line, "output_tokens");
    demo::recording()[1..].iter().map(cost).sum()
}

/// How many tests the recorded tester writes.
fn recorded_tests() -> usize {
    let mut lines = demo::recording();
    let written =
        demo::calls(&mut lines, "tester").filter_map(|call| call["input"]["content"].as_str().map(str::to_owned));
    written.map(|text| text.matches("#[test]").count()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demos_first_input_goes_through_a_stage_as_through_the_embedded_cloud_alone() {
    let (world, provider) = (demo::world(&[]), recording());
    let stage = Stage::over(published(&world).await, &[]).await;
    let models = stage.deployed.store.names().models_secret.clone();
    stage.deployed.set_secret(&models, &secret(&provider)).await;
    let run = stage.ask(&requirement()).await;
    let gate = stage.gate(&run).await;
    assert_eq!(stage.decide(&stage.ann, &gate, "approve").await.0, 403, "one's own run");
    let ended = stage.landed(&run).await;
    let recorded = demo::recording().len() - 1;
    assert_eq!(provider.requests().len(), recorded, "every recorded request was made, once");
    let usage = stage.usage(&run).await;
    assert_eq!(turns(&usage, UsageState::Settled).len(), recorded);

    let pulls = stage.github.pulls();
    let [pull] = &pulls[..] else { panic!("{pulls:#?}") };
    assert_eq!((pull.branch.as_str(), pull.base.as_str()), (format!("gatewright/{run}").as_str(), "main"));
    assert_eq!(ended["pull_request"]["number"], pull.number);
    assert_eq!(pull.merged, Some(stage.github.git(&["rev-parse", "main"])));
    let cost = ended["cost_microusd"].as_u64().unwrap();
    assert_eq!(cost, recorded_cost_microusd());
    for said in [
        format!("| Cost | ${:.4} for {recorded} calls of models |", cost as f64 / 1e6),
        "checks on the base: test: 107 passed, 0 failed".to_owned(),
        format!("checks on the change: test: {} passed, 0 failed", 107 + recorded_tests()),
        "task fix-jaro, round 1: its new tests fail on the base and pass on the change".to_owned(),
    ] {
        assert!(pull.body.contains(&said), "{said:?} is not in {}", pull.body);
    }
    let changed = stage.github.git(&["diff", "--name-only", "main^1", "main"]);
    assert_eq!(changed.lines().collect::<Vec<_>>(), ["CHANGELOG.md", "src/lib.rs", "tests/jaro_transpositions.rs"]);

    let github = published(&world).await;
    let (world, github, models, request) = (&world, &github, secret(&provider), requirement());
    expect_the_same_alone(&stage, &run, Beside { world, github, provider: &provider, models, request }).await;
}

/// What nobody recorded has no answer, and whoever asks is told what differs.
#[tokio::test(flavor = "multi_thread")]
async fn what_differs_from_the_recording_is_refused_and_named() {
    let provider = recording();
    let model = tests::asking::connect(Dialect::Anthropic, provider.url()).await;
    let text = "<requirement from=\"bearer\">\nanother one\n</requirement>".to_owned();
    let request = ModelRequest {
        session: SessionId::new("architect", None, 1),
        turn: 1,
        model: "claude-sonnet-4-5".into(),
        system: "# Architect\n".into(),
        tools: Vec::new(),
        messages: vec![Message { speaker: Speaker::User, parts: vec![Part::Text { text }] }],
        max_output_tokens: 16_000,
        temperature_milli: None,
    };
    let refused = model.complete(&request).await.unwrap_err();
    let ModelError::Refused(why) = refused else { panic!("{refused}") };
    assert!(why.contains("The nearest recording is") && why.contains("the system prompt differs"), "{why}");
}
