//! What the loop needs from outside: a model, a ledger, a place for checkpoints, a tree to read. Adapters own the SDKs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use run_model::budget::TokenUsage;
use run_model::change_set::Overlay;
use run_model::{ErrorName, FunctionError, RepoPath, RunId, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A tool as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Name, `snake_case`.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON Schema of its input, an object.
    pub input_schema: Value,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// The model calls a tool.
    ToolCall {
        /// Id within the session: `call-<turn>-<index>`, given by the loop, so that no provider's id enters a request.
        id: String,
        /// The tool.
        name: String,
        /// Its input, as the model wrote it.
        input: Value,
    },
    /// The result of a tool call; each call gets exactly one, in the user message that follows it.
    ToolResult {
        /// The call.
        id: String,
        /// What the tool answered.
        content: String,
        /// Whether the call failed.
        is_error: bool,
    },
}

/// Whose turn a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The loop.
    User,
    /// The model.
    Assistant,
}

/// One message of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub speaker: Speaker,
    /// What is said.
    pub parts: Vec<Part>,
}

/// A rendered request, the same for every provider. Cassettes are keyed by its hash, so nothing in it may vary between
/// machines, users or days; `session` and `turn` are labels and not part of the hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRequest {
    /// Which session asks.
    pub session: SessionId,
    /// Which turn of the session this is, counted from 1.
    pub turn: u32,
    /// The model's id.
    pub model: String,
    /// The system prompt.
    pub system: String,
    /// The tools on offer, in a fixed order.
    pub tools: Vec<ToolSpec>,
    /// The transcript so far; the last message is the user's.
    pub messages: Vec<Message>,
    /// The most output tokens the answer may use.
    pub max_output_tokens: u64,
    /// Sampling temperature in thousandths, if set.
    pub temperature_milli: Option<u32>,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It had said what it wanted to say.
    EndTurn,
    /// It waits for tool results.
    ToolUse,
    /// It ran into the output limit.
    MaxTokens,
    /// It refused.
    Refusal,
}

/// A model's answer. Ids of tool calls are the provider's; the loop replaces them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelResponse {
    /// Text and tool calls, in order.
    pub parts: Vec<Part>,
    /// Why it stopped.
    pub stop_reason: StopReason,
    /// Tokens as the provider counts them.
    pub usage: TokenUsage,
    /// Whether the usage is an estimate (a recording).
    pub estimated: bool,
}

/// Why a model gave no answer, by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Wait, then ask again; the machine waits, not the Lambda.
    #[error("the model provider asks for patience: {message}")]
    Throttled {
        /// What the provider said.
        message: String,
        /// How long it asks to wait, in milliseconds, if it said so.
        retry_after_ms: Option<u64>,
    },
    /// The provider cannot be reached or failed on its side.
    #[error("the model provider is unavailable: {message}")]
    Unavailable {
        /// What happened.
        message: String,
        /// Whether the provider may have begun to answer (a time-out, a connection lost in mid-answer), so that the call
        /// may be charged: it then stays in the ledger at its reservation.
        may_be_charged: bool,
    },
    /// The key or the request was refused; asking again will not help.
    #[error("the model provider refused the request: {0}")]
    Refused(String),
    /// Nothing was recorded for this request.
    #[error("{0}")]
    CassetteMiss(String),
}

/// Asks a model.
#[async_trait]
pub trait Model: Send + Sync {
    /// One call, one answer. Short waits on 429, 529 and 5xx may happen inside (at most a few seconds), longer ones are
    /// the caller's business.
    ///
    /// # Errors
    /// [`ModelError`], by what to do next.
    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError>;
}

/// Why a port failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// A newer invocation holds the session: this one must stop at once and write nothing more.
    #[error("a newer invocation holds the session {0}")]
    Fenced(SessionId),
    /// The budget cannot carry the call; the message says what is left and what was asked.
    #[error("{0}")]
    BudgetExceeded(String),
    /// Another writer was first, again and again.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The outside system failed; trying again may succeed.
    #[error("the store failed: {0}")]
    Unavailable(String),
    /// What was asked for is not there.
    #[error("not found: {0}")]
    NotFound(String),
}

/// A call's reservation, to be settled or released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// `<session>#<turn>#<epoch>`.
    pub call_id: String,
    /// Reserved micro-dollars.
    pub cost_microusd: u64,
    /// Reserved tokens.
    pub tokens: u64,
}

/// What a call is going to cost at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallEstimate {
    /// `<session>#<turn>#<epoch>`.
    pub call_id: String,
    /// The role that calls.
    pub role: String,
    /// The session.
    pub session: SessionId,
    /// The model.
    pub model: String,
    /// Worst case in micro-dollars.
    pub cost_microusd: u64,
    /// Worst case in tokens.
    pub tokens: u64,
}

/// A run's money. Every call reserves its worst case before it is made and settles after.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Reserves the worst case, or refuses. Parallel agents cannot overspend together.
    ///
    /// # Errors
    /// [`PortError::BudgetExceeded`] if the budget cannot carry it.
    async fn reserve(&self, run: &RunId, estimate: CallEstimate) -> Result<Reservation, PortError>;

    /// Charges what the call really used and gives the rest back.
    ///
    /// # Errors
    /// If the store fails.
    async fn settle(
        &self,
        run: &RunId,
        reservation: &Reservation,
        usage: TokenUsage,
        cost_microusd: u64,
        estimated: bool,
    ) -> Result<(), PortError>;

    /// Gives a reservation back: the provider charged nothing.
    ///
    /// # Errors
    /// If the store fails.
    async fn release(&self, run: &RunId, reservation: &Reservation) -> Result<(), PortError>;

    /// Marks reservations that an earlier epoch of this session left open as `unknown`: they stay charged and are shown.
    ///
    /// # Errors
    /// If the store fails.
    async fn abandon(&self, run: &RunId, session: &SessionId) -> Result<(), PortError>;
}

/// A session between two turns. Everything the loop needs to go on is in here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Turns that are over.
    pub turns: u32,
    /// The transcript.
    pub messages: Vec<Message>,
    /// Edits so far, over the tree the session was given.
    pub overlay: Overlay,
    /// The suspending call that waits for its result, with the results of the turn's other calls already in order.
    pub suspended: Option<Suspended>,
    /// The accepted output, once the session is over.
    pub output: Option<Value>,
    /// Whether an answer was already asked to be mended, and how often.
    pub repairs: u32,
    /// Fingerprints of recent tool errors and states, for the detectors of going round in circles.
    pub fingerprints: BTreeMap<String, u32>,
}

/// A turn that waits for a suspending tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// The suspending call's id.
    pub call_id: String,
    /// The tool.
    pub tool: String,
    /// Results of the turn's other calls, in the order of the calls.
    pub results: Vec<Part>,
}

/// A session that this invocation holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSession {
    /// Which.
    pub session: SessionId,
    /// This invocation's epoch; an earlier epoch can no longer write.
    pub epoch: u64,
    /// Where it stands; empty if it is new.
    pub checkpoint: Checkpoint,
}

/// Where checkpoints live.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Takes the session: raises its epoch, so that an invocation that was given up but still runs cannot write.
    ///
    /// # Errors
    /// If the store fails.
    async fn take(&self, run: &RunId, session: &SessionId) -> Result<HeldSession, PortError>;

    /// Keeps the checkpoint if `held.epoch` is still the session's.
    ///
    /// # Errors
    /// [`PortError::Fenced`] if a newer invocation holds the session.
    async fn save(&self, run: &RunId, held: &HeldSession) -> Result<(), PortError>;
}

/// The tree that a session reads: a snapshot with earlier edits laid over it. Read only.
pub trait Tree: Send + Sync {
    /// Every readable path, sorted.
    fn paths(&self) -> Vec<RepoPath>;

    /// Why nothing can be written at this path although no readable file is there: a symbolic link or a submodule stands
    /// at it or above it. `None` if nothing stands in the way.
    fn obstacle(&self, path: &RepoPath) -> Option<String>;

    /// A file's bytes; `None` if there is no such file.
    ///
    /// # Errors
    /// If the scratch space cannot be read.
    fn read(&self, path: &RepoPath) -> std::io::Result<Option<Vec<u8>>>;
}

impl From<ModelError> for FunctionError {
    fn from(error: ModelError) -> Self {
        let name = match error {
            ModelError::Throttled { .. } => ErrorName::ModelThrottled,
            ModelError::Unavailable { .. } => ErrorName::ModelUnavailable,
            ModelError::Refused(_) => ErrorName::ModelRefused,
            ModelError::CassetteMiss(_) => ErrorName::CassetteMiss,
        };
        Self::new(name, error.to_string())
    }
}

impl From<PortError> for FunctionError {
    fn from(error: PortError) -> Self {
        let name = match error {
            PortError::Fenced(_) | PortError::Conflict(_) => ErrorName::Conflict,
            PortError::BudgetExceeded(_) => ErrorName::BudgetExceeded,
            PortError::Unavailable(_) => ErrorName::StoreUnavailable,
            PortError::NotFound(_) => ErrorName::NotFound,
        };
        Self::new(name, error.to_string())
    }
}

/// Told what a session does, for logs and progress. It never fails: a lost line costs nobody anything.
#[async_trait]
pub trait Observer: Send + Sync {
    /// One line about the session. Kinds: `turn.ended` (`turn 3: read_file src/lib.rs, search "parse"; 1234 tokens, $0.0123`),
    /// `context.trimmed` (what went), `session.stuck` (why).
    async fn note(&self, run: &RunId, session: &SessionId, kind: &str, message: String);
}
