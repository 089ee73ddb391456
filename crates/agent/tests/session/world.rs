//! A world with a state: ledger, checkpoints, a scripted model and a tree. It can end an invocation at any port call.

#![allow(clippy::unwrap_used, reason = "a broken world should fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use agent::ports::{
    CallEstimate, Checkpoint, HeldSession, Ledger, Model, ModelError, ModelRequest, ModelResponse, Observer, Part,
    PortError, Reservation, Sessions, StopReason, Tree,
};
use agent::{
    Assignment, ModelChoice, PathKind, Ports, Role, SessionEnd, SessionLimits, SessionRequest, ToolKind, Writes,
};
use async_trait::async_trait;
use run_model::budget::{Price, TokenUsage, UsageState};
use run_model::change_set::Overlay;
use run_model::time::VirtualClock;
use run_model::verdict::DeveloperReport;
use run_model::{FunctionError, RepoPath, RunId, SessionId};
use serde_json::{Value, json};

/// A developer with every tool.
pub(crate) const ROLE: Role = Role {
    name: "developer",
    prompt: "You develop.",
    tools: ToolKind::ALL,
    writes: Writes::Source,
    output_schema: agent::schema_of::<DeveloperReport>,
};

pub(crate) const PRICE: Price = Price {
    input_microusd_per_mtok: 3_000_000,
    output_microusd_per_mtok: 15_000_000,
    cache_read_microusd_per_mtok: 300_000,
    cache_write_microusd_per_mtok: 3_750_000,
};

/// What the model does at a turn.
#[derive(Clone)]
pub(crate) enum Act {
    Answer(ModelResponse),
    Fail(ModelError),
    /// Answers, but meanwhile a newer invocation takes the session.
    Overtaken(ModelResponse),
    /// Answers after this many milliseconds.
    Slow(i64, ModelResponse),
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) script: Vec<Act>,
    pub(crate) epoch: u64,
    pub(crate) kept: Option<String>,
    pub(crate) ledger: BTreeMap<String, (UsageState, u64)>,
    pub(crate) budget_microusd: u64,
    pub(crate) requests: Vec<ModelRequest>,
    pub(crate) notes: Vec<(String, String)>,
    pub(crate) checks: Option<(Overlay, String)>,
    ports_called: usize,
    die_at: Option<usize>,
}

pub(crate) struct World {
    state: Mutex<State>,
    pub(crate) clock: VirtualClock,
    pub(crate) tree: FakeTree,
    pub(crate) request: SessionRequest,
}

impl World {
    pub(crate) fn new(script: Vec<Act>) -> Self {
        let model = ModelChoice {
            model: "m".into(),
            price: PRICE,
            max_output_tokens: 1_000,
            context_tokens: 100_000,
            temperature_milli: None,
        };
        let request = SessionRequest {
            run: RunId::new("r-1").unwrap(),
            session: SessionId::new("developer", None, 1),
            opening: vec!["<requirement>\nfix it\n</requirement>".into()],
            model,
            limits: SessionLimits { turns: 12, repairs: 2, call_ms: 60_000, reserve_ms: 10_000 },
            deadline_ms: 900_000,
        };
        let state = State { script, budget_microusd: 5_000_000, ..State::default() };
        let tree = FakeTree::new(&[("src/lib.rs", "fn a() {}\n"), ("Cargo.toml", "[package]\n")]);
        Self { state: Mutex::new(state), clock: VirtualClock::at(0), tree, request }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        serde_json::from_str(self.state().kept.as_deref().unwrap_or("null")).unwrap_or_default()
    }

    /// The next invocation dies at this port call (each counts twice: before and after its effect).
    pub(crate) fn die_at(&self, port_call: usize) {
        let mut state = self.state();
        (state.ports_called, state.die_at) = (0, Some(port_call));
    }

    /// One invocation of a role; `None` if it died.
    pub(crate) fn invoke_as(&self, role: &Role) -> Option<Result<SessionEnd, FunctionError>> {
        let ports = Ports {
            model: self,
            ledger: self,
            sessions: self,
            observer: self,
            tree: &self.tree,
            clock: &self.clock,
            assignment: self,
        };
        let invocation = pin!(agent::run_session(role, &self.request, &ports));
        match Future::poll(invocation, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(end) => Some(end),
            Poll::Pending => None,
        }
    }

    pub(crate) fn invoke(&self) -> Result<SessionEnd, FunctionError> {
        self.invoke_as(&ROLE).expect("nothing was told to die")
    }

    /// Invokes again and again as the machine does, with checks in between, until the session ends.
    pub(crate) fn walk(&self) -> Result<SessionEnd, FunctionError> {
        loop {
            match self.invoke_as(&ROLE) {
                None => self.state().die_at = None,
                Some(Ok(SessionEnd::NeedsChecks { edits })) => {
                    let results = format!("all green over {} edit(s)", edits.0.len());
                    self.state().checks = Some((edits, results));
                }
                Some(end) => return end,
            }
        }
    }

    /// The results that followed the assistant's turn, as (id, content, is_error).
    pub(crate) fn results(&self, turn: usize) -> Vec<(String, String, bool)> {
        let messages = self.checkpoint().messages;
        let result = |part: &Part| match part {
            Part::ToolResult { id, content, is_error } => Some((id.clone(), content.clone(), *is_error)),
            _ => None,
        };
        messages[2 * turn].parts.iter().filter_map(result).collect()
    }

    async fn port(&self) {
        let dies = {
            let mut state = self.state();
            state.ports_called += 1;
            state.die_at == Some(state.ports_called)
        };
        if dies {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Model for World {
    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        self.port().await;
        let act = {
            let recorded = self.checkpoint().turns;
            assert_eq!(request.turn, recorded + 1, "a recorded turn is never asked again");
            let mut state = self.state();
            state.requests.push(request.clone());
            state.script.get(request.turn as usize - 1).cloned().expect("the script goes on")
        };
        self.port().await;
        match act {
            Act::Answer(response) => Ok(response),
            Act::Fail(error) => {
                let turn = request.turn as usize - 1;
                self.state().script.remove(turn);
                Err(error)
            }
            Act::Overtaken(response) => {
                self.state().epoch += 1;
                Ok(response)
            }
            Act::Slow(milliseconds, response) => {
                self.clock.advance(milliseconds);
                Ok(response)
            }
        }
    }
}

#[async_trait]
impl Ledger for World {
    async fn reserve(&self, _: &RunId, estimate: CallEstimate) -> Result<Reservation, PortError> {
        self.port().await;
        {
            let mut state = self.state();
            let spent: u64 = state.ledger.values().map(|(_, cost)| cost).sum();
            if spent + estimate.cost_microusd > state.budget_microusd {
                return Err(PortError::BudgetExceeded("nothing is left".into()));
            }
            let entry = (UsageState::Reserved, estimate.cost_microusd);
            let old = state.ledger.insert(estimate.call_id.clone(), entry);
            assert_eq!(old, None, "a call id is used once");
        }
        self.port().await;
        Ok(Reservation { call_id: estimate.call_id, cost_microusd: estimate.cost_microusd, tokens: estimate.tokens })
    }

    async fn settle(
        &self,
        _: &RunId,
        reservation: &Reservation,
        usage: TokenUsage,
        cost_microusd: u64,
        _: bool,
    ) -> Result<(), PortError> {
        self.port().await;
        assert_eq!(cost_microusd, PRICE.cost_microusd(&usage));
        self.state().ledger.insert(reservation.call_id.clone(), (UsageState::Settled, cost_microusd));
        self.port().await;
        Ok(())
    }

    async fn release(&self, _: &RunId, reservation: &Reservation) -> Result<(), PortError> {
        self.port().await;
        self.state().ledger.insert(reservation.call_id.clone(), (UsageState::Released, 0));
        self.port().await;
        Ok(())
    }

    async fn abandon(&self, _: &RunId, _: &SessionId) -> Result<(), PortError> {
        self.port().await;
        for (state, _) in self.state().ledger.values_mut().filter(|(state, _)| *state == UsageState::Reserved) {
            *state = UsageState::Unknown;
        }
        self.port().await;
        Ok(())
    }
}

#[async_trait]
impl Sessions for World {
    async fn take(&self, _: &RunId, session: &SessionId) -> Result<HeldSession, PortError> {
        self.port().await;
        self.state().epoch += 1;
        self.port().await;
        let epoch = self.state().epoch;
        Ok(HeldSession { session: session.clone(), epoch, checkpoint: self.checkpoint() })
    }

    async fn save(&self, _: &RunId, held: &HeldSession) -> Result<(), PortError> {
        self.port().await;
        if self.state().epoch != held.epoch {
            return Err(PortError::Fenced(held.session.clone()));
        }
        self.state().kept = Some(serde_json::to_string(&held.checkpoint).unwrap());
        self.port().await;
        Ok(())
    }
}

#[async_trait]
impl Observer for World {
    async fn note(&self, _: &RunId, _: &SessionId, kind: &str, message: String) {
        self.port().await;
        self.state().notes.push((kind.to_owned(), message));
        self.port().await;
    }
}

impl Assignment for World {
    fn path_kind(&self, path: &RepoPath) -> PathKind {
        match path.as_str() {
            path if path.starts_with(".github/") => PathKind::Protected,
            path if path.starts_with("tests/") => PathKind::Test,
            _ => PathKind::Source,
        }
    }

    fn accept(&self, output: &Value, _: &Overlay) -> Result<(), String> {
        if output["summary"] == "" { Err("summary: say what was changed".into()) } else { Ok(()) }
    }

    fn checks(&self, edits: &Overlay) -> Option<String> {
        let state = self.state();
        let (ran_on, results) = state.checks.as_ref()?;
        (ran_on == edits).then(|| results.clone())
    }
}

pub(crate) struct FakeTree {
    files: BTreeMap<RepoPath, Vec<u8>>,
    links: BTreeSet<String>,
}

impl FakeTree {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, content)| (RepoPath::new(*path).unwrap(), content.as_bytes().to_vec()));
        Self { files: files.collect(), links: BTreeSet::from(["link".to_owned()]) }
    }

    pub(crate) fn put(&mut self, path: &str, content: &[u8]) {
        self.files.insert(RepoPath::new(path).unwrap(), content.to_vec());
    }
}

impl Tree for FakeTree {
    fn paths(&self) -> Vec<RepoPath> {
        self.files.keys().cloned().collect()
    }

    fn obstacle(&self, path: &RepoPath) -> Option<String> {
        let first = path.as_str().split('/').next()?;
        self.links.contains(first).then(|| format!("{first} is a symbolic link"))
    }

    fn read(&self, path: &RepoPath) -> std::io::Result<Option<Vec<u8>>> {
        Ok(self.files.get(path).cloned())
    }
}

pub(crate) fn usage() -> TokenUsage {
    TokenUsage { input_tokens: 100, output_tokens: 20, ..TokenUsage::default() }
}

pub(crate) fn response(parts: Vec<Part>, stop_reason: StopReason) -> ModelResponse {
    ModelResponse { parts, stop_reason, usage: usage(), estimated: false }
}

/// A turn that makes these calls.
pub(crate) fn calls(calls: &[(&str, Value)]) -> Act {
    Act::Answer(calling(calls))
}

pub(crate) fn calling(calls: &[(&str, Value)]) -> ModelResponse {
    let part = |(name, input): &(&str, Value)| Part::ToolCall {
        id: "toolu_x".into(),
        name: (*name).into(),
        input: input.clone(),
    };
    response(calls.iter().map(part).collect(), StopReason::ToolUse)
}

/// A turn that only talks.
pub(crate) fn says(text: &str) -> Act {
    Act::Answer(response(vec![Part::Text { text: text.into() }], StopReason::EndTurn))
}

/// The turn that ends a session.
pub(crate) fn submit() -> Act {
    calls(&[("submit", json!({"summary": "done"}))])
}
