//! `gatewright run`: a requirement goes in.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Overrides, RunConfig, SandboxMode};
use lambda_host::{OsRandomness, SystemClock};
use role_host::Keys;
use run_model::{Randomness, RunId};
use serde_json::{Value, json};

use crate::arguments::{RunOptions, Waiting};
use crate::introduction::introduction;
use crate::local::Local;
use crate::machines::machine_arn;
use crate::problem::{Problem, causes};
use crate::{archive, follow, screen, settings};

/// What is asked for, ready to start.
pub(crate) struct Request {
    pub(crate) repository: PathBuf,
    pub(crate) requirement: String,
    pub(crate) base: String,
    pub(crate) acceptance: Option<Vec<u8>>,
    pub(crate) config: RunConfig,
}

/// Takes the command line apart, says what it is going to cost at most, starts and follows the run.
pub(crate) async fn run(state: &Path, options: RunOptions) -> Result<u8, Problem> {
    let repository = options.repo.canonicalize();
    let repository =
        repository.map_err(|error| Problem::input(format!("--repo {}: {error}", options.repo.display())))?;
    let requirement = requirement(&options.requirements)?;
    let git = forge::LocalGit::open(&repository).await.map_err(|error| Problem::input(causes(&error)))?;
    let sandbox = options.sandbox.as_deref().map(str::parse::<SandboxMode>).transpose().map_err(Problem::input)?;
    let provider = options.provider.clone();
    let overrides = Overrides { provider, budget_usd: options.budget, sandbox, auto_approve: options.waiting.yes };
    let config = settings::run_config(&git, &repository, &options.base, overrides).await?;
    let acceptance = options.acceptance.as_deref().map(archive::pack).transpose()?;
    start(state, Request { repository, requirement, base: options.base, acceptance, config }, &options.waiting).await
}

/// Starts a run and follows it.
pub(crate) async fn start(state: &Path, request: Request, waiting: &Waiting) -> Result<u8, Problem> {
    check_confinement(&request.config).await?;
    let local = Local::drive(state).await?;
    check_key(&local, &request.config).await?;
    screen::tell(introduction(&request.repository, &request.config).trim_end());
    let run_id = new_run_id();
    let acceptance = match request.acceptance {
        Some(bytes) => Some(local.store.put_held_out(&run_id, bytes).await?),
        None => None,
    };
    let requirement = local.store.put_artefact(&run_id, request.requirement.into_bytes()).await?;
    let input = json!({
        "repository": request.repository,
        "requirement": requirement,
        "base": request.base,
        "config": request.config,
        "acceptance": acceptance,
        "requester": { "name": settings::person(), "seen_as": "local" },
    });
    // Said before it is started, so that whoever is interrupted knows what to ask for.
    screen::tell(format!("run {run_id}"));
    start_execution(&local, run_id.as_str(), input).await?;
    follow::follow(local, &run_id, run_id.to_string(), waiting).await
}

/// Starts an execution of `pipeline`.
pub(crate) async fn start_execution(local: &Local, name: &str, input: Value) -> Result<(), Problem> {
    let start = local.step_functions().start_execution().state_machine_arn(machine_arn("pipeline"));
    let started = start.name(name).input(input.to_string()).send().await;
    started.map(drop).map_err(|error| Problem::missing(causes(&error)))
}

/// The text, the file's text after `@`, or standard input for `-`.
fn requirement(argument: &str) -> Result<String, Problem> {
    let text = match argument.strip_prefix('@') {
        Some(file) => {
            std::fs::read_to_string(file).map_err(|error| Problem::input(format!("--requirements @{file}: {error}")))?
        }
        None if argument == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        }
        None => argument.to_owned(),
    };
    if text.trim().is_empty() {
        return Err(Problem::input("--requirements is empty: say in a sentence what should be different"));
    }
    Ok(text)
}

/// Generated code is hostile: a machine that cannot confine it refuses, unless told otherwise.
async fn check_confinement(config: &RunConfig) -> Result<(), Problem> {
    let found = sandbox::Sandbox::probe().await;
    match config.sandbox {
        SandboxMode::None => {
            screen::tell(
                "warning: --sandbox none runs the project's commands, and code that a model wrote, with your rights and \
                 your network",
            );
            Ok(())
        }
        SandboxMode::Auto if found.can_confine() => Ok(()),
        SandboxMode::Auto => Err(Problem::missing(format!(
            "this machine cannot confine the project's commands ({found}); `gatewright doctor` says what is missing, \
             `--sandbox none` goes without"
        ))),
    }
}

/// A provider that needs a key and has none is refused before anything starts.
async fn check_key(local: &Local, config: &RunConfig) -> Result<(), Problem> {
    let (clock, chance) = (Arc::new(SystemClock), Arc::new(OsRandomness));
    let connected = models::connect(config, &Keys(&local.store), clock, chance).await;
    connected.map(drop).map_err(|error| Problem::missing(causes(&error)))
}

/// `r-` and ten random digits: short enough for the names of nested executions.
fn new_run_id() -> RunId {
    let id = format!("r-{}", OsRandomness.hex_id(5));
    RunId::new(id).unwrap_or_else(|problem| unreachable!("{problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_is_text_or_a_file_and_never_empty() {
        assert_eq!(requirement("do it").unwrap(), "do it");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bug.md");
        std::fs::write(&file, "from a file").unwrap();
        assert_eq!(requirement(&format!("@{}", file.display())).unwrap(), "from a file");
        assert!(requirement("  ").unwrap_err().message.contains("is empty"));
        assert!(requirement("@/no/such/file").unwrap_err().message.contains("/no/such/file"));
    }

    #[test]
    fn run_ids_differ() {
        assert_ne!(new_run_id(), new_run_id());
    }
}
