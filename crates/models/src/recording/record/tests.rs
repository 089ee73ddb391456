use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agent::ports::{Message, Model, ModelError, ModelRequest, ModelResponse, Part, Speaker, StopReason};
use async_trait::async_trait;
use run_model::SessionId;
use run_model::budget::TokenUsage;
use run_model::time::VirtualClock;
use serde_json::json;

use super::Record;
use crate::cassette::Cassette;
use crate::{Replay, Scripted};

const DAY_MS: i64 = 86_400_000;

/// A provider that counts what it is paid for.
#[derive(Default)]
struct Live {
    asked: AtomicU32,
}

#[async_trait]
impl Model for Live {
    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(ModelResponse {
            parts: vec![Part::Text { text: format!("Größe {number} for {}", request.messages.len()) }],
            stop_reason: StopReason::EndTurn,
            usage: TokenUsage { input_tokens: 10, ..TokenUsage::default() },
            estimated: false,
        })
    }
}

struct Desk {
    folder: tempfile::TempDir,
    live: Arc<Live>,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), live: Arc::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("demo.jsonl")
    }

    fn recorder(&self, day: i64) -> Record {
        let clock = VirtualClock::at(day * DAY_MS);
        Record::open(&self.path(), "a live one".into(), self.live.clone(), &clock).unwrap()
    }

    fn paid(&self) -> u32 {
        self.live.asked.load(Ordering::SeqCst)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }
}

fn request(role: &str, turn: u32, read: &str) -> ModelRequest {
    let call = |turn: u32| Part::ToolCall {
        id: format!("call-{turn}-0"),
        name: "read_file".into(),
        input: json!({"path": format!("src/{turn}.rs")}),
    };
    let result = |turn: u32| Part::ToolResult { id: format!("call-{turn}-0"), content: read.into(), is_error: false };
    let say = |speaker, part| Message { speaker, parts: vec![part] };
    let mut messages = vec![say(Speaker::User, Part::Text { text: "The task.".into() })];
    for earlier in 1..turn {
        messages.extend([say(Speaker::Assistant, call(earlier)), say(Speaker::User, result(earlier))]);
    }
    ModelRequest {
        session: SessionId::new(role, None, 1),
        turn,
        model: "m".into(),
        system: format!("You are the {role}."),
        tools: vec![],
        messages,
        max_output_tokens: 100,
        temperature_milli: None,
    }
}

async fn miss(path: &Path, request: &ModelRequest) -> String {
    match Replay::open(path).unwrap().complete(request).await {
        Err(ModelError::CassetteMiss(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_recording_replays_elsewhere_on_another_day() {
    let (desk, elsewhere) = (Desk::new(), tempfile::tempdir().unwrap());
    let recorder = desk.recorder(20_782);
    let mut answers = Vec::new();
    for turn in 1..=3 {
        answers.push(recorder.complete(&request("developer", turn, "fn a() {}")).await.unwrap());
    }
    assert!(desk.text().starts_with(r#"{"gatewright_cassette":1,"answered_by":"a live one","recorded":"2026-11-25"}"#));
    assert!(!desk.text().contains(desk.folder.path().to_str().unwrap()));

    let copy = elsewhere.path().join("other.jsonl");
    std::fs::rename(desk.path(), &copy).unwrap();
    let replay = Replay::open(&copy).unwrap();
    for (turn, answer) in (1..=3).zip(answers) {
        let again = replay.complete(&request("developer", turn, "fn a() {}")).await.unwrap();
        assert_eq!(again, ModelResponse { estimated: true, ..answer });
    }
}

#[tokio::test]
async fn one_byte_makes_a_miss_that_names_the_nearest_and_what_differs() {
    let desk = Desk::new();
    let recorder = desk.recorder(0);
    for turn in 1..=3 {
        recorder.complete(&request("developer", turn, "fn a() {}")).await.unwrap();
        recorder.complete(&request("tester", turn, "fn a() {}")).await.unwrap();
    }
    let message = miss(&desk.path(), &request("developer", 3, "fn b() {}")).await;
    assert!(message.starts_with("no recorded answer for developer/run/1 turn 3 in "), "{message}");
    let difference =
        "The nearest recording is developer/run/1 turn 3: the tool result of read_file src/1.rs (message 3) differs.";
    assert!(message.contains(difference), "{message}");

    let mut edited = request("tester", 2, "fn a() {}");
    edited.system.push('!');
    let message = miss(&desk.path(), &edited).await;
    assert!(message.contains("The nearest recording is tester/run/1 turn 2: the system prompt differs."), "{message}");
}

#[tokio::test]
async fn what_is_recorded_is_never_paid_twice_even_after_a_restart() {
    let desk = Desk::new();
    let first = desk.recorder(0).complete(&request("developer", 1, "")).await.unwrap();
    let before = desk.text();
    let again = desk.recorder(9).complete(&request("developer", 1, "")).await.unwrap();
    assert_eq!((again, desk.paid()), (ModelResponse { estimated: true, ..first }, 1));
    assert_eq!(desk.text(), before);
}

#[tokio::test]
async fn a_line_that_a_crash_cut_off_is_recorded_again_and_the_others_are_kept() {
    let desk = Desk::new();
    for turn in 1..=2 {
        desk.recorder(0).complete(&request("developer", turn, "x")).await.unwrap();
    }
    let whole = std::fs::read(desk.path()).unwrap();
    let last_line = whole.len() - desk.text().lines().last().unwrap().len() - 1;
    for cut in [1, last_line, last_line + 1, whole.len() - 1, desk.text().rfind('ö').unwrap() + 1] {
        std::fs::write(desk.path(), &whole[..cut]).unwrap();
        let paid = desk.paid();
        for turn in 1..=2 {
            desk.recorder(0).complete(&request("developer", turn, "x")).await.unwrap();
        }
        assert_eq!(desk.paid() - paid, if cut == 1 { 2 } else { 1 }, "cut at {cut}");
        assert_eq!(Cassette::read(&desk.path()).unwrap().entries().len(), 2, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_cassette_is_a_script_that_ignores_what_is_asked() {
    let desk = Desk::new();
    let answer = desk.recorder(0).complete(&request("developer", 1, "")).await.unwrap();
    let mut other = request("developer", 1, "");
    other.system = "Something else.".into();
    let script = Scripted::open(&desk.path()).unwrap();
    assert_eq!(script.complete(&other).await.unwrap(), ModelResponse { estimated: true, ..answer });
    let error = script.complete(&request("developer", 2, "")).await.unwrap_err().to_string();
    assert_eq!(error, "the script has no answer for developer/run/1 turn 2; it has its turns 1");
    let error = script.complete(&request("tester", 1, "")).await.unwrap_err().to_string();
    assert_eq!(error, "the script has no answer for tester/run/1 turn 1; it has none of that session");
}

#[tokio::test]
async fn an_answer_that_serves_two_sessions_is_paid_once_and_stands_in_the_script_twice() {
    let desk = Desk::new();
    let recorder = desk.recorder(0);
    let first = request("developer", 1, "");
    let twin = ModelRequest { session: SessionId::new("developer", None, 2), ..first.clone() };
    recorder.complete(&first).await.unwrap();
    recorder.complete(&twin).await.unwrap();
    recorder.complete(&twin).await.unwrap();
    assert_eq!((desk.paid(), desk.text().lines().count()), (1, 3));
    assert!(Scripted::open(&desk.path()).unwrap().complete(&twin).await.is_ok());
}

#[tokio::test]
async fn a_turn_recorded_anew_counts_in_the_script() {
    let desk = Desk::new();
    desk.recorder(0).complete(&request("developer", 2, "old")).await.unwrap();
    let newer = desk.recorder(0).complete(&request("developer", 2, "new")).await.unwrap();
    let script = Scripted::open(&desk.path()).unwrap();
    assert_eq!(script.complete(&request("developer", 2, "any")).await.unwrap().parts, newer.parts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_recorders_share_a_file() {
    let desk = Arc::new(Desk::new());
    let tasks: Vec<_> = (1..=20)
        .map(|turn| {
            let desk = desk.clone();
            tokio::spawn(async move { desk.recorder(0).complete(&request("developer", turn, "x")).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(Cassette::read(&desk.path()).unwrap().entries().len(), 20);
    // Each sees what the others have recorded since.
    let (one, other) = (desk.recorder(0), desk.recorder(0));
    one.complete(&request("tester", 1, "")).await.unwrap();
    other.complete(&request("tester", 1, "")).await.unwrap();
    assert_eq!(desk.paid(), 21);
}

#[tokio::test]
async fn what_is_no_cassette_is_refused_with_its_line() {
    let desk = Desk::new();
    let refused = |text: &str| {
        std::fs::write(desk.path(), text).unwrap();
        let error = Replay::open(&desk.path()).unwrap_err().to_string();
        error.strip_prefix(desk.path().to_str().unwrap()).unwrap().to_owned()
    };
    assert!(refused("").starts_with(", line 1: this is no cassette"));
    assert!(refused("{}\n").starts_with(", line 1: this is no cassette"));
    let header = r#"{"gatewright_cassette":1,"answered_by":"x","recorded":"2026-11-25"}"#;
    assert!(refused(&header.replace(":1,", ":2,")).starts_with(", line 1: this is no cassette"), "no line break yet");
    assert!(refused(&format!("{}\n", header.replace(":1,", ":2,"))).contains("newer Gatewright"));
    assert!(refused(&format!("{header}\n\n{{}}\n")).starts_with(", line 3: this is no recorded answer"));
    let missing = Replay::open(Path::new("/nowhere/c.jsonl")).unwrap_err();
    assert_eq!(missing.to_string(), "/nowhere/c.jsonl: the cassette cannot be used");
    std::fs::write(desk.path(), format!("{header}\n")).unwrap();
    assert!(miss(&desk.path(), &request("developer", 1, "")).await.ends_with("holds none at all"));
}
