//! `gatewright init` writes settings that fit what git keeps, and never over somebody's own.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs;

use tests::{Script, World};

fn settings(world: &World) -> String {
    fs::read_to_string(world.repository().join("gatewright.toml")).unwrap()
}

#[test]
fn what_was_found_is_written_and_said() {
    let world = World::rust();
    let ended = world.gatewright(&["init"]).expect(0);
    assert!(ended.said("found a rust project") && ended.said("commit it"), "{}", ended.stdout);
    assert!(settings(&world).contains("command = \"cargo test --offline --no-fail-fast\""));
}

#[test]
fn a_lock_file_that_git_ignores_does_not_count() {
    let world = World::rust();
    world.commit(&[(".gitignore", "/Cargo.lock\n")]);
    fs::write(world.repository().join("Cargo.lock"), "version = 4\n").unwrap();
    world.gatewright(&["init"]).expect(0);
    assert!(settings(&world).contains("command = \"cargo fetch\""), "{}", settings(&world));
    assert!(settings(&world).contains("setup_files = [\"Cargo.lock\"]"), "{}", settings(&world));
}

#[test]
fn a_file_that_is_there_is_overwritten_only_by_force() {
    let world = World::rust();
    fs::write(world.repository().join("gatewright.toml"), "# mine\n").unwrap();
    let refused = world.gatewright(&["init"]).expect(65);
    assert!(refused.said("is there already") && refused.said("--force"), "{}", refused.stderr);
    assert_eq!(settings(&world), "# mine\n");
    world.gatewright(&["init", "--force"]).expect(0);
    assert!(settings(&world).contains("[[checks]]"));
}

#[test]
fn an_unknown_project_gets_a_file_in_which_one_command_is_left_to_write() {
    let world = World::with(&[("README.md", "")]);
    let ended = world.gatewright(&["init"]).expect(0);
    assert!(ended.said("no project that is known here") && ended.said("[[checks]]"), "{}", ended.stdout);
    assert!(ended.said("check `test` names no tests") && ended.said("format = \"junit\""), "{}", ended.stdout);
    let begun = world.run(&Script::default(), &[]).expect(65);
    assert!(begun.said("checks[0].command"), "{}", begun.stderr);
}

#[test]
fn what_git_misses_is_said_with_the_command_that_helps() {
    let world = World::with(&[("backend/Cargo.toml", "[package]\nname = \"a\"\n"), ("README.md", "")]);
    let (repository, below) = (world.repository(), world.repository().join("backend"));
    let inside = world.gatewright(&["init", "--repo", below.to_str().unwrap()]).expect(65);
    let cure = format!("`gatewright init --repo {} --root backend`", repository.canonicalize().unwrap().display());
    assert!(inside.said(&cure) && !below.join("gatewright.toml").exists(), "{}", inside.stderr);
    let bare = world.outside("bare", &[("CMakeLists.txt", "")]);
    let none = world.gatewright(&["init", "--repo", bare.to_str().unwrap()]).expect(0);
    assert!(none.said("no git repository yet") && none.said("saw    CMakeLists.txt: perhaps"), "{}", none.stdout);
    std::process::Command::new("git").args(["init", "--quiet"]).current_dir(&bare).status().unwrap();
    let empty = world.gatewright(&["init", "--force", "--repo", bare.to_str().unwrap()]).expect(0);
    assert!(empty.said("there is no commit yet"), "{}", empty.stdout);
}

const PYTHON: &[(&str, &str)] =
    &[("api/requirements.txt", "x\n"), ("api/tests/test_a.py", "def test_a():\n    pass\n")];
const NODE: (&str, &str) = ("web/package.json", "{\"scripts\": {\"test\": \"jest\"}}");

#[test]
fn the_only_project_below_the_root_is_proposed() {
    let world = World::with(PYTHON);
    let ended = world.gatewright(&["init"]).expect(0);
    assert!(
        ended.said("found a python project in api") && ended.said("note   pytest is not among"),
        "{}",
        ended.stdout
    );
    let text = settings(&world);
    for line in ["root = \"api\"", "setup_files = [\".venv\"]", "format = \"junit\""] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn of_several_projects_none_is_chosen_but_by_the_person() {
    let world = World::with(&[PYTHON, &[NODE]].concat());
    let refused = world.gatewright(&["init"]).expect(65);
    assert!(
        refused.said("gatewright init --root api\n") && refused.said("gatewright init --root web"),
        "{}",
        refused.stderr
    );
    assert!(!world.repository().join("gatewright.toml").exists());
    let wrong = world.gatewright(&["init", "--root", "../web"]).expect(65);
    assert!(wrong.said("name a folder as the repository's paths begin"), "{}", wrong.stderr);
    let empty = world.gatewright(&["init", "--root", "docs"]).expect(65);
    assert!(empty.said("--root docs: no project that is known here"), "{}", empty.stderr);
    world.gatewright(&["init", "--root", "./web/"]).expect(0);
    assert!(
        settings(&world).contains("root = \"web\"") && settings(&world).contains("jest_json"),
        "{}",
        settings(&world)
    );
}
