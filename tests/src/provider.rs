//! A provider on this machine: it speaks the Messages API, gives a script's answers in order, and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use agent::ports::{ModelResponse, Part, StopReason};
use serde_json::{Value, json};

use crate::Script;

/// Answers as long as the test's process lives.
pub struct Provider {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    /// Answers the sessions of one task in the order in which the script has them.
    pub fn playing(script: &Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (mut answers, kept) = (script.responses().into_iter(), requests.clone());
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                kept.lock().unwrap().push(request_body(&mut connection));
                match answers.next() {
                    Some(answer) => respond(&mut connection, "200 OK", &message(&answer)),
                    None => respond(
                        &mut connection,
                        "400 Bad Request",
                        &json!({"error": {"message": "the script is over"}}),
                    ),
                }
            }
        });
        Self { address, requests }
    }

    /// The settings that lead to it.
    pub fn settings(&self) -> String {
        format!("[provider]\nbase_url = \"http://{}\"\n", self.address)
    }

    /// The bodies of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn request_body(connection: &mut TcpStream) -> String {
    let mut reader = BufReader::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

fn respond(connection: &mut TcpStream, status: &str, body: &Value) {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close");
    write!(connection, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
}

fn message(answer: &ModelResponse) -> Value {
    let blocks: Vec<Value> = answer.parts.iter().filter_map(block).collect();
    json!({
        "content": blocks,
        "stop_reason": if answer.stop_reason == StopReason::ToolUse { "tool_use" } else { "end_turn" },
        "usage": {"input_tokens": answer.usage.input_tokens, "output_tokens": answer.usage.output_tokens},
    })
}

fn block(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text } => Some(json!({"type": "text", "text": text})),
        Part::ToolCall { id, name, input } => Some(json!({"type": "tool_use", "id": id, "name": name, "input": input})),
        Part::ToolResult { .. } => None,
    }
}
