//! What is fetched and built once.

use run_model::evidence::{Evidence, Exit};

use crate::world::{Project, World, command};

/// A line that writes something else every time.
const STAMP: &str = "cat /proc/sys/kernel/random/uuid >";

fn tail(evidence: Evidence) -> String {
    let mut commands = evidence.commands;
    assert_eq!(commands[0].exit, Exit::Code(0), "{}", commands[0].output_tail);
    commands.remove(0).output_tail
}

#[tokio::test]
async fn setup_runs_once_for_a_state_of_the_manifest_files() {
    let mut world = World::new().await;
    let mut project = Project::plain("cat stamp.txt");
    project.config.setup = vec![command("stamp", &format!("{STAMP} stamp.txt"))];
    project.config.setup_files = vec!["stamp.txt".into()];
    let first = tail(world.measure(&project).await.unwrap());
    project.files.insert("README.md", "another base\n".into());
    assert_eq!(tail(world.measure(&project).await.unwrap()), first);
    project.files.insert("Cargo.lock", "another state\n".into());
    assert_ne!(tail(world.measure(&project).await.unwrap()), first);
}

#[tokio::test]
async fn the_files_of_setup_are_no_part_of_the_tree() {
    let mut world = World::new().await;
    let plain = world.measure(&Project::plain("true")).await.unwrap();
    let mut project = Project::plain("true");
    project.config.setup = vec![command("stamp", "echo made > stamp.txt")];
    project.config.setup_files = vec!["stamp.txt".into()];
    assert_eq!(world.measure(&project).await.unwrap().tree_sha256, plain.tree_sha256);
    project.config.checks[0].command = "cat stamp.txt".into();
    let own = project.with_edit("stamp.txt", Some("own\n"));
    assert_eq!(tail(world.measure(&own).await.unwrap()), "own");
}

#[tokio::test]
async fn every_check_gets_a_private_copy_of_the_build() {
    let mut world = World::new().await;
    let mut project = Project::plain("cat ../target/built && rm ../target/built");
    project.config.warm_up = vec![command("build", &format!("mkdir -p ../target && {STAMP} ../target/built"))];
    let first = tail(world.measure(&project).await.unwrap());
    assert_eq!(tail(world.measure(&project).await.unwrap()), first);
    project.files.insert("README.md", "another base\n".into());
    assert_ne!(tail(world.measure(&project).await.unwrap()), first);
}

#[tokio::test]
async fn a_copied_build_is_fresh_and_an_edit_makes_it_stale() {
    let mut world = World::new().await;
    let mut project = Project::rust();
    project.config.checks[0].command =
        "cargo test --offline --no-run 2>&1 | grep -c Compiling | sed s/^/compiled:/".into();
    assert_eq!(tail(world.measure(&project).await.unwrap()), "compiled:0");
    let edited = project.with_edit("src/lib.rs", Some("pub fn triple(n: i32) -> i32 {\n    n * 3\n}\n"));
    assert_eq!(tail(world.measure(&edited).await.unwrap()), "compiled:1");
}

#[tokio::test]
async fn what_was_fetched_cannot_be_changed_by_a_check() {
    let mut world = World::new().await;
    let mut project = Project::rust();
    project.config.setup = vec![command("fetch", "echo fetched > $CARGO_HOME/package && cargo fetch")];
    project.config.checks[0].command =
        "! touch $CARGO_HOME/new 2>/dev/null && ! rm -f $CARGO_HOME/package 2>/dev/null && cat $CARGO_HOME/package"
            .into();
    assert_eq!(tail(world.measure(&project).await.unwrap()), "fetched");
}

/// A project whose setup makes a folder with a program, a link and a note in it.
fn with_folder(check: &str) -> Project {
    let mut project = Project::plain(check);
    let make = "mkdir -p made/bin && printf '#!/bin/sh\\necho made\\n' > made/bin/tool && chmod 755 made/bin/tool && \
                ln -s tool made/bin/alias";
    project.config.setup = vec![command("make", make)];
    project.config.setup_files = vec!["made".into()];
    project
}

#[tokio::test]
async fn every_check_gets_a_private_copy_of_the_folders_of_setup() {
    let mut world = World::new().await;
    let line = "made/bin/alias && test -L made/bin/alias && ! ls made/spoiled 2>/dev/null && touch made/spoiled";
    let mut project = with_folder(line);
    project.config.checks.push(project.config.checks[0].clone());
    project.config.checks[1].name = "again".into();
    let evidence = world.measure(&project).await.unwrap();
    assert_eq!(evidence.commands[1].exit, Exit::Code(0), "{}", evidence.commands[1].output_tail);
    let plain = world.measure(&Project::plain("true")).await.unwrap();
    assert_eq!(evidence.tree_sha256, plain.tree_sha256, "it is no part of the tree");
    assert_eq!(tail(world.measure(&project).await.unwrap()), "made");
}

#[tokio::test]
async fn a_folder_of_setup_stands_in_the_place_of_the_trees_own_and_warm_up_has_it_too() {
    let mut world = World::new().await;
    let mut project = with_folder("cat ../target/said && ls made");
    project.files.insert("made/old", "old\n".into());
    project.config.setup[0].command.insert_str(0, "rm made/old && ");
    project.config.warm_up = vec![command("use", "mkdir ../target && made/bin/tool > ../target/said")];
    assert_eq!(tail(world.measure(&project).await.unwrap()), "made\nbin");
}

#[tokio::test]
async fn manifests_that_were_let_in_are_set_up_and_nothing_else_of_the_change_is_there() {
    let mut world = World::new().await;
    let mut project = Project::plain("cat made ../target/built Cargo.toml").with_edit("Cargo.toml", Some("changed\n"));
    project.files.insert("Cargo.toml", "base\n".into());
    project.files.insert("setup.sh", "cat Cargo.toml > made\n".into());
    project.config.setup = vec![command("make", "sh setup.sh")];
    project.config.setup_files = vec!["made".into()];
    project.config.warm_up = vec![command("build", "mkdir ../target && cat Cargo.toml > ../target/built")];
    let mut project = project.with_edit("setup.sh", Some("echo an agent wrote this > made\n"));
    assert_eq!(tail(world.measure(&project).await.unwrap()), "base\nbase\nchanged");
    project.setup = vec![("Cargo.toml", "changed\n")];
    assert_eq!(tail(world.measure(&project).await.unwrap()), "changed\nchanged\nchanged");
    project.setup.clear();
    assert_eq!(tail(world.measure(&project).await.unwrap()), "base\nbase\nchanged", "each has its own place");
}

#[tokio::test]
async fn setup_sees_no_file_of_a_change_that_is_no_manifest() {
    let mut world = World::new().await;
    let mut project = Project::plain("true");
    project.setup = vec![("Cargo.lock", "x"), ("src/lib.rs", "x")];
    let (name, message) = world.measure(&project).await.unwrap_err();
    assert_eq!(
        (name.as_str(), message.as_str()),
        ("PolicyRefused", "src/lib.rs is no manifest or lock file: setup does not see it")
    );
}
