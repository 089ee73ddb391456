//! What the models are asked in one run does not grow with the repository.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a scenario fails loudly, and prints its figures")]

use serde_json::json;
use tests::{Ended, Provider, Script, World};

const RIGHT: &str = "/// Twice the number.\npub fn double(number: i64) -> i64 {\n    number * 2\n}\n";
const TEST: &str = "#[test]\nfn of_three() {\n    assert_eq!(sample::double(3), 6);\n}\n";
/// Files beside each other.
const IN_A_FOLDER: usize = 10;
/// What a token is taken for.
const BYTES: usize = 3;

#[test]
fn a_repository_of_ten_thousand_files_costs_at_most_a_tenth_more_than_one_of_a_hundred() {
    let [small, large] = [100, 10_000].map(tokens);
    println!("{}", json!({"100": small, "10000": large}));
    assert!(large * 10 <= small * 11, "{large} tokens against {small}");
}

/// The tokens of all requests of a run on a repository with so many files.
fn tokens(files: usize) -> usize {
    let world = World::rust();
    let others: Vec<(String, String)> = (world.git(&["ls-files"]).lines().count()..files).map(file).collect();
    let others: Vec<(&str, &str)> = others.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    world.commit(&others);
    let provider = Provider::playing(&crew());
    world.commit(&[("gatewright.toml", &settings(&provider))]);
    let mut run = world.command(&["run", "--requirements", "double(3) is 5, and should be 6", "--yes"]);
    Ended::of(&run.env("ANTHROPIC_API_KEY", "k").output().unwrap()).expect(0);
    provider.requests().iter().map(String::len).sum::<usize>() / BYTES
}

fn settings(provider: &Provider) -> String {
    let setup = "[project]\nlanguage = \"rust\"\nsetup_files = [\"Cargo.lock\"]\n[[setup]]\nname = \"fetch\"\ncommand = \"cargo fetch\"\n";
    let check = "[[checks]]\nname = \"test\"\ncommand = \"cargo test --offline\"\nformat = \"cargo_test\"\n";
    format!("{setup}{check}{}", provider.settings())
}

/// A file that is none of the crate's.
fn file(number: usize) -> (String, String) {
    let folder = number / IN_A_FOLDER;
    (format!("modules/area_{folder:04}/part_{number:05}.txt"), format!("part {number}\n"))
}

/// Every role looks around as roles do, before it does its work.
fn crew() -> Script {
    let looks = |script: Script, role: &str| {
        let around = [("search", json!({"pattern": "double"})), ("list_files", json!({"path": "modules/area_0005"}))];
        script.calls(role, 1, &around).calls(role, 1, &[("read_file", json!({"path": "src/lib.rs"}))])
    };
    let plan = json!({
        "summary": "the result is wrong and is made right",
        "tasks": [{"id": "fix", "title": "make it right", "description": "it is right", "role": "developer"}],
    });
    let item = json!({"id": "operator", "title": "the operator", "detail": "use the right one", "tasks": ["fix"]});
    let design =
        json!({"summary": "one operator is wrong", "items": [item], "test_strategy": "a test that fails on the base"});
    let script = looks(Script::default(), "orchestrator").submits("orchestrator", 1, plan);
    let script = looks(script, "architect").submits("architect", 1, design);
    let script = looks(script, "developer").develops(1, "src/lib.rs", RIGHT);
    let script = looks(script, "tester").tests(1, "tests/three.rs", TEST);
    looks(script, "reviewer").approves(1)
}
