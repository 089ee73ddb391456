#![doc = include_str!("../README.md")]

mod about;
mod bucket;
mod error;
mod events;
mod gates;
mod grants;
mod health;
mod jobs;
mod ledger;
mod listing;
mod objects;
mod outbox;
mod record;
mod removal;
mod runners;
mod runs;
mod scope;
mod seal;
mod secrets;
mod sessions;
mod set_up;
mod snapshots;
mod starts;
mod table;
mod tasks;

use std::sync::{Arc, OnceLock};

use aws_types::SdkConfig;
use run_model::repositories::{NotListed, Repositories};
use run_model::{Clock, Randomness, RunId};

pub use about::run_of_request;
pub use error::StoreError;
pub use events::NewEvent;
pub use gates::Vote;
pub use grants::{Grant, GrantKind, NewGrant};
pub use jobs::JobStands;
pub use outbox::{Answer, OutboxItem, OutboxKind, OutboxState};
pub use runners::RunnerSeen;
pub use runs::Admission;
pub use starts::{Start, Started};

/// What a program takes with its clients and connections, in megabytes, before it holds anything of a run.
const PROGRAM_MB: u32 = 48;

/// What a stage's resources are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The stage.
    pub stage: String,
    /// The table.
    pub table: String,
    /// The bucket.
    pub bucket: String,
    /// The secret with the providers' keys.
    pub models_secret: String,
    /// The secret with the forge's keys.
    pub forge_secret: String,
    /// The secret that seals task tokens.
    pub signing_secret: String,
    /// The group of the one-shot schedules.
    pub schedule_group: String,
    /// The repositories that the stage works on. On one machine they are those of whoever sits at it, and this is not asked.
    pub repositories: Repositories,
    /// The memory of the process that works for the stage, in megabytes, where it is bounded as a Lambda's is. What does not
    /// fit into it is refused before it is read.
    pub memory_mb: Option<u32>,
}

impl Names {
    /// The stage that one machine is. No deployed stage may bear this name.
    pub const LOCAL: &str = "local";

    /// The names of a stage: `local` on one machine.
    pub fn for_stage(stage: &str) -> Self {
        Self {
            stage: stage.to_owned(),
            table: format!("gatewright-{stage}"),
            bucket: format!("gatewright-{stage}"),
            models_secret: format!("gatewright/{stage}/models"),
            forge_secret: format!("gatewright/{stage}/forge"),
            signing_secret: format!("gatewright/{stage}/signing"),
            schedule_group: format!("gatewright-{stage}"),
            repositories: Repositories::default(),
            memory_mb: None,
        }
    }

    /// The largest object that a process with so much memory has room for, in bytes: half of what is left beside the program.
    pub fn largest_object(memory_mb: u32) -> u64 {
        u64::from(memory_mb.saturating_sub(PROGRAM_MB)) * (1 << 20) / 2
    }

    /// Whether this is one machine's own stage, where the person at it is trusted.
    pub fn is_local(&self) -> bool {
        self.stage == Self::LOCAL
    }

    /// Checks that runs may be about this repository: on one machine about any, on a stage about those that it names.
    ///
    /// # Errors
    /// [`NotListed`]
    pub fn check_repository(&self, repository: &str) -> Result<(), NotListed> {
        if self.is_local() { Ok(()) } else { self.repositories.check(repository) }
    }
}

/// Everything that outlives an invocation, of all runs or of one. Cheap to clone; a client is built when it is first used.
#[derive(Clone)]
pub struct Store(Arc<Inner>, Option<RunId>);

struct Inner {
    sdk: SdkConfig,
    names: Names,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    dynamodb: OnceLock<aws_sdk_dynamodb::Client>,
    bucket: OnceLock<bucket::Bucket>,
    secrets_manager: OnceLock<aws_sdk_secretsmanager::Client>,
    secrets: secrets::Cache,
}

impl Store {
    /// A store over these resources. Nothing is read yet.
    pub fn new(sdk: &SdkConfig, names: Names, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        let inner = Arc::new(Inner {
            sdk: sdk.clone(),
            names,
            clock,
            randomness,
            dynamodb: OnceLock::new(),
            bucket: OnceLock::new(),
            secrets_manager: OnceLock::new(),
            secrets: secrets::Cache::default(),
        });
        Self(inner, None)
    }

    /// What the resources are called.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        self.0.dynamodb.get_or_init(|| aws_sdk_dynamodb::Client::new(&self.0.sdk))
    }

    fn bucket(&self) -> &bucket::Bucket {
        let Inner { sdk, names, clock, .. } = &*self.0;
        self.0.bucket.get_or_init(|| bucket::Bucket::new(sdk, &names.bucket, Arc::clone(clock)))
    }

    fn secrets_manager(&self) -> &aws_sdk_secretsmanager::Client {
        self.0.secrets_manager.get_or_init(|| aws_sdk_secretsmanager::Client::new(&self.0.sdk))
    }
}
