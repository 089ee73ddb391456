//! The embedded cloud alone makes of a run what the deployed stage makes of it.

use std::collections::BTreeMap;

use forge::testing::FakeGitHub;
use run_model::RunId;
use run_model::run::{RunEvent, RunStatus};
use store::Names;
use tests::alone::Alone;
use tests::{Provider, World, programs};

use crate::stage::{Stage, commit, models_secret, request, script};

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
    let events = stage.deployed.store.events(&RunId::new(run.as_str()).unwrap(), 0).await.unwrap();

    let (world, github) = (World::quick(), FakeGitHub::start().await);
    commit(&github, "main", &provider, "");
    let names = Names::for_stage(programs::STAGE);
    let secrets = BTreeMap::from([(names.forge_secret, github.token_secret()), (names.models_secret, models_secret())]);
    let mut alone = Alone::over(&world, secrets).await;
    let record = alone.run(&request()).await;
    assert_eq!(record.status, RunStatus::Succeeded, "{:?}", record.outcome);
    let events_alone = alone.store.events(&record.run_id, 0).await.unwrap();

    let tree = |github: &FakeGitHub| github.git(&["rev-parse", "main^{tree}"]);
    assert_eq!(tree(&github), tree(&stage.github));
    let deployed = told(&events, &run, &stage.github);
    assert_eq!(told(&events_alone, record.run_id.as_str(), &github), deployed);
    let asked = provider.requests();
    let (first, second) = asked.split_at(asked.len() / 2);
    assert_eq!(first, second, "the model was asked the same");
}
