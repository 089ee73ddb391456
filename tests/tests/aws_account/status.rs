//! What a stage is made of, and what is wrong with it.

use tests::account::Stack;

use crate::{Place, says};

#[test]
fn a_stage_that_does_not_exist_says_how_it_would() {
    let place = Place::new();
    for arguments in [&["status"][..], &["logs", "--run", "r-1"], &["destroy", "--yes"]] {
        let ended = place.run(&[arguments, &["--stage", "staging"]].concat()).expect(65);
        says(&ended, &["no such stage in us-east-1", "gatewright aws deploy --stage staging"]);
    }
}

#[tokio::test]
async fn status_shows_the_parts_and_what_they_lack() {
    let place = Place::deployed().await;
    place.begin("r-7").await;
    // It has just begun, and no record says so yet: only Step Functions knows it.
    let machine = place.account.state().stacks["gatewright-dev"].resources[1].1.clone();
    place.execution(&machine, "r-8").await;
    place.admit("r-6").await;
    let ended = place.run(&["status", "--stage", "dev"]).expect(69);
    says(
        &ended,
        &[
            "gatewright-dev is in CREATE_COMPLETE in us-east-1: revision abc123, arm64",
            "secret    models: empty",
            "cure: gatewright aws secrets set models --stage dev --field ANTHROPIC_API_KEY",
            "runs      2 under way: ",
            "r-7 (plan)",
            "r-8 (just begun)",
            "task-graph: missing",
            "runners   no runner is alive",
            "$1.20 a month",
        ],
    );
    assert!(!ended.said("r-6"), "its record is behind: nothing carries it");
}

#[test]
fn a_stack_that_failed_is_named_with_the_cure() {
    let place = Place::new();
    for (status, words) in [
        ("ROLLBACK_COMPLETE", "gatewright aws destroy --stage dev"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
        ("CREATE_IN_PROGRESS", "somebody changes it right now"),
    ] {
        place.account.put(Stack::of_stage("dev", status));
        for command in ["deploy", "status"] {
            if (command, status) == ("status", "CREATE_IN_PROGRESS") {
                continue;
            }
            let ended = place.run(&[command, "--stage", "dev"]);
            assert_ne!(ended.code, 0);
            says(&ended, &[status, words]);
        }
    }
    assert_eq!(place.sam_calls(), Vec::<String>::new(), "nothing was begun");
}
