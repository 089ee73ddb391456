//! What an agent's tools refuse: the session is told and goes on, and the world outside its overlay stays as it is.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use tests::{Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";

/// A developer who first makes these calls, a turn each, and then does the work; and what became of the run.
fn run_after(world: &World, calls: &[(&str, Value)]) -> Value {
    let script = calls.iter().fold(Script::default().planned(), |script, (tool, input)| {
        script.calls("developer", 1, &[(*tool, input.clone())])
    });
    let script =
        script.develops(1, "sum.sh", RIGHT).tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n").approves(1);
    world.run(&script, &["--yes", "--json"]).expect(0).json()
}

fn write(path: &str) -> (&'static str, Value) {
    ("write_file", json!({"path": path, "content": "owned\n"}))
}

/// Each of these writes was refused, and nothing but the two honest files is in the change.
fn all_refused(world: &World, run: &Value, paths: &[&str]) {
    let events = world.events(run["run_id"].as_str().unwrap());
    for path in paths {
        let told = events.lines().find(|line| line.contains("write_file") && line.contains(path));
        assert!(told.is_some_and(|line| line.contains("(refused)")), "{path}:\n{events}");
    }
    let changed: Vec<&str> =
        run["changed"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(changed, ["sum.sh", "tests/two.sh"]);
}

#[test]
fn a_path_that_leaves_the_repository_is_refused() {
    let world = World::quick();
    let target = world.path("target.txt");
    let absolute = target.to_str().unwrap();
    let paths = ["../target.txt", absolute, "tests/../../target.txt", "./../target.txt"];
    let run = run_after(&world, &paths.map(write));
    all_refused(&world, &run, &paths);
    assert!(!target.exists());
}

#[test]
fn a_write_through_a_link_is_refused() {
    let world = World::quick();
    let outside = world.outside("outside", &[("kept.txt", "kept\n")]);
    symlink(&outside, world.repository().join("folder")).unwrap();
    symlink(outside.join("kept.txt"), world.repository().join("file")).unwrap();
    world.commit(&[]);
    let paths = ["folder/kept.txt", "folder/new.txt", "file"];
    let run = run_after(&world, &paths.map(write));
    all_refused(&world, &run, &paths);
    assert_eq!(fs::read_to_string(outside.join("kept.txt")).unwrap(), "kept\n");
    assert!(!outside.join("new.txt").exists());
    let branch = run["branch"].as_str().unwrap();
    assert!(world.git(&["ls-tree", branch, "folder"]).starts_with("120000"), "the link is still a link");
}

#[test]
fn what_a_link_leads_to_cannot_be_read() {
    let world = World::quick();
    let outside = world.outside("outside", &[("secret.txt", "a word that nobody may see\n")]);
    symlink(outside.join("secret.txt"), world.repository().join("link")).unwrap();
    world.commit(&[]);
    let run = run_after(&world, &[("read_file", json!({"path": "link"}))]);
    let events = world.events(run["run_id"].as_str().unwrap());
    assert!(events.lines().any(|line| line.contains("read_file") && line.contains("(refused)")), "{events}");
}

#[test]
fn what_gives_rights_or_makes_rules_is_protected() {
    let world = World::quick();
    let paths = [".github/workflows/ci.yml", "gatewright.toml", "CODEOWNERS", ".gitattributes", "build.rs"];
    let run = run_after(&world, &paths.map(write));
    all_refused(&world, &run, &paths);
}

#[test]
fn the_git_folder_is_out_of_reach() {
    let world = World::quick();
    let config = fs::read_to_string(world.repository().join(".git/config")).unwrap();
    let paths = [".git/config", ".git/hooks/post-checkout", ".GIT/config", "tests/.git/config"];
    let run = run_after(&world, &paths.map(write));
    all_refused(&world, &run, &paths);
    assert_eq!(fs::read_to_string(world.repository().join(".git/config")).unwrap(), config);
    assert!(!world.repository().join(".git/hooks/post-checkout").exists());
}

#[test]
fn a_tester_writes_tests_only() {
    let world = World::quick();
    let script = Script::default()
        .planned()
        .develops(1, "sum.sh", RIGHT)
        .calls("tester", 1, &[("write_file", json!({"path": "sum.sh", "content": "echo 0\n"}))])
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1);
    let run = world.run(&script, &["--yes", "--json"]).expect(0).json();
    assert_eq!(world.on_branch(run["branch"].as_str().unwrap(), "sum.sh").as_deref(), Some(RIGHT));
    let events = world.events(run["run_id"].as_str().unwrap());
    assert!(
        events.lines().any(|line| line.contains("tester") && line.contains("write_file sum.sh (refused)")),
        "{events}"
    );
}
