//! GitHub's own description of its API between whoever asks and a GitHub: prism (npm) compares every call and every answer with
//! `@octokit/openapi`.

use std::collections::BTreeMap;
use std::net::TcpListener as Port;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forge::testing::FakeGitHub;
use reqwest::{Client, Method};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

/// What prism says that is no fault: GraphQL has a description of its own, and the call by which it is waited for is nobody's.
const NO_FAULT: [(&str, &str); 2] = [("/graphql ", "Selected route not found"), (LAST_CALL, "")];
const LAST_CALL: &str = "/zen";
/// After so long prism tells of nothing any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// Headers that an answer keeps on its way.
const KEPT: [&str; 5] = ["content-type", "location", "retry-after", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// The description before a GitHub. It ends with this value.
pub struct Contract {
    _prism: Child,
    door: Arc<Door>,
    url: String,
    said: Arc<Said>,
}

/// What prism says, line by line, until it ends.
#[derive(Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    more: Notify,
}

impl Contract {
    pub async fn before(github: &FakeGitHub) -> Self {
        let (prism, address, said) = prism(&github.url()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let http = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let door = Arc::new(Door { http, prism: address, github: github.url(), through: Mutex::default() });
        let opened = door.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let door = opened.clone();
                tokio::spawn(async move { door.pass(stream).await });
            }
        });
        Self { _prism: prism, door, url, said }
    }

    /// Where it is asked, as `github_api_url` has it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it found wrong so far, by call.
    pub async fn violations(&self) -> BTreeMap<String, Vec<String>> {
        // It writes behind its answers, so one more call is made, and waited for.
        self.door.http.get(format!("{}{LAST_CALL}", self.url)).send().await.unwrap();
        let through = *self.door.through.lock().unwrap();
        loop {
            let (seen, found) = read(&self.said.lines.lock().unwrap());
            if seen >= through {
                return found;
            }
            let more = tokio::time::timeout(PATIENCE, self.said.more.notified()).await;
            more.unwrap_or_else(|_| panic!("prism told of {seen} calls of {through}"));
        }
    }
}

/// How many calls prism saw, and what it found wrong, by call.
fn read(lines: &[String]) -> (usize, BTreeMap<String, Vec<String>>) {
    let (mut calls, mut found, mut call) = (0, BTreeMap::<String, Vec<String>>::new(), String::new());
    for line in lines {
        if line.contains("Request received") {
            calls += 1;
            call.clone_from(line);
        }
        let no_fault = NO_FAULT.iter().any(|(path, words)| call.contains(path) && line.contains(words));
        if line.contains("Violation") && !no_fault {
            found.entry(call.clone()).or_default().push(line.clone());
        }
    }
    (calls, found)
}

/// Prism before this address, where it answers, and what it says.
async fn prism(upstream: &str) -> (Child, String, Arc<Said>) {
    let world = PathBuf::from(std::env::var_os("GATEWRIGHT_WORLD").expect("run `cargo xtask test --world`"));
    let parts = world.join("prism/node_modules");
    let port = Port::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut process = Command::new("node")
        .arg("--max-old-space-size=4096")
        .arg(parts.join(".bin/prism"))
        .args(["proxy", "--host", "127.0.0.1", "--port", &port, "--verboseLevel", "info"])
        .arg(parts.join("@octokit/openapi/generated/api.github.com.json"))
        .arg(upstream)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("prism begins to listen");
        if line.contains("Prism is listening") {
            break;
        }
    }
    let said = Arc::<Said>::default();
    let kept = said.clone();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            kept.lines.lock().unwrap().push(line);
            kept.more.notify_one();
        }
    });
    (process, format!("http://127.0.0.1:{port}"), said)
}

/// The way in: everything goes through prism, but for archives, since prism spoils what is not text.
struct Door {
    http: Client,
    prism: String,
    github: String,
    /// How many calls went through prism.
    through: Mutex<usize>,
}

impl Door {
    async fn pass(&self, mut stream: TcpStream) {
        let Some((head, body)) = received(&mut stream).await else { return };
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let onto = if path.contains("/tarball/") { &self.github } else { &self.prism };
        if *onto == self.prism {
            *self.through.lock().unwrap() += 1;
        }
        let mut request = self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{onto}{path}"));
        for line in head.lines().skip(1) {
            let (name, value) = line.split_once(": ").unwrap();
            if !matches!(name.to_ascii_lowercase().as_str(), "host" | "connection" | "content-length") {
                request = request.header(name, value);
            }
        }
        let answer = request.body(body).send().await.unwrap();
        let mut head = format!("HTTP/1.1 {}\r\nconnection: close\r\n", answer.status());
        for name in KEPT {
            if let Some(value) = answer.headers().get(name) {
                head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
            }
        }
        let body = answer.bytes().await.unwrap();
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        // Whoever asked may be gone.
        let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
    }
}

/// Head and body of a request; `None` if whoever asks goes away.
async fn received(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        if bytes.len() >= end + 4 + length.unwrap_or_default() {
            return Some((head, bytes.split_off(end + 4)));
        }
    }
}
