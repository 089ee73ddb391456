//! A deployed stage, as the environment's credentials reach it.

use std::sync::Arc;

use aws_types::SdkConfig;
use lambda_host::{Environment, OsRandomness, SystemClock};
use reqwest::{Method, Url};
use run_model::gate::{Gate, GateDecision, Question};
use run_model::run::RunRecord;
use run_model::{Randomness, RunId};
use serde_json::{Value, json};
use store::{Names, Store, StoreError};

use crate::aws::stack::{self, Stack};
use crate::problem::Problem;
use crate::signed::{API, CallError, Signed, check_region, incomplete};

/// The resources of a stage on AWS. Nothing is asked before it is needed.
pub(crate) struct Stage {
    pub(crate) store: Store,
    region: String,
}

impl Stage {
    /// The stage of this name, in the region and with the credentials of the environment.
    pub(crate) fn of_environment(name: &str) -> Result<Self, Problem> {
        check_name(name)?;
        let environment = Environment::of_process();
        let sdk: SdkConfig = environment.sdk_config().map_err(|error| incomplete(&error))?;
        let region = environment.get("AWS_REGION").unwrap_or_default().to_owned();
        check_region(&region)?;
        let store = Store::new(&sdk, Names::for_stage(name), Arc::new(SystemClock), Arc::new(OsRandomness));
        Ok(Self { store, region })
    }

    /// What a failure of the store means here: a missing table is a stage that is not deployed.
    pub(crate) fn problem(&self, error: StoreError) -> Problem {
        if error.with_causes().contains("ResourceNotFoundException") {
            let (stage, region) = (&self.store.names().stage, &self.region);
            return Problem::input(format!(
                "--stage {stage}: there is no such stage in {region}: check the name and AWS_REGION, or deploy it first"
            ));
        }
        Problem::from(error)
    }
}

/// A stage whose stack was found: where each of its parts is.
pub(crate) struct Deployed {
    pub(crate) store: Store,
    pub(crate) sdk: SdkConfig,
    stack: Stack,
    signed: Signed,
    api: String,
    pipeline: String,
}

impl Deployed {
    /// The stage of this name, in the region and with the credentials of the environment.
    pub(crate) async fn of_environment(name: &str) -> Result<Self, Problem> {
        check_name(name)?;
        let environment = Environment::of_process();
        let (sdk, signed) = (environment.sdk_config().map_err(|error| incomplete(&error))?, Signed::of(&environment)?);
        let stack = stack::require(&signed, name).await?;
        if !was_whole(&stack) {
            return Err(unusable(name, &stack));
        }
        // A bucket's name is everybody's on AWS, so the stack makes one up.
        let names = Names { bucket: output(&stack, "BucketName")?, ..Names::for_stage(name) };
        let store = Store::new(&sdk, names, Arc::new(SystemClock), Arc::new(OsRandomness));
        let (api, pipeline) = (output(&stack, "ApiUrl")?, output(&stack, "PipelineArn")?);
        Ok(Self { store, sdk, stack, signed, api, pipeline })
    }

    /// Refuses to begin anything while the stack is being changed.
    pub(crate) fn check_settled(&self) -> Result<(), Problem> {
        match is_settled(&self.stack) {
            true => Ok(()),
            false => Err(unusable(&self.store.names().stage, &self.stack)),
        }
    }

    /// What an execution of the pipeline is started by.
    pub(crate) fn start_arn(&self) -> Result<String, Problem> {
        output(&self.stack, "PipelineStartArn")
    }

    /// Every machine, callers first.
    pub(crate) fn machine_arns(&self) -> Result<Vec<String>, Problem> {
        ["PipelineArn", "TaskGraphArn", "TaskArn"].into_iter().map(|name| output(&self.stack, name)).collect()
    }

    /// The ARN of an execution of the pipeline.
    pub(crate) fn execution_arn(&self, name: &str) -> String {
        format!("{}:{name}", self.pipeline.replacen(":stateMachine:", ":execution:", 1))
    }

    /// Asks for a run in the name of whoever the credentials are; its id.
    pub(crate) async fn start_run(&self, mut request: Value) -> Result<RunId, Problem> {
        self.check_settled()?;
        // Sent again while it is throttled, it is still one run.
        request["idempotency_key"] = OsRandomness.hex_id(16).into();
        let started = self.call(Method::POST, "orchestrate", Some(&request)).await?;
        RunId::new(started["run_id"].as_str().unwrap_or_default())
            .map_err(|problem| Problem::missing(format!("the stage's API answered without a run: {problem}")))
    }

    /// Decides on a gate in the name of whoever the credentials are; the gate as it stands then.
    pub(crate) async fn decide(
        &self,
        gate: &Gate,
        decision: GateDecision,
        comment: Option<String>,
    ) -> Result<Gate, Problem> {
        let word = if decision == GateDecision::Approved { "approve" } else { "deny" };
        self.say(gate, word, json!(comment)).await
    }

    /// Asks at a gate in the name of whoever the credentials are; the gate as it stands then.
    pub(crate) async fn ask(&self, gate: &Gate, question: &Question) -> Result<Gate, Problem> {
        self.say(gate, "more_info", json!(question)).await
    }

    async fn say(&self, gate: &Gate, word: &str, comment: Value) -> Result<Gate, Problem> {
        let body = json!({ "decision": word, "binding": gate.binding.hash(), "comment": comment });
        self.call(Method::POST, &format!("gates/{}", gate.gate_id), Some(&body)).await?;
        Ok(self.store.gate(&gate.gate_id).await?)
    }

    /// A run's record, after the API has brought it up to date with its execution.
    pub(crate) async fn reconciled(&self, run: &RunId) -> Result<RunRecord, Problem> {
        self.call(Method::GET, &format!("runs/{run}"), None).await?;
        Ok(self.store.run(run).await?)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Problem> {
        let url = format!("{}/iam/v1/{path}", self.api.trim_end_matches('/'));
        let url =
            Url::parse(&url).map_err(|_| Problem::missing(format!("the stack says {url}, which is no address")))?;
        self.signed.rest_at(&API, method, &url, body).await.map_err(|error| match error {
            // The gateway says no more than that; our own refusals bring their cure.
            CallError::Refused { status: 403, cure: None, ref message, .. } if message == "Forbidden" => {
                Problem::missing(format!(
                    "the API of stage {} turns these credentials away: they need the right execute-api:Invoke on it",
                    self.store.names().stage
                ))
            }
            error => error.into(),
        })
    }
}

/// Whether there is something to look at: an update that is under way, or got stuck, leaves what was there.
fn was_whole(stack: &Stack) -> bool {
    is_settled(stack) || stack.status.starts_with("UPDATE_")
}

/// Whether something may begin: what is only being tidied up behind an update is in nobody's way.
fn is_settled(stack: &Stack) -> bool {
    stack.is_whole() || stack.status.ends_with("_COMPLETE_CLEANUP_IN_PROGRESS")
}

fn unusable(stage: &str, stack: &Stack) -> Problem {
    let obstacle = stack.obstacle().unwrap_or_else(|| format!("its stack is in {}: deploy it first", stack.status));
    Problem::missing(format!("--stage {stage}: {obstacle}"))
}

/// A part's name or address.
fn output(stack: &Stack, name: &str) -> Result<String, Problem> {
    stack.outputs.get(name).cloned().ok_or_else(|| {
        let cure = "deploy it with this version (`gatewright aws deploy`)";
        Problem::missing(format!("the stack {} does not say its {name}: {cure}", stack.name))
    })
}

fn check_name(name: &str) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name == Names::LOCAL {
        return Err(Problem::input(
            "--stage local: that is this machine, which is no stage in an account: name a deployed one; commands about runs \
             and gates are about this machine without --stage",
        ));
    }
    if (1..=20).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Problem::input(format!("--stage {name:?}: use 1 to 20 lower-case letters, digits and dashes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_used_as_far_as_it_stands() {
        for (status, there, settled) in [
            ("CREATE_COMPLETE", true, true),
            ("UPDATE_ROLLBACK_COMPLETE", true, true),
            ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", true, true),
            ("UPDATE_IN_PROGRESS", true, false),
            ("UPDATE_ROLLBACK_FAILED", true, false),
            ("REVIEW_IN_PROGRESS", false, false),
            ("CREATE_IN_PROGRESS", false, false),
            ("ROLLBACK_COMPLETE", false, false),
            ("DELETE_IN_PROGRESS", false, false),
        ] {
            let stack = Stack { name: "gatewright-dev".into(), status: status.into(), ..Stack::default() };
            assert_eq!((was_whole(&stack), is_settled(&stack)), (there, settled), "{status}");
            assert!(unusable("dev", &stack).message.contains(status), "{status}");
        }
        let said = output(&Stack { name: "gatewright-dev".into(), ..Stack::default() }, "ApiUrl").unwrap_err().message;
        assert!(said.contains("ApiUrl") && said.contains("aws deploy"), "{said}");
    }

    #[test]
    fn a_stage_has_a_plain_name_and_is_not_this_machine() {
        assert!(check_name("dev").is_ok());
        for bad in ["", "local", "Dev", "a/b", "a-very-long-name-of-a-stage"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
