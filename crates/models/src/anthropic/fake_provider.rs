//! A provider on a loopback port: real TCP, a state, and the API's own rules.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) const KEY: &str = "sk-ant-a-key-of-the-test";
pub(super) const MODEL: &str = "claude-sonnet-4-5";

/// What the provider does with the next request that its rules let pass.
pub(super) enum Play {
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

pub(super) struct FakeProvider {
    pub(super) base_url: String,
    state: Arc<Mutex<State>>,
}

pub(super) fn message(content: Value, stop_reason: &str) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": content,
        "stop_reason": stop_reason, "stop_sequence": null,
        "usage": {"input_tokens": 11, "output_tokens": 7, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 3},
    })
}

pub(super) fn error(kind: &str, text: &str) -> String {
    json!({"type": "error", "error": {"type": kind, "message": text}}).to_string()
}

impl FakeProvider {
    /// Opens the port; the plays are used up one by one, then it answers `done` for ever.
    pub(super) async fn start(plays: impl IntoIterator<Item = Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { plays: plays.into_iter().collect(), bodies: Vec::new() }));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { base_url, state }
    }

    /// The bodies of all requests that arrived whole.
    pub(super) fn bodies(&self) -> Vec<Value> {
        self.state.lock().unwrap().bodies.clone()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Some((head, body)) = read_request(&mut stream).await else { return };
    state.lock().unwrap().bodies.push(body.clone());
    let play = match refusal(&head, &body) {
        Some((status, text)) => Play::Status(status, "", text),
        None => {
            let next = state.lock().unwrap().plays.pop_front();
            next.unwrap_or_else(|| Play::Message(message(json!([{"type": "text", "text": "done"}]), "end_turn")))
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

/// The rules of the API that a client is likely to break.
fn refusal(head: &str, body: &Value) -> Option<(u16, String)> {
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    let invalid = |text: &str| Some((400, error("invalid_request_error", text)));
    if !head.starts_with("post /v1/messages http/1.1") {
        return Some((404, error("not_found_error", "no such page")));
    }
    if header("x-api-key") != Some(KEY) {
        let said = format!("invalid x-api-key {}", header("x-api-key").unwrap_or_default());
        return Some((401, error("authentication_error", &said)));
    }
    if header("anthropic-version") != Some("2023-06-01") {
        return invalid("anthropic-version: header is required");
    }
    if body["model"] != MODEL {
        return Some((404, error("not_found_error", "model: unknown")));
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
