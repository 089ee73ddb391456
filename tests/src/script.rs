//! What the model says: answers by session and turn, written as a cassette.

use std::path::Path;

use agent::ports::{ModelResponse, Part, StopReason};
use models::cassette::{CASSETTE_FORMAT, Cassette, Entry, Header};
use run_model::budget::TokenUsage;
use run_model::gate::GateKind;
use run_model::{SessionId, TaskId};
use serde_json::{Value, json};

/// A script that is built turn by turn; the sessions of a task are those of `fix` until [`Script::on`] names another.
#[derive(Clone)]
pub struct Script {
    entries: Vec<Entry>,
    task: TaskId,
}

impl Default for Script {
    fn default() -> Self {
        Self { entries: Vec::new(), task: TaskId::new("fix").unwrap() }
    }
}

impl Script {
    /// What follows is said about this task.
    #[must_use]
    pub fn on(mut self, task: &str) -> Self {
        self.task = TaskId::new(task).unwrap();
        self
    }

    /// The next answer of a session: some tool calls (name and input).
    #[must_use]
    pub fn calls(mut self, role: &str, iteration: u32, calls: &[(&str, Value)]) -> Self {
        self.push(role, iteration, parts(calls), StopReason::ToolUse);
        self
    }

    /// The next answer of a session: prose.
    #[must_use]
    pub fn says(mut self, role: &str, iteration: u32, text: &str) -> Self {
        self.push(role, iteration, vec![Part::Text { text: text.into() }], StopReason::EndTurn);
        self
    }

    /// The next answer of a session: its output.
    #[must_use]
    pub fn submits(self, role: &str, iteration: u32, output: Value) -> Self {
        self.calls(role, iteration, &[("submit", output)])
    }

    /// A plan with one task `fix`, and a design that it serves.
    #[must_use]
    pub fn planned(self) -> Self {
        self.plans(json!({
            "summary": "the result is wrong and is made right",
            "tasks": [{"id": "fix", "title": "make it right", "description": "it is right", "role": "developer"}],
        }))
    }

    /// A plan, and a design with one item, `operator`, that all its tasks serve.
    #[must_use]
    pub fn plans(self, plan: Value) -> Self {
        let tasks: Vec<&Value> = plan["tasks"].as_array().unwrap().iter().map(|task| &task["id"]).collect();
        let item = json!({"id": "operator", "title": "the operator", "detail": "use the right one", "tasks": tasks});
        let design = json!({
            "summary": "one operator is wrong",
            "items": [item],
            "test_strategy": "a test that fails on the base",
        });
        self.submits("orchestrator", 1, plan).submits("architect", 1, design)
    }

    /// The developer writes a file and is done.
    #[must_use]
    pub fn develops(self, iteration: u32, path: &str, content: &str) -> Self {
        self.develops_all(iteration, &[(path, content)])
    }

    /// The developer writes files and is done.
    #[must_use]
    pub fn develops_all(self, iteration: u32, files: &[(&str, &str)]) -> Self {
        let write = |(path, content): &(&str, &str)| ("write_file", json!({"path": path, "content": content}));
        let writes: Vec<(&str, Value)> = files.iter().map(write).collect();
        let report = json!({"summary": "changed", "serves": ["operator"]});
        self.calls("developer", iteration, &writes).submits("developer", iteration, report)
    }

    /// The tester writes a test and is done.
    #[must_use]
    pub fn tests(self, iteration: u32, path: &str, content: &str) -> Self {
        self.calls("tester", iteration, &[("write_file", json!({"path": path, "content": content}))]).submits(
            "tester",
            iteration,
            json!({"summary": "tested"}),
        )
    }

    /// The reviewer approves.
    #[must_use]
    pub fn approves(self, iteration: u32) -> Self {
        self.submits("reviewer", iteration, json!({"decision": "approve", "summary": "good"}))
    }

    /// The reviewer asks for changes.
    #[must_use]
    pub fn objects(self, iteration: u32, path: &str) -> Self {
        let finding = json!({"path": path, "kind": "correctness", "severity": "medium", "message": "not yet"});
        let output = json!({"decision": "request_changes", "summary": "not yet", "findings": [finding]});
        self.submits("reviewer", iteration, output)
    }

    /// The reviewer answers the question of this number at gates of this kind.
    #[must_use]
    pub fn answers(self, kind: GateKind, number: u32, answer: Value) -> Self {
        self.calls_at_gate(kind, number, &[("submit", answer)])
    }

    /// Before it answers, the reviewer calls some tools.
    #[must_use]
    pub fn calls_at_gate(mut self, kind: GateKind, number: u32, calls: &[(&str, Value)]) -> Self {
        self.push_to(SessionId::at_gate("reviewer", kind, number), parts(calls), StopReason::ToolUse);
        self
    }

    /// The next answer of a session: nothing at all.
    #[must_use]
    pub fn is_silent(mut self, role: &str, iteration: u32) -> Self {
        self.push(role, iteration, Vec::new(), StopReason::EndTurn);
        self
    }

    /// The same for one run after the other.
    #[must_use]
    pub fn twice(mut self) -> Self {
        self.entries.extend(self.entries.clone());
        self
    }

    /// What a role says after so many answers of its session.
    pub fn answer(&self, role: &str, said: usize) -> Option<ModelResponse> {
        let of_role = self.entries.iter().filter(|entry| entry.session.as_str().starts_with(role));
        of_role.map(|entry| entry.response.clone()).nth(said)
    }

    /// The answers, in the order they were added.
    pub fn responses(&self) -> Vec<ModelResponse> {
        self.entries.iter().map(|entry| entry.response.clone()).collect()
    }

    /// Writes the script's file.
    pub fn write(&self, file: &Path) {
        let header = Header {
            gatewright_cassette: CASSETTE_FORMAT,
            answered_by: "a script".into(),
            recorded: "2026-01-01".into(),
            note: None,
        };
        Cassette::write(file, &header, &self.entries).unwrap();
    }

    fn push(&mut self, role: &str, iteration: u32, parts: Vec<Part>, stop_reason: StopReason) {
        let task = matches!(role, "developer" | "tester" | "reviewer").then(|| self.task.clone());
        self.push_to(SessionId::new(role, task.as_ref(), iteration), parts, stop_reason);
    }

    fn push_to(&mut self, session: SessionId, parts: Vec<Part>, stop_reason: StopReason) {
        let turn = self.entries.iter().filter(|entry| entry.session == session).count() as u32 + 1;
        let usage = TokenUsage { input_tokens: 1_000, output_tokens: 100, ..TokenUsage::default() };
        let response = ModelResponse { parts, stop_reason, usage, estimated: true };
        self.entries.push(Entry::scripted(session, turn, response));
    }
}

fn parts(calls: &[(&str, Value)]) -> Vec<Part> {
    let part = |(index, (name, input)): (usize, &(&str, Value))| Part::ToolCall {
        id: format!("provider-{index}"),
        name: (*name).into(),
        input: input.clone(),
    };
    calls.iter().enumerate().map(part).collect()
}
