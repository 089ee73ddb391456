//! `SendTaskSuccess`, `SendTaskFailure`, `SendTaskHeartbeat`: the answers of tasks that wait for a token.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use states_language::Event;

use super::EngineError;
use super::api::{MAX_DATA_BYTES, request};
use super::chance::token_owner;
use super::driver::Engine;
use super::records;
use crate::AwsError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Success {
    task_token: String,
    output: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    task_token: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    cause: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heartbeat {
    task_token: String,
}

impl Engine {
    pub(super) async fn task_success(self: &Arc<Self>, body: Value) -> Result<Value, AwsError> {
        let Success { task_token: token, output } = request(body)?;
        if output.len() > MAX_DATA_BYTES {
            let message = format!("Invalid Output: longer than {MAX_DATA_BYTES} bytes");
            return Err(AwsError::client("InvalidOutput", message));
        }
        let output = serde_json::from_str(&output)
            .map_err(|error| AwsError::client("InvalidOutput", format!("Invalid Output: '{error}'")))?;
        self.callback(token, |token| Event::TokenSucceeded { token, output }).await
    }

    pub(super) async fn task_failure(self: &Arc<Self>, body: Value) -> Result<Value, AwsError> {
        let Failure { task_token: token, error, cause } = request(body)?;
        self.callback(token, |token| Event::TokenFailed { token, error, cause }).await
    }

    pub(super) async fn task_heartbeat(self: &Arc<Self>, body: Value) -> Result<Value, AwsError> {
        let Heartbeat { task_token: token } = request(body)?;
        self.callback(token, |token| Event::TokenHeartbeat { token }).await
    }

    async fn callback(self: &Arc<Self>, token: String, event: impl FnOnce(String) -> Event) -> Result<Value, AwsError> {
        let invalid = || AwsError::client("InvalidToken", "Invalid Token: 'Invalid token'");
        let owner = token_owner(&token).ok_or_else(invalid)?;
        let recorded = self.log.read(|connection| records::execution_exists(connection, owner));
        if !recorded.map_err(EngineError::from)? {
            return Err(AwsError::client("TaskDoesNotExist", "Task does not exist"));
        }
        match self.ask(owner, event(token)).await? {
            None => Ok(json!({})),
            Some(_) => Err(AwsError::client("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")),
        }
    }
}
