//! A state folder that nobody drives: what stands in its table and in its executions' histories.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use embedded_cloud::{Attachment, Cloud, CloudOptions};
use lambda_host::{OsRandomness, SystemClock};
use run_model::RunId;
use run_model::budget::{Budget, UsageEntry};
use run_model::run::{RunEvent, RunRecord, TaskRecord};
use store::{Names, Store};

use crate::machines::{MACHINES, machine_arn};

/// What is kept of one run.
#[derive(Debug)]
pub struct Kept {
    pub run: RunRecord,
    pub tasks: Vec<TaskRecord>,
    pub events: Vec<RunEvent>,
    pub usage: Vec<UsageEntry>,
    pub budget: Budget,
    /// By machine: the states that its executions entered and left, in order.
    pub steps: BTreeMap<&'static str, Vec<String>>,
}

/// A cloud over the folder, without machines and functions of its own.
pub fn options(state: &Path) -> CloudOptions {
    CloudOptions {
        state_dir: state.to_owned(),
        clock: Arc::new(SystemClock),
        randomness: Arc::new(OsRandomness),
        machines: Vec::new(),
        stream_rules: Vec::new(),
        environment_secrets: BTreeMap::new(),
        commit_hook: None,
    }
}

impl Kept {
    /// Reads it without moving anything; fails if somebody drives the folder.
    pub fn of(state: &Path, run: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Attachment::Driver(cloud) = Cloud::open(options(state)).await.unwrap() else {
                panic!("somebody drives {}", state.display())
            };
            let sdk = cloud.sdk_config();
            let store = Store::new(&sdk, Names::for_stage("local"), Arc::new(SystemClock), Arc::new(OsRandomness));
            let id = RunId::new(run).unwrap();
            let kept = Self {
                run: store.run(&id).await.unwrap(),
                tasks: store.tasks(&id).await.unwrap(),
                events: store.events(&id, 0).await.unwrap(),
                usage: store.usage(&id).await.unwrap(),
                budget: store.budget(&id).await.unwrap(),
                steps: steps(&aws_sdk_sfn::Client::new(&sdk), run).await,
            };
            cloud.shutdown().await;
            kept
        })
    }
}

async fn steps(client: &aws_sdk_sfn::Client, run: &str) -> BTreeMap<&'static str, Vec<String>> {
    let mut steps: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for machine in MACHINES {
        let listed = client.list_executions().state_machine_arn(machine_arn(machine)).send().await.unwrap();
        let mut arns: Vec<&str> = listed.executions().iter().map(|found| found.execution_arn()).collect();
        arns.retain(|arn| arn.rsplit(':').next().unwrap().starts_with(run));
        arns.sort_unstable();
        for arn in arns {
            let mut page = None;
            loop {
                let asked = client.get_execution_history().execution_arn(arn).set_next_token(page);
                let history = asked.send().await.unwrap();
                let told = history.events().iter().filter_map(|event| {
                    let entered = event.state_entered_event_details().map(|details| details.name());
                    let left = event.state_exited_event_details().map(|details| details.name());
                    entered.map(|name| format!("into {name}")).or_else(|| left.map(|name| format!("out of {name}")))
                });
                steps.entry(machine).or_default().extend(told);
                page = history.next_token().map(str::to_owned);
                if page.is_none() {
                    break;
                }
            }
        }
    }
    steps
}
