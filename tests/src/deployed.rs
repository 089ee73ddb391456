//! A deployed stage: the template on MiniStack, the machines on the embedded cloud, the programs as MiniStack's Lambdas.
//!
//! MiniStack's own Step Functions is not true to AWS, so the machines are read back from it as the deploy left them and run on the
//! embedded cloud, which invokes MiniStack's Lambdas.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lambda_host::{OsRandomness, SystemClock};
use run_model::RunId;
use run_model::run::RunRecord;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use store::{GrantKind, Names, NewGrant, Store};

use crate::machines::functions;
use crate::ministack::MiniStack;
use crate::programs;
use crate::served::Served;
use crate::{Running, World};

/// The stage that is deployed.
const STAGE: &str = "dev";
/// How often something is looked at that another process does.
const PAUSE: Duration = Duration::from_millis(100);
/// After so long a thing that should happen has not.
const PATIENCE: Duration = Duration::from_secs(240);

/// A stage that runs. It ends with this value.
pub struct Deployed {
    ministack: MiniStack,
    cloud: Served,
    outputs: BTreeMap<String, String>,
    pub store: Store,
    http: reqwest::Client,
    world: World,
}

impl Deployed {
    /// Deploys the template with the programs that are built beside the tests.
    pub async fn start() -> Self {
        Self::edited(&[]).await
    }

    /// The same, with these texts of the template replaced by others.
    pub async fn edited(edits: &[(&str, &str)]) -> Self {
        let (world, port) = (World::quick(), free_port());
        let step_functions = format!("http://127.0.0.1:{port}");
        let variables =
            [("AWS_ENDPOINT_URL_SFN", step_functions.as_str()), ("AWS_ENDPOINT_URL_SCHEDULER", &step_functions)];
        let ministack = MiniStack::start(&variables);
        ministack.deploy_edited(STAGE, &starter(&world), edits);
        let cloud = serve(&world, port, &ministack);
        let outputs = ministack.outputs(STAGE);
        define(&ministack, &step_functions, &outputs).await;
        let names = Names { bucket: outputs["BucketName"].clone(), ..Names::for_stage(STAGE) };
        let store = Store::new(&ministack.sdk_config(), names, Arc::new(SystemClock), Arc::new(OsRandomness));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { ministack, cloud, outputs, store, http, world }
    }

    /// Stops the run's execution, as the console's Stop does.
    pub async fn stop(&self, run: &RunId) {
        let execution = self.store.run(run).await.unwrap().execution_arn;
        self.step_functions().stop_execution().execution_arn(execution).send().await.unwrap();
    }

    /// The run's record once it looks so, by the table alone: nobody asks the API, which would look after the execution itself.
    pub async fn record_when(&self, run: &RunId, wanted: impl Fn(&RunRecord) -> bool) -> RunRecord {
        let begun = tokio::time::Instant::now();
        loop {
            let record = self.store.run(run).await.unwrap();
            if wanted(&record) {
                return record;
            }
            assert!(begun.elapsed() < PATIENCE, "{record:#?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Step Functions as the embedded cloud has it.
    fn step_functions(&self) -> aws_sdk_sfn::Client {
        let config = aws_sdk_sfn::config::Builder::from(&self.ministack.sdk_config());
        aws_sdk_sfn::Client::from_conf(config.endpoint_url(self.cloud.address()).build())
    }

    /// How often the executions of a machine (by its output, say `TaskArn`) entered a state.
    pub async fn entered(&self, machine: &str, state: &str) -> usize {
        let embedded = self.step_functions();
        let listed = embedded.list_executions().state_machine_arn(&self.outputs[machine]).send().await.unwrap();
        let mut count = 0;
        for execution in listed.executions() {
            let asked = embedded.get_execution_history().execution_arn(execution.execution_arn());
            let events = asked.max_results(1_000).send().await.unwrap().events;
            let names = events.iter().filter_map(|event| event.state_entered_event_details());
            count += names.filter(|entered| entered.name() == state).count();
        }
        count
    }

    /// `kill -9` for the processes that serve a function here and now; how many there were.
    pub fn kill(&self, function: &str) -> usize {
        let ids = self.ministack.processes(function).into_iter().map(|(id, _)| id);
        ids.map(|id| kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap()).count()
    }

    /// Fails if a function that serves here and now ever took more than nine tenths of the memory that it is declared with; says
    /// what each took.
    #[allow(clippy::print_stdout, reason = "the figures are what somebody looks for who runs this alone")]
    pub fn expect_enough_memory(&self) {
        let mut problems = Vec::new();
        for function in functions() {
            let processes = self.ministack.processes(&function);
            let Some(peak_kib) = processes.iter().filter_map(|(id, _)| peak_kib(*id)).max() else { continue };
            let declared_kib = programs::memory_mb_of(&function) << 10;
            println!("{function}: at most {:.1} of {} MiB", peak_kib as f64 / 1024.0, declared_kib >> 10);
            if peak_kib * 10 > declared_kib * 9 {
                problems.push(format!("{function} took {peak_kib} of {declared_kib} KiB"));
            }
        }
        assert!(problems.is_empty(), "{problems:#?}");
    }

    /// Sets a secret's value.
    pub async fn set_secret(&self, name: &str, value: &Value) {
        let secrets = aws_sdk_secretsmanager::Client::new(&self.ministack.sdk_config());
        secrets.put_secret_value().secret_id(name).secret_string(value.to_string()).send().await.unwrap();
    }

    /// A `gatewright runner` of this name at work for this stage, which has heard of it. It ends with the value.
    pub async fn start_runner(&self, name: &str) -> Running {
        let new = NewGrant { name: name.into(), roles: [].into(), lifetime_seconds: 3_600 };
        let (bearer, _) = self.store.add_bearer(GrantKind::Runner, new).await.unwrap();
        let mut command = self.world.command_with(&self.world.path(name), &["runner", "--api", &self.api()]);
        let mut runner = Running::of(command.env("GATEWRIGHT_RUNNER_BEARER", bearer).spawn().unwrap());
        tokio::task::block_in_place(|| runner.until("the stage answers"));
        runner
    }

    /// Where MiniStack answers for the HTTP API.
    fn api(&self) -> String {
        let id = self.outputs["ApiUrl"].trim_start_matches("https://").split('.').next().unwrap();
        format!("{}/_aws/execute-api/{id}/$default", self.ministack.address())
    }

    /// Asks the HTTP API; status and body.
    pub async fn ask(&self, bearer: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.api());
        let request = match body {
            Some(body) => self.http.post(url).header("content-type", "application/json").body(body.to_string()),
            None => self.http.get(url),
        };
        let answer = request.bearer_auth(bearer).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or_else(|_| json!(text)))
    }

    /// The run once it looks so.
    pub async fn run_when(&self, bearer: &str, run_id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = tokio::time::Instant::now();
        loop {
            let (_, run) = self.ask(bearer, &format!("/api/v1/runs/{run_id}"), None).await;
            if wanted(&run) {
                return run;
            }
            assert!(begun.elapsed() < PATIENCE, "{run:#}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The most that a process ever had in memory; `None` if it has ended.
fn peak_kib(process: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().trim_end_matches(" kB").parse().unwrap())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A `bootstrap` that becomes the real program of whatever function it is, without carrying it through fourteen archives.
fn starter(world: &World) -> PathBuf {
    let start = |function: &String| format!("{function}) exec '{}' ;;\n", programs::path(function).display());
    let starts: String = functions().iter().map(start).collect();
    let path = world.path("bootstrap");
    fs::write(&path, format!("#!/bin/sh\ncase $_HANDLER in\n{starts}esac\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Step Functions and Scheduler for MiniStack's Lambdas, and status changes by the rule that is deployed there.
fn serve(world: &World, port: u16, ministack: &MiniStack) -> Served {
    let (port, (pattern, target)) = (port.to_string(), ministack.status_rule());
    let arguments = ["cloud", "serve", "--port", &port, "--lambda-endpoint", ministack.address()];
    let mut command = world.command(&arguments);
    command.args(["--status-target", &target, "--status-pattern", &pattern]);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    Served::by(command)
}

/// The machines and the schedule group as the deploy left them, on the embedded cloud.
async fn define(ministack: &MiniStack, step_functions: &str, outputs: &BTreeMap<String, String>) {
    let deployed = aws_sdk_sfn::Client::new(&ministack.sdk_config());
    let config = aws_sdk_sfn::config::Builder::from(&ministack.sdk_config()).endpoint_url(step_functions).build();
    let embedded = aws_sdk_sfn::Client::from_conf(config);
    let config = aws_sdk_scheduler::config::Builder::from(&ministack.sdk_config()).endpoint_url(step_functions).build();
    let scheduler = aws_sdk_scheduler::Client::from_conf(config);
    scheduler.create_schedule_group().name(&outputs["ScheduleGroup"]).send().await.unwrap();
    for output in ["TaskArn", "TaskGraphArn", "PipelineArn"] {
        let machine = deployed.describe_state_machine().state_machine_arn(&outputs[output]).send().await.unwrap();
        let create = embedded.create_state_machine().name(machine.name()).definition(machine.definition());
        let created = create.role_arn(machine.role_arn()).send().await.unwrap();
        assert_eq!(created.state_machine_arn(), outputs[output]);
    }
}
