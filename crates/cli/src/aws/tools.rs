//! The ordinary tools that a deploy is made with: git, cargo-lambda, and the SAM CLI.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use lambda_host::Environment;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use crate::problem::{FAILED, Problem};
use crate::screen;
use crate::signed::cure;

/// The stage's template in a checkout.
pub(crate) const TEMPLATE: &str = "infra/template.yaml";
/// How many changed files are named.
const NAMED: usize = 20;

/// A program and how it is installed.
pub(crate) struct Tool {
    program: &'static str,
    install: &'static str,
}

pub(crate) const GIT: Tool = Tool { program: "git", install: "install git 2.30 or later" };
pub(crate) const SAM: Tool = Tool {
    program: "sam",
    install: "python3 -m venv deploy && deploy/bin/pip install aws-sam-cli==1.170.0, and put deploy/bin into PATH",
};
pub(crate) const CARGO_LAMBDA: Tool = Tool {
    program: "cargo-lambda",
    install: "python3 -m venv deploy && deploy/bin/pip install cargo-lambda==1.9.2, and put deploy/bin into PATH",
};
pub(crate) const CARGO: Tool = Tool { program: "cargo", install: "install Rust: https://rustup.rs" };

/// Names every tool that is not on the path, at once.
pub(crate) fn require(environment: &Environment, tools: &[&Tool]) -> Result<(), Problem> {
    let path = environment.get("PATH").unwrap_or_default();
    let is_there = |program: &str| std::env::split_paths(path).any(|folder| folder.join(program).is_file());
    let missing: Vec<String> = tools
        .iter()
        .filter(|tool| !is_there(tool.program))
        .map(|tool| format!("{} is not installed: {}", tool.program, tool.install))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Problem::missing(missing.join("\n"))) }
}

/// A checkout of Gatewright.
pub(crate) struct Checkout {
    pub(crate) root: PathBuf,
    pub(crate) commit: String,
    /// `owner/name` of its remote `origin` on GitHub.
    pub(crate) origin: Option<String>,
}

impl Checkout {
    /// The checkout that the working directory is in. What is deployed is a commit and nothing besides, so that a stage can be
    /// made again: a tree with changes is refused.
    pub(crate) async fn clean() -> Result<Self, Problem> {
        let checkout = Self::here().await?;
        match checkout.changes().await? {
            Some(files) => Err(Problem::input(files)),
            None => Ok(checkout),
        }
    }

    /// The checkout that the working directory is in, as it is.
    pub(crate) async fn here() -> Result<Self, Problem> {
        let elsewhere = "this is no checkout of Gatewright: clone it, and run this inside";
        let root =
            git(Path::new("."), &["rev-parse", "--show-toplevel"]).await.map_err(|_| Problem::input(elsewhere))?;
        let root = PathBuf::from(root.trim());
        if !root.join(TEMPLATE).is_file() {
            return Err(Problem::input(format!("{elsewhere} ({} has no {TEMPLATE})", root.display())));
        }
        let commit = git(&root, &["rev-parse", "HEAD"]).await?.trim().to_owned();
        let url = git(&root, &["remote", "get-url", "origin"]).await.ok();
        Ok(Self { origin: url.and_then(|url| repository_name(url.trim()).ok()), root, commit })
    }

    /// What to say about the files that differ from the commit, if there are any.
    pub(crate) async fn changes(&self) -> Result<Option<String>, Problem> {
        let status = git(&self.root, &["status", "--porcelain", "--untracked-files=all"]).await?;
        Ok(changed(&status))
    }
}

/// `owner/name` of a repository on GitHub, by that name or by the address of a remote.
pub(crate) fn repository_name(text: &str) -> Result<String, String> {
    let by_ssh = text.strip_prefix("ssh://git@").map(str::to_owned);
    let by_ssh = by_ssh.or_else(|| text.strip_prefix("git@").map(|rest| rest.replacen(':', "/", 1)));
    let address = by_ssh.map_or_else(|| text.to_owned(), |rest| format!("https://{rest}"));
    match forge::Location::parse(&address) {
        Ok(forge::Location::GitHub(name)) => Ok(name.to_string()),
        _ => Err("name it as OWNER/NAME".into()),
    }
}

/// What to say about a tree with changes.
fn changed(status: &str) -> Option<String> {
    let files: Vec<&str> = status.lines().filter_map(|line| line.get(3..)).collect();
    if files.is_empty() {
        return None;
    }
    let more = files.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!("\n  and {more} more") };
    let named = files[..files.len().min(NAMED)].join("\n  ");
    Some(format!("a commit is deployed, and these files differ from it: commit, stash or remove them\n  {named}{more}"))
}

async fn git(folder: &Path, arguments: &[&str]) -> Result<String, Problem> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).stdin(Stdio::null()).output().await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Problem::missing(format!("git {}: {}", arguments.join(" "), said.trim())))
}

/// Runs the SAM CLI in a folder, shows what it says, and returns it.
pub(crate) async fn sam(folder: &Path, arguments: &[String]) -> Result<String, Problem> {
    screen::tell(format!("$ sam {}", arguments.join(" ")));
    let mut command = Command::new("sam");
    command.args(arguments).current_dir(folder).env("SAM_CLI_TELEMETRY", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| Problem::missing(format!("sam cannot be started: {error}")))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (printed, told) = tokio::join!(shown(stdout), shown(stderr));
    let status = child.wait().await?;
    let said = printed + &told;
    if status.success() {
        return Ok(said);
    }
    let doing = arguments.first().map_or("", String::as_str);
    let cure = cure_of(&said).map(|cure| format!(": {cure}")).unwrap_or_default();
    Err(Problem { message: format!("sam {doing} failed{cure}"), exit: FAILED })
}

/// Shows every line as it comes, and keeps them.
async fn shown(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut said = String::new();
    let Some(from) = from else { return said };
    let mut lines = BufReader::new(from).lines();
    // What is no text ends what is shown, and the exit code counts.
    while let Ok(Some(line)) = lines.next_line().await {
        screen::tell(format!("  {line}"));
        said.push_str(&line);
        said.push('\n');
    }
    said
}

/// What helps against what the SAM CLI or cargo-lambda said.
fn cure_of(said: &str) -> Option<&'static str> {
    const CODES: [&str; 8] = [
        "ExpiredToken",
        "RequestExpired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "OptInRequired",
        "AccessDenied",
        "UnauthorizedOperation",
    ];
    if let Some(code) = CODES.into_iter().find(|code| said.contains(code)) {
        return cure(code);
    }
    let known = [
        (
            "Unable to locate credentials",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for a role)",
        ),
        (
            "security token included in the request is expired",
            "the session has ended: sign in again and export the new credentials",
        ),
        ("Cannot find Cargo Lambda", CARGO_LAMBDA.install),
        ("Could not connect to the endpoint URL", "check the network, AWS_REGION and AWS_ENDPOINT_URL"),
        ("target may not be installed", "rustup target add aarch64-unknown-linux-gnu x86_64-unknown-linux-gnu"),
        ("No space left on device", "free the disk: a build takes some 5 GB in target and .aws-sam"),
        ("could not compile", "the compiler's words above say what is wrong with the commit"),
        ("No such file or directory: '.aws-sam", "nothing was built here yet: leave --no-build out"),
    ];
    known.into_iter().find(|(words, _)| said.contains(words)).map(|(_, cure)| cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_of_github_is_a_repository_and_a_folder_is_none() {
        for remote in [
            "acme/app",
            "https://github.com/acme/app.git",
            "git@github.com:acme/app.git",
            "ssh://git@github.com/acme/app",
        ] {
            assert_eq!(repository_name(remote).as_deref(), Ok("acme/app"), "{remote}");
        }
        for other in ["", "/srv/app", "../app", "https://ann:token@github.com/acme/app", "acme/app,acme/other"] {
            assert!(repository_name(other).is_err(), "{other}");
        }
    }

    #[test]
    fn every_changed_file_is_named_up_to_twenty() {
        assert_eq!(changed(""), None);
        let said = changed(" M infra/template.yaml\n?? new file.rs\nR  a -> b\n").unwrap();
        assert!(said.ends_with("\n  infra/template.yaml\n  new file.rs\n  a -> b"), "{said}");
        let many: String = (0..25).map(|number| format!("?? file-{number}\n")).collect();
        let said = changed(&many).unwrap();
        assert!(said.contains("file-19") && !said.contains("file-20") && said.ends_with("and 5 more"), "{said}");
    }

    #[test]
    fn every_missing_tool_is_named_with_its_cure() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sam"), "").unwrap();
        let environment = Environment::of([("PATH", folder.path().to_str().unwrap())]);
        assert!(require(&environment, &[&SAM]).is_ok());
        let said = require(&environment, &[&SAM, &CARGO_LAMBDA, &CARGO]).unwrap_err().message;
        assert!(said.starts_with("cargo-lambda is not installed: python3 -m venv"), "{said}");
        assert!(said.contains("\ncargo is not installed: install Rust") && !said.contains("sam is not"), "{said}");
    }

    #[test]
    fn what_the_tools_say_has_its_cure() {
        for (said, words) in [
            // As the SAM CLI 1.170 words them.
            (
                "Error: Failed to create managed resources: An error occurred (ExpiredToken) when calling the CreateChangeSet \
                 operation: The security token included in the request is expired",
                "sign in again",
            ),
            ("Error: Unable to locate credentials. Please use AWS credentials", "AWS_ACCESS_KEY_ID"),
            (
                "Build Failed\nError: RustCargoLambdaBuilder:Resolver - Cannot find Cargo Lambda. Please install it",
                "cargo-lambda==",
            ),
            (
                "An error occurred (InvalidClientTokenId) when calling the GetTemplateSummary operation",
                "does not know these",
            ),
            ("error: could not compile `store` (lib) due to 1 previous error", "compiler's words"),
        ] {
            assert!(cure_of(said).unwrap().contains(words), "{said}");
        }
        assert_eq!(cure_of("Error: something else"), None);
    }
}
