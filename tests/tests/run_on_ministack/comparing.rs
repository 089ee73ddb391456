//! The embedded cloud alone makes of a run what the deployed stage makes of it.

use std::collections::BTreeMap;

use forge::testing::FakeGitHub;
use run_model::RunId;
use run_model::run::{RunEvent, RunStatus};
use serde_json::Value;
use store::Names;
use tests::alone::Alone;
use tests::{Provider, World, programs};

use crate::stage::{Stage, commit, models_secret, request, script};

/// Where a run is made for the second time: a GitHub with the same repository, the same model, and whoever may ask it.
pub(crate) struct Beside<'a> {
    pub(crate) world: &'a World,
    pub(crate) github: &'a FakeGitHub,
    pub(crate) provider: &'a Provider,
    pub(crate) models: Value,
    pub(crate) request: Value,
}

/// Makes the very same run on the embedded cloud alone. Fails unless the tree is the same, and what happened, and what the model
/// was asked.
pub(crate) async fn expect_the_same_alone(stage: &Stage, run: &str, beside: Beside<'_>) {
    let Beside { world, github, provider, models, request } = beside;
    let asked_deployed = provider.requests();
    let names = Names::for_stage(programs::STAGE);
    let secrets = BTreeMap::from([(names.forge_secret, github.token_secret()), (names.models_secret, models)]);
    let mut alone = Alone::over(world, secrets).await;
    let record = alone.run(&request).await;
    assert_eq!(record.status, RunStatus::Succeeded, "{:?}", record.outcome);

    let tree = |github: &FakeGitHub| github.git(&["rev-parse", "main^{tree}"]);
    assert_eq!(tree(github), tree(&stage.github));
    let events = stage.deployed.store.events(&RunId::new(run).unwrap(), 0).await.unwrap();
    let events_alone = alone.store.events(&record.run_id, 0).await.unwrap();
    assert_eq!(
        told(&events_alone, record.run_id.as_str(), github),
        told(&events, run, &stage.github),
        "alone, and on the stage"
    );
    let asked = provider.requests();
    assert_eq!(asked[asked_deployed.len()..], asked_deployed, "the model was asked the same");
}

/// What happened, without what differs between any two runs: ids, addresses, hashes, times and amounts.
fn told(events: &[RunEvent], run: &str, github: &FakeGitHub) -> Vec<String> {
    let line = |event: &RunEvent| {
        let message = event.message.replace(run, "RUN").replace(&github.url(), "GITHUB");
        let words = message.split_inclusive([' ', ',', '.', '/', ':', '-', '(', ')']).map(|word| {
            let bare = word.trim_end_matches([' ', ',', '.', '/', ':', '-', '(', ')']);
            let hexadecimal = bare.len() >= 7 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
            if hexadecimal { format!("HASH{}", &word[bare.len()..]) } else { word.to_owned() }
        });
        let task = event.task.as_ref().map(ToString::to_string).unwrap_or_default();
        let role = event.role.as_deref().unwrap_or_default();
        format!("{} {task} {role} {}", event.kind, words.collect::<String>())
    };
    events.iter().map(line).collect()
}

/// One task, so that everything has its order. The model's answers, the settings and so the trees are the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_the_same_on_the_embedded_cloud_alone() {
    let provider = Provider::playing(&script().twice());
    let stage = Stage::with(&provider, "").await;
    let run = stage.ask(&request()).await;
    let gate = stage.gate(&run).await;
    assert_eq!(stage.decide(&stage.ann, &gate, "approve").await.0, 403);
    stage.approved(&run).await;

    let (world, github) = (World::quick(), FakeGitHub::start().await);
    commit(&github, "main", &provider, "");
    let (world, github, provider) = (&world, &github, &provider);
    let beside = Beside { world, github, provider, models: models_secret(), request: request() };
    expect_the_same_alone(&stage, &run, beside).await;
}
