//! A crew that asks for other dependencies: a person lets them in, they are set up, and the change is measured with them.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs;
use std::process::Command;

use run_model::gate::GateKind;
use serde_json::{Value, json};
use tests::world::{Ended, QUICK};
use tests::{Script, World};

const LOUD: &str = "DEPENDENCIES THAT A MODEL CHOSE ARE SET UP WITH THE NETWORK ON, AND NOBODY LOOKED";

/// A shell project whose dependency is a line of its requirements, and whose setup makes a file of it that every tree is given.
fn quick() -> World {
    let settings = QUICK.replace("language = \"shell\"", "language = \"shell\"\nsetup_files = [\"installed\"]");
    let setup =
        "[[setup]]\nname = \"install\"\ncommand = \"cp requirements.txt installed && cat sum.sh >> installed\"\n";
    let world = World::quick();
    world.commit(&[("gatewright.toml", &format!("{settings}{setup}")), ("requirements.txt", "adder==1\n")]);
    world
}

const ADDER: &str = "adder==2\n";
/// Right where the second adder is installed, and nowhere else.
const SUM: &str = "grep -q adder==2 installed && echo $(($1 + $2))\n";
const TEST: (&str, &str) = ("tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n");

fn upgrade() -> Script {
    let made = Script::default().planned().develops_all(1, &[("requirements.txt", ADDER), ("sum.sh", SUM)]);
    made.tests(1, TEST.0, TEST.1).approves(1)
}

fn gate_of(run: &Value) -> &str {
    run["gate"].as_str().unwrap()
}

fn lands(world: &World, ended: Ended) {
    let run = ended.expect(0).json();
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let branch = run["branch"].as_str().unwrap();
    assert_eq!(world.on_branch(branch, "requirements.txt").as_deref(), Some(ADDER));
    assert_eq!(world.on_branch(branch, "sum.sh").as_deref(), Some(SUM));
    assert_eq!(world.on_branch(branch, "installed"), None, "what setup makes is no part of a change");
}

/// What setup made last: its input and the code that was there.
fn installed(world: &World) -> Vec<String> {
    let cache = world.state().join("cache/dependencies");
    let places = fs::read_dir(cache).unwrap().map(|place| place.unwrap().path().join("files/installed"));
    let mut made: Vec<String> = places.filter_map(|file| fs::read_to_string(file).ok()).collect();
    made.sort();
    made
}

#[test]
fn a_person_lets_other_dependencies_in_and_the_change_is_measured_with_them() {
    let world = quick();
    let parked = world.run(&upgrade(), &["--no-wait", "--json"]).expect(4).json();
    assert_eq!((&parked["status"], &parked["stage"]), (&json!("approval_pending"), &json!("setup_gate")));
    let shown = world.gatewright(&["gates", "show", gate_of(&parked)]).expect(0);
    for said in [
        "stands before other dependencies are set up",
        "Risk: critical",
        "requirements.txt: changes adder from ==1 to ==2",
        "runs with the network on and these files laid over the base",
        "-adder==1\n+adder==2",
    ] {
        assert!(shown.said(said), "{said}: {}", shown.stdout);
    }
    assert!(!shown.said("installed &&\n") && !shown.said("+grep"), "only manifests: {}", shown.stdout);
    let base = "echo $(($1 - $2))\n";
    assert_eq!(installed(&world), [format!("adder==1\n{base}")], "nothing was set up yet");
    world.gatewright(&["gates", "approve", gate_of(&parked)]).expect(4);
    assert_eq!(installed(&world), [format!("adder==1\n{base}"), format!("adder==2\n{base}")], "nothing else was there");
    let run = parked["run_id"].as_str().unwrap();
    let next = world.shown(run);
    assert_eq!((&next["stage"], &next["risk"]["level"]), (&json!("gate"), &json!("critical")));
    world.gatewright(&["gates", "approve", gate_of(&next)]).expect(0);
    lands(&world, world.gatewright(&["runs", "show", run, "--json"]));
    assert!(!world.events(run).contains("(round 2)"), "it was one round: {}", world.events(run));
}

#[test]
fn a_person_asks_why_before_letting_them_in_and_nothing_is_set_up_meanwhile() {
    let world = quick();
    let answer = json!({"text": "sum.sh wants the second adder.", "places": ["sum.sh:1", "requirements.txt:1"]});
    let script = upgrade().answers(GateKind::Setup, 1, answer);
    let parked = world.run(&script, &["--no-wait", "--json"]).expect(4).json();
    let asked = world.gatewright(&["gates", "more-info", gate_of(&parked), "why the second one?"]).expect(0);
    assert!(
        asked.said("sum.sh wants the second adder.") && asked.said("See sum.sh:1, requirements.txt:1."),
        "{asked:?}"
    );
    let run = parked["run_id"].as_str().unwrap();
    let waits = world.shown(run);
    assert_eq!((&waits["status"], &waits["stage"]), (&json!("approval_pending"), &json!("setup_gate")));
    assert_eq!(installed(&world).len(), 1, "a question lets nothing in");
    world.gatewright(&["gates", "approve", gate_of(&waits)]).expect(4);
    let next = world.shown(run);
    assert_eq!(next["stage"], "gate");
    world.gatewright(&["gates", "approve", gate_of(&next)]).expect(0);
    lands(&world, world.gatewright(&["runs", "show", run, "--json"]));
}

#[test]
fn whoever_says_yes_to_everything_is_told_loudly_what_that_means() {
    let world = quick();
    let ended = world.run(&upgrade(), &["--yes", "--json"]);
    assert_eq!(ended.stderr.matches(LOUD).count(), 1, "{}", ended.stderr);
    lands(&world, ended);
}

#[test]
fn a_no_ends_the_run_and_a_resumed_one_asks_again() {
    let world = quick();
    let parked = world.run(&upgrade(), &["--no-wait", "--json"]).expect(4).json();
    let run = parked["run_id"].as_str().unwrap();
    world.gatewright(&["gates", "deny", gate_of(&parked), "--comment", "not this one"]).expect(0);
    let denied = world.shown(run);
    assert_eq!(denied["status"], "denied");
    assert!(denied["outcome"]["reason"].as_str().unwrap().ends_with("not this one."), "{denied:#}");
    assert_eq!(installed(&world).len(), 1);
    let again = world.gatewright(&["runs", "resume", run, "--no-wait", "--json"]).expect(4).json();
    assert_ne!(gate_of(&again), gate_of(&parked));
    lands(&world, world.gatewright(&["runs", "resume", run, "--yes", "--json"]));
}

#[test]
fn a_run_that_was_stopped_at_the_gate_goes_on_there() {
    let world = quick();
    let parked = world.run(&upgrade(), &["--no-wait", "--json"]).expect(4).json();
    let run = parked["run_id"].as_str().unwrap();
    world.gatewright(&["runs", "stop", run]).expect(0);
    let late = world.gatewright(&["gates", "approve", gate_of(&parked)]);
    assert_ne!(late.code, 0, "its gate is void: {late:?}");
    lands(&world, world.gatewright(&["runs", "resume", run, "--yes", "--json"]));
}

/// The gate opens in an execution that has measured no risk before it answered.
#[test]
fn a_question_that_a_stopped_run_left_open_is_answered_by_the_next_one_before_the_gate_opens() {
    let world = quick();
    let script = upgrade().answers(GateKind::Setup, 1, json!({"text": "sum.sh wants it.", "places": ["sum.sh:1"]}));
    let parked = world.run(&script, &["--no-wait", "--json"]).expect(4).json();
    let (run, gate) = (parked["run_id"].as_str().unwrap(), gate_of(&parked));
    // Which commit lies between question and answer is looked for, not known.
    let left_open = (1..100).find_map(|number| {
        let state = world.path(&format!("state-{number}"));
        assert!(Command::new("cp").arg("-r").arg(world.state()).arg(&state).status().unwrap().success());
        let mut asking = world.command_with(&state, &["gates", "more-info", gate, "why the second one?"]);
        let died = asking.env("GATEWRIGHT_ABORT_AT_COMMIT", format!("{number}:after")).output().unwrap();
        assert!(!died.status.success(), "the crew had answered before any commit was tried");
        let shown = Ended::of(&world.command_with(&state, &["gates", "show", gate]).output().unwrap()).expect(0);
        shown.said("asked at").then_some(state)
    });
    let state = left_open.unwrap();
    let program = |arguments: &[&str]| Ended::of(&world.command_with(&state, arguments).output().unwrap());
    program(&["runs", "stop", run]).expect(0);
    let resumed = program(&["runs", "resume", run, "--no-wait", "--json"]).expect(4).json();
    assert_eq!((&resumed["status"], &resumed["stage"]), (&json!("approval_pending"), &json!("setup_gate")));
    let shown = program(&["gates", "show", gate_of(&resumed)]).expect(0);
    assert!(shown.said("why the second one?") && shown.said("sum.sh wants it."), "{}", shown.stdout);
    program(&["gates", "approve", gate_of(&resumed)]).expect(4);
    lands(&world, program(&["runs", "resume", run, "--yes", "--json"]));
}

#[test]
fn another_edit_in_a_later_round_is_asked_about_anew() {
    let world = quick();
    let first = Script::default().planned().develops_all(1, &[("requirements.txt", "adder==3\n"), ("sum.sh", SUM)]);
    let second = first.tests(1, TEST.0, TEST.1).develops_all(2, &[("requirements.txt", ADDER)]);
    let script = second.tests(2, TEST.0, TEST.1).approves(2);
    let parked = world.run(&script, &["--no-wait", "--json"]).expect(4).json();
    world.gatewright(&["gates", "approve", gate_of(&parked)]).expect(4);
    let run = parked["run_id"].as_str().unwrap();
    let next = world.shown(run);
    assert_eq!(next["stage"], "setup_gate", "red with the first, so that another was tried");
    let shown = world.gatewright(&["gates", "show", gate_of(&next)]).expect(0);
    assert!(shown.said("changes adder from ==1 to ==2"), "{}", shown.stdout);
    assert_eq!(installed(&world).len(), 2, "the approval of the first is none of the second");
    lands(&world, world.gatewright(&["runs", "resume", run, "--yes", "--json"]));
}

#[test]
fn a_setup_that_fails_says_so_and_costs_no_model_call() {
    let world = quick();
    let made = Script::default().planned().develops_all(1, &[("requirements.txt", "nothing\n"), ("sum.sh", SUM)]);
    let settings = fs::read_to_string(world.repository().join("gatewright.toml")).unwrap();
    let settings = settings.replace("cp requirements.txt", "grep adder requirements.txt && cp requirements.txt");
    world.commit(&[("gatewright.toml", &settings)]);
    let run = world.run(&made.tests(1, TEST.0, TEST.1), &["--yes", "--json"]).expect(1).json();
    assert!(run["outcome"]["reason"].as_str().unwrap().contains("grep adder requirements.txt"), "{run:#}");
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_run_whose_program_died_anywhere_on_the_way_lands_the_same() {
    // The way through the gate is some dozens of commits long; where it lies among all of them is looked for, not known.
    let died = |number: u64| {
        let world = quick();
        let mut command = world.run_command(&upgrade(), &["--yes", "--json"]);
        let ended = Ended::of(&command.env("GATEWRIGHT_ABORT_AT_COMMIT", format!("{number}:after")).output().unwrap());
        if ended.code == 0 {
            return false;
        }
        let Some(run) = ended.stderr.lines().find_map(|line| line.strip_prefix("run ")) else { return true };
        let resumed = world.gatewright(&["runs", "resume", run, "--yes", "--json"]);
        if !resumed.said("there is no run") && !resumed.said("has landed already") {
            lands(&world, resumed);
        }
        true
    };
    let deaths = (60..2_000).step_by(29).take_while(|number| died(*number)).count();
    assert!(deaths > 3, "{deaths} deaths");
}

/// A small crate beside which `twice` lies as `cargo vendor` leaves packages; nothing depends on it yet.
fn vendored() -> (World, String) {
    let sum = "0".repeat(64);
    let lock = "version = 4\n\n[[package]]\nname = \"sample\"\nversion = \"0.1.0\"\n";
    let world = World::rust();
    world.commit(&[
        ("Cargo.lock", lock),
        (
            ".cargo/config.toml",
            "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n",
        ),
        ("vendor/twice/Cargo.toml", "[package]\nname = \"twice\"\nversion = \"1.0.0\"\nedition = \"2021\"\n"),
        ("vendor/twice/.cargo-checksum.json", &format!("{{\"files\":{{}},\"package\":\"{sum}\"}}")),
        ("vendor/twice/src/lib.rs", "pub fn twice(number: i64) -> i64 {\n    number * 2\n}\n"),
    ]);
    let with_twice = format!(
        "{lock}dependencies = [\"twice\"]\n\n[[package]]\nname = \"twice\"\nversion = \"1.0.0\"\nsource = \
         \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{sum}\"\n"
    );
    (world, with_twice)
}

#[test]
fn a_rust_package_that_a_crew_asks_for_is_set_up_and_used() {
    let (world, lock) = vendored();
    let manifest =
        "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\ntwice = \"1\"\n";
    let source = "/// Twice the number.\npub fn double(number: i64) -> i64 {\n    twice::twice(number)\n}\n";
    let test = "#[test]\nfn of_three() {\n    assert_eq!(sample::double(3), 6);\n}\n";
    let files = [("Cargo.toml", manifest), ("Cargo.lock", lock.as_str()), ("src/lib.rs", source)];
    let script = Script::default().planned().develops_all(1, &files).tests(1, "tests/more.rs", test).approves(1);
    let ended = world.run(&script, &["--yes", "--json"]).expect(0);
    assert!(ended.said("Cargo.lock: adds twice 1.0.0") && ended.said("Cargo.toml: adds twice 1"), "{}", ended.stderr);
    let proven = "its new tests fail on the base and pass on the change";
    assert!(ended.said(proven), "tried on the base with the package: {}", ended.stderr);
    let run = ended.json();
    assert_eq!(world.on_branch(run["branch"].as_str().unwrap(), "Cargo.lock").as_deref(), Some(lock.as_str()));
    let tests = |purpose: &str| {
        let evidence = run["evidence"].as_array().unwrap().iter().find(|one| one["purpose"] == purpose).unwrap();
        evidence["commands"][0]["tests"].as_array().unwrap().len()
    };
    assert_eq!((tests("baseline"), tests("final")), (1, 2));
}
