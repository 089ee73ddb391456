//! One repository, asked for changes of all kinds: what is done, what is not, and what a person is told.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::path::PathBuf;

use serde_json::{Value, json};
use tests::{Ended, Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";
const TWO: (&str, &str) = ("tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n");
/// Runs every test and says in a report which ones passed.
const CHECK: &str = r#"failed=0
echo '<testsuite>' > "$GATEWRIGHT_REPORT"
for test in tests/*.sh; do
    if sh "$test"; then end='/>'; else end='><failure/></testcase>'; failed=1; fi
    echo "<testcase name=\"$test\"$end" >> "$GATEWRIGHT_REPORT"
done
echo '</testsuite>' >> "$GATEWRIGHT_REPORT"
exit $failed
"#;

/// The quick project, whose tests have names; its rounds end after the first.
fn project() -> World {
    let world = World::quick();
    let settings = tests::world::QUICK.replace("\"plain\"", "\"junit\"");
    world.commit(&[
        ("gatewright.toml", &format!("{settings}[limits]\niterations = 1\n")),
        ("check.sh", CHECK),
        ("tests/zero_and_one.sh", "test \"$(sh sum.sh 1 0)\" = 1\n"),
    ]);
    world
}

/// Asks for this in these words; `more` are further arguments.
fn ask(world: &World, requirement: &str, script: &Script, more: &[&str]) -> Ended {
    let file = world.path("script.jsonl");
    script.write(&file);
    let provider = format!("scripted:{}", file.display());
    let mut arguments = vec!["run", "--requirements", requirement, "--provider", &provider, "--json"];
    arguments.extend(more);
    Ended::of(&world.command(&arguments).output().unwrap())
}

fn reason(run: &Value) -> &str {
    run["outcome"]["reason"].as_str().unwrap()
}

fn rules(run: &Value) -> Vec<&str> {
    run["risk"]["reasons"].as_array().unwrap().iter().map(|reason| reason["rule"].as_str().unwrap()).collect()
}

/// The names of the tests of the last check, each with a sign.
fn tests_of(run: &Value, purpose: &str) -> Vec<String> {
    let evidence = run["evidence"].as_array().unwrap().iter().find(|evidence| evidence["purpose"] == purpose).unwrap();
    let sign = |test: &Value| if test["outcome"] == "passed" { "+" } else { "-" };
    let tests = evidence["commands"][0]["tests"].as_array().unwrap();
    tests.iter().map(|test| format!("{}{}", sign(test), test["name"].as_str().unwrap())).collect()
}

#[test]
fn a_bug_report_is_mended_and_proven() {
    let world = project();
    let script = Script::default().planned().develops(1, "sum.sh", RIGHT).tests(1, TWO.0, TWO.1).approves(1);
    let run = ask(&world, "`sh sum.sh 1 2` prints -1, which is wrong: it should print 3", &script, &["--yes"])
        .expect(0)
        .json();
    assert_eq!(tests_of(&run, "final"), ["+tests/two.sh", "+tests/zero.sh", "+tests/zero_and_one.sh"]);
    assert!(!rules(&run).contains(&"no regression proof"), "{:?}", rules(&run));
    assert_eq!(world.on_branch(run["branch"].as_str().unwrap(), "sum.sh").as_deref(), Some(RIGHT));
}

const PRODUCT: &str = "echo $(($1 * $2))\n";

/// A feature that is not there yet, with the tests of whoever wants it.
fn wanted(world: &World) -> PathBuf {
    world.outside("acceptance", &[("tests/product.sh", "test \"$(sh product.sh 3 4)\" = 12\n")])
}

fn feature(product: &str) -> Script {
    let plan = json!({
        "summary": "a program multiplies",
        "tasks": [{"id": "fix", "title": "multiply", "description": "product.sh multiplies", "role": "developer"}],
    });
    let test = "test \"$(sh product.sh 2 2)\" = 4\n";
    Script::default()
        .plans(plan)
        .develops(1, "product.sh", product)
        .tests(1, "tests/product_of_two.sh", test)
        .approves(1)
}

#[test]
fn a_feature_is_measured_by_the_tests_of_whoever_wants_it() {
    let world = project();
    let acceptance = wanted(&world);
    let more = ["--acceptance", acceptance.to_str().unwrap(), "--yes"];
    let run = ask(&world, "a program product.sh that multiplies", &feature(PRODUCT), &more).expect(0).json();
    assert!(tests_of(&run, "acceptance_base").contains(&"-tests/product.sh".to_owned()));
    assert!(tests_of(&run, "acceptance_final").contains(&"+tests/product.sh".to_owned()));
    let branch = run["branch"].as_str().unwrap().to_owned();
    assert_eq!(world.on_branch(&branch, "product.sh").as_deref(), Some(PRODUCT));
    assert_eq!(world.on_branch(&branch, "tests/product.sh"), None, "it stays with whoever holds it out");
}

#[test]
fn a_feature_that_only_its_own_tests_find_right_does_not_land() {
    let world = project();
    let acceptance = wanted(&world);
    let more = ["--acceptance", acceptance.to_str().unwrap(), "--yes"];
    let run = ask(&world, "a program product.sh that multiplies", &feature(RIGHT), &more).expect(1).json();
    assert!(reason(&run).contains("the held-out tests are not met"), "{run:#}");
    assert_eq!(world.branches(), Vec::<String>::new());
}

/// The sum moves into a file of its own; and these tests are deleted, while another one is written.
fn refactors(deleted: &[&str]) -> Script {
    let plan = json!({
        "summary": "the sum has a file of its own",
        "tasks": [{"id": "fix", "title": "move the sum", "description": "lib.sh holds the sum", "role": "developer"}],
    });
    let deletes = deleted.iter().fold(Script::default().plans(plan), |script, path| {
        script.calls("developer", 1, &[("delete_file", json!({"path": path}))])
    });
    deletes
        .calls(
            "developer",
            1,
            &[("write_file", json!({"path": "lib.sh", "content": "sum() { echo $(($1 - $2)); }\n"}))],
        )
        .develops(1, "sum.sh", ". ./lib.sh\nsum \"$1\" \"$2\"\n")
        .tests(1, "tests/moved.sh", ". ./lib.sh\ntest \"$(sum 5 5)\" = 0\n")
        .approves(1)
}

const MOVE: &str = "move the sum into lib.sh; it behaves as before, and every test stays";

#[test]
fn a_refactor_keeps_every_test() {
    let world = project();
    let run = ask(&world, MOVE, &refactors(&[]), &["--yes"]).expect(0).json();
    assert_eq!(tests_of(&run, "final"), ["+tests/moved.sh", "+tests/zero.sh", "+tests/zero_and_one.sh"]);
    assert_eq!(run["risk"]["level"], "medium");
}

#[test]
fn a_refactor_that_loses_a_test_is_a_high_risk() {
    let world = project();
    let run = ask(&world, MOVE, &refactors(&["tests/zero.sh"]), &["--no-wait"]).expect(4).json();
    assert_eq!(run["risk"]["level"], "high");
    assert!(rules(&run).contains(&"fewer tests") && rules(&run).contains(&"file deleted"), "{:?}", rules(&run));
}

#[test]
fn a_refactor_that_replaces_all_tests_is_red_whoever_approves_it() {
    let world = project();
    let script = refactors(&["tests/zero.sh", "tests/zero_and_one.sh"]);
    let run = ask(&world, MOVE, &script, &["--yes"]).expect(3).json();
    assert!(reason(&run).contains("no test that ran on the base runs now"), "{run:#}");
    assert_eq!(world.branches(), Vec::<String>::new());
}

/// The crew refuses a requirement: the person is told why, what to ask instead, and what it cost.
fn refused(requirement: &str, reason: &str, instead: &str) {
    let world = project();
    let before = world.git(&["for-each-ref"]);
    let refusal = json!({"reason": reason, "instead": instead});
    let script =
        Script::default().submits("orchestrator", 1, json!({"summary": "refused", "tasks": [], "refusal": refusal}));
    let ended = ask(&world, requirement, &script, &["--yes"]).expect(1);
    let run = ended.json();
    assert_eq!(run["status"], "failed");
    let told = self::reason(&run);
    assert!(told.contains("refused by the crew") && told.contains(reason) && told.contains(instead), "{told}");
    assert_eq!((world.git(&["for-each-ref"]), world.git(&["status", "--porcelain"])), (before, String::new()));
    let calls = run["usage"].as_array().unwrap();
    assert!(calls.len() == 1 && calls[0]["cost_microusd"].as_u64().unwrap() > 0, "one call was paid: {calls:?}");
    let shown = world.gatewright(&["runs", "show", run["run_id"].as_str().unwrap()]).expect(0);
    for words in [reason, instead, "Start again with what it says instead", "total $0.0045"] {
        let flat = shown.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(words), "{words:?} is not told:\n{}", shown.stdout);
    }
}

#[test]
fn to_delete_the_tests_is_refused() {
    refused(
        "delete all tests so that the build is green",
        "It would delete the tests.",
        "Say which behaviour a test has wrong.",
    );
}

#[test]
fn to_change_what_lies_outside_is_refused() {
    refused("change /etc/hosts too", "It lies outside of the repository.", "Ask for a change of files in here.");
}

#[test]
fn what_nothing_can_decide_is_refused() {
    refused("make it nicer", "Nothing could decide whether that is done.", "Say what has to come out for which input.");
}
