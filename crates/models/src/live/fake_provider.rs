//! A provider on a loopback port: real TCP, a state, and the rules of the API whose dialect it speaks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use config::{Dialect, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const KEY: &str = "sk-a-key-of-the-test";
pub(crate) const MODEL: &str = "a-model";
pub(crate) const TIMEOUT_SECONDS: u64 = 600;

/// What the provider does with the next request that its rules let pass.
pub(crate) enum Play {
    /// Answers with this message.
    Message(Value),
    /// Answers with this status, header lines and body.
    Status(u16, &'static str, String),
    /// Announces a whole message and closes in the middle of it.
    CutShort,
    /// Closes without a word.
    HangUp,
    /// Never answers.
    Silence,
}

/// What the provider remembers.
#[derive(Default)]
struct State {
    plays: VecDeque<Play>,
    bodies: Vec<Value>,
}

pub(crate) struct FakeProvider {
    dialect: Dialect,
    pub(crate) base_url: String,
    state: Arc<Mutex<State>>,
}

/// An answer as the API has it.
pub(crate) fn message(dialect: Dialect, content: Value, stop_reason: &str) -> Value {
    match dialect {
        Dialect::Anthropic => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": content,
            "stop_reason": stop_reason, "stop_sequence": null,
            "usage": {"input_tokens": 11, "output_tokens": 7, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 3},
        }),
        Dialect::OpenAi => json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL,
            "choices": [{"index": 0, "message": content, "logprobs": null, "finish_reason": stop_reason}],
            "usage": {
                "prompt_tokens": 19, "completion_tokens": 7, "total_tokens": 26,
                "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
        }),
    }
}

fn done(dialect: Dialect) -> Value {
    match dialect {
        Dialect::Anthropic => message(dialect, json!([{"type": "text", "text": "done"}]), "end_turn"),
        Dialect::OpenAi => message(dialect, json!({"role": "assistant", "content": "done", "refusal": null}), "stop"),
    }
}

pub(crate) fn error(dialect: Dialect, kind: &str, text: &str) -> String {
    match dialect {
        Dialect::Anthropic => json!({"type": "error", "error": {"type": kind, "message": text}}),
        Dialect::OpenAi => json!({"error": {"message": text, "type": kind, "param": null, "code": null}}),
    }
    .to_string()
}

impl FakeProvider {
    /// Opens the port; the plays are used up one by one, then it answers `done` for ever.
    pub(crate) async fn start(dialect: Dialect, plays: impl IntoIterator<Item = Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { plays: plays.into_iter().collect(), bodies: Vec::new() }));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(dialect, stream, shared.clone()));
            }
        });
        Self { dialect, base_url, state }
    }

    /// How settings name it.
    pub(crate) fn server(&self) -> Server<'_> {
        Server { dialect: self.dialect, base_url: &self.base_url, timeout_seconds: TIMEOUT_SECONDS }
    }

    /// The bodies of all requests that arrived whole.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.state.lock().unwrap().bodies.clone()
    }
}

async fn serve(dialect: Dialect, mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Some((head, body)) = read_request(&mut stream).await else { return };
    state.lock().unwrap().bodies.push(body.clone());
    let refusal = match dialect {
        Dialect::Anthropic => refusal_of_messages(&head, &body),
        Dialect::OpenAi => refusal_of_completions(&head, &body),
    };
    let play = match refusal {
        Some((status, kind, text)) => Play::Status(status, "", error(dialect, kind, &text)),
        None => {
            let next = state.lock().unwrap().plays.pop_front();
            next.unwrap_or_else(|| Play::Message(done(dialect)))
        }
    };
    match play {
        Play::Message(message) => reply(&mut stream, 200, "", &message.to_string()).await,
        Play::Status(status, headers, text) => reply(&mut stream, status, headers, &text).await,
        Play::CutShort => {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"id\": \"msg_1\", \"content\": [{\"type\"";
            stream.write_all(head.as_bytes()).await.unwrap();
        }
        Play::HangUp => {}
        Play::Silence => std::future::pending().await,
    }
}

async fn reply(stream: &mut TcpStream, status: u16, headers: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all((head + body).as_bytes()).await.unwrap();
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
            if body.len() == length {
                return Some((head, serde_json::from_str(body).unwrap()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

type Refusal = Option<(u16, &'static str, String)>;

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap_or_default()
}

/// What both have in common.
fn refusal_of_any(head: &str, body: &Value, path: &str, key: Option<&str>) -> Refusal {
    if !head.starts_with(&format!("post {path} http/1.1")) {
        return Some((404, "not_found_error", "no such page".into()));
    }
    if key != Some(KEY) {
        return Some((401, "authentication_error", format!("invalid key {}", key.unwrap_or_default())));
    }
    (body["model"] != MODEL).then(|| (404, "not_found_error", "model: unknown".into()))
}

/// The rules of Anthropic that a client is likely to break.
fn refusal_of_messages(head: &str, body: &Value) -> Refusal {
    let invalid = |text: &str| Some((400, "invalid_request_error", text.to_owned()));
    let refusal = refusal_of_any(head, body, "/v1/messages", Some(header(head, "x-api-key")));
    if refusal.is_some() {
        return refusal;
    }
    if header(head, "anthropic-version") != "2023-06-01" {
        return invalid("anthropic-version: header is required");
    }
    if body.to_string().matches("cache_control").count() > 4 {
        return invalid("A maximum of 4 blocks with cache_control may be provided");
    }
    let messages = body["messages"].as_array().unwrap();
    for (at, message) in messages.iter().enumerate() {
        let blocks = message["content"].as_array().unwrap();
        if blocks.is_empty()
            || blocks.iter().any(|block| block["text"].as_str().is_some_and(|text| text.trim().is_empty()))
        {
            return invalid("text content blocks must be non-empty");
        }
        for call in blocks.iter().filter(|block| block["type"] == "tool_use") {
            let answers = messages.get(at + 1).and_then(|next| next["content"].as_array());
            if !answers.is_some_and(|blocks| blocks.iter().any(|block| block["tool_use_id"] == call["id"])) {
                return invalid("tool_use ids were found without tool_result blocks immediately after");
            }
        }
    }
    None
}

/// The rules of OpenAI that a client is likely to break, and the one of Mistral about ids.
fn refusal_of_completions(head: &str, body: &Value) -> Refusal {
    let invalid = |text: &str| Some((400, "invalid_request_error", text.to_owned()));
    let key = header(head, "authorization").strip_prefix("bearer ");
    let refusal = refusal_of_any(head, body, "/chat/completions", key);
    if refusal.is_some() {
        return refusal;
    }
    if body["tool_choice"].is_string() && body["tools"].as_array().is_none_or(Vec::is_empty) {
        return invalid("tool_choice is only allowed when tools are specified");
    }
    let mut open: Vec<&Value> = Vec::new();
    for message in body["messages"].as_array().unwrap() {
        let answered = open.iter().position(|id| **id == message["tool_call_id"]);
        match (message["role"].as_str().unwrap(), answered) {
            ("tool", Some(at)) => drop(open.remove(at)),
            ("tool", None) => return invalid("messages with role 'tool' must follow a message with 'tool_calls'"),
            _ if !open.is_empty() => return invalid("tool_call_ids did not have response messages"),
            _ => {}
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let arguments = call["function"]["arguments"].as_str();
            if arguments.is_none_or(|text| serde_json::from_str::<Value>(text).is_err()) {
                return invalid("arguments: a string of JSON is wanted");
            }
            let id = call["id"].as_str().unwrap_or_default();
            if id.len() != 9 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return invalid("tool call id must be a-z, A-Z, 0-9, with a length of 9");
            }
            open.push(&call["id"]);
        }
        if message["content"].is_null() && message["tool_calls"].is_null() {
            return invalid("content: expected a string, got null");
        }
    }
    None
}
