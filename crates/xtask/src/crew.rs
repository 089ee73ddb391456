//! A model for the README's commands: a loopback server that speaks the Anthropic Messages format and plays a crew that changes the
//! package which `cargo new --lib` makes. Only the provider is played; what the answers set off is real.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Serves until the process ends; gives the address for `ANTHROPIC_BASE_URL`.
pub(crate) fn serve() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                if let Err(error) = converse(stream) {
                    eprintln!("the loopback model: {error:#}");
                }
            });
        }
    });
    Ok(address)
}

/// Answers one request after the other on a connection.
fn converse(stream: TcpStream) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read(&mut reader)? {
        let body = answer(&request)?.to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        writer.write_all(head.as_bytes())?;
        writer.write_all(body.as_bytes())?;
    }
    Ok(())
}

/// The JSON body of the next request; `None` at the end of the connection.
fn read(reader: &mut impl BufRead) -> Result<Option<Value>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

fn answer(request: &Value) -> Result<Value> {
    let system = request["system"].to_string();
    let roles = ["Orchestrator", "Architect", "Developer", "Tester", "Reviewer"];
    let role = roles.into_iter().find(|role| system.contains(&format!("# {role}"))).context("an unknown role asks")?;
    let messages = request["messages"].as_array().context("no messages")?;
    let turn = messages.iter().filter(|message| message["role"] == "assistant").count();
    let (tool, input) = said(role, turn).with_context(|| format!("{role} has nothing to say in turn {}", turn + 1))?;
    Ok(json!({
        "id": "msg_loopback",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [{ "type": "tool_use", "id": "toolu_loopback", "name": tool, "input": input }],
        "stop_reason": "tool_use",
        "stop_sequence": null,
        "usage": { "input_tokens": 3_000, "output_tokens": 200 },
    }))
}

/// What a role says in a turn, counted from 0.
fn said(role: &str, turn: usize) -> Option<(&'static str, Value)> {
    let test = "#[test]\nfn the_largest_number_is_the_end() {\n    assert_eq!(adder::add(u64::MAX, 1), u64::MAX);\n}\n";
    match (role, turn) {
        ("Orchestrator", 0) => Some((
            "submit",
            json!({
                "summary": "add() overflows for large numbers; it should stop at the largest one.",
                "tasks": [{
                    "id": "saturate", "title": "stop at the largest number", "role": "developer",
                    "description": "add() returns the largest number instead of overflowing.", "paths": ["src/lib.rs", "tests/**"],
                }],
            }),
        )),
        ("Architect", 0) => Some((
            "submit",
            json!({
                "summary": "add() in src/lib.rs uses +, which overflows.",
                "items": [{ "id": "saturate", "title": "saturating addition", "detail": "use saturating_add", "tasks": ["saturate"] }],
                "test_strategy": "add(u64::MAX, 1) is u64::MAX",
            }),
        )),
        ("Developer", 0) => Some((
            "edit_file",
            json!({
                "path": "src/lib.rs", "old": "left + right", "new": "left.saturating_add(right)",
            }),
        )),
        ("Developer", 1) => Some(("submit", json!({ "summary": "add() saturates", "serves": ["saturate"] }))),
        ("Tester", 0) => Some(("write_file", json!({ "path": "tests/largest.rs", "content": test }))),
        ("Tester", 1) => Some(("submit", json!({ "summary": "the largest number is the end" }))),
        ("Reviewer", 0) => {
            Some(("submit", json!({ "decision": "approve", "summary": "it saturates, and a test shows it" })))
        }
        _ => None,
    }
}
