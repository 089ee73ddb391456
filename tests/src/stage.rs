//! Our machines on a cloud of this process: the clock moves when it is told to, and the functions are the test's own.

use std::sync::Arc;

use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::types::ExecutionStatus;
use embedded_cloud::{Attachment, Cloud, CloudOptions, FunctionRegistry};
use run_model::time::{SeededRandomness, VirtualClock};
use serde_json::Value;
use store::{Names, Store};
use tempfile::TempDir;

use crate::machines::{definitions, machine_arn};
use crate::state::options;

const START_MS: i64 = 1_800_000_000_000;

/// A cloud that stands still until [`Stage::play`].
pub struct Stage {
    pub store: Store,
    pub clock: VirtualClock,
    pub cloud: Cloud,
    pub step_functions: aws_sdk_sfn::Client,
    _folder: TempDir,
}

impl Stage {
    pub async fn set() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), VirtualClock::at(START_MS));
        let options = CloudOptions {
            clock: Arc::new(clock.clone()),
            randomness: Arc::new(SeededRandomness::new(1)),
            machines: definitions(),
            ..options(&folder.path().join("state"))
        };
        let Attachment::Driver(cloud) = Cloud::open(options).await.unwrap() else { panic!("somebody drives") };
        let (sdk, chance) = (cloud.sdk_config(), Arc::new(SeededRandomness::new(2)));
        let store = Store::new(&sdk, Names::for_stage("local"), Arc::new(clock.clone()), chance);
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        Self { store, clock, cloud, step_functions: aws_sdk_sfn::Client::new(&sdk), _folder: folder }
    }

    /// Starts an execution of `pipeline` with these functions, and returns its ARN.
    pub async fn play(&mut self, functions: FunctionRegistry, name: &str, input: &Value) -> String {
        self.cloud.start(functions).await.unwrap();
        let start = self.step_functions.start_execution().state_machine_arn(machine_arn("pipeline")).name(name);
        start.input(input.to_string()).send().await.unwrap().execution_arn
    }

    /// The execution once it has ended.
    pub async fn ended(&self, arn: &str) -> DescribeExecutionOutput {
        loop {
            let described = self.step_functions.describe_execution().execution_arn(arn).send().await.unwrap();
            if *described.status() != ExecutionStatus::Running {
                return described;
            }
            tokio::task::yield_now().await;
        }
    }
}
