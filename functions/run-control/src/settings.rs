//! The settings of a run that came without: from the project's own file on the base commit.

use std::collections::{BTreeMap, BTreeSet};

use config::{Overrides, ProjectFile, RunConfig};
use run_model::budget::Budget;
use run_model::run::RunRecord;
use run_model::snapshot::{Manifest, SnapshotRef};
use run_model::{ErrorName, FunctionError, RepoPath, RunId};
use serde_json::{Value, json};
use store::NewEvent;

use crate::Context;

/// Pins the project's settings. A run that came with settings of its own, or has read them before, keeps what it has.
pub(crate) async fn read(context: &Context, run_id: RunId) -> Result<Value, FunctionError> {
    let run = context.store.run(&run_id).await?;
    let pinned = context.config(&run).await?;
    if !is_open(&pinned) {
        check_room(context, &run, &pinned).await?;
        return Ok(json!({ "config_sha256": run.config.sha256 }));
    }
    let missing = || FunctionError::new(ErrorName::Internal, format!("{run_id} has no snapshot to read settings from"));
    let snapshot = run.snapshot.as_ref().ok_or_else(missing)?;
    let (mut config, source) = of_project(context, snapshot).await?;
    if run.base_ref != DEFAULT_BRANCH {
        config = of_a_branch(config);
    }
    // Whoever asks may make do with less; more is for those who may write to the default branch.
    let allowed_microusd = config.limits.budget_microusd;
    let capped = run.budget_microusd.filter(|asked_microusd| *asked_microusd > allowed_microusd);
    config.limits.budget_microusd = run.budget_microusd.map_or(allowed_microusd, |asked| asked.min(allowed_microusd));
    config.validate().map_err(|problem| FunctionError::invalid(ProjectFile::NAME, problem))?;
    let pinned = context.store.put_json(&run_id, &config).await?;
    check_room(context, &run, &config).await?;
    // Before the record says that the settings are read: a repeated call finds them open and does it again.
    context.store.open_budget(&run_id, &budget(&config)).await?;
    let commit = snapshot.commit.get(..12).unwrap_or(&snapshot.commit).to_owned();
    let pin = |run: &mut RunRecord| {
        run.config.clone_from(&pinned);
        let capped = capped.map(|asked| {
            let (asked, allowed) = (asked as f64 / 1e6, allowed_microusd as f64 / 1e6);
            format!("; the budget is {allowed} USD, all that limits.budget_usd allows of the {asked} USD asked for")
        });
        let pinned = format!("{source} at {commit}, hash {}", pinned.sha256.short());
        NewEvent::new("settings.pinned", pinned + &capped.unwrap_or_default())
    };
    context.store.update_run_telling(&run_id, pin).await?;
    Ok(json!({ "config_sha256": pinned.sha256 }))
}

/// Whether the requirement leaves whoever reads it first any room, before setup is begun for it.
async fn check_room(context: &Context, run: &RunRecord, config: &RunConfig) -> Result<(), FunctionError> {
    /// As the agents count before they ask.
    const BYTES_PER_TOKEN: usize = 3;
    let role = config.role("orchestrator");
    let room = role.context_tokens.saturating_sub(role.max_output_tokens);
    let tokens = (context.store.get_object(&run.requirement.key).await?.len() / BYTES_PER_TOKEN) as u64;
    if tokens <= room {
        return Ok(());
    }
    let problem = format!(
        "takes about {tokens} tokens, and the orchestrator has room for {room} (context_tokens less max_output_tokens): shorten \
         it, or give the orchestrator a model that takes more"
    );
    Err(FunctionError::invalid("requirements", problem))
}

/// What a base is called that nobody named: the head of the default branch.
const DEFAULT_BRANCH: &str = "HEAD";

/// What a branch may say that is not the default one: how its tree is set up and checked. Who answers the agents, with whose
/// key, at what price and within which bounds is for those who may write to the default branch.
fn of_a_branch(config: RunConfig) -> RunConfig {
    let RunConfig { project, setup, setup_files, warm_up, checks, base_may_fail, .. } = config;
    RunConfig { project, setup, setup_files, warm_up, checks, base_may_fail, ..RunConfig::default() }
}

/// Whether these are the defaults that admission pinned for want of better ones: they measure nothing, which no project's
/// settings may.
fn is_open(config: &RunConfig) -> bool {
    config.checks.is_empty()
}

/// The budget that settings open.
pub(crate) fn budget(config: &RunConfig) -> Budget {
    Budget {
        limit_microusd: config.limits.budget_microusd,
        limit_tokens: config.limits.budget_tokens,
        committed_microusd: 0,
        committed_tokens: 0,
    }
}

/// The settings of the project's file, or what its files say without one; and which it was.
async fn of_project(context: &Context, snapshot: &SnapshotRef) -> Result<(RunConfig, &'static str), FunctionError> {
    let (paths, texts) = files(context, snapshot).await?;
    let unusable = |problem: config::ConfigError| FunctionError::invalid(ProjectFile::NAME, problem);
    if paths.iter().any(|path| path == ProjectFile::NAME) {
        let text =
            texts.get(ProjectFile::NAME).ok_or_else(|| FunctionError::invalid(ProjectFile::NAME, "is no text"))?;
        let project = ProjectFile::parse(text).map_err(unusable)?;
        return Ok((RunConfig::assemble(project, Overrides::default()).map_err(unusable)?, ProjectFile::NAME));
    }
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let found = config::detect(&paths, &|path| texts.get(path).cloned());
    let found = found.ok_or_else(|| {
        let cure = "run `gatewright init` in it, name the command that tests it, and commit the file";
        FunctionError::invalid(ProjectFile::NAME, format!("the base has none, and no checks were found: {cure}"))
    })?;
    let config = RunConfig::assemble(ProjectFile::from_detected(found), Overrides::default()).map_err(unusable)?;
    Ok((config, "detected settings"))
}

/// The paths of the base, and the texts that say how it is set up and checked.
async fn files(
    context: &Context,
    snapshot: &SnapshotRef,
) -> Result<(Vec<String>, BTreeMap<String, String>), FunctionError> {
    let manifest = context.store.get_object(&snapshot.manifest_key).await?;
    let damaged = |problem: serde_json::Error| {
        FunctionError::new(ErrorName::Internal, format!("the manifest of the base is damaged: {problem}"))
    };
    let manifest: Manifest = serde_json::from_slice(&manifest).map_err(damaged)?;
    let paths: Vec<String> = manifest.entries.into_iter().map(|entry| entry.path).collect();
    let all: Vec<&str> = paths.iter().map(String::as_str).collect();
    let wanted = config::read_by_detection(&all).into_iter().chain([ProjectFile::NAME]);
    let wanted: BTreeSet<RepoPath> = wanted.filter_map(|path| RepoPath::new(path).ok()).collect();
    let texts = context.store.base_contents(snapshot, &wanted).await?;
    Ok((paths, texts.into_iter().map(|(path, text)| (path.as_str().to_owned(), text)).collect()))
}
