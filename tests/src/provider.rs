//! A provider on this machine: it speaks the Messages API, gives a script's answers in order or a recording's by what is asked,
//! and keeps what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use agent::ports::{ModelResponse, Part, StopReason};
use serde_json::{Value, json};

use crate::Script;
use crate::recording::{Recording, answers_in, role_of};

/// What a request meets instead of the script's next answer, or before it.
#[derive(Clone, Copy, Debug)]
pub enum Hitch {
    /// 429, with the advice to come back in an hour: whoever asked gives up.
    Throttle,
    /// No answer as long as the test lives.
    Silence,
    /// The answer takes so long.
    Slow(Duration),
}

/// Answers as long as the test's process lives.
pub struct Provider {
    address: SocketAddr,
    requests: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Provider {
    /// Answers the sessions of one task in the order in which the script has them.
    pub fn playing(script: &Script) -> Self {
        Self::with_hitches(script, &[])
    }

    /// The same, but the requests with these numbers, from 1, meet something.
    pub fn with_hitches(script: &Script, hitches: &[(usize, Hitch)]) -> Self {
        let mut answers = script.responses().into_iter();
        Self::serving(hitches, move |_| answers.next().ok_or_else(is_over))
    }

    /// Answers many runs at once, whose sessions all go as the script's first round does.
    pub fn for_many(script: &Script) -> Self {
        let script = script.clone();
        Self::serving(&[], move |body| {
            let request: Value = serde_json::from_str(body).unwrap();
            let role = role_of(&request).ok_or_else(is_over)?;
            script.answer(&role, answers_in(&request)).ok_or_else(is_over)
        })
    }

    /// Answers what a cassette has recorded, and refuses whatever else is asked: with what differs from the nearest recording.
    pub fn replaying(cassette: &Path) -> Self {
        let recording = Recording::open(cassette);
        Self::serving(&[], move |body| recording.answer(body))
    }

    fn serving(
        hitches: &[(usize, Hitch)],
        mut next: impl FnMut(&str) -> Result<ModelResponse, String> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::<(Mutex<Vec<String>>, Condvar)>::default());
        let hitches: BTreeMap<usize, Hitch> = hitches.iter().copied().collect();
        let (kept, mut held) = (requests.clone(), Vec::new());
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                // Whoever was killed on the way asks again.
                let Some(body) = request_body(&mut connection) else { continue };
                let number = {
                    let mut requests = kept.0.lock().unwrap();
                    requests.push(body.clone());
                    kept.1.notify_all();
                    requests.len()
                };
                match hitches.get(&number) {
                    Some(Hitch::Silence) => {
                        held.push(connection);
                        continue;
                    }
                    Some(Hitch::Throttle) => {
                        let body = json!({"error": {"message": "come back later"}});
                        respond(&mut connection, "429 Too Many Requests\r\nretry-after: 3600", &body);
                        continue;
                    }
                    Some(Hitch::Slow(time)) => pass(*time),
                    None => {}
                }
                match next(&body) {
                    Ok(answer) => respond(&mut connection, "200 OK", &message(&answer)),
                    Err(why) => respond(
                        &mut connection,
                        "400 Bad Request",
                        &json!({"error": {"type": "invalid_request_error", "message": why}}),
                    ),
                }
            }
        });
        Self { address, requests }
    }

    /// The settings that lead to it.
    pub fn settings(&self) -> String {
        format!("[provider]\nbase_url = {:?}\n", self.url())
    }

    /// Its address, without `/v1/messages`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bodies of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.0.lock().unwrap().clone()
    }

    /// Waits until so many requests have come; a run that comes to its end before is a defect, and the suite ends the test.
    pub fn until(&self, count: usize) {
        let requests = self.requests.0.lock().unwrap();
        drop(self.requests.1.wait_while(requests, |requests| requests.len() < count).unwrap());
    }
}

fn is_over() -> String {
    "the script is over".into()
}

/// Lets time pass for the other side, whose clock is the real one.
fn pass(time: Duration) {
    let (_sender, never) = mpsc::channel::<()>();
    assert_eq!(never.recv_timeout(time), Err(RecvTimeoutError::Timeout));
}

fn request_body(connection: &mut TcpStream) -> Option<String> {
    let mut reader = BufReader::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

fn respond(connection: &mut TcpStream, status: &str, body: &Value) {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close");
    // Whoever asked may be gone.
    write!(connection, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok();
}

fn message(answer: &ModelResponse) -> Value {
    let blocks: Vec<Value> = answer.parts.iter().filter_map(block).collect();
    let usage = answer.usage;
    json!({
        "content": blocks,
        "stop_reason": if answer.stop_reason == StopReason::ToolUse { "tool_use" } else { "end_turn" },
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_input_tokens": usage.cache_read_tokens,
            "cache_creation_input_tokens": usage.cache_write_tokens,
        },
    })
}

fn block(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text } => Some(json!({"type": "text", "text": text})),
        Part::ToolCall { id, name, input } => Some(json!({"type": "tool_use", "id": id, "name": name, "input": input})),
        Part::ToolResult { .. } => None,
    }
}
