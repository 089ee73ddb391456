//! The loop: ask, act, keep, until the role hands in its result or has to wait.

use run_model::budget::Price;
use run_model::change_set::Overlay;
use run_model::{Clock, ErrorName, FunctionError, RepoPath, RunId, SessionId};
use serde_json::Value;

use crate::ports::{
    CallEstimate, HeldSession, Ledger, Message, Model, ModelError, ModelRequest, ModelResponse, Observer, Part,
    Reservation, Sessions, Speaker, StopReason, ToolSpec, Tree,
};
use crate::role::{PathKind, Role};
use crate::turn::Desk;
use crate::{circles, context, tools, turn};

/// What a session is about.
pub struct SessionRequest {
    /// The run.
    pub run: RunId,
    /// The session.
    pub session: SessionId,
    /// The first message, part by part: the task and all it comes with. Used when the session is new. It must not vary
    /// between machines, users or days.
    pub opening: Vec<String>,
    /// Who answers.
    pub model: ModelChoice,
    /// How long and how often.
    pub limits: SessionLimits,
    /// When this invocation will be ended from outside, in milliseconds since the epoch.
    pub deadline_ms: i64,
}

/// The model and what it may use.
#[derive(Clone, Debug)]
pub struct ModelChoice {
    /// The model's id.
    pub model: String,
    /// Its price.
    pub price: Price,
    /// The most output tokens of one answer.
    pub max_output_tokens: u64,
    /// Tokens that request and answer may fill together.
    pub context_tokens: u64,
    /// Sampling temperature in thousandths.
    pub temperature_milli: Option<u32>,
}

/// The bounds of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Turns.
    pub turns: u32,
    /// Answers of the wrong shape that are sent back.
    pub repairs: u32,
    /// The longest a model call may take, in milliseconds.
    pub call_ms: i64,
    /// Time kept for what follows a call, in milliseconds.
    pub reserve_ms: i64,
}

/// What only the caller knows about the work.
pub trait Assignment: Send + Sync {
    /// What the run's settings say about a path.
    fn path_kind(&self, path: &RepoPath) -> PathKind;

    /// Whether an output of the right shape makes sense, given the session's edits.
    ///
    /// # Errors
    /// What is wrong with it, in words for the model.
    fn accept(&self, output: &Value, edits: &Overlay) -> Result<(), String>;

    /// The results of the project's checks on exactly this state of the session, in canonical form; `None` if they were
    /// not run on it. An invocation that is tried again may bring the results of an earlier state.
    fn checks(&self, edits: &Overlay) -> Option<String>;
}

/// The outside of a session.
pub struct Ports<'a> {
    /// Answers.
    pub model: &'a dyn Model,
    /// Keeps the money.
    pub ledger: &'a dyn Ledger,
    /// Keeps the checkpoints.
    pub sessions: &'a dyn Sessions,
    /// Is told.
    pub observer: &'a dyn Observer,
    /// The tree before the session's edits.
    pub tree: &'a dyn Tree,
    /// Time.
    pub clock: &'a dyn Clock,
    /// What only the caller knows.
    pub assignment: &'a dyn Assignment,
}

/// How an invocation ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The result is there.
    Done {
        /// The role's output, valid by its schema and accepted.
        output: Value,
        /// The session's edits.
        edits: Overlay,
    },
    /// Run the checks over these edits, then call again.
    NeedsChecks {
        /// The session's edits so far.
        edits: Overlay,
    },
    /// The deadline is near: call again at once.
    Continue,
}

/// Takes the session up where it stands and works until it is done, has to wait, or time is short.
///
/// Each turn is kept before the next call; a recorded turn is never asked again. Calls that an earlier invocation left in
/// flight are marked unknown. A finished session gives its result again without a call.
///
/// # Errors
/// - [`ErrorName::AgentStuck`] if the turns, the repairs or the patience with circles are used up; the session stays so.
/// - [`ErrorName::BudgetExceeded`] if the budget cannot carry the next call.
/// - `ModelThrottled`, `ModelUnavailable`, `ModelRefused`, `CassetteMiss` as the model fails.
/// - [`ErrorName::Conflict`] if a newer invocation holds the session, `StoreUnavailable` if a store fails.
/// - [`ErrorName::InvalidInput`] if the task alone is larger than the context, or the deadline too near for one call.
pub async fn run_session(
    role: &Role,
    request: &SessionRequest,
    ports: &Ports<'_>,
) -> Result<SessionEnd, FunctionError> {
    let held = ports.sessions.take(&request.run, &request.session).await?;
    ports.ledger.abandon(&request.run, &request.session).await?;
    let tools = tools::specs(role);
    Session { role, request, ports, held, tools, moved: false }.run().await
}

struct Session<'a> {
    role: &'a Role,
    request: &'a SessionRequest,
    ports: &'a Ports<'a>,
    held: HeldSession,
    tools: Vec<ToolSpec>,
    /// Whether this invocation has brought the session on.
    moved: bool,
}

impl Session<'_> {
    async fn run(mut self) -> Result<SessionEnd, FunctionError> {
        loop {
            let edits = self.held.checkpoint.overlay.clone();
            if let Some(output) = self.held.checkpoint.output.clone() {
                return Ok(SessionEnd::Done { output, edits });
            }
            if let Some(why) = self.stuck() {
                self.note("session.stuck", why.clone()).await;
                return Err(FunctionError::new(ErrorName::AgentStuck, why));
            }
            if self.held.checkpoint.suspended.is_some() {
                match self.ports.assignment.checks(&edits) {
                    Some(results) => self.resume(results).await?,
                    None => return Ok(SessionEnd::NeedsChecks { edits }),
                }
            } else if self.has_time()? {
                self.turn().await?;
            } else {
                return Ok(SessionEnd::Continue);
            }
        }
    }

    /// Why the session cannot come to an end any more. Read from the checkpoint alone, so that it stays true.
    fn stuck(&self) -> Option<String> {
        let (at, limits, session) = (&self.held.checkpoint, &self.request.limits, &self.request.session);
        let cure = "put the requirement differently, split it, or give the role another model";
        if at.repairs > limits.repairs {
            let times = at.repairs;
            return Some(format!("{session} gave an unusable answer {times} times (limits.repairs): {cure}"));
        }
        if circles::worst(&at.fingerprints) >= circles::STUCK_AT {
            let times = circles::STUCK_AT;
            return Some(format!("{session} went round in circles, with the same answer {times} times: {cure}"));
        }
        let used_up = at.turns >= limits.turns && at.suspended.is_none();
        used_up
            .then(|| format!("{session} used all its {} turns without a result (limits.turns): {cure}", limits.turns))
    }

    /// Whether another call fits before the deadline.
    fn has_time(&self) -> Result<bool, FunctionError> {
        let limits = &self.request.limits;
        let (left, needed) = (self.request.deadline_ms - self.ports.clock.now_ms(), limits.call_ms + limits.reserve_ms);
        if left < needed && !self.moved {
            let (left, needed) = (left / 1_000, needed / 1_000);
            let problem = format!(
                "{left} s are left, but a model call may take {needed} s: give the function more time, or lower the \
                 provider's timeout_seconds"
            );
            return Err(FunctionError::invalid("deadline", problem));
        }
        Ok(left >= needed)
    }

    async fn resume(&mut self, results: String) -> Result<(), FunctionError> {
        let turns_left = self.turns_left();
        let at = &mut self.held.checkpoint;
        if let Some(suspended) = at.suspended.take() {
            turn::resume(at, suspended, results, turns_left);
        }
        self.save().await
    }

    async fn turn(&mut self) -> Result<(), FunctionError> {
        self.open();
        self.fit().await?;
        let request = self.model_request();
        let (response, reservation) = self.ask(&request).await?;
        let (usage, estimated) = (response.usage, response.estimated);
        let cost = self.request.model.price.cost_microusd(&usage);
        // Kept first: a process that dies in between leaves a call marked unknown, not an answer to be paid again.
        let kept = self.keep(&request, response).await;
        self.ports.ledger.settle(&self.request.run, &reservation, usage, cost, estimated).await?;
        let (said, tokens, dollars) = (kept?, usage.total(), cost as f64 / 1e6);
        self.note("turn.ended", format!("turn {}: {said}; {tokens} tokens, ${dollars:.4}", request.turn)).await;
        Ok(())
    }

    /// Carries the answer's calls out and keeps the turn. Returns what the model did, in words.
    async fn keep(&mut self, request: &ModelRequest, mut response: ModelResponse) -> Result<String, FunctionError> {
        if response.stop_reason == StopReason::Refusal {
            let message = format!("the model declined to go on in {}, turn {}", request.session, request.turn);
            return Err(FunctionError::new(ErrorName::ModelRefused, message));
        }
        let desk = Desk {
            role: self.role,
            tree: self.ports.tree,
            assignment: self.ports.assignment,
            turns_left: self.turns_left().saturating_sub(1),
        };
        context::cut_prose(&mut response.parts, self.request.model.max_output_tokens);
        let said = turn::play(&desk, &mut self.held.checkpoint, response)?;
        self.save().await?;
        Ok(said)
    }

    /// Begins the transcript of a new session.
    fn open(&mut self) {
        let messages = &mut self.held.checkpoint.messages;
        if messages.is_empty() {
            let parts = self.request.opening.iter().map(|text| Part::Text { text: text.clone() }).collect();
            messages.push(Message { speaker: Speaker::User, parts });
        }
    }

    async fn fit(&mut self) -> Result<(), FunctionError> {
        let choice = &self.request.model;
        let limit = choice.context_tokens.saturating_sub(choice.max_output_tokens);
        let fixed = context::fixed_bytes(self.role.prompt, &self.tools);
        let gone = context::fit(&mut self.held.checkpoint.messages, fixed, limit).map_err(|tokens| {
            let problem = format!(
                "the task of {} takes about {tokens} tokens and {limit} are free: raise context_tokens, lower \
                 max_output_tokens, or split the requirement",
                self.request.session
            );
            FunctionError::invalid("roles.context_tokens", problem)
        })?;
        if !gone.is_empty() {
            self.note("context.trimmed", format!("left out: {}", gone.join(", "))).await;
        }
        Ok(())
    }

    fn model_request(&self) -> ModelRequest {
        let choice = &self.request.model;
        ModelRequest {
            session: self.request.session.clone(),
            turn: self.held.checkpoint.turns + 1,
            model: choice.model.clone(),
            system: self.role.prompt.to_owned(),
            tools: self.tools.clone(),
            messages: self.held.checkpoint.messages.clone(),
            max_output_tokens: choice.max_output_tokens,
            temperature_milli: choice.temperature_milli,
        }
    }

    /// Reserves and asks. The answer's reservation is still to be settled; that of a failed call is not.
    async fn ask(&self, request: &ModelRequest) -> Result<(ModelResponse, Reservation), FunctionError> {
        let (run, ledger, price) = (&self.request.run, self.ports.ledger, &self.request.model.price);
        let input_tokens = context::most_input_tokens(request);
        let estimate = CallEstimate {
            call_id: format!("{}#{}#{}", request.session, request.turn, self.held.epoch),
            role: self.role.name.to_owned(),
            session: request.session.clone(),
            model: request.model.clone(),
            cost_microusd: price.worst_case_microusd(input_tokens, request.max_output_tokens),
            tokens: input_tokens + request.max_output_tokens,
        };
        let reservation = ledger.reserve(run, estimate).await?;
        let answered = self.ports.model.complete(request).await;
        if let Err(error) = &answered {
            self.note_trouble(request.turn, error).await;
        }
        match answered {
            Ok(response) => Ok((response, reservation)),
            Err(ModelError::Unavailable { message, may_be_charged: true }) => {
                ledger.abandon(run, &request.session).await?;
                Err(ModelError::Unavailable { message, may_be_charged: true }.into())
            }
            Err(error) => {
                ledger.release(run, &reservation).await?;
                Err(error.into())
            }
        }
    }

    /// A machine tries again what is likely to pass, and whoever watches should know what is waited for.
    async fn note_trouble(&self, turn: u32, error: &ModelError) {
        // As long as the machines wait at most.
        let (kind, within) = match error {
            ModelError::Throttled { .. } => ("model.throttled", "five minutes"),
            ModelError::Unavailable { .. } => ("model.unavailable", "a minute"),
            _ => return,
        };
        self.note(kind, format!("turn {turn}: {error}; the next try is within {within}")).await;
    }

    fn turns_left(&self) -> u32 {
        self.request.limits.turns.saturating_sub(self.held.checkpoint.turns)
    }

    async fn save(&mut self) -> Result<(), FunctionError> {
        self.ports.sessions.save(&self.request.run, &self.held).await?;
        self.moved = true;
        Ok(())
    }

    async fn note(&self, kind: &str, message: String) {
        self.ports.observer.note(&self.request.run, &self.request.session, kind, message).await;
    }
}
