//! The demo is not a film: only the model's answers are recorded, and what they set off is measured here and now.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::{Ended, Running, World, demo};

const SETTINGS: &str = r#"
[project]
language = "rust"
setup_files = ["Cargo.lock"]
[[setup]]
name = "fetch"
command = "cargo fetch"
[[checks]]
name = "test"
command = "COMMAND"
format = "cargo_test"
[limits]
iterations = 1
"#;

/// A run on the demo's package with these answers.
fn run(world: &World, provider: &str, more: &[&str]) -> Ended {
    Ended::of(&run_command(world, provider, more).output().unwrap())
}

fn run_command(world: &World, provider: &str, more: &[&str]) -> Command {
    let requirement = format!("@{}", demo::input().join("requirement.md").display());
    let acceptance = demo::input().join("acceptance").display().to_string();
    let mut arguments =
        vec!["run", "--requirements", &requirement, "--acceptance", &acceptance, "--provider", provider];
    arguments.extend(more);
    world.command(&arguments)
}

/// The same command as if another user gave it, far away: another name, home, time zone and umask.
fn as_another_user(world: &World, command: &Command) -> Command {
    let home = world.outside("home", &[(".profile", "")]);
    let mut other = Command::new("sh");
    other.args(["-c", "umask 077 && exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    // The toolchain stays where it is installed.
    let mine = std::env::var_os("HOME").map(std::path::PathBuf::from).unwrap_or_default();
    for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        other.env(name, std::env::var_os(name).unwrap_or_else(|| mine.join(folder).into()));
    }
    other
        .env("HOME", home)
        .env("USER", "somebody-else")
        .env("LOGNAME", "somebody-else")
        .env("TZ", "Pacific/Kiritimati");
    other.current_dir(world.repository()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    other
}

fn settings(command: &str) -> String {
    SETTINGS.replace("COMMAND", command)
}

const TESTED: &str = "cargo test --offline --no-fail-fast";

#[test]
fn the_recording_replays_in_another_folder_as_another_user_and_the_change_is_real() {
    let world = demo::world(&[]);
    let provider = demo::play(&world, "replay", &demo::recording());
    let command = run_command(&world, &provider, &["--yes", "--json"]);
    let run = Ended::of(&as_another_user(&world, &command).output().unwrap()).expect(0).json();
    let branch = run["branch"].as_str().unwrap();
    assert!(world.on_branch(branch, "src/lib.rs").is_some_and(|text| text != world.git(&["show", "HEAD:src/lib.rs"])));
    let outcome = |purpose: &str| {
        let found = run["evidence"].as_array().unwrap().iter().find(|evidence| evidence["purpose"] == purpose);
        found.unwrap()["commands"][0]["exit"].clone()
    };
    assert_eq!(outcome("acceptance_base"), json!({"code": 101}));
    assert_eq!(outcome("acceptance_final"), json!({"code": 0}));
    assert_eq!(run["cost_estimated"], true);
}

#[test]
fn one_changed_byte_in_a_file_that_was_read_is_a_loud_miss() {
    let text = std::fs::read_to_string(demo::input().join("repository/CHANGELOG.md")).unwrap();
    let changed = text.replacen("This project attempts", "This project Attempts", 1);
    assert_ne!(text, changed);
    let world = demo::world(&[("CHANGELOG.md", &changed)]);
    let provider = demo::play(&world, "replay", &demo::recording());
    let ended = run(&world, &provider, &["--yes"]).expect(1);
    assert!(ended.said("nearest recording") && ended.said("read_file CHANGELOG.md"), "{ended:#?}");
    assert_eq!(world.branches(), Vec::<String>::new());
}

/// The recorded answers, with edits that change no behaviour.
fn neutralised() -> Vec<Value> {
    let mut lines = demo::recording();
    for call in demo::calls(&mut lines, "developer").filter(|call| is_edit(call)) {
        call["name"] = json!("write_file");
        call["input"] = json!({"path": "NOTES.md", "content": "nothing is changed\n"});
    }
    for call in demo::calls(&mut lines, "tester").filter(|call| is_edit(call)) {
        call["name"] = json!("write_file");
        call["input"] = json!({"path": "tests/nothing.rs", "content": "#[test]\nfn nothing() {}\n"});
    }
    lines
}

fn is_edit(call: &Value) -> bool {
    matches!(call["name"].as_str(), Some("write_file" | "edit_file" | "delete_file"))
}

#[test]
fn a_neutralised_edit_fails_the_held_out_test_whatever_the_crew_says() {
    let world = demo::world(&[("gatewright.toml", &settings(TESTED))]);
    let provider = demo::play(&world, "scripted", &neutralised());
    let ended = run(&world, &provider, &["--yes"]).expect(1);
    assert!(ended.said("held_out_jaro.rs::jaro_diff_with_transposition"), "{ended:#?}");
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_check_that_always_fails_is_never_green() {
    // A base that fails before any test ran would otherwise be the end.
    let settings = settings("false").replace("[project]\n", "[project]\nbase_may_fail = true\n");
    let world = demo::world(&[("gatewright.toml", &settings)]);
    let provider = demo::play(&world, "scripted", &demo::recording());
    run(&world, &provider, &["--yes"]).expect(3);
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_canary_in_the_tree_turns_the_evidence_red() {
    let mut lines = demo::recording();
    for call in demo::calls(&mut lines, "tester").filter(|call| is_edit(call)) {
        let canary = "#[test]\nfn canary() {\n    assert_eq!(1, 2);\n}\n";
        call["name"] = json!("write_file");
        call["input"] = json!({"path": "tests/canary.rs", "content": canary});
    }
    let world = demo::world(&[("gatewright.toml", &settings(TESTED))]);
    let provider = demo::play(&world, "scripted", &lines);
    let ended = run(&world, &provider, &["--yes"]).expect(3);
    assert!(ended.said("tests/canary.rs::canary"), "{ended:#?}");
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_denied_gate_leaves_no_branch() {
    let world = demo::world(&[]);
    let provider = demo::play(&world, "replay", &demo::recording());
    let mut first = Running::of(run_command(&world, &provider, &[]).spawn().unwrap());
    let gate = first.until_gate();
    world.gatewright(&["gates", "deny", &gate]).expect(0);
    first.end().expect(2);
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_callers_git_is_left_alone() {
    let world = World::quick();
    let head = world.git(&["rev-parse", "HEAD"]);
    let mut demo = world.command(&["demo", "--no-wait"]);
    let git = world.repository().join(".git");
    demo.env("GIT_DIR", &git).env("GIT_WORK_TREE", world.repository()).env("GIT_INDEX_FILE", git.join("index"));
    let mut demo = Running::of(demo.spawn().unwrap());
    // By now the demo has a repository of its own.
    demo.until_run();
    demo.kill();
    assert_eq!(world.git(&["rev-parse", "HEAD"]), head);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn the_demo_shows_everything_also_to_nobody() {
    let world = World::quick();
    let ended = world.gatewright(&["demo", "--yes"]).expect(0);
    let told = format!("{}{}", ended.stderr, ended.stdout);
    let order = [
        "A user reports:",
        "nothing is charged",
        "developer ",
        "reviewer ",
        "stands before this change lands.",
        "Risk: ",
        "+++ b/src/lib.rs",
        "held-out tests on the base: ",
        "held_out_jaro.rs::jaro_diff_with_transposition",
        "held-out tests on the change: ",
        "flag, nobody looked",
        "Branch: gatewright/r-",
        "git merge gatewright/r-",
        "/demo/",
    ];
    let mut rest = told.as_str();
    for words in order {
        let (_, after) =
            rest.split_once(words).unwrap_or_else(|| panic!("no {words:?} after what came before:\n{told}"));
        rest = after;
    }
}
