//! Other people's model servers on the loopback: two that play faults, and one with a real model.
//!
//! They are installed by `cargo xtask test --world`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use config::Dialect;
use serde_json::Value;

use crate::ministack::part;

/// A server that ends with this value.
pub struct Emulator {
    process: Child,
    /// One of them ends when this does.
    _input: Option<ChildStdin>,
    port: u16,
    /// What it adds to the address for each dialect.
    paths: fn(Dialect) -> &'static str,
}

impl Emulator {
    /// PyPI's `llmock`: gives scripted answers, fails when told to, and judges how its clients took it.
    pub fn llmock() -> Self {
        let paths = |dialect| match dialect {
            Dialect::Anthropic => "/anthropic",
            Dialect::OpenAi => "/v1",
        };
        let command = Command::new(part("llmock", "bin/llmock"));
        Self::start(
            command,
            |port| ["serve", "--host", "127.0.0.1", "--port", port].map(str::to_owned).to_vec(),
            "running on",
            paths,
        )
    }

    /// npm's `aimock`, which says `hello`, loses connections and breaks its answers off.
    pub fn aimock(folder: &Path) -> Self {
        let hello = r#"{"fixtures": [{"match": {}, "response": {"content": "hello"}}]}"#;
        std::fs::write(folder.join("hello.json"), hello).unwrap();
        let command = Command::new(part("aimock", "node_modules/.bin/llmock"));
        let fixtures = folder.display().to_string();
        let arguments = |port: &str| ["-h", "127.0.0.1", "-p", port, "-f", &fixtures].map(str::to_owned).to_vec();
        Self::start(command, arguments, "listening on", plain)
    }

    /// A real model of 135 million parameters on llama.cpp's server, which speaks both dialects.
    pub fn small_model() -> Self {
        let mut command = Command::new(part("small-model", "bin/python3"));
        command.args(["-c", include_str!("small_model.py")]);
        Self::start(command, |port| vec![port.to_owned()], "it listens", plain)
    }

    fn start(
        mut command: Command,
        arguments: impl FnOnce(&str) -> Vec<String>,
        ready: &str,
        paths: fn(Dialect) -> &'static str,
    ) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        command.args(arguments(&port.to_string())).stdin(Stdio::piped());
        // Some tell it on one stream, some on the other: both are one here.
        let (told, telling) = std::io::pipe().unwrap();
        command.stdout(telling.try_clone().unwrap()).stderr(telling);
        let mut process = command.spawn().unwrap();
        drop(command);
        let input = process.stdin.take();
        let (mut told, mut line) = (BufReader::new(told), String::new());
        while !line.to_lowercase().contains(ready) {
            line.clear();
            assert!(told.read_line(&mut line).unwrap() > 0, "the server ended before it listened");
        }
        // Somebody has to read on, or it would wait for its own words to be read.
        std::thread::spawn(move || drop(std::io::copy(&mut told.by_ref(), &mut std::io::sink())));
        Self { process, _input: input, port, paths }
    }

    /// The address that settings name for this dialect.
    pub fn base_url(&self, dialect: Dialect) -> String {
        format!("http://127.0.0.1:{}{}", self.port, (self.paths)(dialect))
    }

    /// Asks what it offers beside the providers' interfaces.
    ///
    /// # Panics
    /// If it refuses.
    pub fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let body = body.to_string();
        let head =
            format!("{method} {path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
        write!(connection, "{head}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.lines().next().is_some_and(|line| line.contains(" 20")), "{answer}");
        serde_json::from_str(body).unwrap()
    }
}

fn plain(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Anthropic => "",
        Dialect::OpenAi => "/v1",
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
