//! A provider on this machine: it speaks either dialect, gives a script's answers in order or a recording's by what is asked,
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
use config::Dialect;
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
    dialect: Dialect,
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
        Self::serving(Dialect::Anthropic, hitches, move |_| answers.next().ok_or_else(is_over))
    }

    /// Answers as [`Provider::playing`] does; before each answer `happens` is told its number, from 1, while whoever asked waits. If
    /// it says so, the server is overloaded for two seconds instead.
    pub fn amid(script: &Script, mut happens: impl FnMut(usize) -> bool + Send + 'static) -> Self {
        let (mut answers, mut number) = (script.responses().into_iter(), 0);
        Self::serving(Dialect::Anthropic, &[], move |_| {
            number += 1;
            match happens(number) {
                true => Err(OVERLOADED.into()),
                false => answers.next().ok_or_else(is_over),
            }
        })
    }

    /// Answers as [`Provider::playing`] does, in this dialect.
    pub fn speaking(dialect: Dialect, script: &Script) -> Self {
        let mut answers = script.responses().into_iter();
        Self::serving(dialect, &[], move |_| answers.next().ok_or_else(is_over))
    }

    /// Answers many runs at once, whose sessions all go as the script's first round does.
    pub fn for_many(script: &Script) -> Self {
        let script = script.clone();
        Self::serving(Dialect::Anthropic, &[], move |body| {
            let request: Value = serde_json::from_str(body).unwrap();
            let role = role_of(&request).ok_or_else(is_over)?;
            script.answer(&role, answers_in(&request)).ok_or_else(is_over)
        })
    }

    /// Answers what a cassette has recorded, and refuses whatever else is asked: with what differs from the nearest recording.
    pub fn replaying(cassette: &Path) -> Self {
        let recording = Recording::open(cassette);
        Self::serving(Dialect::Anthropic, &[], move |body| recording.answer(body))
    }

    fn serving(
        dialect: Dialect,
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
                    Ok(answer) => respond(&mut connection, "200 OK", &message(dialect, &answer)),
                    Err(why) if why == OVERLOADED => {
                        let body = json!({"error": {"type": "overloaded_error", "message": why}});
                        respond(&mut connection, "529 Overloaded\r\nretry-after: 2", &body);
                    }
                    Err(why) => respond(
                        &mut connection,
                        "400 Bad Request",
                        &json!({"error": {"type": "invalid_request_error", "message": why}}),
                    ),
                }
            }
        });
        Self { dialect, address, requests }
    }

    /// The settings that lead to it.
    pub fn settings(&self) -> String {
        format!("[provider]\nkind = {:?}\nbase_url = {:?}\n", self.dialect.as_str(), self.url())
    }

    /// Its address, without what the dialect adds.
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

/// What a server says that has too much to do.
const OVERLOADED: &str = "overloaded";

/// Lets time pass for the other side, whose clock is the real one.
pub fn pass(time: Duration) {
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

fn message(dialect: Dialect, answer: &ModelResponse) -> Value {
    match dialect {
        Dialect::Anthropic => of_messages(answer),
        Dialect::OpenAi => of_completions(answer),
    }
}

fn of_messages(answer: &ModelResponse) -> Value {
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

fn of_completions(answer: &ModelResponse) -> Value {
    let texts = answer.parts.iter().filter_map(|part| match part {
        Part::Text { text } => Some(text.as_str()),
        _ => None,
    });
    let text = texts.collect::<Vec<_>>().join("\n");
    let calls: Vec<Value> = answer.parts.iter().filter_map(call).collect();
    let mut message = json!({"role": "assistant", "content": if text.is_empty() { Value::Null } else { text.into() }});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let reason = if answer.stop_reason == StopReason::ToolUse { "tool_calls" } else { "stop" };
    let (input, output) = (answer.usage.input_tokens, answer.usage.output_tokens);
    json!({
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output},
    })
}

fn call(part: &Part) -> Option<Value> {
    let Part::ToolCall { id, name, input } = part else { return None };
    // A string stands for arguments that are no JSON.
    let arguments = input.as_str().map_or_else(|| input.to_string(), ToOwned::to_owned);
    Some(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
}
