//! What runs now. Step Functions is asked, which knows all of it: the table lists runs, the newest first and not for ever.

use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::ExecutionStatus;
use run_model::run::{RunRecord, runs_of_execution};
use store::{Store, StoreError};

use crate::machines::name_of;
use crate::problem::Problem;

/// The ARNs of every execution of these machines that runs, in the order of the machines. A machine that is gone runs nothing.
pub(crate) async fn running(client: &Client, machines: &[String]) -> Result<Vec<String>, Problem> {
    let mut found = Vec::new();
    for machine in machines {
        let list = client.list_executions().state_machine_arn(machine).status_filter(ExecutionStatus::Running);
        let mut pages = list.into_paginator().items().send();
        while let Some(execution) = pages.next().await {
            match execution {
                Ok(execution) => found.push(execution.execution_arn),
                Err(error) if error.code() == Some("StateMachineDoesNotExist") => break,
                Err(error) => return Err(Problem::of_service(error)),
            }
        }
    }
    Ok(found)
}

/// The run whose record names this execution.
pub(crate) async fn carried(store: &Store, execution_arn: &str) -> Result<Option<RunRecord>, StoreError> {
    for run_id in runs_of_execution(name_of(execution_arn)) {
        match store.run(&run_id).await {
            Ok(run) if run.execution_arn == execution_arn => return Ok(Some(run)),
            Ok(_) | Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
