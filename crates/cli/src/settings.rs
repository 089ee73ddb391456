//! What the environment and the project say: the state folder, the settings of a run, who is asking.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Detected, Overrides, ProjectFile, Provider, READ_BY_DETECTION, RunConfig};
use forge::{ForgeError, LocalGit};

use crate::problem::{Problem, causes};
use crate::screen;

/// The name of the project's settings file.
pub(crate) const PROJECT_FILE: &str = ProjectFile::NAME;
/// Names another server than the settings do.
pub(crate) const SERVER: &str = models::ANTHROPIC_BASE_URL;

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

/// The settings of a run from this base: its gatewright.toml, or what detection finds in it. What lies in the working tree
/// alone is no part of the base, so it does not count; only a gatewright.toml that the base has not got yet does, and that
/// is said.
pub(crate) async fn run_config(
    git: &LocalGit,
    repository: &Path,
    base: &str,
    overrides: Overrides,
) -> Result<RunConfig, Problem> {
    let commit = git.resolve(base).await.map_err(unusable)?;
    let committed = git.text_at(&commit, PROJECT_FILE).await.map_err(unusable)?;
    let in_work_tree = std::fs::read_to_string(repository.join(PROJECT_FILE)).ok();
    let project = match (committed, in_work_tree) {
        (Some(text), edited) => {
            if edited.is_some_and(|edited| edited != text) && git.resolve("HEAD").await.is_ok_and(|head| head == commit)
            {
                screen::tell(format!("note: {PROJECT_FILE} was edited and not committed: the committed one counts"));
            }
            parse(&text)?
        }
        (None, Some(text)) => {
            screen::tell(format!("note: {base} has no {PROJECT_FILE}: the one in the working tree counts; commit it"));
            parse(&text)?
        }
        (None, None) => ProjectFile::from_detected(detect_in_commit(git, &commit).await?.ok_or_else(|| {
            Problem::input(format!(
                "no checks were found for {}: run `gatewright init --repo {}` and name the command that tests it",
                repository.display(),
                repository.display()
            ))
        })?),
    };
    let mut config = RunConfig::assemble(project, overrides).map_err(Problem::input)?;
    if let Some(server) = environment(SERVER) {
        point_to(&mut config.provider, &server);
        config.validate().map_err(|problem| Problem::input(format!("{SERVER}: {problem}")))?;
    }
    Ok(config)
}

/// Who answers the agents by the settings in the working directory; the default without any.
pub(crate) fn provider_here() -> Result<Provider, Problem> {
    match std::fs::read_to_string(PROJECT_FILE) {
        Ok(text) => Ok(RunConfig::assemble(parse(&text)?, Overrides::default()).map_err(Problem::input)?.provider),
        Err(_) => Ok(Provider::default()),
    }
}

fn parse(text: &str) -> Result<ProjectFile, Problem> {
    ProjectFile::parse(text).map_err(|error| Problem::input(format!("{PROJECT_FILE}: {error}")))
}

fn unusable(error: ForgeError) -> Problem {
    Problem::input(causes(&error))
}

/// Asks this server instead of the one in the settings, as the provider's own tools do.
fn point_to(provider: &mut Provider, server: &str) {
    match provider {
        Provider::Anthropic { base_url, .. } => server.clone_into(base_url),
        Provider::Record { upstream, .. } => point_to(upstream, server),
        Provider::Replay { .. } | Provider::Scripted { .. } => {}
    }
}

async fn detect_in_commit(git: &LocalGit, commit: &str) -> Result<Option<Detected>, Problem> {
    let mut texts = BTreeMap::new();
    for name in READ_BY_DETECTION {
        texts.insert(name, git.text_at(commit, name).await.map_err(unusable)?);
    }
    let names = git.root_names(commit).await.map_err(unusable)?;
    Ok(detect(&names, &|name| texts.get(name).cloned().flatten()))
}

/// What the project looks like that lies in a working tree: by what git keeps, so that a lock file that is ignored does
/// not count; a project that git does not know yet by all that it would keep.
pub(crate) async fn detect_in_work_tree(folder: &Path) -> Result<Option<Detected>, Problem> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| Problem::input(format!("--repo {}: {error}", folder.display())))?;
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    for untracked in [false, true] {
        let Ok(names) = LocalGit::names_in_work_tree(folder, untracked).await else {
            // No repository yet: everything there may become part of one.
            let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned());
            return Ok(detect(&names.collect::<Vec<_>>(), &read));
        };
        if let Some(found) = detect(&names, &read) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn detect(names: &[String], read: &dyn Fn(&str) -> Option<String>) -> Option<Detected> {
    config::detect(&names.iter().map(String::as_str).collect::<Vec<_>>(), read)
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

    /// A repository whose one commit holds `committed`, and whose working tree holds `beside` too.
    fn repository(committed: &[(&str, &str)], beside: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |files: &[(&str, &str)]| {
            files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        };
        let git = |arguments: &[&str]| {
            let mut git = std::process::Command::new("git");
            git.env_clear().env("PATH", environment("PATH").unwrap()).current_dir(folder.path());
            git.args(["-c", "user.name=T", "-c", "user.email=t@example.invalid"]).args(arguments);
            assert!(git.status().unwrap().success(), "{arguments:?}");
        };
        write(committed);
        git(&["init", "--quiet"]);
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message", "base"]);
        write(beside);
        folder
    }

    async fn of_head(folder: &Path) -> RunConfig {
        let git = LocalGit::open(folder).await.unwrap();
        run_config(&git, folder, "HEAD", Overrides::default()).await.unwrap()
    }

    const MANIFEST: (&str, &str) = ("Cargo.toml", "[package]\nname = \"a\"\n");
    const IGNORED: (&str, &str) = (".gitignore", "/Cargo.lock\n");
    const LOCK: (&str, &str) = ("Cargo.lock", "version = 4\n");

    fn settings_file(check: &str) -> (&'static str, String) {
        (PROJECT_FILE, format!("[[checks]]\nname = \"test\"\ncommand = \"{check}\"\n"))
    }

    #[tokio::test]
    async fn a_lock_file_counts_only_where_it_is_kept() {
        let library = repository(&[MANIFEST, IGNORED], &[LOCK]);
        let found = of_head(library.path()).await;
        assert_eq!((found.setup[0].command.as_str(), found.setup_files.len()), ("cargo fetch", 1));
        assert_eq!(detect_in_work_tree(library.path()).await.unwrap().unwrap().setup_files, ["Cargo.lock"]);
        let program = repository(&[MANIFEST, LOCK], &[]);
        let found = of_head(program.path()).await;
        assert_eq!((found.setup[0].command.as_str(), found.setup_files.len()), ("cargo fetch --locked", 0));
        let locked = detect_in_work_tree(program.path()).await.unwrap().unwrap();
        assert_eq!(locked.setup[0].command, "cargo fetch --locked");
    }

    #[tokio::test]
    async fn a_project_that_git_does_not_know_yet_is_detected_all_the_same() {
        let new = repository(&[("README.md", "")], &[MANIFEST]);
        assert!(detect_in_work_tree(new.path()).await.unwrap().is_some());
        let bare = tempfile::tempdir().unwrap();
        std::fs::write(bare.path().join(MANIFEST.0), MANIFEST.1).unwrap();
        assert!(detect_in_work_tree(bare.path()).await.unwrap().is_some());
        assert!(detect_in_work_tree(tempfile::tempdir().unwrap().path()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_settings_are_those_of_the_base() {
        let (old, new) = (settings_file("old"), settings_file("new"));
        let edited = repository(&[(old.0, &old.1)], &[(new.0, &new.1)]);
        assert_eq!(of_head(edited.path()).await.checks[0].command, "old");
        let fresh = repository(&[MANIFEST], &[(new.0, &new.1)]);
        assert_eq!(of_head(fresh.path()).await.checks[0].command, "new", "the base has none yet");
    }
}
