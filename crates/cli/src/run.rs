//! `gatewright run`: a requirement goes in.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Overrides, RunConfig, SandboxMode};
use lambda_host::{OsRandomness, SystemClock};
use models::ConnectError;
use role_host::Keys;
use run_model::{Randomness, RunId};
use serde_json::json;

use crate::arguments::{RunOptions, Waiting};
use crate::introduction::introduction;
use crate::local::Local;
use crate::place::{Place, check_yes};
use crate::problem::{self, Problem, causes};
use crate::stage::Deployed;
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
    check_yes(&options.at, &options.waiting)?;
    check_flags(&options)?;
    if let Some(stage) = &options.at.stage {
        return run_on_stage(stage, &options).await;
    }
    let folder = options.repo.clone().unwrap_or_else(|| ".".into());
    let repository = folder.canonicalize();
    let repository = repository.map_err(|error| Problem::input(format!("--repo {}: {error}", folder.display())))?;
    let requirement = requirement(asked(&options))?;
    let git = forge::LocalGit::open(&repository).await.map_err(|error| Problem::input(causes(&error)))?;
    let sandbox = options.sandbox.as_deref().map(str::parse::<SandboxMode>).transpose().map_err(Problem::input)?;
    let provider = options.provider.clone();
    let read_only = settings::readable(state, &options.read_only)?;
    let auto_approve = options.waiting.yes;
    let overrides = Overrides { provider, budget_usd: options.budget, sandbox, read_only, auto_approve };
    let base = options.base.unwrap_or_else(|| "HEAD".into());
    let config = settings::run_config(&git, &repository, &base, overrides).await?;
    let acceptance = options.acceptance.as_deref().map(archive::pack).transpose()?;
    start(state, Request { repository, requirement, base, acceptance, config }, &options.waiting).await
}

/// Asks the stage's API for the run, so that whoever the credentials are is its requester, and follows it.
async fn run_on_stage(stage: &str, options: &RunOptions) -> Result<u8, Problem> {
    let requirement = requirement(asked(options))?;
    let Some(repository) = &options.repository else {
        return Err(usage("--stage", "works on a repository on GitHub: name it with --repository OWNER/NAME"));
    };
    let stage = Deployed::of_environment(stage).await?;
    let mut request = json!({ "repository": repository, "requirements": requirement });
    let more =
        [("base", json!(options.base)), ("budget_usd", json!(options.budget)), ("priority", json!(options.priority))];
    for (field, value) in more.into_iter().filter(|(_, value)| !value.is_null()) {
        request[field] = value;
    }
    let run_id = stage.start_run(request).await?;
    screen::tell(format!("run {run_id}"));
    follow::follow(Place::Stage(Box::new(stage)), &run_id, run_id.to_string(), &options.waiting).await
}

/// What makes sense on one machine only, or on a stage only, is refused by its name.
fn check_flags(options: &RunOptions) -> Result<(), Problem> {
    let of_this_machine = [
        (
            "--repo",
            options.repo.is_some(),
            "a stage sees no folder of this machine: name the repository with --repository OWNER/NAME",
        ),
        ("--acceptance", options.acceptance.is_some(), "a stage takes no held-out tests: leave it out"),
        (
            "--provider",
            options.provider.is_some(),
            "a stage asks whom the repository's gatewright.toml names: leave it out",
        ),
        ("--sandbox", options.sandbox.is_some(), "a stage's runners always confine: leave it out"),
        ("--read-only", !options.read_only.is_empty(), "give it to `gatewright runner`: leave it out"),
    ];
    let of_a_stage = [
        (
            "--repository",
            options.repository.is_some(),
            "is for a run on a stage: add --stage STAGE, or name a folder with --repo PATH",
        ),
        ("--priority", options.priority.is_some(), "is for a run on a stage: add --stage STAGE, or leave it out"),
    ];
    let refused = if options.at.stage.is_some() { &of_this_machine[..] } else { &of_a_stage };
    match refused.iter().find(|(_, is_there, _)| *is_there) {
        Some((flag, _, cure)) => Err(usage(flag, cure)),
        None => Ok(()),
    }
}

fn usage(flag: &str, cure: &str) -> Problem {
    Problem { message: format!("{flag}: {cure}"), exit: problem::USAGE }
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
    let place = Place::Here(Box::new(local));
    place.start_execution(run_id.as_str(), input).await?;
    follow::follow(place, &run_id, run_id.to_string(), waiting).await
}

/// The requirement as it was given, by place or by name: one of the two is there.
fn asked(options: &RunOptions) -> &str {
    options.text.as_deref().or(options.requirements.as_deref()).unwrap_or_default()
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
        return Err(Problem::input("the requirement is empty: say in a sentence what should be different"));
    }
    Ok(text)
}

/// Generated code is hostile: a machine that cannot confine it refuses, unless told otherwise.
async fn check_confinement(config: &RunConfig) -> Result<(), Problem> {
    let found = sandbox::Sandbox::probe().await;
    match config.sandbox {
        SandboxMode::None => {
            screen::tell(
                "warning: --sandbox none, as you say: the project's commands, and code that a model wrote, run with your \
                 rights and your network",
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
    connected.map(drop).map_err(|error| match error {
        ConnectError::NoKey { name, .. } => Problem::missing(format!(
            "there is no key for the model provider: `export {name}=...` with yours, then run this again"
        )),
        error => Problem::missing(causes(&error)),
    })
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
    fn what_makes_no_sense_where_the_run_lives_is_refused_by_name() {
        use clap::Parser;
        let refused = |more: &[&str]| {
            let line = [&["gatewright", "run", "--requirements", "x"], more].concat();
            let arguments = crate::arguments::Arguments::try_parse_from(line).unwrap();
            let crate::arguments::Command::Run(options) = arguments.command else { panic!("{more:?}") };
            let problem = check_yes(&options.at, &options.waiting).and_then(|()| check_flags(&options)).err();
            problem.map(|problem| (problem.exit, problem.message))
        };
        let stage = ["--stage", "dev", "--repository", "o/n"];
        assert_eq!(refused(&stage), None);
        assert_eq!(refused(&["--repo", ".", "--yes", "--sandbox", "none"]), None);
        for (more, cure) in [
            (&["--repo", "."][..], "--repository OWNER/NAME"),
            (&["--acceptance", "d"], "leave it out"),
            (&["--provider", "replay:f"], "gatewright.toml"),
            (&["--sandbox", "none"], "always confine"),
            (&["--read-only", "/opt"], "gatewright runner"),
            (&["--yes"], "gates approve GATE --stage dev"),
        ] {
            let (exit, message) = refused(&[&stage[..], more].concat()).unwrap();
            assert!(
                exit == 64 && message.starts_with(&format!("{}: ", more[0])) && message.contains(cure),
                "{message}"
            );
        }
        for more in [["--repository", "o/n"], ["--priority", "high"]] {
            assert!(refused(&more).unwrap().1.contains("--stage STAGE"), "{more:?}");
        }
    }

    #[test]
    fn a_requirement_is_given_by_place_or_by_name_and_not_by_both() {
        use clap::Parser;
        let parsed = |line: &[&str]| {
            let line = [&["gatewright", "run"], line].concat();
            match crate::arguments::Arguments::try_parse_from(line).map(|arguments| arguments.command) {
                Ok(crate::arguments::Command::Run(options)) => Ok(asked(&options).to_owned()),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.to_string()),
            }
        };
        for line in [&["do it"][..], &["--requirements", "do it"], &["--yes", "do it"]] {
            assert_eq!(parsed(line).as_deref(), Ok("do it"));
        }
        assert_eq!(parsed(&["-"]).as_deref(), Ok("-"));
        let both = parsed(&["do it", "--requirements", "do that"]).unwrap_err();
        assert!(both.contains("cannot be used with") && both.contains("--requirements"), "{both}");
        assert!(parsed(&[]).unwrap_err().contains("--requirements"));
    }

    #[test]
    fn run_ids_differ() {
        assert_ne!(new_run_id(), new_run_id());
    }
}
