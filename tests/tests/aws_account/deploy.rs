//! A commit becomes a stage, or it is said why not.

use std::fs;

use tests::Ended;
use tests::account::Stack;

use crate::{Place, SAM, says};

#[test]
fn a_tree_with_changes_is_refused_with_the_files() {
    let place = Place::new();
    fs::write(place.world.repository().join("sum.sh"), "changed\n").unwrap();
    fs::write(place.world.repository().join("new.txt"), "new\n").unwrap();
    let ended = place.run(&["deploy", "--stage", "dev"]).expect(65);
    says(&ended, &["a commit is deployed", "\n  sum.sh", "\n  new.txt"]);
    assert_eq!(place.sam_calls(), Vec::<String>::new());
}

#[test]
fn missing_tools_are_named_with_how_to_get_them() {
    let place = Place::new();
    fs::remove_file(place.tools.join("sam")).unwrap();
    fs::remove_file(place.tools.join("cargo-lambda")).unwrap();
    let ended = place.run(&["deploy", "--stage", "dev"]).expect(69);
    says(&ended, &["sam is not installed: ", "aws-sam-cli==", "cargo-lambda is not installed: "]);
}

#[test]
fn a_folder_that_is_no_checkout_is_refused() {
    let place = Place::new();
    let elsewhere = place.world.outside("plain", &[("file", "")]);
    let mut command = place.command(&["deploy", "--stage", "dev"]);
    let ended = Ended::of(&command.current_dir(elsewhere).env("GIT_CEILING_DIRECTORIES", "/tmp").output().unwrap());
    says(&ended.expect(65), &["no checkout of Gatewright"]);
}

/// A first deploy makes what `deployed` has; nothing of it is there before.
#[tokio::test]
async fn a_clean_tree_is_built_and_deployed_and_the_next_steps_are_told() {
    let place = Place::new();
    let stack =
        Stack { outputs: vec![("ApiUrl", "https://abc.example".into())], ..Stack::of_stage("dev", "CREATE_COMPLETE") };
    place.account.state().deployed_by = Some((place.tools.join("deployed"), stack));
    place.account.state().concurrency = 10;
    // The stand-in makes a stack and nothing in it, so that there are no grants to read: it is deployed all the same.
    place.world.git(&["remote", "add", "origin", "git@github.com:acme/app.git"]);
    let ended = place.run(&["deploy", "--stage", "dev", "--architecture", "x86_64", "--hardened"]).expect(0);
    says(
        &ended,
        &[
            "may run 10 functions at once",
            "L-B99A9384",
            "it works on acme/app and on nothing else",
            "hardened: beyond the rest, $1.00 a month for the key",
            "it is deployed; what it lacks could not be looked at",
            "a run: gatewright run --stage dev",
        ],
    );
    let commit = place.world.git(&["rev-parse", "HEAD"]);
    let calls = place.sam_calls();
    assert_eq!(calls[0], "build --template infra/template.yaml --parameter-overrides Architecture=x86_64");
    assert_eq!(
        calls[1],
        format!(
            "deploy --template-file .aws-sam/build/template.yaml --stack-name gatewright-dev --region us-east-1 --resolve-s3 \
             --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND --no-confirm-changeset --no-fail-on-empty-changeset \
             --parameter-overrides Stage=dev Architecture=x86_64 Hardened=true Revision={commit} \
             Repositories=acme/app"
        )
    );
}

#[tokio::test]
async fn a_later_deploy_keeps_what_was_chosen_and_says_what_is_next() {
    let place = Place::deployed().await;
    let again = place.run(&["deploy", "--stage", "dev"]).expect(0);
    says(
        &again,
        &[
            "gatewright-dev is CREATE_COMPLETE for arm64",
            "what it works on: gatewright aws deploy --stage dev --repository OWNER/NAME",
            "the key of your model provider: gatewright aws secrets set models --stage dev --field ANTHROPIC_API_KEY",
            "gatewright aws tokens add --stage dev --person NAME",
            "gatewright runner --api ADDRESS",
            "gatewright aws status --stage dev",
        ],
    );
    assert!(!again.said("may run"), "a thousand functions at once are enough");
}

#[tokio::test]
async fn a_name_that_is_taken_is_found_before_anything_is_made() {
    let place = Place::new();
    place.store.create_table_and_bucket().await.unwrap();
    let ended = place.run(&["deploy", "--stage", "dev"]).expect(65);
    says(&ended, &["there is no stack gatewright-dev", "the table gatewright-dev"]);
    assert_eq!(place.sam_calls(), Vec::<String>::new());
}

#[test]
fn what_failed_in_a_deploy_is_named_with_the_cure() {
    let place = Place::new();
    let stack = Stack {
        events: vec![
            ("gatewright-dev", "AWS::CloudFormation::Stack", "ROLLBACK_COMPLETE", ""),
            ("Bucket", "AWS::S3::Bucket", "CREATE_FAILED", "Resource creation cancelled"),
            (
                "ApiLogs",
                "AWS::Logs::LogGroup",
                "CREATE_FAILED",
                "Resource of type 'AWS::Logs::LogGroup' with identifier '/aws/lambda/gatewright-dev-api' already exists.",
            ),
            ("gatewright-dev", "AWS::CloudFormation::Stack", "CREATE_IN_PROGRESS", "User Initiated"),
        ],
        ..Stack::of_stage("dev", "ROLLBACK_COMPLETE")
    };
    place.account.state().deployed_by = Some((place.tools.join("fails"), stack));
    fs::create_dir_all(place.world.repository().join(".aws-sam/build")).unwrap();
    fs::write(place.world.repository().join(".aws-sam/build/template.yaml"), "").unwrap();
    // The stack is not there while the deploy looks: it comes with the failure.
    let script = SAM
        .replace("if [ -f", "echo 'Waiter StackCreateComplete failed: ROLLBACK_COMPLETE' > \"$here/fails\"\nif [ -f");
    fs::write(place.tools.join("sam"), script).unwrap();
    let ended = place.run(&["deploy", "--stage", "dev", "--no-build"]).expect(1);
    says(
        &ended,
        &[
            "sam deploy failed",
            "ApiLogs (AWS::Logs::LogGroup): ",
            "cure: the name is taken",
            "aws logs delete-log-group --log-group-name /aws/lambda/gatewright-dev-api",
            "the stack gatewright-dev is in ROLLBACK_COMPLETE",
        ],
    );
    assert!(!ended.said("cancelled"));
}

#[test]
fn what_the_sam_cli_says_of_credentials_is_named_with_the_cure() {
    let place = Place::new();
    fs::write(
        place.tools.join("fails"),
        "An error occurred (ExpiredToken) when calling the CreateChangeSet operation\n",
    )
    .unwrap();
    let ended = place.run(&["deploy", "--stage", "dev"]).expect(1);
    says(&ended, &["sam build failed: the session has ended: sign in again"]);
}

#[tokio::test]
async fn what_was_built_before_is_deployed_under_its_own_commit() {
    let place = Place::deployed().await;
    let no_build = ["deploy", "--stage", "dev", "--no-build"];
    says(&place.run(&no_build).expect(65), &["there is no .aws-sam/build/template.yaml yet"]);
    place.run(&["deploy", "--stage", "dev"]).expect(0);
    let built_from = place.world.git(&["rev-parse", "HEAD"]);
    let revision = |place: &Place| {
        place.sam_calls().last().unwrap().rsplit_once("Revision=").unwrap().1.split(" ").next().unwrap().to_owned()
    };

    fs::write(place.world.repository().join("sum.sh"), "changed\n").unwrap();
    says(&place.run(&no_build).expect(0), &["the checkout has changes since"]);
    place.world.commit(&[("sum.sh", "changed again\n")]);
    says(&place.run(&no_build).expect(0), &[&format!("was built from {built_from}, not from what is checked out")]);
    assert_eq!(revision(&place), built_from);

    let other = place.run(&[&no_build[..], &["--architecture", "x86_64"]].concat()).expect(65);
    says(&other, &["was built for arm64", "--architecture arm64"]);
    fs::remove_file(place.world.repository().join(".aws-sam/build/built-from.json")).unwrap();
    says(&place.run(&no_build).expect(0), &["revision unknown"]);
    assert_eq!(revision(&place), "unknown");
}

#[tokio::test]
async fn a_tree_that_changes_while_it_is_built_is_not_deployed() {
    let place = Place::deployed().await;
    let script = SAM.replace("build)\n", "build)\n  echo more >> sum.sh\n");
    fs::write(place.tools.join("sam"), script).unwrap();
    says(&place.run(&["deploy", "--stage", "dev"]).expect(65), &["a commit is deployed", "\n  sum.sh"]);
    assert_eq!(place.sam_calls().len(), 1, "nothing was deployed");
}
