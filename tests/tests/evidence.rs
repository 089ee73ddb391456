//! Green is what was measured, whatever anybody says; and what was held out stays held out.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use tests::{Ended, Provider, Script, World};

const RIGHT: &str = "/// Twice the number.\npub fn double(number: i64) -> i64 {\n    number * 2\n}\n";
/// As wrong as the base, but told apart from it.
const NEUTRAL: &str = "/// Two more.\npub fn double(number: i64) -> i64 {\n    2 + number\n}\n";
const NEW_TEST: &str = "#[test]\nfn of_three() {\n    assert_eq!(sample::double(3), 6);\n}\n";
const WEAK_TEST: &str = "#[test]\nfn of_two_again() {\n    assert_eq!(sample::double(2), 4);\n}\n";
/// A word that stands in the held-out test and nowhere else.
const HELD_OUT_WORD: &str = "quagga";

fn work(source: &str, test: &str) -> Script {
    Script::default().planned().develops(1, "src/lib.rs", source).tests(1, "tests/more.rs", test).approves(1)
}

/// Tests that no agent sees.
fn held_out(world: &World) -> PathBuf {
    let test = format!(
        "// {HELD_OUT_WORD}\n#[test]\nfn of_{HELD_OUT_WORD}() {{\n    assert_eq!(sample::double(50), 100, \"{HELD_OUT_WORD}\");\n}}\n"
    );
    world.outside("acceptance", &[("tests/held_out.rs", &test)])
}

fn reason(run: &Value) -> &str {
    run["outcome"]["reason"].as_str().unwrap()
}

/// The tests that a measurement names, as `+passed` and `-failed`.
fn tests_of(run: &Value, purpose: &str) -> Vec<String> {
    let evidence = run["evidence"].as_array().unwrap().iter().find(|evidence| evidence["purpose"] == purpose).unwrap();
    let tests = evidence["commands"][0]["tests"].as_array().unwrap();
    let sign = |test: &Value| if test["outcome"] == "passed" { '+' } else { '-' };
    tests.iter().map(|test| format!("{}{}", sign(test), test["name"].as_str().unwrap())).collect()
}

#[test]
fn a_proven_change_says_what_was_measured_before_and_after() {
    let world = World::rust();
    let parked = world.run(&work(RIGHT, NEW_TEST), &["--no-wait", "--json"]).expect(4).json();
    assert_eq!(tests_of(&parked, "baseline"), ["+tests/double.rs::of_two"]);
    assert_eq!(tests_of(&parked, "final"), ["+tests/double.rs::of_two", "+tests/more.rs::of_three"]);
    let shown = world.gatewright(&["gates", "show", parked["gate"].as_str().unwrap()]).expect(0);
    assert!(shown.said("its new tests fail on the base and pass on the change"), "{}", shown.stdout);
    assert_eq!(parked["risk"]["level"], "medium");
}

/// A small crate that takes `twice`, which lies beside it as `cargo vendor` leaves packages.
fn vendored() -> World {
    let sum = "0".repeat(64);
    let lock = format!(
        "version = 4\n\n[[package]]\nname = \"sample\"\nversion = \"0.1.0\"\ndependencies = [\"twice\"]\n\n[[package]]\n\
         name = \"twice\"\nversion = \"1.0.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
         checksum = \"{sum}\"\n"
    );
    let sources =
        "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n".to_owned();
    World::with(&[
        (
            "Cargo.toml",
            "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\ntwice = \"1\"\n",
        ),
        ("Cargo.lock", &lock),
        (".cargo/config.toml", &sources),
        ("vendor/twice/Cargo.toml", "[package]\nname = \"twice\"\nversion = \"1.0.0\"\nedition = \"2021\"\n"),
        ("vendor/twice/.cargo-checksum.json", &format!("{{\"files\":{{}},\"package\":\"{sum}\"}}")),
        ("vendor/twice/src/lib.rs", "pub fn twice(number: i64) -> i64 {\n    number * 2\n}\n"),
        ("src/lib.rs", "/// Twice the number.\npub fn double(number: i64) -> i64 {\n    number + 2\n}\n"),
        ("tests/double.rs", "#[test]\nfn of_two() {\n    assert_eq!(sample::double(2), 4);\n}\n"),
    ])
}

#[test]
fn a_dependency_that_is_locked_and_vendored_is_set_up_and_used() {
    let world = vendored();
    let right = "/// Twice the number.\npub fn double(number: i64) -> i64 {\n    twice::twice(number)\n}\n";
    let run = world.run(&work(right, NEW_TEST), &["--yes", "--json"]).expect(0).json();
    assert_eq!(tests_of(&run, "final"), ["+tests/double.rs::of_two", "+tests/more.rs::of_three"]);
    assert_eq!(world.on_branch(run["branch"].as_str().unwrap(), "src/lib.rs").as_deref(), Some(right));
}

#[test]
fn a_test_that_proves_nothing_is_said_at_the_gate() {
    let world = World::rust();
    let parked = world.run(&work(RIGHT, WEAK_TEST), &["--no-wait", "--json"]).expect(4).json();
    let shown = world.gatewright(&["gates", "show", parked["gate"].as_str().unwrap()]).expect(0);
    assert!(shown.said("no regression proof: its new tests do not fail on the base"), "{}", shown.stdout);
    let rules: Vec<&Value> =
        parked["risk"]["reasons"].as_array().unwrap().iter().map(|reason| &reason["rule"]).collect();
    assert!(rules.iter().any(|rule| *rule == "no regression proof"), "{rules:?}");
}

#[test]
fn a_check_that_always_fails_is_never_green() {
    let world = World::quick();
    let settings = tests::world::QUICK.replace("sh check.sh", "false");
    world.commit(&[("gatewright.toml", &format!("{settings}[limits]\niterations = 1\n"))]);
    let script = Script::default()
        .planned()
        .develops(1, "sum.sh", "echo $(($1 + $2))\n")
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1);
    let run = world.run(&script, &["--yes", "--json"]).expect(3).json();
    assert_eq!(run["status"], "limit_reached");
    assert!(reason(&run).contains("check `test` exited with 1 and named no failing test"), "{run:#}");
    assert!(run["notices"].to_string().contains("the checks fail on the base already"), "{run:#}");
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_failing_test_among_good_ones_turns_the_evidence_red() {
    let world = World::rust();
    let settings = world.gatewright(&["init"]).expect(0);
    assert!(settings.said("found a rust project"));
    let file = world.repository().join("gatewright.toml");
    let text = fs::read_to_string(&file).unwrap().replace("#iterations = 20", "iterations = 1");
    fs::write(&file, text).unwrap();
    world.commit(&[]);
    let canary = format!("{RIGHT}\n#[test]\nfn canary() {{\n    panic!(\"it sings\");\n}}\n");
    let run = world.run(&work(&canary, NEW_TEST), &["--yes", "--json"]).expect(3).json();
    assert!(reason(&run).contains("fails now and did not on the base: src/lib.rs::canary"), "{run:#}");
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_base_that_fails_is_said_and_what_fails_there_is_known() {
    let world = World::rust();
    world.commit(&[("tests/known.rs", "#[test]\nfn of_four() {\n    assert_eq!(sample::double(4), 9);\n}\n")]);
    let run = world.run(&work(RIGHT, NEW_TEST), &["--yes", "--json"]).expect(0).json();
    let notices = run["notices"].to_string();
    assert!(notices.contains("the checks fail on the base already") && notices.contains("of_four"), "{notices}");
    assert!(tests_of(&run, "final").contains(&"-tests/known.rs::of_four".to_owned()));
}

#[test]
fn held_out_tests_fail_on_the_base_pass_on_the_change_and_reach_no_agent() {
    let world = World::rust();
    let provider = Provider::playing(&work(RIGHT, NEW_TEST));
    world.gatewright(&["init"]).expect(0);
    let file = world.repository().join("gatewright.toml");
    let text = fs::read_to_string(&file).unwrap().replace("[provider]\n", &provider.settings());
    fs::write(&file, text).unwrap();
    world.commit(&[]);
    let acceptance = held_out(&world);
    let arguments = ["run", "--requirements", "make it right", "--acceptance", acceptance.to_str().unwrap()];
    let key = "a-key-that-opens-nothing";
    let mut command = world.command(&arguments);
    let ended = Ended::of(&command.args(["--yes", "--json"]).env("ANTHROPIC_API_KEY", key).output().unwrap()).expect(0);
    let run = ended.json();
    let name = format!("tests/held_out.rs::of_{HELD_OUT_WORD}");
    assert!(tests_of(&run, "acceptance_base").contains(&format!("-{name}")));
    assert!(tests_of(&run, "acceptance_final").contains(&format!("+{name}")));
    assert_eq!(run["cost_estimated"], false);

    let requests = provider.requests();
    assert_eq!(requests.len(), 7);
    assert!(requests.iter().all(|request| request.contains("make it right") && !request.contains(HELD_OUT_WORD)));
    // The final tree, as it landed, has none of it; nor has any object that a role may read, evidence of it excepted,
    // which names the tests and is given to no role.
    assert!(!world.git(&["ls-tree", "-r", "--name-only", run["branch"].as_str().unwrap()]).contains("held_out"));
    let objects = files_under(&world.state().join("objects"));
    let of_run: Vec<&PathBuf> = objects.iter().filter(|path| path.to_string_lossy().contains("runs")).collect();
    assert!(of_run.len() > 10, "{objects:#?}");
    for object in &of_run {
        let text = plain(object);
        assert!(!text.contains(&format!("// {HELD_OUT_WORD}")) && !text.contains("sample::double(50)"), "{object:?}");
    }
    // Nowhere does the key stand, and nothing of the run is left behind.
    assert!(files_under(&world.state()).iter().all(|file| !plain(file).contains(key)));
}

#[test]
fn an_edit_that_changes_nothing_that_counts_is_not_accepted() {
    let world = World::rust();
    let acceptance = held_out(&world);
    let arguments = ["--acceptance", acceptance.to_str().unwrap(), "--yes", "--json"];
    let run = world.run(&work(NEUTRAL, WEAK_TEST), &arguments).expect(1).json();
    assert_eq!(run["status"], "failed");
    assert!(reason(&run).contains("the held-out tests are not met"), "{run:#}");
    assert!(
        reason(&run).contains(&format!("speaks against the change: tests/held_out.rs::of_{HELD_OUT_WORD}")),
        "{run:#}"
    );
    assert!(tests_of(&run, "final").iter().all(|test| test.starts_with('+')), "every visible check is green");
    assert_eq!((world.branches(), &run["commit"]), (Vec::new(), &Value::Null));
    assert_eq!(world.git(&["for-each-ref", "refs/gatewright"]), "", "no ref was written");
}

#[test]
fn documentation_alone_passes_without_a_gate() {
    let world = World::quick();
    let script = Script::default()
        .planned()
        .develops(1, "README.md", "# Sum\n\nAdds two numbers.\n")
        .submits("tester", 1, serde_json::json!({"summary": "nothing to test"}))
        .approves(1);
    let run = world.run(&script, &["--no-wait", "--json"]).expect(0).json();
    assert_eq!((&run["risk"]["level"], &run["gates"]), (&"low".into(), &serde_json::json!([])));
    assert_eq!(
        world.on_branch(run["branch"].as_str().unwrap(), "README.md").as_deref(),
        Some("# Sum\n\nAdds two numbers.\n")
    );
}

#[test]
fn a_secret_in_the_change_is_never_written_to_a_ref() {
    let world = World::quick();
    let secret = format!("AK{}{}", "IA", "QWERTYUIOPASDFGH");
    let sum = format!("key={secret}\necho $(($1 + $2))\n");
    let script = Script::default()
        .planned()
        .develops(1, "sum.sh", &sum)
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1);
    let run = world.run(&script, &["--yes", "--json"]).expect(1).json();
    assert!(reason(&run).contains("The scan blocks the change: sum.sh:1"), "{run:#}");
    assert!(!reason(&run).contains(&secret));
    assert_eq!((world.branches(), world.git(&["for-each-ref", "refs/gatewright"])), (Vec::new(), String::new()));
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}

/// A file's text, unpacked if it is an archive somewhere inside.
fn plain(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    let at = bytes.windows(3).position(|start| start == [0x1f, 0x8b, 8]);
    let mut unpacked = Vec::new();
    if let Some(at) = at {
        // What is no archive after all unpacks to nothing.
        drop(GzDecoder::new(&bytes[at..]).read_to_end(&mut unpacked));
    }
    String::from_utf8_lossy(&[bytes, unpacked].concat()).into_owned()
}
