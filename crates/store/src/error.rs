//! Why the store refused or failed, by what the reader does next.

use agent::ports::PortError;
use run_model::gate::{MOST_QUESTIONS, Refusal};
use run_model::{ErrorName, FunctionError, GateId, RunId, SessionId};

/// The cause of a failure in an outside system.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such item, object or secret: check the name.
    #[error("there is no {0}")]
    NotFound(String),
    /// Others were first, again and again, or the item stands where this write has no place: read it again.
    #[error("conflict on {0}")]
    Conflict(String),
    /// A newer invocation holds the session: stop and write nothing more.
    #[error("a newer invocation holds the session {0}")]
    Fenced(SessionId),
    /// The budget cannot carry the call: raise it and resume.
    #[error("the budget cannot carry the call: {0}")]
    BudgetExceeded(String),
    /// The gate's deadline has passed: resume the run to open a fresh gate.
    #[error("the deadline of gate {0} has passed; resume the run to open a fresh gate")]
    DeadlinePassed(GateId),
    /// The gate no longer waits: nothing left to decide.
    #[error("gate {gate} no longer waits: {stands}")]
    AlreadyDecided {
        /// The gate.
        gate: GateId,
        /// How it stands: `approved by NAME`, `asked by NAME; ...`, `void`.
        stands: String,
    },
    /// Enough was asked at this kind of gate: decide.
    #[error("{MOST_QUESTIONS} questions were answered here, which is all: approve or deny gate {0}")]
    EnoughQuestions(GateId),
    /// What was approved is not what would happen: look at the gate again.
    #[error("gate {0} now stands before something else than what was shown; look at it again")]
    BindingChanged(GateId),
    /// This person's word does not count at the gate: somebody else has to decide.
    #[error("{0}")]
    MayNotDecide(#[from] Refusal),
    /// A store of one run was asked for something else: whoever asked was handed what is not its own.
    #[error("{what} does not belong to run {run}, which is all that may be reached here")]
    OutOfReach {
        /// The row or object.
        what: String,
        /// The run.
        run: RunId,
    },
    /// The item or object is damaged: it has to be restored or removed.
    #[error("{item} is damaged: {problem}")]
    Corrupt {
        /// The item's or object's key.
        item: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The object, or what is made of it, does not fit into the memory of this process: give it more.
    #[error(
        "object {object} takes {} MiB, more than the {} that a function of {memory_mb} MB has room for; give the stage more: \
         `gatewright aws deploy --stage STAGE --memory {}`",
        bytes.div_ceil(1 << 20), limit >> 20, memory_mb * 2
    )]
    TooLarge {
        /// The object's key.
        object: String,
        /// How much it takes, as far as it was read.
        bytes: u64,
        /// How much there is room for.
        limit: u64,
        /// The memory of this process, in megabytes.
        memory_mb: u32,
    },
    /// A newer Gatewright wrote the item: update this one.
    #[error("{item} has schema {schema}, which a newer version of gatewright wrote; update gatewright")]
    NewerSchema {
        /// The item's key.
        item: String,
        /// The schema it has.
        schema: u32,
    },
    /// The outside system failed: trying again may succeed.
    #[error("could not {action}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Cause,
    },
}

impl StoreError {
    /// Wraps the failure of an outside system.
    pub(crate) fn unavailable(action: &'static str, source: impl Into<Cause>) -> Self {
        Self::Unavailable { action, source: source.into() }
    }

    /// Damage to an item or object.
    pub(crate) fn corrupt(item: impl ToString, problem: impl ToString) -> Self {
        Self::Corrupt { item: item.to_string(), problem: problem.to_string() }
    }

    /// The message with the messages of all causes, outermost first.
    pub fn with_causes(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}

impl From<StoreError> for FunctionError {
    fn from(error: StoreError) -> Self {
        use StoreError as E;
        let name = match &error {
            E::NotFound(_) => ErrorName::NotFound,
            E::Conflict(_) | E::Fenced(_) => ErrorName::Conflict,
            E::BudgetExceeded(_) => ErrorName::BudgetExceeded,
            // Trying again would not help, so these must not look like a conflict.
            E::DeadlinePassed(_)
            | E::AlreadyDecided { .. }
            | E::EnoughQuestions(_)
            | E::BindingChanged(_)
            | E::MayNotDecide(_)
            | E::OutOfReach { .. } => ErrorName::PolicyRefused,
            E::Corrupt { .. } | E::NewerSchema { .. } => ErrorName::Internal,
            E::TooLarge { .. } => ErrorName::InvalidInput,
            E::Unavailable { .. } => ErrorName::StoreUnavailable,
        };
        Self::new(name, error.with_causes())
    }
}

impl From<StoreError> for PortError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced(session) => Self::Fenced(session),
            StoreError::BudgetExceeded(_) => Self::BudgetExceeded(error.to_string()),
            StoreError::NotFound(what) => Self::NotFound(what),
            StoreError::Unavailable { .. } | StoreError::Corrupt { .. } | StoreError::NewerSchema { .. } => {
                Self::Unavailable(error.with_causes())
            }
            StoreError::Conflict(what) => Self::Conflict(what),
            StoreError::DeadlinePassed(_)
            | StoreError::AlreadyDecided { .. }
            | StoreError::EnoughQuestions(_)
            | StoreError::BindingChanged(_)
            | StoreError::MayNotDecide(_)
            | StoreError::TooLarge { .. }
            | StoreError::OutOfReach { .. } => Self::Conflict(error.to_string()),
        }
    }
}
