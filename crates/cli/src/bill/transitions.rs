//! State transitions of a run, read from the histories of its executions, as the console shows them: here and on AWS.

use std::collections::BTreeMap;

use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::HistoryEvent;
use run_model::run::RunRecord;
use serde_json::Value;

use crate::problem::{Problem, causes};

/// What an execution's history says of what it cost.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) executions: u64,
    pub(crate) transitions: u64,
}

/// What the run's executions walked, and those within them, by machine.
///
/// AWS counts a transition for the start, for each state entered and for each retry.
pub(crate) async fn of_run(client: &Client, run: &RunRecord) -> Result<BTreeMap<String, Walked>, Problem> {
    let mut machines: BTreeMap<String, Walked> = BTreeMap::new();
    let (place, _) = run.execution_arn.rsplit_once(':').unwrap_or_default();
    let mut number = 1;
    loop {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let mut open = vec![format!("{place}:{}{suffix}", run.run_id)];
        let mut is_there = false;
        while let Some(arn) = open.pop() {
            let Some(history) = history(client, &arn).await? else { continue };
            is_there = true;
            let walked = machines.entry(machine_of(&arn)).or_default();
            walked.executions += 1;
            walked.transitions += transitions(&history);
            open.extend(history.iter().filter_map(child));
        }
        // A number may have been used up by an execution that was refused, and the last one may be newer than the record.
        if !is_there && number >= run.executions {
            return Ok(machines);
        }
        number += 1;
    }
}

/// The machine's name in an execution's ARN, without a stage's prefix.
fn machine_of(arn: &str) -> String {
    let name = arn.rsplit(':').nth(1).unwrap_or_default();
    let ours = ["pipeline", "task-graph", "task"]
        .into_iter()
        .find(|ours| name == *ours || name.ends_with(&format!("-{ours}")));
    ours.unwrap_or(name).to_owned()
}

/// Every event of an execution; `None` if there is no such execution.
async fn history(client: &Client, arn: &str) -> Result<Option<Vec<HistoryEvent>>, Problem> {
    let (mut events, mut page) = (Vec::new(), None);
    loop {
        let asked = client.get_execution_history().execution_arn(arn).max_results(1000).set_next_token(page);
        let answer = match asked.send().await {
            Err(error) if error.code() == Some("ExecutionDoesNotExist") => return Ok(None),
            answer => answer.map_err(|error| Problem::missing(causes(&error)))?,
        };
        page = answer.next_token;
        events.extend(answer.events);
        if page.is_none() {
            return Ok(Some(events));
        }
    }
}

fn transitions(history: &[HistoryEvent]) -> u64 {
    let of =
        |matches: &dyn Fn(&str) -> bool| history.iter().filter(|event| matches(event.r#type().as_str())).count() as u64;
    let entered = of(&|kind| kind.ends_with("StateEntered"));
    // A task is called once for its entry, and again for each retry.
    let retries = of(&|kind| kind == "TaskScheduled").saturating_sub(of(&|kind| kind == "TaskStateEntered"));
    1 + entered + retries
}

/// The execution that a task has started.
fn child(event: &HistoryEvent) -> Option<String> {
    let output: Value = serde_json::from_str(event.task_submitted_event_details()?.output()?).ok()?;
    Some(output.get("ExecutionArn")?.as_str()?.to_owned())
}
