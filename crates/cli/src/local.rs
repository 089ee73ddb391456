//! This machine's cloud: driven by this process if nobody else does, asked over its socket otherwise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::ExecutionStatus;
use aws_types::SdkConfig;
use config::Dialect;
use embedded_cloud::step_functions::{ASLEEP, CommitPoint, CommitSide};
use embedded_cloud::{
    Attachment, Cloud, CloudClient, CloudOptions, CommitObserver, Functions, LambdaEndpoint, StatusRule, StreamRule,
    abort_at, full_from, noted_in,
};
use lambda_host::{OsRandomness, SystemClock};
use models::key_names;
use run_model::Clock;
use runner::Runner;
use sandbox::Sandbox;
use serde_json::{Map, Value};
use store::{Names, Store};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::problem::Problem;
use crate::{machines, registry, settings};

/// The stage that one machine is.
const STAGE: &str = "local";
/// How long a process may hold the folder without an answer, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The cloud in a state folder, as this process sees it.
pub(crate) struct Local {
    state: PathBuf,
    pub(crate) store: Store,
    sdk: SdkConfig,
    part: Part,
}

/// Which part this process plays.
enum Part {
    /// It drives: executions go on and checks run here.
    Driver { cloud: Cloud, runner: JoinHandle<()>, failed: watch::Receiver<Option<String>> },
    /// It holds the folder but drives nothing: it only reads.
    Reader(Cloud),
    /// Another process drives.
    Client(CloudClient),
}

/// How a process drives.
pub(crate) struct Driving {
    pub(crate) clock: Arc<dyn Clock>,
    /// Where functions are, if not in this program.
    pub(crate) endpoint: Option<LambdaEndpoint>,
    /// Which function is told how executions begin and end.
    pub(crate) status_rule: Option<StatusRule>,
    /// Whether every execution goes on. Otherwise each sleeps until it is started or [taken up](Local::take_up): a process
    /// that goes away after its own run would cut off what the others had begun.
    pub(crate) takes_up_all: bool,
}

impl Default for Driving {
    fn default() -> Self {
        let told = registry::FUNCTIONS.contains(&"events").then(|| StatusRule::to("events"));
        Self { clock: Arc::new(SystemClock), endpoint: None, status_rule: told, takes_up_all: false }
    }
}

impl Local {
    /// Opens the folder to drive it, or joins the process that does.
    pub(crate) async fn drive(state: &Path) -> Result<Self, Problem> {
        Self::read(state).await?.driving().await
    }

    /// Opens the folder to drive it in this way, or joins the process that does.
    pub(crate) async fn drive_as(state: &Path, driving: Driving) -> Result<Self, Problem> {
        Self::attach(state, &driving.clock).await?.begin(driving).await
    }

    /// Drives from now on, if no other process does.
    pub(crate) async fn driving(self) -> Result<Self, Problem> {
        self.begin(Driving::default()).await
    }

    async fn begin(mut self, driving: Driving) -> Result<Self, Problem> {
        let Driving { clock, endpoint, status_rule, takes_up_all } = driving;
        if let Part::Reader(mut cloud) = self.part {
            let jobs = Arc::new(Notify::new());
            let functions: Functions = match endpoint {
                Some(endpoint) => endpoint.into(),
                None => {
                    let scratch = self.state.join("scratch");
                    registry::build(&self.sdk, self.store.names(), &scratch, &clock, jobs.clone()).into()
                }
            };
            cloud.count_for(|request| store::run_of_request(request).map(|run| run.to_string()))?;
            if let Some(rule) = status_rule {
                cloud.tell_status_changes(rule);
            }
            match takes_up_all {
                true => cloud.start(functions).await?,
                false => cloud.start_asleep(functions).await?,
            }
            // What it asks for is a run's, and what this process asks for besides is a person's looking.
            let (sdk, names) = (cloud.sdk_config_counted_as("runner"), self.store.names().clone());
            let store = Store::new(&sdk, names, clock.clone(), Arc::new(OsRandomness));
            let runner = Runner::new(store, Sandbox::new(), self.state.clone(), clock, &runner_name());
            let (sender, failed) = watch::channel(None);
            let runner = tokio::spawn(async move { drop(sender.send(Some(runner.run(jobs).await))) });
            self.part = Part::Driver { cloud, runner, failed };
        }
        Ok(self)
    }

    /// Goes on with an execution of `pipeline` that was interrupted, whoever drives. One that has ended stays so.
    pub(crate) async fn take_up(&self, execution: &str) -> Result<(), Problem> {
        let client = aws_sdk_sfn::Client::new(&self.sdk);
        let found = client.describe_execution().execution_arn(machines::execution_arn(execution)).send().await;
        let found = match found {
            // It was never recorded: the next look at it says so.
            Err(error) if error.code() == Some("ExecutionDoesNotExist") => return Ok(()),
            found => found.map_err(Problem::of_service)?,
        };
        if *found.status() != ExecutionStatus::Running {
            return Ok(());
        }
        // Starting it again by the same name and with the same input joins it.
        let again = client.start_execution().state_machine_arn(found.state_machine_arn()).name(execution);
        match again.set_input(found.input().map(str::to_owned)).send().await {
            // It ended just now.
            Err(error) if error.code() == Some("ExecutionAlreadyExists") => Ok(()),
            other => other.map(drop).map_err(Problem::of_service),
        }
    }

    /// Whether an execution waits for somebody to take it up: nobody drives, or whoever does has another run at heart.
    pub(crate) async fn sleeps(&self, execution_arn: &str) -> Result<bool, Problem> {
        if let Part::Reader(_) = self.part {
            return Ok(true);
        }
        let client = aws_sdk_sfn::Client::new(&self.sdk);
        match client.describe_execution().execution_arn(execution_arn).send().await {
            Ok(found) => Ok(found.redrive_status_reason() == Some(ASLEEP)),
            Err(error) if error.code() == Some("ExecutionDoesNotExist") => Ok(false),
            Err(error) => Err(Problem::of_service(error)),
        }
    }

    /// Opens the folder to look only: nothing begins to move.
    pub(crate) async fn read(state: &Path) -> Result<Self, Problem> {
        Self::attach(state, &Driving::default().clock).await
    }

    /// A process that holds the folder may be one that only reads, or one that is about to drive: it is asked until it
    /// answers, or until it is gone and the folder is this one's.
    async fn attach(state: &Path, clock: &Arc<dyn Clock>) -> Result<Self, Problem> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let local = Self::open(state, clock).await?;
            if local.is_answered().await || Instant::now() > patience {
                return Ok(local);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn open(state: &Path, clock: &Arc<dyn Clock>) -> Result<Self, Problem> {
        let names = Names::for_stage(STAGE);
        let attachment = Cloud::open(options(state, &names, clock)).await?;
        let sdk = attachment.sdk_config();
        let store = Store::new(&sdk, names, clock.clone(), Arc::new(OsRandomness));
        let part = match attachment {
            Attachment::Driver(cloud) => {
                store.create_table_and_bucket().await?;
                store.ensure_signing_secret().await?;
                registry::one_shots(&sdk, store.names()).create_group().await?;
                Part::Reader(cloud)
            }
            Attachment::Client(client) => Part::Client(client),
        };
        Ok(Self { state: state.to_owned(), store, sdk, part })
    }

    async fn is_answered(&self) -> bool {
        match self.part {
            Part::Client(_) => {
                !self.store.list_runs(1).await.is_err_and(|error| embedded_cloud::is_driver_gone(&error))
            }
            Part::Driver { .. } | Part::Reader(_) => true,
        }
    }

    /// The state folder.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Whether this process holds the folder and nobody drives it.
    pub(crate) fn is_still(&self) -> bool {
        matches!(self.part, Part::Reader(_))
    }

    /// Whether this process drives.
    pub(crate) fn is_driver(&self) -> bool {
        matches!(self.part, Part::Driver { .. })
    }

    /// The cloud, if this process drives it.
    pub(crate) fn driven(&mut self) -> Option<&mut Cloud> {
        match &mut self.part {
            Part::Driver { cloud, .. } => Some(cloud),
            Part::Reader(_) | Part::Client(_) => None,
        }
    }

    /// How this machine's cloud is reached.
    pub(crate) fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    /// Ends when the process that drives has gone away; never while this one drives.
    pub(crate) async fn driver_gone(&self) {
        match &self.part {
            Part::Client(client) => client.driver_gone().await,
            Part::Driver { .. } | Part::Reader(_) => std::future::pending().await,
        }
    }

    /// Ends when this process drives and its disk takes no more, or no check can be reported, with what to say about it.
    pub(crate) async fn failed(&self) -> String {
        match &self.part {
            Part::Driver { cloud, failed, .. } => {
                let mut failed = failed.clone();
                tokio::select! {
                    said = cloud.failed() => said,
                    Ok(reason) = failed.wait_for(Option::is_some) => {
                        let reason = reason.clone().unwrap_or_default();
                        format!("what the checks said cannot be kept ({reason}): make room or mend the disk")
                    }
                }
            }
            Part::Reader(_) | Part::Client(_) => std::future::pending().await,
        }
    }

    /// Opens the folder again after the driver went away.
    pub(crate) async fn reopen(self) -> Result<Self, Problem> {
        let state = self.state.clone();
        drop(self);
        Self::drive(&state).await
    }

    /// Stops driving; what is under way goes on with the next driver.
    pub(crate) async fn close(self) {
        match self.part {
            Part::Driver { cloud, runner, .. } => {
                runner.abort();
                // Aborted or ended: either way it runs no more.
                drop(runner.await);
                cloud.shutdown().await;
            }
            Part::Reader(cloud) => cloud.shutdown().await,
            Part::Client(_) => {}
        }
    }
}

/// Claims of an earlier process are recognised by its other name.
fn runner_name() -> String {
    format!("local-{}-{}", std::process::id(), run_model::Randomness::hex_id(&OsRandomness, 4))
}

fn options(state: &Path, names: &Names, clock: &Arc<dyn Clock>) -> CloudOptions {
    let mut environment_secrets = BTreeMap::new();
    let keys = environment_keys();
    if !keys.is_empty() {
        environment_secrets.insert(names.models_secret.clone(), keys.into());
    }
    CloudOptions {
        state_dir: state.to_owned(),
        clock: clock.clone(),
        randomness: Arc::new(OsRandomness),
        machines: machines::definitions(),
        stream_rules: vec![StreamRule {
            table: names.table.clone(),
            function: "task-callback".into(),
            event_names: vec!["INSERT".into()],
            key_attribute: "pk".into(),
            key_prefix: "OUTBOX#".into(),
        }],
        environment_secrets,
        commit_hook: commit_hook(),
    }
}

/// The providers' keys in the environment, each with the address beside it.
fn environment_keys() -> Map<String, Value> {
    let mut fields = Map::new();
    for names in Dialect::ALL.map(key_names) {
        let Some(key) = settings::environment(names.key) else { continue };
        fields.insert(names.key.into(), key.into());
        if let Some(server) = settings::environment(names.base_url) {
            fields.insert(names.base_url.into(), server.into());
        }
    }
    fields
}

/// `GATEWRIGHT_ABORT_AT_COMMIT=N:before` or `N:after` ends a debug build at that side of its `N`-th durable commit, as
/// `kill -9` would; with `N:full` the disk is full from that commit on, and `GATEWRIGHT_NOTE_COMMITS=FILE` writes down of what kind
/// they are: for tests. A release build does not look.
fn commit_hook() -> Option<CommitObserver> {
    let asked = |name| settings::environment(name).filter(|_| cfg!(debug_assertions));
    if let Some(file) = asked("GATEWRIGHT_NOTE_COMMITS") {
        return Some(noted_in(file.into()));
    }
    let wanted = asked("GATEWRIGHT_ABORT_AT_COMMIT")?;
    let (number, side) = wanted.split_once(':')?;
    let number = number.parse().ok()?;
    Some(match side {
        "full" => full_from(number),
        "before" => abort_at(CommitPoint { number, side: CommitSide::Before }),
        _ => abort_at(CommitPoint { number, side: CommitSide::After }),
    })
}
