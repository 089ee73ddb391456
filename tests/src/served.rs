//! `gatewright cloud serve` as a process of its own, and functions that it is told to invoke elsewhere.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::sync::Arc;

use aws_types::SdkConfig;
use embedded_cloud::{Attachment, Cloud, FunctionRegistry};
use lambda_host::Environment;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::World;
use crate::state::options;

/// A served cloud; `kill -9`ed if the test ends before it does.
pub struct Served {
    process: Child,
    address: String,
}

impl Served {
    /// Serves the world's state folder on a free port, with more arguments.
    pub fn start(world: &World, more: &[&str]) -> Self {
        let arguments = [&["cloud", "serve", "--port", "0"], more].concat();
        Self::by(world.command(&arguments))
    }

    /// Serves as this command does.
    pub fn by(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("AWS_ENDPOINT_URL="));
        let Some(address) = address.map(str::to_owned) else {
            let mut said = String::new();
            process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("it does not serve: {line}{said}");
        };
        Self { process, address }
    }

    /// Where it answers, such as `http://127.0.0.1:4566`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it tells people to export.
    pub fn environment(&self) -> [(&str, &str); 5] {
        [
            ("AWS_ENDPOINT_URL", &self.address),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
        ]
    }

    /// An SDK's configuration, over the network.
    pub fn sdk_config(&self) -> SdkConfig {
        Environment::of(self.environment()).sdk_config().unwrap()
    }

    /// Moves its clock on.
    pub fn advance(&self, seconds: u32) {
        let address = self.address.strip_prefix("http://").unwrap();
        let body = format!("{{\"advance_seconds\": {seconds}}}");
        let request = format!(
            "POST /_gatewright/clock HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/gatewright/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Presses Ctrl-C and waits for the exit code.
    pub fn interrupt(mut self) -> i32 {
        kill_process(Pid::from_child(&self.process), Signal::INT).unwrap();
        self.process.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended already, or nobody waits for it any more.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A Lambda endpoint whose functions note their events and answer `null`.
pub struct Elsewhere {
    pub address: String,
    _cloud: Cloud,
    _folder: tempfile::TempDir,
}

impl Elsewhere {
    /// Functions of these names, and what they are given: name and event.
    pub async fn with(names: &[&str]) -> (Self, mpsc::UnboundedReceiver<(String, Value)>) {
        let folder = tempfile::tempdir().unwrap();
        let opened = Cloud::open(options(&folder.path().join("state"))).await.unwrap();
        let Attachment::Driver(mut cloud) = opened else { panic!("somebody drives") };
        let (sender, given) = mpsc::unbounded_channel();
        let functions = names.iter().fold(FunctionRegistry::new(), |registry, name| {
            let (sender, called): (_, Arc<str>) = (sender.clone(), (*name).into());
            registry.with(name, move |event, _| {
                sender.send((called.to_string(), event)).ok();
                async { Ok(Value::Null) }
            })
        });
        cloud.start(functions).await.unwrap();
        let address = format!("http://{}", cloud.serve_loopback().await.unwrap());
        (Self { address, _cloud: cloud, _folder: folder }, given)
    }
}

/// A machine that asks the function `ask` and waits for the answer for two hours, as JSON text.
pub fn asks() -> String {
    let state = serde_json::json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Arguments": { "FunctionName": "ask", "Payload": { "token": "{% $states.context.Task.Token %}" } },
        "TimeoutSeconds": 7200,
        "End": true,
    });
    serde_json::json!({ "QueryLanguage": "JSONata", "StartAt": "Ask", "States": { "Ask": state } }).to_string()
}

/// A command with what the cloud tells people to export, and nothing else of AWS.
pub fn with_exports(mut command: Command, served: &Served) -> Command {
    command.envs(served.environment()).env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    command
}
