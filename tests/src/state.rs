//! A state folder that nobody drives: what stands in its table and in its executions' histories.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use embedded_cloud::{Attachment, Cloud, CloudOptions};
use lambda_host::{OsRandomness, SystemClock};
use run_model::budget::{Budget, UsageEntry};
use run_model::gate::GateState;
use run_model::run::{RunEvent, RunRecord, TaskRecord};
use run_model::time::VirtualClock;
use run_model::{Clock, GateId, RunId};
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
    CloudOptions::new(state.to_owned(), Arc::new(SystemClock), Arc::new(OsRandomness))
}

/// The folder without anything moving in it; fails if somebody drives it.
async fn opened(state: &Path) -> Cloud {
    match Cloud::open(options(state)).await.unwrap() {
        Attachment::Driver(cloud) => cloud,
        Attachment::Client(_) => panic!("somebody drives {}", state.display()),
    }
}

fn store(cloud: &Cloud, clock: Arc<dyn Clock>) -> Store {
    Store::new(&cloud.sdk_config(), Names::for_stage("local"), clock, Arc::new(OsRandomness))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Nobody decides on a gate until a day has passed.
pub fn expire(state: &Path, gate: &str) {
    runtime().block_on(async {
        let cloud = opened(state).await;
        let tomorrow = Arc::new(VirtualClock::at(SystemClock.now_ms() + 24 * 3_600_000));
        let gate = store(&cloud, tomorrow).expire_gate(&GateId::new(gate).unwrap()).await.unwrap();
        assert_eq!(gate.state, GateState::Expired);
        cloud.shutdown().await;
    });
}

impl Kept {
    /// Reads it without moving anything; fails if somebody drives the folder.
    pub fn of(state: &Path, run: &str) -> Self {
        runtime().block_on(async {
            let cloud = opened(state).await;
            let (sdk, store) = (cloud.sdk_config(), store(&cloud, Arc::new(SystemClock)));
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
