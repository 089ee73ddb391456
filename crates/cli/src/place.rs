//! Where runs live: on this machine's cloud, or on a stage in an account. Every command about runs is written once, against
//! this.

use std::path::Path;
use std::time::Duration;

use aws_types::SdkConfig;
use forge::LocalGit;
use run_model::RunId;
use run_model::gate::{Approver, Gate, GateDecision, Question};
use run_model::run::{RunRecord, RunStatus};
use serde_json::Value;
use store::Store;

use crate::arguments::{At, Waiting};
use crate::local::Local;
use crate::problem::{self, Problem, causes};
use crate::stage::Deployed;
use crate::{machines, settings};

/// Where runs live.
pub(crate) enum Place {
    /// In a state folder, which this process may drive.
    Here(Box<Local>),
    /// On a stage, which moves by itself.
    Stage(Box<Deployed>),
}

/// How often a place is asked.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) shortest: Duration,
    /// Where nothing happens the pauses grow to this.
    pub(crate) longest: Duration,
    /// The same while a person is waited for.
    pub(crate) longest_at_gate: Duration,
    /// Every so many looks at a run its execution is looked at too.
    pub(crate) looks_an_execution: u32,
    /// So many looks may go by before an execution that was just started has to be there.
    pub(crate) looks_before_it_is_there: u32,
}

impl Pace {
    /// Nobody else pays for it, and nothing is slower than the disk.
    const HERE: Self = Self {
        shortest: Duration::from_millis(60),
        longest: Duration::from_millis(60),
        longest_at_gate: Duration::from_millis(250),
        looks_an_execution: 10,
        looks_before_it_is_there: 0,
    };
    /// Each look is a handful of reads that the account pays for, and Step Functions forgets for a moment what it began.
    const STAGE: Self = Self {
        shortest: Duration::from_secs(1),
        longest: Duration::from_secs(5),
        longest_at_gate: Duration::from_secs(5),
        looks_an_execution: 3,
        looks_before_it_is_there: 10,
    };
}

impl Place {
    /// The place to look at: nothing begins to move.
    pub(crate) async fn read(state: &Path, at: &At) -> Result<Self, Problem> {
        match &at.stage {
            None => Ok(Self::Here(Box::new(Local::read(state).await?))),
            Some(name) => Ok(Self::Stage(Box::new(Deployed::of_environment(name).await?))),
        }
    }

    /// Drives from now on, where somebody has to.
    pub(crate) async fn driving(self) -> Result<Self, Problem> {
        match self {
            Self::Here(local) => Ok(Self::Here(Box::new(local.driving().await?))),
            stage => Ok(stage),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        match self {
            Self::Here(local) => &local.store,
            Self::Stage(stage) => &stage.store,
        }
    }

    /// What a command needs besides its name to be about this place.
    pub(crate) fn flag(&self) -> String {
        flag(self.store())
    }

    pub(crate) fn pace(&self) -> Pace {
        match self {
            Self::Here(_) => Pace::HERE,
            Self::Stage(_) => Pace::STAGE,
        }
    }

    fn sdk(&self) -> &SdkConfig {
        match self {
            Self::Here(local) => local.sdk(),
            Self::Stage(stage) => &stage.sdk,
        }
    }

    /// A Step Functions client.
    pub(crate) fn step_functions(&self) -> aws_sdk_sfn::Client {
        aws_sdk_sfn::Client::new(self.sdk())
    }

    /// The ARN of an execution of `pipeline`.
    pub(crate) fn execution_arn(&self, name: &str) -> String {
        match self {
            Self::Here(_) => machines::execution_arn(name),
            Self::Stage(stage) => stage.execution_arn(name),
        }
    }

    /// Every machine, callers first.
    pub(crate) fn machine_arns(&self) -> Result<Vec<String>, Problem> {
        match self {
            Self::Here(_) => Ok(machines::arns()),
            Self::Stage(stage) => stage.machine_arns(),
        }
    }

    /// Starts an execution of `pipeline`.
    pub(crate) async fn start_execution(&self, name: &str, input: Value) -> Result<(), Problem> {
        let machine = match self {
            Self::Here(_) => machines::machine_arn("pipeline"),
            Self::Stage(stage) => {
                stage.check_settled()?;
                stage.start_arn()?
            }
        };
        let start = self.step_functions().start_execution().state_machine_arn(machine);
        let started = start.name(name).input(input.to_string()).send().await;
        started.map(drop).map_err(|error| Problem::missing(causes(&error)))
    }

    /// Goes on with an execution that was interrupted: on a stage none can be.
    pub(crate) async fn take_up(&self, execution: &str) -> Result<(), Problem> {
        match self {
            Self::Here(local) => local.take_up(execution).await,
            Self::Stage(_) => Ok(()),
        }
    }

    /// Whether a run that should move is moved by nobody: on a stage that cannot be.
    pub(crate) async fn is_orphaned(&self, run: &RunRecord) -> Result<bool, Problem> {
        match self {
            Self::Here(local) if run.status == RunStatus::Running => local.sleeps(&run.execution_arn).await,
            _ => Ok(false),
        }
    }

    /// Whether runs go on only while this process does.
    pub(crate) fn is_driver(&self) -> bool {
        matches!(self, Self::Here(local) if local.is_driver())
    }

    /// Decides on a gate: here in the name of the person at this machine, on a stage of whoever the credentials are. The
    /// gate as it stands then: it may wait for one more person.
    pub(crate) async fn decide(
        &self,
        gate: &Gate,
        decision: GateDecision,
        seen_as: &str,
        comment: Option<String>,
    ) -> Result<Gate, Problem> {
        match self {
            Self::Here(local) => {
                if decision == GateDecision::Approved {
                    let run = local.store.run(&gate.run_id).await?;
                    repository(&run).await.map_err(|problem| not_there(gate, &problem))?;
                }
                let approver = Approver { name: settings::person(), seen_as: seen_as.into() };
                Ok(local.store.decide(&gate.gate_id, &gate.binding.hash(), decision, approver, comment).await?)
            }
            Self::Stage(stage) => stage.decide(gate, decision, comment).await,
        }
    }

    /// Asks at a gate, in the same name as [`Self::decide`]; the gate as it stands then: asked.
    pub(crate) async fn ask(&self, gate: &Gate, seen_as: &str, question: &Question) -> Result<Gate, Problem> {
        match self {
            Self::Here(local) => {
                let asker = Approver { name: settings::person(), seen_as: seen_as.into() };
                Ok(local.store.ask(&gate.gate_id, &gate.binding.hash(), &asker, question).await?)
            }
            Self::Stage(stage) => stage.ask(gate, question).await,
        }
    }

    /// Whether what the run published is still where it was put; on a stage, what lands it sees to that.
    ///
    /// # Errors
    /// If its repository is not there any more.
    pub(crate) async fn is_published(&self, run: &RunRecord) -> Result<bool, Problem> {
        match (self, &run.commit) {
            (Self::Here(_), Some(commit)) => {
                let published = repository(run).await?.is_published(&run.run_id, commit).await;
                published.map_err(|error| Problem::input(causes(&error)))
            }
            _ => Ok(true),
        }
    }

    /// A run whose record may be behind its execution: on a stage its API sees to that. `None` here, where this process has
    /// to.
    pub(crate) async fn reconciled(&self, run: &RunId) -> Result<Option<RunRecord>, Problem> {
        match self {
            Self::Here(_) => Ok(None),
            Self::Stage(stage) => stage.reconciled(run).await.map(Some),
        }
    }

    /// Ends when the process that drives has gone away; never where nobody has to.
    pub(crate) async fn driver_gone(&self) {
        match self {
            Self::Here(local) => local.driver_gone().await,
            Self::Stage(_) => std::future::pending().await,
        }
    }

    /// Ends when this process drives and its disk takes no more, with what to say about it.
    pub(crate) async fn failed(&self) -> String {
        match self {
            Self::Here(local) => local.failed().await,
            Self::Stage(_) => std::future::pending().await,
        }
    }

    /// Opens the folder again after the driver went away.
    pub(crate) async fn reopen(self) -> Result<Self, Problem> {
        match self {
            Self::Here(local) => Ok(Self::Here(Box::new(local.reopen().await?))),
            stage => Ok(stage),
        }
    }

    /// Stops driving; what is under way goes on with the next driver.
    pub(crate) async fn close(self) {
        if let Self::Here(local) = self {
            local.close().await;
        }
    }
}

/// The repository of a run of this machine.
async fn repository(run: &RunRecord) -> Result<LocalGit, Problem> {
    LocalGit::open(Path::new(&run.repository)).await.map_err(|error| Problem::input(causes(&error)))
}

fn not_there(gate: &Gate, problem: &Problem) -> Problem {
    let cure = format!("put it back, then approve {} again", gate.gate_id);
    Problem::input(format!("nothing was decided, since the change could not land: {problem}; {cure}"))
}

/// What a command needs besides its name to be about the place of this store: nothing, or ` --stage dev`.
pub(crate) fn flag(store: &Store) -> String {
    let names = store.names();
    if names.is_local() { String::new() } else { format!(" --stage {}", names.stage) }
}

/// On a stage a person looks at every gate.
pub(crate) fn check_yes(at: &At, waiting: &Waiting) -> Result<(), Problem> {
    match &at.stage {
        Some(stage) if waiting.yes => {
            let cure = format!("leave it out and decide with `gatewright gates approve GATE --stage {stage}`");
            let message = format!("--yes: on a stage a person looks at every gate: {cure}");
            Err(Problem { message, exit: problem::USAGE })
        }
        _ => Ok(()),
    }
}
