//! What the environment and the project say: the state folder, the settings of a run, who is asking.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use config::{CheckSpec, Detected, Overrides, ProjectFile, Provider, RunConfig, TestFormat};
use forge::{ForgeError, LocalGit};

use crate::problem::{Problem, causes};
use crate::screen;

/// The name of the project's settings file.
pub(crate) const PROJECT_FILE: &str = ProjectFile::NAME;

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
    // One that is relative has to be ignored, as the XDG Base Directory Specification says.
    let named = environment("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = named.or_else(home);
    let base = base.ok_or_else(|| Problem::missing("neither XDG_STATE_HOME nor HOME is set: say --state DIR"))?;
    absolute(base.join("gatewright"))
}

/// The folders that commands may read, by their real paths: none of them leads to the state folder, where keys are.
pub(crate) fn readable(state: &Path, folders: &[PathBuf]) -> Result<Vec<PathBuf>, Problem> {
    let state = state.canonicalize().unwrap_or_else(|_| state.to_owned());
    let real = |folder: &PathBuf| {
        let named = folder.display();
        let real = folder.canonicalize().map_err(|error| Problem::input(format!("--read-only {named}: {error}")))?;
        if state.starts_with(&real) || real.starts_with(&state) {
            let cure = "name a folder beside it, or move it with --state";
            let what = format!("--read-only {named}: no command sees the state folder {}: {cure}", state.display());
            return Err(Problem::input(what));
        }
        Ok(real)
    };
    folders.iter().map(real).collect()
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
    let in_work_tree = in_work_tree(repository);
    let project = match (committed, in_work_tree) {
        (Some(text), edited) => {
            let is_edited = !matches!(&edited, Ok(None)) && !matches!(&edited, Ok(Some(same)) if *same == text);
            if is_edited && git.resolve("HEAD").await.is_ok_and(|head| head == commit) {
                screen::tell(format!("note: {PROJECT_FILE} was edited and not committed: the committed one counts"));
            }
            parse(&text)?
        }
        (None, Err(problem)) => return Err(problem),
        (None, Ok(Some(text))) => {
            screen::tell(format!("note: {base} has no {PROJECT_FILE}: the one in the working tree counts; commit it"));
            parse(&text)?
        }
        (None, Ok(None)) => ProjectFile::from_detected(detect_in_commit(git, &commit).await?.ok_or_else(|| {
            Problem::input(format!(
                "no checks were found for {}: run `gatewright init --repo {}` and name the command that tests it",
                repository.display(),
                repository.display()
            ))
        })?),
    };
    for asked in project.ungranted(&overrides) {
        screen::tell(format!("note: {PROJECT_FILE}: {asked}"));
    }
    let mut config = RunConfig::assemble(project, overrides).map_err(Problem::input)?;
    // As the provider's own tools do: the environment names another server than the settings.
    let name = config.provider.server().map(|server| models::key_names(server.dialect).base_url);
    if let Some((name, server)) = name.and_then(|name| Some((name, environment(name)?))) {
        config.provider.point_to(&server);
        config.validate().map_err(|problem| Problem::input(format!("{name}: {problem}")))?;
    }
    Ok(config)
}

/// Who answers the agents by the settings in the working directory; the default without any.
pub(crate) fn provider_here() -> Result<Provider, Problem> {
    match std::fs::read_to_string(PROJECT_FILE) {
        Ok(text) => Ok(assembled(&text)?.provider),
        Err(_) => Ok(Provider::default()),
    }
}

/// The settings in the working directory; the defaults without any.
pub(crate) fn config_here() -> Result<RunConfig, Problem> {
    match in_work_tree(Path::new("."))? {
        Some(text) => assembled(&text),
        None => {
            let check = CheckSpec { name: "test".into(), command: "true".into(), format: TestFormat::Plain };
            let unknown = Detected { checks: vec![check], ..Detected::default() };
            RunConfig::assemble(ProjectFile::from_detected(unknown), Overrides::default()).map_err(Problem::input)
        }
    }
}

/// The settings that the text of a gatewright.toml makes.
pub(crate) fn assembled(text: &str) -> Result<RunConfig, Problem> {
    RunConfig::assemble(parse(text)?, Overrides::default()).map_err(Problem::input)
}

/// The settings in the working tree, if there are any.
fn in_work_tree(repository: &Path) -> Result<Option<String>, Problem> {
    match std::fs::read(repository.join(PROJECT_FILE)) {
        Ok(bytes) => forge::text(PROJECT_FILE, bytes).map(Some).map_err(unusable),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::IsADirectory => {
            Err(unusable(ForgeError::NoFile(PROJECT_FILE.to_owned())))
        }
        Err(error) => Err(Problem::input(format!("{PROJECT_FILE}: {error}"))),
    }
}

fn parse(text: &str) -> Result<ProjectFile, Problem> {
    ProjectFile::parse(text).map_err(|error| Problem::input(format!("{PROJECT_FILE}: {error}")))
}

fn unusable(error: ForgeError) -> Problem {
    Problem::input(causes(&error))
}

async fn detect_in_commit(git: &LocalGit, commit: &str) -> Result<Option<Detected>, Problem> {
    let paths = git.paths_at(commit).await.map_err(unusable)?;
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let mut texts = BTreeMap::new();
    for path in config::read_by_detection(&paths) {
        // A link or a file that is no text says nothing.
        texts.insert(path, git.text_at(commit, path).await.ok().flatten());
    }
    Ok(config::detect(&paths, &|path| texts.get(path).cloned().flatten()))
}

/// What the project looks like that lies in a working tree: by what git keeps, so that a lock file that is ignored does
/// not count; a project that git does not know yet by all that it would keep.
pub(crate) async fn detect_in_work_tree(folder: &Path) -> Result<Option<Detected>, Problem> {
    for paths in listings(folder).await? {
        let found = detect(folder, &paths, None);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The same for the project in a folder of the working tree, as the repository spells it.
pub(crate) async fn detect_in_folder(repository: &Path, root: &str) -> Result<Option<Detected>, Problem> {
    Ok(listings(repository).await?.iter().find_map(|paths| detect(repository, paths, Some(root))))
}

/// The folders of a working tree that look like projects.
pub(crate) async fn project_roots(repository: &Path) -> Result<Vec<String>, Problem> {
    let listings = listings(repository).await?;
    let roots = listings.iter().map(|paths| config::project_roots(&borrowed(paths)));
    Ok(roots.max_by_key(Vec::len).unwrap_or_default())
}

/// The paths of a working tree: those that git keeps, and those that it would keep; in a folder that is no repository yet the
/// names in it, since everything there may become part of one.
async fn listings(folder: &Path) -> Result<Vec<Vec<String>>, Problem> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| Problem::input(format!("--repo {}: {error}", folder.display())))?;
    let mut listings = Vec::new();
    for untracked in [false, true] {
        let Ok(paths) = LocalGit::paths_in_work_tree(folder, untracked).await else {
            let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned());
            return Ok(vec![names.collect()]);
        };
        listings.push(paths);
    }
    Ok(listings)
}

fn detect(folder: &Path, paths: &[String], root: Option<&str>) -> Option<Detected> {
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).ok();
    match root {
        Some(root) => config::detect_in(root, &borrowed(paths), &read),
        None => config::detect(&borrowed(paths), &read),
    }
}

fn borrowed(paths: &[String]) -> Vec<&str> {
    paths.iter().map(String::as_str).collect()
}

/// The person at this machine, as the system names them, whatever the environment says.
pub(crate) fn person() -> String {
    let uid = rustix::process::getuid().as_raw();
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(uid, &known).unwrap_or_else(|| format!("uid {uid}"))
}

/// The name of a user in the lines `name:password:uid:...`.
fn name_of(uid: u32, known: &str) -> Option<String> {
    let users = known.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?))
    });
    let (name, _) = users.into_iter().find(|(name, id)| !name.is_empty() && id.parse::<u32>() == Ok(uid))?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_who_the_system_says() {
        let known = "root:x:0:0:root:/root:/bin/sh\n\nann:x:1000:1000:Ann,,,:/home/ann:/bin/sh\n";
        assert_eq!(name_of(1000, known).as_deref(), Some("ann"));
        assert_eq!(name_of(1001, known), None);
    }

    #[test]
    fn no_command_is_shown_the_state_folder() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["state/objects", "sdk"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::os::unix::fs::symlink(at("state"), at("alias")).unwrap();
        let state = at("state");
        for leads_there in [".", "state", "state/objects", "alias", "sdk/../state"] {
            let problem = readable(&state, &[at(leads_there)]).unwrap_err().message;
            assert!(problem.contains("no command sees the state folder"), "{leads_there}: {problem}");
        }
        assert_eq!(readable(&state, &[at("sdk/../sdk")]).unwrap(), [at("sdk").canonicalize().unwrap()]);
        assert!(readable(&state, &[at("gone")]).unwrap_err().message.starts_with("--read-only "));
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
