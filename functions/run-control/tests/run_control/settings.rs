//! Settings that a request did not bring come from the base.

use config::RunConfig;
use run_model::ErrorName;
use serde_json::{Value, json};

use crate::world::{World, config};

const FILE: &str = "[project]\nlanguage = \"python\"\n[[checks]]\nname = \"test\"\ncommand = \"pytest\"\n\
                    [limits]\nbudget_usd = 2.0\nbudget_tokens = 77\n";

/// A run that came with `more` and no settings, on a base with these files.
async fn on(files: &[(&str, &str)], more: Value) -> World {
    over(World::on_stage("dev").await, files, more).await
}

async fn over(world: World, files: &[(&str, &str)], more: Value) -> World {
    let mut input = json!({ "repository": "o/r", "requirements": "count" });
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.admit(input).await.unwrap();
    world.take_snapshot_of(files).await;
    world
}

async fn pinned(world: &World) -> RunConfig {
    world.store.get_json(&world.run().await.config).await.unwrap()
}

#[tokio::test]
async fn the_projects_own_file_says_how_it_is_checked_and_what_it_may_cost() {
    let world = on(&[("gatewright.toml", FILE), ("a.py", "")], json!({})).await;
    let before = world.run().await.config;
    let read = world.act("read-settings", json!({})).await.unwrap();
    let run = world.run().await;
    assert_ne!(run.config, before);
    assert_eq!(read["config_sha256"], run.config.sha256.as_str());
    assert_eq!(pinned(&world).await.checks[0].command, "pytest");
    let budget = world.store.budget(&world.run_id).await.unwrap();
    assert_eq!((budget.limit_microusd, budget.limit_tokens), (2_000_000, 77));
    assert_eq!(world.events("settings.pinned").await.len(), 1);
}

#[tokio::test]
async fn a_requester_may_make_do_with_less_than_the_file_allows_and_not_raise_it() {
    let world = on(&[("gatewright.toml", FILE)], json!({ "budget_microusd": 500 })).await;
    world.act("read-settings", json!({})).await.unwrap();
    assert_eq!(pinned(&world).await.limits.budget_microusd, 500);
    assert_eq!(world.store.budget(&world.run_id).await.unwrap().limit_microusd, 500);
    for base in [json!({}), json!({ "base": "feature" })] {
        let mut asked = base.clone();
        asked["budget_microusd"] = 9_000_000_000_u64.into();
        let world = on(&[("gatewright.toml", FILE)], asked).await;
        world.act("read-settings", json!({})).await.unwrap();
        // A branch that is not the default one does not say what a run may cost: the default of 5 USD holds.
        let (limit, said) = if base == json!({}) { (2_000_000, "2 USD") } else { (5_000_000, "5 USD") };
        assert_eq!(pinned(&world).await.limits.budget_microusd, limit);
        assert_eq!(world.store.budget(&world.run_id).await.unwrap().limit_microusd, limit);
        let told = &world.events("settings.pinned").await[0].message;
        assert!(told.contains(said) && told.contains("9000 USD asked for"), "{told}");
    }
}

#[tokio::test]
async fn a_branch_says_how_it_is_checked_and_not_who_gets_the_key() {
    let file = format!("{FILE}[provider]\nbase_url = \"https://elsewhere.invalid\"\n[sandbox]\nmode = \"none\"\n");
    let files: [(&str, &str); 1] = [("gatewright.toml", &file)];
    let named = on(&files, json!({ "base": "feature" })).await;
    named.act("read-settings", json!({})).await.unwrap();
    let (config, default) = (pinned(&named).await, RunConfig::default());
    assert_eq!(config.checks[0].command, "pytest");
    assert_eq!((config.provider, config.sandbox, config.limits), (default.provider, default.sandbox, default.limits));
    let of_default_branch = on(&files, json!({})).await;
    of_default_branch.act("read-settings", json!({})).await.unwrap();
    assert_ne!(pinned(&of_default_branch).await.provider, RunConfig::default().provider);
}

#[tokio::test]
async fn a_project_without_a_file_is_looked_at() {
    let world = on(&[("Cargo.toml", "[package]\nname = \"a\""), ("src/lib.rs", "")], json!({})).await;
    world.act("read-settings", json!({})).await.unwrap();
    assert_eq!(pinned(&world).await.project.language, "rust");
}

#[tokio::test]
async fn settings_that_cannot_be_had_are_named_with_the_cure() {
    for (files, said) in [
        (&[("a.py", "")][..], "gatewright init"),
        (&[("sub/gatewright.toml", FILE)], "the base has none"),
        (&[("gatewright.toml", "[limits]\nturn = 3")], "limits.turn: unknown key"),
        (&[("gatewright.toml", "")], "no checks"),
    ] {
        let world = on(files, json!({})).await;
        let before = world.run().await.config;
        let error = world.act("read-settings", json!({})).await.unwrap_err();
        assert_eq!(error.name, ErrorName::InvalidInput, "{error}");
        assert!(error.message.starts_with("gatewright.toml: ") && error.message.contains(said), "{error}");
        assert_eq!(world.run().await.config, before);
    }
}

#[tokio::test]
async fn settings_that_came_with_the_request_on_one_machine_stay() {
    let world = over(World::new().await, &[("gatewright.toml", FILE)], json!({ "config": config() })).await;
    world.act("read-settings", json!({})).await.unwrap();
    assert_eq!(pinned(&world).await, config());
    assert!(world.events("settings.pinned").await.is_empty());
}

#[tokio::test]
async fn a_requirement_that_no_model_could_read_is_refused_before_setup() {
    let long = "word ".repeat(150_000);
    let here = json!({ "repository": "/r", "requirements": long, "config": config() });
    let on_a_stage = json!({ "requirements": long });
    for (world, asked) in [(World::new().await, here), (World::on_stage("dev").await, on_a_stage)] {
        let world = over(world, &[("gatewright.toml", FILE)], asked).await;
        let error = world.act("read-settings", json!({})).await.unwrap_err();
        assert_eq!(error.name, ErrorName::InvalidInput);
        assert!(error.message.starts_with("requirements: takes about 250000 tokens"), "{error}");
    }
}
