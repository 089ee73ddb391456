//! C1: what AWS would charge for the reference run, which is the demo's input, replayed.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs;

use serde_json::Value;
use tests::machines::repository;
use tests::state::Kept;
use tests::{Ended, Script, World, demo};

/// The target, in millionths of a US dollar.
const AT_MOST: f64 = 2_500.0;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A price of `infra/prices.toml`, for one, in millionths of a US dollar.
fn price(item: &str) -> f64 {
    let prices: toml::Value =
        toml::from_str(&fs::read_to_string(repository().join("infra/prices.toml")).unwrap()).unwrap();
    prices["used_microusd_per_million"][item].as_integer().unwrap() as f64 / 1e6
}

fn cost(world: &World, run: &str) -> Value {
    world.gatewright(&["runs", "cost", run, "--json"]).expect(0).json()["aws"].clone()
}

/// State transitions as they stand in the histories: a start, and each state that was entered.
fn walked(world: &World, run: &str, executions: usize) -> f64 {
    let steps = Kept::of(&world.state(), run).steps;
    let entered = steps.values().flatten().filter(|step| step.starts_with("into ")).count();
    (executions + entered) as f64
}

#[test]
fn the_reference_run_costs_about_a_quarter_of_a_cent() {
    let world = demo::world(&[]);
    let provider = demo::play(&world, "replay", &demo::recording());
    let requirement = format!("@{}", demo::input().join("requirement.md").display());
    let acceptance = demo::input().join("acceptance").display().to_string();
    let arguments = ["run", "--requirements", &requirement, "--acceptance", &acceptance, "--provider", &provider];
    let ended = world.command(&[&arguments[..], &["--yes", "--json"]].concat()).output().unwrap();
    let run = Ended::of(&ended).expect(0).json()["run_id"].as_str().unwrap().to_owned();
    let aws = cost(&world, &run);
    println!("{aws:#}");

    // Told once more by hand: the line that dominates, and one whose amount is measured.
    let (transitions, writes) = (&aws["items"]["states.transition"], &aws["items"]["dynamodb.write_unit"]);
    assert_eq!(number(&transitions["amount"]), walked(&world, &run, 3));
    assert!((number(&transitions["microusd"]) - number(&transitions["amount"]) * 25.0).abs() < 1e-6);
    assert!((number(&writes["microusd"]) - number(&writes["amount"]) * 0.625).abs() < 1e-6);
    assert_eq!((price("states.transition"), price("dynamodb.write_unit")), (25.0, 0.625));
    // Nothing is lost between items, parts and the whole.
    let sum = |parts: &str| aws[parts].as_object().unwrap().values().map(|part| number(&part["microusd"])).sum::<f64>();
    let whole = number(&aws["microusd"]);
    assert!((sum("items") - whole).abs() < 1e-6 && (sum("parts") - whole).abs() < 1e-6);
    for part in [
        "pipeline",
        "task-graph",
        "task",
        "developer",
        "run-control",
        "code-host",
        "test-runner",
        "task-callback",
        "runner",
        "gate-open",
    ] {
        assert!(number(&aws["parts"][part]["microusd"]) > 0.0, "{part} is not on the bill");
    }
    // Twelve answers of some thousand tokens are waited for.
    assert!(number(&aws["assumed_model_seconds"]) > 60.0);
    assert!(whole <= AT_MOST, "C1 is missed: {whole:.0} of {AT_MOST} millionths of a US dollar");
}

#[test]
fn a_run_that_another_process_went_on_with_adds_up() {
    let world = World::quick();
    let script = Script::default()
        .planned()
        .develops(1, "sum.sh", "echo $(($1 + $2))\n")
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1);
    let run = world.run(&script, &["--no-wait", "--json"]).expect(4).json()["run_id"].as_str().unwrap().to_owned();
    let parked = cost(&world, &run);
    let gate = world.pending_gates()[0]["gate_id"].as_str().unwrap().to_owned();
    world.gatewright(&["gates", "approve", &gate]).expect(0);
    let landed = cost(&world, &run);
    let calls = |aws: &Value| number(&aws["parts"]["code-host"]["used"]["lambda.request"]);
    assert_eq!((calls(&parked), calls(&landed)), (2.0, 3.0), "snapshot and publish, then land");
    assert_eq!(number(&landed["items"]["states.transition"]["amount"]), walked(&world, &run, 3));
    // Looking is not the run's.
    let again = cost(&world, &run);
    assert_eq!(again["parts"]["run-control"], landed["parts"]["run-control"]);
    assert_eq!(again["parts"]["runner"], landed["parts"]["runner"]);
}
