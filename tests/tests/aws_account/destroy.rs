//! A stage goes only when that is meant.

use run_model::RunId;
use tests::account::Stack;

use crate::{Place, says};

#[tokio::test]
async fn a_stage_is_destroyed_only_when_that_is_meant() {
    let place = Place::deployed().await;
    let destroy = ["destroy", "--stage", "dev"];
    let ended = place.run(&destroy).expect(65);
    says(&ended, &["what goes: ", "what stays: ", "OIDC provider", "--yes"]);
    place.begin("r-7").await;
    let yes = [&destroy[..], &["--yes"]].concat();
    says(&place.run(&yes).expect(65), &["r-7", "gatewright runs stop --all --stage dev"]);
    assert!(!place.account.state().calls.contains(&"DeleteStack".to_owned()));

    let arn = place.store.run(&RunId::new("r-7").unwrap()).await.unwrap().execution_arn;
    place.step_functions().stop_execution().execution_arn(arn).send().await.unwrap();
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

#[tokio::test]
async fn what_runs_without_a_record_keeps_a_stage_too() {
    let place = Place::deployed().await;
    let task = place.machine("gatewright-dev-task").await;
    place.execution(&task, "left-over").await;
    // A machine that is gone runs nothing, whatever the stack says.
    let gone = task.replace("-task", "-pipeline");
    let resources = vec![("Bucket", "gatewright-dev".into()), ("Pipeline", gone), ("Task", task)];
    place.account.put(Stack { resources, ..Stack::of_stage("dev", "CREATE_COMPLETE") });
    let ended = place.run(&["destroy", "--stage", "dev", "--yes"]).expect(65);
    says(&ended, &["executions are under way (left-over)", "gatewright runs stop --all --stage dev"]);
}

#[test]
fn this_machine_is_no_stage_to_destroy() {
    let ended = Place::new().run(&["destroy", "--stage", "local", "--yes"]).expect(65);
    says(&ended, &["--stage local: that is this machine, which is no stage in an account"]);
}
