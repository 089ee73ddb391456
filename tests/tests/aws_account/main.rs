//! `gatewright aws` against an account that answers as AWS does, with the SAM CLI stood in for by a script.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

mod bootstrap;
mod deploy;
mod destroy;
mod logs;
mod secrets;
mod status;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use lambda_host::{OsRandomness, SystemClock};
use run_model::budget::Budget;
use run_model::run::{NewRun, Requester, RunRecord, Stage as At};
use run_model::{Clock, RunId};
use store::{Names, Store};
use tests::account::{Account, Stack};
use tests::served::Served;
use tests::{Ended, World};

/// Keeps what it is asked, and does of it what the command line looks at.
const SAM: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
if [ -f "$here/fails" ]; then cat "$here/fails" >&2; exit 1; fi
case "$1" in
build)
  mkdir -p .aws-sam/build && cp infra/template.yaml .aws-sam/build/template.yaml ;;
deploy)
  if [ "$*" = "$(cat "$here/deployed" 2>/dev/null)" ]; then
    echo "No changes to deploy. Stack is up to date"
  else
    echo "$*" > "$here/deployed"
    echo "Successfully created/updated stack"
  fi ;;
esac
"#;

const BUDGET: Budget = Budget { limit_microusd: 1, limit_tokens: 1, committed_microusd: 0, committed_tokens: 0 };

struct Place {
    world: World,
    account: Account,
    cloud: Served,
    store: Store,
    tools: PathBuf,
}

impl Place {
    /// An account without a stage, and a checkout of Gatewright as far as a deploy looks at it.
    fn new() -> Self {
        let world = World::quick();
        world.commit(&[
            ("infra/template.yaml", "# stands for the template\n"),
            ("infra/bootstrap.yaml", "# stands for the other one\n"),
            (".gitignore", ".aws-sam\n"),
        ]);
        let tools = world.path("tools");
        fs::create_dir(&tools).unwrap();
        for (name, text) in [("sam", SAM), ("cargo-lambda", "#!/bin/sh\n"), ("cargo", "#!/bin/sh\n")] {
            fs::write(tools.join(name), text).unwrap();
            fs::set_permissions(tools.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let cloud = Served::start(&world, &[]);
        let store =
            Store::new(&cloud.sdk_config(), Names::for_stage("dev"), Arc::new(SystemClock), Arc::new(OsRandomness));
        Self { account: Account::start(), world, cloud, store, tools }
    }

    /// The same with what a deploy makes for the stage `dev`.
    async fn deployed() -> Self {
        let place = Self::new();
        place.account.put(Stack::of_stage("dev", "CREATE_COMPLETE"));
        place.store.create_table_and_bucket().await.unwrap();
        let secrets = aws_sdk_secretsmanager::Client::new(&place.cloud.sdk_config());
        for name in ["models", "forge", "signing"] {
            secrets.create_secret().name(format!("gatewright/dev/{name}")).send().await.unwrap();
        }
        place
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(&[&["aws"], arguments].concat());
        for service in ["DYNAMODB", "SECRETS_MANAGER", "S3", "SFN"] {
            command.env(format!("AWS_ENDPOINT_URL_{service}"), self.cloud.address());
        }
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.tools.display());
        command
            .env("AWS_ENDPOINT_URL", self.account.address())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "id")
            .env("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-account")
            .env_remove("AWS_SESSION_TOKEN")
            .env("PATH", path);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().unwrap())
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        Ended::of_input(&mut self.command(arguments), input)
    }

    /// What the SAM CLI was asked.
    fn sam_calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.tools.join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// A run that is under way: its record, and an execution that waits for an hour.
    async fn begin(&self, run: &str) {
        let machine = self.machine("gatewright-dev-pipeline").await;
        let arn = self.execution(&machine, run).await;
        let record = RunRecord { execution_arn: arn, ..self.record(run, SystemClock.now_ms()).await };
        self.store.admit(record, BUDGET).await.unwrap();
        let resources = vec![("Bucket", "gatewright-dev".into()), ("Pipeline", machine)];
        self.account.put(Stack { resources, ..Stack::of_stage("dev", "CREATE_COMPLETE") });
    }

    /// A machine whose executions wait for an hour.
    async fn machine(&self, name: &str) -> String {
        let definition = r#"{"QueryLanguage": "JSONata", "StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": true}}}"#;
        let machine = self.step_functions().create_state_machine().name(name).definition(definition);
        machine.role_arn("arn:aws:iam::0:role/r").send().await.unwrap().state_machine_arn
    }

    async fn execution(&self, machine: &str, name: &str) -> String {
        let start = self.step_functions().start_execution().state_machine_arn(machine).name(name);
        start.send().await.unwrap().execution_arn
    }

    fn step_functions(&self) -> aws_sdk_sfn::Client {
        aws_sdk_sfn::Client::new(&self.cloud.sdk_config())
    }

    async fn admit(&self, run: &str) -> i64 {
        let now_ms = SystemClock.now_ms();
        let record = self.record(run, now_ms).await;
        self.store.admit(record, BUDGET).await.unwrap();
        now_ms
    }

    async fn record(&self, run: &str, created_ms: i64) -> RunRecord {
        let run_id = RunId::new(run).unwrap();
        let artefact = self.store.put_artefact(&run_id, b"text".to_vec()).await.unwrap();
        let new = NewRun {
            run_id,
            execution_arn: "arn:1".into(),
            repository: "acme/app".into(),
            base_ref: "main".into(),
            requirement: artefact.clone(),
            config: artefact,
            requester: Requester::local("ada"),
            now_ms: created_ms,
        };
        RunRecord { stage: At::Plan, ..RunRecord::admitted(new) }
    }
}

#[track_caller]
fn says(ended: &Ended, words: &[&str]) {
    for words in words {
        assert!(ended.said(words), "{words:?} was not said:\n{}\n{}", ended.stderr, ended.stdout);
    }
    assert!(!ended.said("panicked") && !ended.said("a-secret-of-the-account"), "{}", ended.stderr);
}

#[test]
fn what_is_wrong_with_the_environment_is_named() {
    let place = Place::new();
    let mut without = place.command(&["status", "--stage", "dev"]);
    let ended = Ended::of(&without.env_remove("AWS_ACCESS_KEY_ID").output().unwrap()).expect(69);
    says(&ended, &["AWS_ACCESS_KEY_ID is not set"]);
    let mut elsewhere = place.command(&["status", "--stage", "dev"]);
    let ended = Ended::of(&elsewhere.env("AWS_REGION", "frankfurt").output().unwrap()).expect(65);
    says(&ended, &["AWS_REGION=frankfurt", "use one like eu-central-1"]);
    for arguments in [&["status", "--stage", "dev"][..], &["secrets", "check", "--stage", "dev"]] {
        let mut abroad = place.command(arguments);
        let ended = Ended::of(&abroad.env("AWS_REGION", "us-gov-west-1").output().unwrap()).expect(65);
        says(&ended, &["AWS_REGION=us-gov-west-1", "commercial regions alone"]);
    }
    assert!(place.account.state().calls.is_empty());
}

#[test]
fn an_expired_token_and_unknown_credentials_are_named_with_the_cure() {
    let place = Place::new();
    let expired = (403, "ExpiredToken", "The security token included in the request is expired");
    place.account.state().refuses = Some(expired);
    for arguments in [
        &["status", "--stage", "dev"][..],
        &["deploy", "--stage", "dev"],
        &["bootstrap", "--repository", "acme/app"],
        &["destroy", "--stage", "dev", "--yes"],
    ] {
        says(&place.run(arguments).expect(69), &["ExpiredToken", "sign in again"]);
    }
    assert_eq!(place.sam_calls(), Vec::<String>::new());
    let unknown = (403, "InvalidClientTokenId", "The security token included in the request is invalid.");
    place.account.state().refuses = Some(unknown);
    says(&place.run(&["status", "--stage", "dev"]).expect(69), &["AWS does not know these credentials"]);
}
