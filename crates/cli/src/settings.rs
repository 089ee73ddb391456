//! What the environment and the project say: the state folder, the settings of a run, who is asking.

use std::path::{Path, PathBuf};

use config::{Detected, Overrides, ProjectFile, Provider, RunConfig};

use crate::problem::Problem;

/// The name of the project's settings file.
pub(crate) const PROJECT_FILE: &str = "gatewright.toml";

/// Reads an environment variable: the one place that does.
#[allow(clippy::disallowed_methods, reason = "the program's edge: values are passed on from here")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `--state`, or `$XDG_STATE_HOME/gatewright`, or `~/.local/state/gatewright`.
pub(crate) fn state_folder(chosen: Option<PathBuf>) -> Result<PathBuf, Problem> {
    let absolute =
        |path: PathBuf| std::path::absolute(&path).map_err(|error| Problem::input(format!("--state: {error}")));
    if let Some(path) = chosen {
        return absolute(path);
    }
    let home = || environment("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let base = environment("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    let base = base.ok_or_else(|| Problem::missing("neither XDG_STATE_HOME nor HOME is set: say --state DIR"))?;
    absolute(base.join("gatewright"))
}

/// The settings of a run on this repository: its gatewright.toml, or what detection finds.
pub(crate) fn run_config(repository: &Path, overrides: Overrides) -> Result<RunConfig, Problem> {
    let file = repository.join(PROJECT_FILE);
    let project = if file.is_file() {
        let text =
            std::fs::read_to_string(&file).map_err(|error| Problem::input(format!("{}: {error}", file.display())))?;
        ProjectFile::parse(&text).map_err(|error| Problem::input(format!("{}: {error}", file.display())))?
    } else {
        let found = detect(repository)?.ok_or_else(|| {
            Problem::input(format!(
                "no checks were found for {}: run `gatewright init --repo {}` and name the command that tests it",
                repository.display(),
                repository.display()
            ))
        })?;
        ProjectFile::from_detected(found)
    };
    let mut config = RunConfig::assemble(project, overrides).map_err(Problem::input)?;
    if let Some(server) = environment("ANTHROPIC_BASE_URL") {
        point_to(&mut config.provider, &server);
        config.validate().map_err(|problem| Problem::input(format!("ANTHROPIC_BASE_URL: {problem}")))?;
    }
    Ok(config)
}

/// Asks this server instead of the one in the settings, as the provider's own tools do.
fn point_to(provider: &mut Provider, server: &str) {
    match provider {
        Provider::Anthropic { base_url, .. } => server.clone_into(base_url),
        Provider::Record { upstream, .. } => point_to(upstream, server),
        Provider::Replay { .. } | Provider::Scripted { .. } => {}
    }
}

/// What the project looks like from its root.
pub(crate) fn detect(repository: &Path) -> Result<Option<Detected>, Problem> {
    let entries = std::fs::read_dir(repository)
        .map_err(|error| Problem::input(format!("--repo {}: {error}", repository.display())))?;
    let names: Vec<String> =
        entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(config::detect(&names, &|name| std::fs::read_to_string(repository.join(name)).ok()))
}

/// The person at this machine, as the system names them.
pub(crate) fn person() -> String {
    environment("USER").or_else(|| environment("LOGNAME")).unwrap_or_else(|| "somebody".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_server_is_asked_also_while_recording() {
        let mut provider = Provider::Record { cassette: "c".into(), upstream: Box::default() };
        point_to(&mut provider, "http://127.0.0.1:9");
        let Provider::Record { upstream, .. } = &provider else { panic!("{provider:?}") };
        assert!(matches!(&**upstream, Provider::Anthropic { base_url, .. } if base_url == "http://127.0.0.1:9"));
    }
}
