//! A world for one engine: its file, its clock, its functions, and what those were asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use embedded_cloud::step_functions::{CommitHook, EngineError, Options, StepFunctions};
use embedded_cloud::{AwsError, FunctionError, FunctionRegistry};
use run_model::Clock;
use run_model::time::{SeededRandomness, VirtualClock};
use serde_json::{Value, json};
use tempfile::TempDir;

/// When every world begins: 2026-01-01T00:00:00Z.
pub(crate) const DAWN_MS: i64 = 1_767_225_600_000;

pub(crate) struct World {
    folder: TempDir,
    pub(crate) clock: VirtualClock,
    pub(crate) asked: Asked,
    machines: Vec<(String, String)>,
    /// Every life of the engine has chance of its own, as every process has.
    lives: Mutex<u64>,
}

/// What the functions were asked, over all lives of the engine.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    /// How often each step was worked on.
    pub(crate) works: Arc<Mutex<BTreeMap<String, usize>>>,
    /// The tokens that were handed over, by question.
    pub(crate) tokens: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
}

impl Asked {
    pub(crate) fn works(&self) -> BTreeMap<String, usize> {
        self.works.lock().unwrap().clone()
    }

    /// The token of a question: there must be just one.
    pub(crate) fn token(&self, question: &str) -> Option<String> {
        let tokens = self.tokens.lock().unwrap();
        let tokens = tokens.get(question)?;
        assert_eq!(tokens.len(), 1, "{question} was asked with several tokens");
        tokens.first().cloned()
    }

    /// `work` answers `{"done": step}`; a step that begins with `fail` fails. `ask` takes a token. `panic` panics.
    /// `hang` never answers, `deadline` answers its own.
    pub(crate) fn registry(&self) -> FunctionRegistry {
        let (works, tokens) = (self.works.clone(), self.tokens.clone());
        FunctionRegistry::new()
            .with("work", move |event, _| {
                let step = event["step"].as_str().unwrap_or("?").to_owned();
                *works.lock().unwrap().entry(step.clone()).or_default() += 1;
                async move {
                    // Real work lets others run meanwhile.
                    tokio::task::yield_now().await;
                    match step.starts_with("fail") {
                        true => Err(FunctionError::new("WorkFailed", step)),
                        false => Ok(json!({ "done": step })),
                    }
                }
            })
            .with("ask", move |event, _| {
                let text = |field: &str| event[field].as_str().unwrap().to_owned();
                tokens.lock().unwrap().entry(text("question")).or_default().insert(text("token"));
                async { Ok(Value::Null) }
            })
            .with("panic", |_, _| async { panic!("as asked") })
            .with("deadline", |_, context| async move { Ok(json!(context.deadline_ms)) })
            .with("hang", |_, _| std::future::pending())
    }
}

impl World {
    /// A world with these machines; `${name}` in a definition is the ARN of the machine `name`.
    pub(crate) fn new(machines: &[(&str, Value)]) -> Self {
        let place = embedded_cloud::step_functions::Place::default();
        let mut texts: Vec<_> = machines.iter().map(|(name, text)| ((*name).to_owned(), text.to_string())).collect();
        for (name, _) in machines {
            let (variable, arn) = (format!("${{{name}}}"), place.machine_arn(name));
            texts.iter_mut().for_each(|(_, text)| *text = text.replace(&variable, &arn));
        }
        World {
            folder: tempfile::tempdir().unwrap(),
            clock: VirtualClock::at(DAWN_MS),
            asked: Asked::default(),
            machines: texts,
            lives: Mutex::new(0),
        }
    }

    pub(crate) fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("step-functions.sqlite")
    }

    /// The engine, not driving yet.
    pub(crate) async fn open(&self, hook: Option<CommitHook>) -> Result<StepFunctions, EngineError> {
        let seed = {
            let mut lives = self.lives.lock().unwrap();
            *lives += 1;
            *lives
        };
        let chance = Arc::new(SeededRandomness::new(seed));
        let mut options = Options::new(self.log(), Arc::new(self.clock.clone()), chance);
        options.machines = self.machines.clone();
        options.commit_hook = hook;
        StepFunctions::open(options).await
    }

    /// The engine, driving.
    pub(crate) async fn start(&self) -> StepFunctions {
        let engine = self.open(None).await.unwrap();
        self.drive(&engine);
        engine
    }

    pub(crate) fn drive(&self, engine: &StepFunctions) {
        engine.start(self.asked.registry()).unwrap();
    }

    /// Waits for what other threads do, without moving the clock.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until a timer stands `after_ms` from now, then moves the clock there.
    pub(crate) async fn pass(&self, after_ms: i64) {
        let due_ms = self.clock.now_ms() + after_ms;
        self.until(|| (self.clock.next_due_ms() == Some(due_ms)).then_some(())).await;
        self.clock.advance(after_ms);
    }
}

pub(crate) fn machine_arn(engine: &StepFunctions, name: &str) -> String {
    engine.place().machine_arn(name)
}

pub(crate) async fn begin(engine: &StepFunctions, machine: &str, name: &str, input: Value) -> Result<String, AwsError> {
    let body = json!({ "stateMachineArn": machine_arn(engine, machine), "name": name, "input": input.to_string() });
    let begun = engine.handle("StartExecution", body).await?;
    Ok(begun["executionArn"].as_str().unwrap().to_owned())
}

pub(crate) async fn describe(engine: &StepFunctions, arn: &str) -> Result<Value, AwsError> {
    engine.handle("DescribeExecution", json!({ "executionArn": arn })).await
}

/// The description of an execution once it has ended.
pub(crate) async fn ended(engine: &StepFunctions, arn: &str) -> Value {
    loop {
        let description = describe(engine, arn).await.unwrap();
        if description["status"] != "RUNNING" {
            return description;
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) fn output(description: &Value) -> Value {
    assert_eq!(description["status"], "SUCCEEDED", "{description}");
    serde_json::from_str(description["output"].as_str().unwrap()).unwrap()
}

pub(crate) async fn answer(engine: &StepFunctions, token: &str, output: Value) -> Result<Value, AwsError> {
    engine.handle("SendTaskSuccess", json!({ "taskToken": token, "output": output.to_string() })).await
}

pub(crate) async fn history(engine: &StepFunctions, arn: &str) -> Vec<Value> {
    let body = json!({ "executionArn": arn, "maxResults": 1000 });
    let answer = engine.handle("GetExecutionHistory", body).await.unwrap();
    assert!(answer.get("nextToken").is_none());
    answer["events"].as_array().unwrap().clone()
}

/// A machine out of its states, the first of them named.
pub(crate) fn machine(start: &str, states: Value) -> Value {
    json!({ "QueryLanguage": "JSONata", "StartAt": start, "States": states })
}

/// A Task that works on `step`, with more members of its own.
pub(crate) fn work(step: &str, more: Value) -> Value {
    let state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": { "FunctionName": "work", "Payload": { "step": step } },
        "Output": "{% $states.result.Payload %}",
    });
    merged(state, more)
}

/// A callback Task that asks `question`, with more members of its own.
pub(crate) fn ask(question: &str, more: Value) -> Value {
    let payload = json!({ "question": question, "token": "{% $states.context.Task.Token %}" });
    let state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Arguments": { "FunctionName": "ask", "Payload": payload },
        "TimeoutSeconds": 7200,
    });
    merged(state, more)
}

/// A Task that runs a child execution, with more members of its own.
pub(crate) fn child(machine: &str, name: &str, more: Value) -> Value {
    let name = format!("{{% $states.context.Execution.Name & '-{name}' %}}");
    let state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Arguments": { "StateMachineArn": format!("${{{machine}}}"), "Name": name, "Input": { "from": "parent" } },
        "TimeoutSeconds": 86400,
    });
    merged(state, more)
}

fn merged(mut state: Value, more: Value) -> Value {
    state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    state
}
