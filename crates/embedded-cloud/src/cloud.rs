//! Opening a state folder: as the one process that drives it, or as a client of that process.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_types::SdkConfig;
use run_model::{Clock, Randomness};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use crate::commits::{CommitObserver, Commits};
use crate::connector::{InProcess, OverSocket, sdk_config};
use crate::durable::{DurableWriter, create_folder};
use crate::dynamodb::{self, DynamoDb};
use crate::http::Services;
use crate::lambda::Invoker;
use crate::loopback::{CLOCK_FILE, Loopback, StandingClock};
use crate::meter::{Meter, SubjectOf};
use crate::objects::Objects;
use crate::registry::Functions;
use crate::scheduler::{Scheduler, SchedulerSources};
use crate::secrets::{SecretSources, Secrets};
use crate::socket::{self, FileMode};
use crate::status_events::{StatusEvents, StatusRule};
use crate::step_functions::{self, EngineError, StepFunctions};
use crate::streams::{Progress, Pump, PumpContext, StreamRule};

/// What an embedded cloud is made of.
#[derive(Clone)]
pub struct CloudOptions {
    /// Folder of everything durable, mode 0700; created if it is missing.
    pub state_dir: PathBuf,
    /// The only time there is.
    pub clock: Arc<dyn Clock>,
    /// The only chance there is.
    pub randomness: Arc<dyn Randomness>,
    /// Name and definition (Amazon States Language as JSON text) of each state machine.
    pub machines: Vec<(String, String)>,
    /// Which changes of which table go to which function.
    pub stream_rules: Vec<StreamRule>,
    /// Secrets of the environment by name: laid over stored ones (field by field where both are objects), never stored.
    pub environment_secrets: BTreeMap<String, Value>,
    /// Looks on at every durable commit, so that a test can end the process at one. Otherwise `None`.
    pub commit_hook: Option<CommitObserver>,
}

impl CloudOptions {
    /// A cloud with neither machines, stream rules nor secrets of the environment.
    pub fn new(state_dir: impl Into<PathBuf>, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self {
            state_dir: state_dir.into(),
            clock,
            randomness,
            machines: Vec::new(),
            stream_rules: Vec::new(),
            environment_secrets: BTreeMap::new(),
            commit_hook: None,
        }
    }
}

/// How this process is attached to the state folder.
pub enum Attachment {
    /// It holds the lock: [`Cloud::start`] makes it drive.
    Driver(Cloud),
    /// Another process drives, and answers over its socket.
    Client(CloudClient),
}

/// Why a state folder could not be opened or driven.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder lets other users in: take the permission away, or choose another folder.
    #[error("state folder {} is open to other users (mode {mode:o}): run chmod 700 on it, or choose another", path.display())]
    Exposed {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The folder is somebody else's: what lies in it would be theirs to change.
    #[error(
        "state folder {} belongs to user {owner}: choose another (--state DIR), or have it given to you (chown -R)", path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// A file of the folder holds what this program never wrote there: update it, put a copy back, or go without what it held.
    #[error(
        "{} is damaged, unless a newer gatewright wrote it (then update this one): put a copy of it back, or move it away and go \
         without what it held", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// A file of the folder cannot be used: check the disk and who owns it.
    #[error("could not use {}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The tables cannot be opened; a newer program may have written them.
    #[error("could not open the tables in {}", path.display())]
    Tables {
        /// The tables' file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk takes no more: what it says, and the cure.
    #[error("{0}")]
    Disk(String),
    /// The state machines or their executions cannot be used.
    #[error("could not use the state machines")]
    Machines(#[from] EngineError),
    /// The loopback cannot be listened on.
    #[error("could not listen on the loopback")]
    Loopback(#[source] io::Error),
    /// [`Cloud::start`] was called twice.
    #[error("the embedded cloud was started before")]
    StartedTwice,
}

/// The driver of a state folder. Dropping it stops it as a crash would; [`Cloud::shutdown`] stops it cleanly.
pub struct Cloud {
    options: CloudOptions,
    services: Arc<Services>,
    commits: Commits,
    writer: Arc<DurableWriter>,
    listener: Option<StdListener>,
    tasks: JoinSet<()>,
    status_rule: Option<StatusRule>,
    /// Held as long as this process may write.
    lock: File,
}

/// A client of the process that drives a state folder.
#[derive(Clone)]
pub struct CloudClient {
    options: CloudOptions,
}

impl Cloud {
    /// Opens a state folder: drives it if nobody does, else becomes a client of who does.
    ///
    /// Blocks on the disk for some milliseconds. Clients that come between this and [`Cloud::start`] wait.
    ///
    /// # Errors
    /// See [`OpenError`]; a folder that is driven by another process is no error.
    pub async fn open(options: CloudOptions) -> Result<Attachment, OpenError> {
        let state_dir = options.state_dir.clone();
        prepare_folder(&state_dir)?;
        let Some(lock) = take_lock(&state_dir.join("lock"))? else {
            return Ok(Attachment::Client(CloudClient { options }));
        };
        let at = |name: &str| state_dir.join(name);
        let commits = Commits::of(&state_dir, options.commit_hook.clone());
        let writer = DurableWriter::open(at("incoming"), commits.clone());
        let writer = writer.map(Arc::new).map_err(unusable(&at("incoming")))?;
        let services = open_services(&options, &writer, commits.clone()).await;
        let services = services.map_err(|error| commits.refused().map_or(error, OpenError::Disk))?;
        let listener = socket::bind(&state_dir).map_err(unusable(&at(socket::SOCKET)))?;
        Ok(Attachment::Driver(Cloud {
            options,
            services: Arc::new(services),
            commits,
            writer,
            listener: Some(listener),
            tasks: JoinSet::new(),
            status_rule: None,
            lock,
        }))
    }

    /// A configuration whose SDK clients are answered in this process.
    pub fn sdk_config(&self) -> SdkConfig {
        sdk_config(InProcess::new(Arc::clone(&self.services), &self.options.state_dir))
    }

    /// As [`Cloud::sdk_config`], for a part of this process that works outside of functions: what it asks for is counted as
    /// that of a function of this name.
    pub fn sdk_config_counted_as(&self, part: &'static str) -> SdkConfig {
        sdk_config(InProcess::new(Arc::clone(&self.services), &self.options.state_dir).counted_as(part))
    }

    /// Counts from [`Cloud::start`] on what AWS would charge for, by whom it was for: see [`crate::meter`]. Functions behind an
    /// endpoint ask from elsewhere and are not counted.
    ///
    /// # Errors
    /// [`OpenError::File`] if the count cannot be kept; [`OpenError::StartedTwice`] if it is counted already.
    pub fn count_for(&mut self, subject_of: SubjectOf) -> Result<(), OpenError> {
        let folder = &self.options.state_dir;
        let meter = Meter::open(folder, subject_of).map_err(unusable(folder))?;
        self.services.meter.set(Arc::new(meter)).map_err(|_| OpenError::StartedTwice)
    }

    /// Ends when the disk takes no more writes, whoever's they are, with what to say about it: from then on nothing is promised any more.
    pub async fn failed(&self) -> String {
        tokio::select! {
            said = self.commits.failed() => said,
            reason = self.services.step_functions.failed() => self.commits.sentence(&reason),
        }
    }

    /// The engine, for who watches executions or counts its commits.
    pub fn step_functions(&self) -> &StepFunctions {
        &self.services.step_functions
    }

    /// Has a function told how executions begin and end, as an EventBridge rule for
    /// `Step Functions Execution Status Change` tells its target: best effort, in no order. For before [`Cloud::start`].
    pub fn tell_status_changes(&mut self, rule: StatusRule) {
        self.status_rule = Some(rule);
    }

    /// Begins to drive: executions go on where they were, streams flow, schedules fire, other processes are answered.
    ///
    /// Called after [`Cloud::open`], because functions are built from its [`Cloud::sdk_config`]. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`OpenError::StartedTwice`]; [`OpenError::Machines`] when an execution cannot be recovered; [`OpenError::File`]
    /// when the socket or a stream's position cannot be used.
    pub async fn start(&mut self, functions: impl Into<Functions>) -> Result<(), OpenError> {
        self.start_with(functions.into(), StepFunctions::start)
    }

    /// As [`Cloud::start`], but an execution goes on only when somebody starts it again with the same name and input:
    /// for a process that is here for one of them and goes away after it.
    ///
    /// # Errors
    /// As [`Cloud::start`].
    pub async fn start_asleep(&mut self, functions: impl Into<Functions>) -> Result<(), OpenError> {
        self.start_with(functions.into(), StepFunctions::start_asleep)
    }

    fn start_with(
        &mut self,
        functions: Functions,
        begin: fn(&StepFunctions, Functions) -> Result<(), EngineError>,
    ) -> Result<(), OpenError> {
        let listener = self.listener.take().ok_or(OpenError::StartedTwice)?;
        let functions = match (functions, self.services.meter.get()) {
            (Functions::Linked(registry), Some(meter)) => {
                registry.wrapped(|name, handler| meter.watch(name, handler)).into()
            }
            (functions, _) => functions,
        };
        let invoker = Invoker { functions: functions.clone(), clock: Arc::clone(&self.options.clock) };
        if !self.services.set_functions(invoker.clone()) {
            return Err(OpenError::StartedTwice);
        }
        let pumps = self.open_pumps(&invoker)?;
        // Listens before anything moves, so that no change is missed.
        let told = self.status_rule.take().map(|rule| {
            let (engine, randomness) = (&self.services.step_functions, Arc::clone(&self.options.randomness));
            StatusEvents::of(engine, randomness, invoker.clone(), rule)
        });
        begin(&self.services.step_functions, functions)?;
        for pump in pumps {
            self.tasks.spawn(pump.run());
        }
        if let Some(told) = told {
            self.tasks.spawn(told.run());
        }
        self.tasks.spawn(Arc::clone(&self.services.scheduler).run(invoker));
        let path = self.options.state_dir.join(socket::SOCKET);
        let listener = UnixListener::from_std(listener).map_err(unusable(&path))?;
        self.tasks.spawn(socket::serve(listener, FileMode, Arc::clone(&self.services)));
        Ok(())
    }

    /// Answers on a free port of the loopback too, as [`Cloud::serve_loopback_on`].
    ///
    /// # Errors
    /// [`OpenError::Loopback`] if the loopback cannot be listened on.
    pub async fn serve_loopback(&mut self) -> Result<SocketAddr, OpenError> {
        self.serve_loopback_on(0, None).await
    }

    /// Answers on a port of the loopback too (0: a free one), for programs that know AWS by an endpoint URL only.
    ///
    /// Every user of this machine can reach it, and no signature is checked. Web pages cannot: a request must be signed
    /// in form, name a loopback host and come from no page. With a clock, `POST /_gatewright/clock` advances it.
    ///
    /// # Errors
    /// [`OpenError::Loopback`] if the port cannot be listened on; [`OpenError::File`] if the clock's moment cannot be kept.
    pub async fn serve_loopback_on(
        &mut self,
        port: u16,
        clock: Option<StandingClock>,
    ) -> Result<SocketAddr, OpenError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(OpenError::Loopback)?;
        let address = listener.local_addr().map_err(OpenError::Loopback)?;
        let path = self.options.state_dir.join(CLOCK_FILE);
        let keeper = Loopback::new(clock, Arc::clone(&self.writer), path.clone()).map_err(unusable(&path))?;
        self.tasks.spawn(socket::serve(listener, keeper, Arc::clone(&self.services)));
        Ok(address)
    }

    /// Stops driving: what is being written is finished, nothing more is answered, and the folder is free.
    ///
    /// Functions that are running are given up; their work goes on with the next driver.
    pub async fn shutdown(mut self) {
        self.services.step_functions.close().await;
        self.tasks.shutdown().await;
        self.services.close().await;
        self.take_in_the_tables_log().await;
        let socket = self.options.state_dir.join(socket::SOCKET);
        if let Err(error) = fs::remove_file(&socket) {
            tracing::debug!(%error, "the socket was gone already");
        }
        drop(self.lock);
    }

    /// What fails here is done at the next start.
    async fn take_in_the_tables_log(&self) {
        let dynamodb = self.services.dynamodb.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || dynamodb.checkpoint()).await {
            tracing::warn!(%error, "the tables' log stays beside them");
        }
    }

    fn open_pumps(&self, invoker: &Invoker) -> Result<Vec<Pump>, OpenError> {
        let folder = self.options.state_dir.join("streams");
        create_folder(&folder).map_err(unusable(&folder))?;
        let context = PumpContext {
            dynamodb: self.services.dynamodb.clone(),
            invoker: invoker.clone(),
            writer: Arc::clone(&self.writer),
            folder: folder.clone(),
            progress: Arc::new(Progress::of(&self.options.stream_rules)),
        };
        let rules = self.options.stream_rules.iter().cloned();
        rules
            .map(|rule| {
                let position = Pump::position_in(&folder, &rule);
                Pump::open(rule, context.clone()).map_err(unusable(&position))
            })
            .collect()
    }
}

impl CloudClient {
    /// A configuration whose SDK clients ask the driver over its socket.
    ///
    /// When it is gone they fail with [`crate::DriverGone`]; see [`crate::is_driver_gone`].
    pub fn sdk_config(&self) -> SdkConfig {
        sdk_config(OverSocket::new(&self.options.state_dir))
    }

    /// Ends when the driver goes away, however it does.
    pub async fn driver_gone(&self) {
        socket::driver_gone(&self.options.state_dir).await;
    }

    /// Opens the folder again: to drive it, if nobody else was faster.
    ///
    /// # Errors
    /// As [`Cloud::open`].
    pub async fn try_promote(&self) -> Result<Attachment, OpenError> {
        Cloud::open(self.options.clone()).await
    }
}

impl Attachment {
    /// A configuration for SDK clients, whichever way they are answered.
    pub fn sdk_config(&self) -> SdkConfig {
        match self {
            Attachment::Driver(cloud) => cloud.sdk_config(),
            Attachment::Client(client) => client.sdk_config(),
        }
    }
}

async fn open_services(
    options: &CloudOptions,
    writer: &Arc<DurableWriter>,
    commits: Commits,
) -> Result<Services, OpenError> {
    let at = |name: &str| options.state_dir.join(name);
    let tables = at("tables.sqlite");
    let commit_hook = commits.hook_of_log();
    let dynamodb = DynamoDb::open(&tables, commits).map_err(|error| match dynamodb::is_damage(&error) {
        // What the database says of it is about keys that nobody has.
        true => OpenError::Damaged { path: tables, source: io::ErrorKind::InvalidData.into() },
        false => OpenError::Tables { path: tables, source: Box::new(error) },
    })?;
    let sources = SecretSources {
        environment: options.environment_secrets.clone(),
        clock: Arc::clone(&options.clock),
        randomness: Arc::clone(&options.randomness),
    };
    let secrets_path = at("secrets.json");
    let secrets = Secrets::open(secrets_path.clone(), Arc::clone(writer), sources).map_err(unusable(&secrets_path))?;
    let objects = Objects::open(at("objects"), Arc::clone(writer), Arc::clone(&options.clock))
        .map_err(unusable(&at("objects")))?;
    let sources = SchedulerSources { clock: Arc::clone(&options.clock), randomness: Arc::clone(&options.randomness) };
    let schedules = at("schedules.json");
    let scheduler = Scheduler::open(schedules.clone(), Arc::clone(writer), sources).map_err(unusable(&schedules))?;
    let step_functions = StepFunctions::open(step_functions::Options {
        machines: options.machines.clone(),
        commit_hook,
        ..step_functions::Options::new(
            at("executions.sqlite"),
            Arc::clone(&options.clock),
            Arc::clone(&options.randomness),
        )
    })
    .await?;
    Ok(Services::new(dynamodb, secrets, objects, scheduler, step_functions))
}

/// Creates the folder, or refuses one that other users can enter. Permissions are never changed: it may be `/tmp`.
fn prepare_folder(path: &Path) -> Result<(), OpenError> {
    create_folder(path).map_err(unusable(path))?;
    let found = fs::metadata(path).map_err(unusable(path))?;
    let (owner, mode) = (found.uid(), found.permissions().mode() & 0o777);
    if owner != rustix::process::geteuid().as_raw() {
        return Err(OpenError::Foreign { path: path.to_owned(), owner });
    }
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(OpenError::Exposed { path: path.to_owned(), mode }),
    }
}

/// The lock, or nothing if another process (or another cloud of this one) holds it.
fn take_lock(path: &Path) -> Result<Option<File>, OpenError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path).map_err(unusable(path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(unusable(path)(error.into())),
    }
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => OpenError::Damaged { path, source },
        _ => OpenError::File { path, source },
    }
}
