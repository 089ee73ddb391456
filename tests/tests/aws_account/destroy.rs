//! A stage goes only when that is meant.

use run_model::RunId;
use run_model::run::{Outcome, RunStatus};
use store::NewEvent;
use tests::account::Stack;

use crate::{Place, says};

#[tokio::test]
async fn a_stage_is_destroyed_only_when_that_is_meant() {
    let place = Place::deployed().await;
    let destroy = ["destroy", "--stage", "dev"];
    let ended = place.run(&destroy).expect(65);
    says(&ended, &["what goes: ", "what stays: ", "OIDC provider", "--yes"]);
    place.admit("r-7").await;
    let yes = [&destroy[..], &["--yes"]].concat();
    says(&place.run(&yes).expect(65), &["r-7", "gatewright runs stop --all --stage dev"]);
    assert!(!place.account.state().calls.contains(&"DeleteStack".to_owned()));

    let outcome = Outcome { reason: "stopped".into(), next_step: String::new() };
    let run = RunId::new("r-7").unwrap();
    place.store.end_run(&run, RunStatus::Stopped, outcome, NewEvent::new("run.ended", "stopped")).await.unwrap();
    says(&place.run(&yes).expect(0), &["objects of gatewright-dev are deleted", "gatewright-dev is gone"]);
    assert!(place.store.get_object("runs/r-7/artefacts").await.is_err());
    assert_eq!(place.store.empty_bucket().await.unwrap(), 0, "nothing was left in the bucket");
}

#[tokio::test]
async fn what_cannot_be_deleted_is_named() {
    let place = Place::deployed().await;
    let reason = "The bucket you tried to delete is not empty (Service: S3, Status Code: 409, Request ID: 1)";
    place.account.put(Stack {
        deletes_to: Some("DELETE_FAILED"),
        events: vec![
            ("Bucket", "AWS::S3::Bucket", "DELETE_FAILED", reason),
            ("gatewright-dev", "AWS::CloudFormation::Stack", "DELETE_IN_PROGRESS", "User Initiated"),
        ],
        ..Stack::of_stage("dev", "CREATE_COMPLETE")
    });
    let ended = place.run(&["destroy", "--stage", "dev", "--yes"]).expect(1);
    says(&ended, &["it is in DELETE_FAILED", reason, "cure: something was written into it meanwhile"]);
}

#[tokio::test]
async fn what_is_no_stage_is_not_deleted() {
    let place = Place::deployed().await;
    place.account.put(Stack { name: "gatewright-actions-app".into(), status: "CREATE_COMPLETE", ..Stack::default() });
    says(&place.run(&["destroy", "--stage", "actions-app", "--yes"]).expect(65), &["is no stage of Gatewright"]);
    assert!(!place.account.state().calls.contains(&"DeleteStack".to_owned()));
}
