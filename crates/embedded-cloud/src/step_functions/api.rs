//! The API's front: which operation is answered by what, and the operations on executions.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use states_language::{Event, Status};

use super::EngineError;
use super::arn::no_execution;
use super::chance::uuid;
use super::driver::Engine;
use super::log::lock;
use super::records::{self, Recorded};
use super::starts::Begin;
use crate::AwsError;

/// The longest input or output that AWS takes.
pub(super) const MAX_DATA_BYTES: usize = 262_144;

/// Why nothing is redriven here.
const NOT_REDRIVABLE: &str = "The embedded cloud redrives no execution: start another one.";

/// What `redriveStatusReason` says of an execution that runs and that nobody has taken up since its last driver went.
pub const ASLEEP: &str = "The execution sleeps until it is taken up.";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    state_machine_arn: String,
    name: Option<String>,
    input: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stop {
    execution_arn: String,
    error: Option<String>,
    cause: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Describe {
    pub(super) execution_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    state_machine_arn: Option<String>,
    status_filter: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Engine {
    /// Answers one operation.
    pub(super) async fn answer(self: &Arc<Self>, operation: &str, body: Value) -> Result<Value, AwsError> {
        match operation {
            "StartExecution" => self.start_execution(body).await,
            "StopExecution" => self.stop_execution(body).await,
            "DescribeExecution" => self.describe_execution(body),
            "ListExecutions" => self.list_executions(body),
            "GetExecutionHistory" => self.execution_history(body),
            "SendTaskSuccess" => self.task_success(body).await,
            "SendTaskFailure" => self.task_failure(body).await,
            "SendTaskHeartbeat" => self.task_heartbeat(body).await,
            "DescribeStateMachine" => self.describe_machine(body),
            "ListStateMachines" => self.list_machines(body),
            "CreateStateMachine" => self.create_machine(body).await,
            "UpdateStateMachine" => self.update_machine(body).await,
            "DeleteStateMachine" => self.delete_machine(body).await,
            "DescribeStateMachineForExecution" => self.machine_of_execution(body),
            "RedriveExecution" => self.redrive_execution(body),
            "ValidateStateMachineDefinition" => self.validate_definition(body),
            unknown => Err(AwsError::unknown_operation("Step Functions", unknown)),
        }
    }

    async fn start_execution(self: &Arc<Self>, body: Value) -> Result<Value, AwsError> {
        let start: Start = request(body)?;
        let machine = self.place.machine_name(&start.state_machine_arn)?.to_owned();
        let name = start.name.unwrap_or_else(|| uuid(&*self.randomness));
        let input = execution_input(start.input.as_deref().unwrap_or("{}"))?;
        let begun = self.begin_for(Begin { machine, name, input, parent: None }).await?;
        Ok(json!({ "executionArn": begun.arn, "startDate": seconds(begun.started_ms) }))
    }

    async fn stop_execution(self: &Arc<Self>, body: Value) -> Result<Value, AwsError> {
        let Stop { execution_arn: arn, error, cause } = request(body)?;
        let mut found = self.find(&arn)?;
        if found.runs() {
            self.ask(found.id, Event::Stop { error, cause }).await?;
            found = self.find(&arn)?;
        }
        Ok(json!({ "stopDate": found.stopped_ms.map(seconds) }))
    }

    fn describe_execution(&self, body: Value) -> Result<Value, AwsError> {
        let arn = request::<Describe>(body)?.execution_arn;
        let recorded = self.find(&arn)?;
        let execution = self.state(&recorded)?;
        let mut answer = self.summary(&recorded);
        answer["input"] = json!(execution.input().to_string());
        answer["inputDetails"] = json!({ "included": true });
        answer["redriveStatus"] = json!("NOT_REDRIVABLE");
        let sleeps = lock(&self.asleep).contains_key(&recorded.id);
        answer["redriveStatusReason"] = json!(if sleeps { ASLEEP } else { NOT_REDRIVABLE });
        if let Some(outcome) = execution.outcome() {
            if let Some(output) = &outcome.output {
                answer["output"] = json!(output.to_string());
                answer["outputDetails"] = json!({ "included": true });
            }
            for (member, text) in [("error", &outcome.error), ("cause", &outcome.cause)] {
                if let Some(text) = text {
                    answer[member] = json!(text);
                }
            }
        }
        Ok(answer)
    }

    /// Refused as AWS refuses it of an execution that says `NOT_REDRIVABLE`, as every one does here.
    fn redrive_execution(&self, body: Value) -> Result<Value, AwsError> {
        let arn = request::<Describe>(body)?.execution_arn;
        self.find(&arn)?;
        let message = format!("Execution is not redrivable: '{arn}'. {NOT_REDRIVABLE}");
        Err(AwsError::client("ExecutionNotRedrivable", message))
    }

    fn list_executions(&self, body: Value) -> Result<Value, AwsError> {
        let list: List = request(body)?;
        let arn = list.state_machine_arn.ok_or_else(|| AwsError::validation("stateMachineArn: name the machine"))?;
        let machine = self.definition(&arn)?.name;
        if let Some(status) = list.status_filter.as_deref().filter(|status| !is_status(status)) {
            return Err(AwsError::validation(format!("statusFilter: {status} is not the status of an execution")));
        }
        let limit = page_limit(list.max_results)?;
        let before = match list.next_token {
            Some(token) => token.parse().map_err(|_| bad_page())?,
            None => i64::MAX,
        };
        let status = list.status_filter.as_deref();
        let read = self.log.read(|connection| records::listed(connection, &machine, status, before, limit + 1));
        let mut found = read.map_err(EngineError::from)?;
        let more = found.len() > limit;
        found.truncate(limit);
        let summaries: Vec<_> = found.iter().map(|recorded| self.summary(recorded)).collect();
        let mut answer = json!({ "executions": summaries });
        if let Some(last) = found.last().filter(|_| more) {
            answer["nextToken"] = json!(last.id.to_string());
        }
        Ok(answer)
    }

    /// What a listing shows of an execution.
    fn summary(&self, recorded: &Recorded) -> Value {
        let mut summary = json!({
            "executionArn": self.place.execution_arn(&recorded.machine, &recorded.name),
            "stateMachineArn": self.place.machine_arn(&recorded.machine),
            "name": recorded.name,
            "status": recorded.status,
            "startDate": seconds(recorded.started_ms),
            "redriveCount": 0,
        });
        if let Some(stopped_ms) = recorded.stopped_ms {
            summary["stopDate"] = seconds(stopped_ms);
        }
        summary
    }

    /// The execution with this ARN.
    pub(super) fn find(&self, arn: &str) -> Result<Recorded, AwsError> {
        let (machine, name) = self.place.execution_name(arn)?;
        let found = self.log.read(|connection| records::named(connection, machine, name)).map_err(EngineError::from)?;
        found.ok_or_else(|| no_execution(arn))
    }
}

/// An operation's body in its own type.
pub(super) fn request<T: DeserializeOwned>(body: Value) -> Result<T, AwsError> {
    serde_json::from_value(body).map_err(|error| AwsError::validation(error.to_string()))
}

/// A timestamp as the JSON 1.0 protocol writes it: seconds since the Unix epoch with a fraction.
pub(super) fn seconds(moment_ms: i64) -> Value {
    json!(moment_ms as f64 / 1_000.0)
}

/// How many results a page may have; 0 or nothing asks for the default of 100.
pub(super) fn page_limit(max_results: Option<i64>) -> Result<usize, AwsError> {
    match max_results.unwrap_or(0) {
        0 => Ok(100),
        max @ 1..=1_000 => Ok(max as usize),
        max => Err(AwsError::validation(format!("maxResults: {max} is not between 0 and 1000"))),
    }
}

pub(super) fn bad_page() -> AwsError {
    AwsError::client("InvalidToken", "Invalid Token: 'the nextToken was not given out here'")
}

fn is_status(status: &str) -> bool {
    let known = [Status::Running, Status::Succeeded, Status::Failed, Status::TimedOut, Status::Aborted];
    known.iter().any(|known| known.as_str() == status) || status == "PENDING_REDRIVE"
}

fn execution_input(text: &str) -> Result<Value, AwsError> {
    let refused = |why: String| {
        AwsError::client("InvalidExecutionInput", format!("Invalid State Machine Execution Input: '{why}'"))
    };
    if text.len() > MAX_DATA_BYTES {
        return Err(refused(format!("{} bytes are more than {MAX_DATA_BYTES}", text.len())));
    }
    serde_json::from_str(text).map_err(|error| refused(error.to_string()))
}
