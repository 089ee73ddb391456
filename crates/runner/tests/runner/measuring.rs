//! What evidence says of a tree.

use std::sync::Arc;

use run_model::Sha256;
use run_model::evidence::{EVIDENCE_SCHEMA, Exit, Purpose, TestOutcome, TestResult};
use tokio::sync::Notify;

use crate::world::{Project, World};

const CANARY: &str = "#[test]\nfn canary() {\n    panic!(\"found the canary in {}\", file!());\n}\n";

fn result(name: &str, outcome: TestOutcome) -> TestResult {
    TestResult { name: name.to_owned(), outcome }
}

#[tokio::test]
async fn a_canary_turns_a_green_base_red() {
    let mut world = World::new().await;
    let base = world.measure(&Project::rust()).await.unwrap();
    assert_eq!((base.schema, base.purpose), (EVIDENCE_SCHEMA, Purpose::Task));
    assert_eq!(base.commands[0].exit, Exit::Code(0), "{}", base.commands[0].output_tail);
    assert_eq!(base.commands[0].tests, [result("src/lib.rs::doubles", TestOutcome::Passed)]);
    assert_eq!(base.commands[0].doubt, None);
    assert!(base.layers.contains(&"seccomp".to_owned()), "{:?}", base.layers);

    let canary = world.measure(&Project::rust().with_edit("tests/canary.rs", Some(CANARY))).await.unwrap();
    assert_eq!(canary.commands[0].exit, Exit::Code(101));
    assert_eq!(
        canary.commands[0].tests,
        [result("src/lib.rs::doubles", TestOutcome::Passed), result("tests/canary.rs::canary", TestOutcome::Failed)]
    );
    assert!(canary.commands[0].output_tail.contains("found the canary in tests/canary.rs"));
    assert!(!run_model::judge::judge(&base, &canary).green);
    assert_ne!(canary.tree_sha256, base.tree_sha256);
}

#[tokio::test]
async fn what_does_not_compile_is_red_and_says_where() {
    let mut world = World::new().await;
    let broken =
        world.measure(&Project::rust().with_edit("src/lib.rs", Some("compile_error!(\"no\");\n"))).await.unwrap();
    assert_eq!(broken.commands[0].exit, Exit::Code(101));
    assert_eq!(broken.commands[0].tests, []);
    assert!(broken.commands[0].output_tail.contains("--> src/lib.rs:1:1"), "{}", broken.commands[0].output_tail);
}

#[tokio::test]
async fn evidence_holds_nothing_of_the_machine() {
    let mut world = World::new().await;
    let project = Project::plain("pwd; echo $HOME; echo $TMPDIR; hostname; id -un");
    let tail = world.measure(&project).await.unwrap().commands.remove(0).output_tail;
    assert_eq!(tail, ".\n<workspace>/home\n/tmp\nsandbox\nsandbox");
}

#[tokio::test]
async fn every_check_runs_and_is_told_how_it_ended() {
    let mut world = World::new().await;
    let mut project = Project::plain("exit 3");
    let mut add = |name: &str, line: &str| {
        let check = project.config.checks[0].clone();
        project.config.checks.push(config::CheckSpec { name: name.into(), command: line.into(), ..check });
    };
    add("signal", "kill -KILL $$");
    add("hang", "while :; do :; done");
    add("good", "true");
    project.config.limits.check_wall_seconds = 1;
    let commands = world.measure(&project).await.unwrap().commands;
    let exits: Vec<Exit> = commands.into_iter().map(|command| command.exit).collect();
    assert_eq!(exits, [Exit::Code(3), Exit::Signal(9), Exit::Limit("wall".into()), Exit::Code(0)]);
}

#[tokio::test]
async fn what_one_check_writes_the_next_does_not_see() {
    let mut world = World::new().await;
    let mut project =
        Project::plain("echo forged > README.md; touch new.txt; mkdir -p ../target && touch ../target/forged");
    let second = config::CheckSpec {
        name: "second".into(),
        command: "cat README.md; ls -R ..".into(),
        ..project.config.checks[0].clone()
    };
    project.config.checks.push(second);
    let commands = world.measure(&project).await.unwrap().commands;
    assert_eq!(commands[0].exit, Exit::Code(0), "{}", commands[0].output_tail);
    assert!(
        !commands[1].output_tail.contains("forged") && !commands[1].output_tail.contains("new.txt"),
        "{}",
        commands[1].output_tail
    );
}

#[tokio::test]
async fn edits_and_held_out_files_are_laid_over_the_base() {
    let mut world = World::new().await;
    let mut project = Project::plain("cat README.md tests/secret.txt; ls");
    project.files.insert("gone.txt", "gone".into());
    let base = world.measure(&project).await.unwrap();
    let mut project = project.with_edit("README.md", Some("changed\n")).with_edit("gone.txt", None);
    let changed = world.measure(&project).await.unwrap();
    project.held_out = vec![("tests/secret.txt", "held out\n")];
    let accepted = world.measure(&project).await.unwrap();
    assert_eq!(accepted.commands[0].output_tail, "changed\nheld out\nREADME.md\ntests");
    assert!(changed.tree_sha256 != base.tree_sha256 && accepted.tree_sha256 != changed.tree_sha256);
    assert_eq!(accepted.overlay_sha256, changed.overlay_sha256);
    assert_ne!(accepted.overlay_sha256, Some(Sha256::of(b"")));
}

#[tokio::test]
async fn a_workspace_is_private_and_gone_afterwards() {
    let mut world = World::new().await;
    let project = Project::plain("stat -c %a ..; mkdir locked && touch locked/file && chmod 0 locked");
    let tail = world.measure(&project).await.unwrap().commands.remove(0).output_tail;
    assert_eq!(tail, "700");
    assert_eq!(std::fs::read_dir(world.state.join("work")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_runner_takes_back_what_a_dead_process_had_claimed_and_hears_of_new_jobs() {
    let mut world = World::new().await;
    let claimed = world.queue(&Project::plain("true")).await;
    world.store.claim_job("dead-process").await.unwrap().unwrap();
    let jobs = Arc::new(Notify::new());
    let running = tokio::spawn(world.runner.clone().run(jobs.clone()));
    ended(&world, &claimed).await;
    let queued = world.queue(&Project::plain("true")).await;
    jobs.notify_one();
    ended(&world, &queued).await;
    running.abort();
}

/// Waits until a job has ended.
async fn ended(world: &World, job: &run_model::evidence::CheckJob) {
    while world.end(job).await.is_none() {
        tokio::task::yield_now().await;
    }
}
