//! The functions as they are deployed: each a process of its program, driven over the Lambda Runtime API.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use embedded_cloud::{ACCOUNT, FunctionError, FunctionRegistry, REGION};
use lambda_host::testing::{Answer, FunctionProcess};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::{Mutex, mpsc};

use crate::machines::{functions, machine_arn};
use crate::template::{Template, logical_id};
use crate::world;

/// The stage that the programs are deployed as.
pub const STAGE: &str = "dev";

/// The program that a function is in, as the template has it.
pub fn program_of(function: &str) -> String {
    let metadata = &Template::load().0["Resources"][logical_id(function)]["Metadata"];
    metadata["BuildProperties"]["Binary"].as_str().unwrap_or_else(|| panic!("{function} is in no program")).to_owned()
}

/// The memory that a function has unless somebody asks for more, in megabytes, as the template has it.
pub fn memory_mb_of(function: &str) -> u64 {
    let template = Template::load();
    let default = &template.0["Parameters"]["Memory"]["Default"];
    let own = &template.properties(&logical_id(function))["MemorySize"]["Fn::FindInMap"][2];
    let whose = own.as_str().unwrap_or("Functions");
    let memory = &template.0["Mappings"]["Memory"][default.to_string()][whose];
    memory.as_u64().unwrap_or_else(|| panic!("{function} has no memory"))
}

/// Where `sam build` put what is deployed, if it was run: `cargo xtask test --world` does, and says so by a variable.
pub fn artefacts() -> Option<PathBuf> {
    std::env::var_os("GATEWRIGHT_ARTEFACTS").map(PathBuf::from)
}

/// Where the program of a function is: the one that is deployed, or else the one that is built beside the tests.
pub fn path(function: &str) -> PathBuf {
    match artefacts() {
        Some(built) => built.join(logical_id(function)).join("bootstrap"),
        None => world::program(&program_of(function)),
    }
}

/// Starts a function's program with AWS at this URL, on a stage that works on these repositories.
pub async fn start(function: &str, aws: &str, repositories: &str) -> FunctionProcess {
    let mut command = Command::new(path(function));
    command.env("AWS_ENDPOINT_URL", aws).env("GATEWRIGHT_STAGE", STAGE).env("GATEWRIGHT_REPOSITORIES", repositories);
    command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mb_of(function).to_string());
    command.env("GATEWRIGHT_PIPELINE_ARN", machine_arn("pipeline"));
    command.env("GATEWRIGHT_JANITOR_ARN", format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:janitor"));
    command.env("GATEWRIGHT_SCHEDULES_ROLE_ARN", format!("arn:aws:iam::{ACCOUNT}:role/schedules"));
    FunctionProcess::start(command, function).await.unwrap()
}

/// Every function as a running process.
pub struct Programs(BTreeMap<String, Mutex<FunctionProcess>>);

impl Programs {
    pub async fn start(aws: &str, repositories: &str) -> Self {
        let mut programs = BTreeMap::new();
        for function in functions() {
            let started = start(&function, aws, repositories).await;
            programs.insert(function, Mutex::new(started));
        }
        Self(programs)
    }

    pub async fn invoke(&self, function: &str, event: &Value, deadline_ms: i64) -> Answer {
        let mut program = self.0[function].lock().await;
        program.invoke(event, deadline_ms).await.unwrap_or_else(|ended| panic!("{function}: {ended}"))
    }

    /// A registry that hands every invocation to a program, and tells of each that was answered.
    pub fn registry(self: &Arc<Self>, answered: &mpsc::UnboundedSender<String>) -> FunctionRegistry {
        let names: Vec<String> = self.0.keys().cloned().collect();
        let programs = Arc::clone(self);
        names.into_iter().fold(FunctionRegistry::new(), |registry, name| {
            let (programs, answered, function) = (programs.clone(), answered.clone(), name.clone());
            registry.with(&name, move |event, context| {
                let (programs, answered, function) = (programs.clone(), answered.clone(), function.clone());
                async move {
                    let answer = programs.invoke(&function, &event, context.deadline_ms).await;
                    // The test may have ended and listen no more.
                    answered.send(function).ok();
                    answer.map_err(|error| FunctionError::new(error.error_type, error.error_message))
                }
            })
        })
    }
}
