//! State machines: their definitions, and the operations on them.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use states_language::{Machine, Problem};

use super::EngineError;
use super::api::{Describe, page_limit, request, seconds};
use super::arn::{check_name, no_machine};
use super::driver::Engine;
use super::log::lock;
use super::records::{self, Definition, Recorded};
use crate::AwsError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneMachine {
    state_machine_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    name: String,
    definition: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    state_machine_arn: String,
    definition: Option<String>,
    // Roles, logs and traces are nobody's business here: a change of them is taken and comes to nothing.
    role_arn: Option<String>,
    logging_configuration: Option<Value>,
    tracing_configuration: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Validate {
    definition: String,
    max_results: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    max_results: Option<i64>,
    next_token: Option<String>,
}

/// A definition, or why it does not run.
type Parsed = Result<Arc<Machine>, Vec<Problem>>;

impl Engine {
    /// Makes `definition` the newest one of a machine of the program's own.
    pub(super) async fn register(&self, name: String, definition: String) -> Result<(), EngineError> {
        let refused = |problems| EngineError::Definition { machine: name.clone(), problems };
        check_name(&name).map_err(|error| refused(vec![Problem { path: "name".into(), message: error.message }]))?;
        Machine::parse(&definition).map_err(refused)?;
        let now_ms = self.clock.now_ms();
        self.log.write(move |connection| records::define(connection, &name, &definition, now_ms)).await?;
        Ok(())
    }

    /// The newest definition of a machine, with its version.
    pub(super) fn newest(&self, name: &str) -> Result<Option<(i64, Arc<Machine>)>, EngineError> {
        let Some(version) = self.log.read(|connection| records::latest_version(connection, name))? else {
            return Ok(None);
        };
        match self.parsed(name, version)? {
            Ok(machine) => Ok(Some((version, machine))),
            Err(problems) => Err(EngineError::Definition { machine: name.to_owned(), problems }),
        }
    }

    /// The definition that an execution was started with.
    pub(super) fn machine(&self, recorded: &Recorded) -> Result<Arc<Machine>, EngineError> {
        let (name, version) = (&recorded.machine, recorded.version);
        self.parsed(name, version)?.map_err(|problems| {
            let reason = format!("version {version} of machine {name} does not run here: {}", listed(&problems));
            self.unreadable(recorded, reason)
        })
    }

    /// One version of a definition, parsed once.
    fn parsed(&self, name: &str, version: i64) -> Result<Parsed, EngineError> {
        let key = (name.to_owned(), version);
        if let Some(machine) = lock(&self.machines).get(&key) {
            return Ok(Ok(machine.clone()));
        }
        let text = self.log.read(|connection| records::definition_text(connection, name, version))?;
        let parsed = text.ok_or_else(missing).and_then(|text| Machine::parse(&text)).map(Arc::new);
        if let Ok(machine) = &parsed {
            lock(&self.machines).insert(key, machine.clone());
        }
        Ok(parsed)
    }

    pub(super) fn describe_machine(&self, body: Value) -> Result<Value, AwsError> {
        let arn = request::<OneMachine>(body)?.state_machine_arn;
        let found = self.definition(&arn)?;
        Ok(json!({
            "stateMachineArn": arn,
            "name": found.name,
            "status": "ACTIVE",
            "definition": found.text,
            "roleArn": self.place.role_arn(),
            "type": "STANDARD",
            "creationDate": seconds(found.created_ms),
            "loggingConfiguration": { "level": "OFF", "includeExecutionData": false },
            "revisionId": found.version.to_string(),
        }))
    }

    /// The newest definition of the machine with this ARN.
    pub(super) fn definition(&self, arn: &str) -> Result<Definition, AwsError> {
        let name = self.place.machine_name(arn)?;
        let found = self.log.read(|connection| records::latest(connection, name)).map_err(EngineError::from)?;
        found.ok_or_else(|| no_machine(arn))
    }

    pub(super) fn list_machines(&self, body: Value) -> Result<Value, AwsError> {
        let list: List = request(body)?;
        let limit = page_limit(list.max_results)?;
        let after = list.next_token.unwrap_or_default();
        let mut found =
            self.log.read(|connection| records::machines(connection, &after, limit + 1)).map_err(EngineError::from)?;
        let more = found.len() > limit;
        found.truncate(limit);
        let mut answer = json!({ "stateMachines": found.iter().map(|machine| json!({
            "stateMachineArn": self.place.machine_arn(&machine.name),
            "name": machine.name,
            "type": "STANDARD",
            "creationDate": seconds(machine.created_ms),
        })).collect::<Vec<_>>() });
        if let Some(last) = found.last().filter(|_| more) {
            answer["nextToken"] = json!(last.name);
        }
        Ok(answer)
    }

    pub(super) async fn create_machine(&self, body: Value) -> Result<Value, AwsError> {
        let create: Create = request(body)?;
        if let Some(kind) = create.kind.filter(|kind| kind != "STANDARD") {
            let code = "StateMachineTypeNotSupported";
            return Err(AwsError::client(code, format!("only STANDARD machines run here, not {kind}")));
        }
        check_name(&create.name)?;
        check_definition(&create.definition)?;
        let arn = self.place.machine_arn(&create.name);
        let now_ms = self.clock.now_ms();
        let created = self.log.write(move |connection| {
            if let Some(found) = records::latest(connection, &create.name)? {
                return Ok((found.text == create.definition).then_some(found.created_ms));
            }
            records::define(connection, &create.name, &create.definition, now_ms).map(|_| Some(now_ms))
        });
        match created.await.map_err(EngineError::from)? {
            Some(created_ms) => Ok(json!({ "stateMachineArn": arn, "creationDate": seconds(created_ms) })),
            None => {
                let message = format!("State Machine Already Exists: '{arn}'");
                Err(AwsError::client("StateMachineAlreadyExists", message))
            }
        }
    }

    pub(super) async fn update_machine(&self, body: Value) -> Result<Value, AwsError> {
        let update: Update = request(body)?;
        let found = self.definition(&update.state_machine_arn)?;
        let nothing = update.definition.is_none() && update.role_arn.is_none();
        if nothing && update.logging_configuration.is_none() && update.tracing_configuration.is_none() {
            let message = "Either the definition, the role ARN, the LoggingConfiguration, or the TracingConfiguration must be specified";
            return Err(AwsError::client("MissingRequiredParameter", message));
        }
        let definition = update.definition.unwrap_or_else(|| found.text.clone());
        check_definition(&definition)?;
        let now_ms = self.clock.now_ms();
        let written =
            self.log.write(move |connection| records::define(connection, &found.name, &definition, now_ms)).await;
        let version = written.map_err(EngineError::from)?;
        Ok(json!({ "updateDate": seconds(now_ms), "revisionId": version.to_string() }))
    }

    /// A machine that is not there is deleted already, as on AWS. Its executions go on with their definitions.
    pub(super) async fn delete_machine(&self, body: Value) -> Result<Value, AwsError> {
        let arn = request::<OneMachine>(body)?.state_machine_arn;
        let name = self.place.machine_name(&arn)?.to_owned();
        let now_ms = self.clock.now_ms();
        let deleted = self.log.write(move |connection| records::delete_machine(connection, &name, now_ms)).await;
        deleted.map_err(EngineError::from)?;
        Ok(json!({}))
    }

    /// The definition that an execution was started with.
    pub(super) fn machine_of_execution(&self, body: Value) -> Result<Value, AwsError> {
        let recorded = self.find(&request::<Describe>(body)?.execution_arn)?;
        let (name, version) = (&recorded.machine, recorded.version);
        let text = self.log.read(|connection| records::definition_text(connection, name, version));
        Ok(json!({
            "stateMachineArn": self.place.machine_arn(name),
            "name": name,
            "definition": text.map_err(EngineError::from)?.unwrap_or_default(),
            "roleArn": self.place.role_arn(),
            "updateDate": seconds(recorded.started_ms),
            "revisionId": version.to_string(),
        }))
    }

    pub(super) fn validate_definition(&self, body: Value) -> Result<Value, AwsError> {
        let validate: Validate = request(body)?;
        let limit = usize::try_from(validate.max_results.filter(|max| *max > 0).unwrap_or(100)).unwrap_or(100);
        let problems = Machine::parse(&validate.definition).err().unwrap_or_default();
        let diagnostics: Vec<_> = problems
            .iter()
            .take(limit)
            .map(|problem| {
                json!({
                    "severity": "ERROR",
                    "code": "SCHEMA_VALIDATION_FAILED",
                    "message": problem.message,
                    "location": problem.path,
                })
            })
            .collect();
        Ok(json!({
            "result": if problems.is_empty() { "OK" } else { "FAIL" },
            "diagnostics": diagnostics,
            "truncated": problems.len() > limit,
        }))
    }
}

fn check_definition(definition: &str) -> Result<(), AwsError> {
    Machine::parse(definition).map(drop).map_err(|problems| {
        let message = format!("Invalid State Machine Definition: '{}'", listed(&problems));
        AwsError::client("InvalidDefinition", message)
    })
}

fn missing() -> Vec<Problem> {
    vec![Problem { path: "definition".into(), message: "it is not in the log".into() }]
}

/// All problems in one line.
pub(super) fn listed(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}
