//! What `code-host` asks of GitHub, and what our stand-in answers, beside GitHub's own description of its API: every call goes
//! through prism (npm), which compares both with `@octokit/openapi`.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use forge::github::{GitHub, Need, Settings};
use forge::testing::{FakeGitHub, Fault};
use forge::{Landing, Location, Publication, RemoteName};
use run_model::change_set::{Edit, Overlay};
use run_model::{RepoPath, RunId};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// What prism says that is no fault: GraphQL has a description of its own.
const NO_FAULT: [(&str, &str); 1] = [("/graphql ", "Selected route not found")];

/// The proxy, and what it says.
struct Prism {
    _process: Child,
    url: String,
    said: Arc<Mutex<Vec<String>>>,
}

impl Prism {
    async fn before(upstream: &str) -> Self {
        let world = PathBuf::from(std::env::var_os("GATEWRIGHT_WORLD").expect("run `cargo xtask test --world`"));
        let parts = world.join("prism/node_modules");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
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
        let said = Arc::new(Mutex::new(Vec::new()));
        let kept = said.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().unwrap().push(line);
            }
        });
        Self { _process: process, url: format!("http://127.0.0.1:{port}"), said }
    }

    /// How many requests it saw, and what it found wrong, by request.
    fn seen(&self) -> (usize, BTreeMap<String, Vec<String>>) {
        let (mut requests, mut found, mut request) = (0, BTreeMap::<String, Vec<String>>::new(), String::new());
        for line in self.said.lock().unwrap().iter() {
            if line.contains("Request received") {
                requests += 1;
                request.clone_from(line);
            }
            let no_fault = NO_FAULT.iter().any(|(path, words)| request.contains(path) && line.contains(words));
            if line.contains("Violation") && !no_fault {
                found.entry(request.clone()).or_default().push(line.clone());
            }
        }
        (requests, found)
    }

    /// What it found wrong so far. It writes behind its answers, so one more call is made and waited for.
    async fn violations(&self, fake: &FakeGitHub, github: &GitHub) -> BTreeMap<String, Vec<String>> {
        github.branch("main").await.unwrap();
        let through = fake.asked().iter().filter(|asked| !asked.path.starts_with("/codeload/")).count();
        while self.seen().0 < through {
            tokio::task::yield_now().await;
        }
        self.seen().1
    }
}

fn overlay(edits: &[(&str, Option<&str>)]) -> Overlay {
    let edit = |content: &Option<&str>| content.map_or(Edit::Delete, |text| Edit::Write(text.into()));
    Overlay(edits.iter().map(|(path, content)| (RepoPath::new(*path).unwrap(), edit(content))).collect())
}

fn name() -> RemoteName {
    match Location::parse("acme/app").unwrap() {
        Location::GitHub(name) => name,
        Location::Folder(path) => panic!("{}", path.display()),
    }
}

async fn connect(mut secret: Value, url: &str, need: Need) -> GitHub {
    secret["github_api_url"] = url.into();
    let settings = Settings::from_secret(secret.as_object().unwrap()).unwrap();
    GitHub::connect(&settings, &name(), need).await.unwrap()
}

/// Asks as the client would, where the client cannot be brought to.
async fn ask(url: &str, path: &str, secret: Value) {
    let host = url.trim_start_matches("http://");
    let key = secret["github_token"].as_str().unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_and_every_answer_is_as_github_describes_it() {
    let fake = FakeGitHub::start().await;
    fake.commit("main", &[("a.txt", "a\n"), ("gone", "x\n"), ("hidden", "h\n"), ("b", "b\n")]);
    let prism = Prism::before(&fake.url()).await;
    let reader = connect(fake.app_secret(), &prism.url, Need::Read).await;
    let base = reader.branch("HEAD").await.unwrap().commit;
    // Prism spoils what is not text, so the archive stays away; a file that it would lack is asked for by hand.
    fake.fail("GET", "/tarball/", Fault::Refuse(302, "Found", &[]));
    reader.snapshot(&base).await.unwrap_err();
    let hidden = fake.git(&["rev-parse", "main:hidden"]);
    ask(&prism.url, &format!("/repos/acme/app/git/blobs/{hidden}"), fake.token_secret()).await;
    let github = connect(fake.app_secret(), &prism.url, Need::Write { workflows: true }).await;
    let run = RunId::new("r-1").unwrap();
    let mut published = None;
    // The second time branch and pull request are there, and both are moved on; the third time nothing is left to do.
    for (content, body) in [("b\n", "first"), ("c\n", "second"), ("c\n", "second")] {
        let overlay = overlay(&[("a.txt", Some(content)), ("gone", None), ("new/ö.txt", Some("n\n"))]);
        let message = "Change it\n\nGatewright-Run: r-1";
        let publication = Publication {
            run: &run,
            base_ref: "main",
            base_commit: &base,
            overlay: &overlay,
            message,
            when_ms: 0,
            title: "Change it",
            body,
        };
        published = Some(github.publish(&publication).await.unwrap());
    }
    let published = published.unwrap();
    let landing = Landing {
        run: &run,
        base_commit: &base,
        commit: &published.commit,
        pull_request: published.pull_request.as_ref(),
        message: "Change it\n\nGatewright-Run: r-1",
    };
    fake.protect(Some("At least 1 approving review is required by reviewers with write access."));
    github.land(&landing).await.unwrap_err();
    fake.protect(None);
    github.land(&landing).await.unwrap();
    github.land(&landing).await.unwrap();
    assert_eq!(fake.git(&["show", "main:a.txt"]), "c");
    assert!(github.branch("no such branch").await.is_err());
    let found = prism.violations(&fake, &github).await;
    assert!(found.is_empty(), "{found:#?}");
    // It does look: an answer that GitHub's description does not have is seen.
    fake.fail("GET", "/git/commits/", Fault::Refuse(418, "I'm a teapot", &[]));
    github.snapshot(&base).await.unwrap_err();
    assert_eq!(prism.violations(&fake, &github).await.len(), 1);
}
