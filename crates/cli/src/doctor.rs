//! `gatewright doctor`: what is missing on this machine, and how to get it.

use std::path::Path;
use std::process::Stdio;

use config::{Overrides, ProjectFile, RunConfig};
use forge::OLDEST_GIT;
use models::{KeySource, keys_of};
use role_host::Keys;
use sandbox::toolchain::LANGUAGES;
use tokio::process::Command;

use crate::local::Local;
use crate::problem::{MISSING, Problem, causes};
use crate::{screen, settings};

/// One thing that was looked at.
pub(crate) struct Finding {
    pub(crate) what: String,
    /// What helps, if it is not as it should be.
    pub(crate) cure: Option<String>,
}

pub(crate) async fn run(state: &Path) -> Result<u8, Problem> {
    let mut findings = vec![git().await, confinement().await];
    match needed(Path::new(".")).await {
        Some(Needed::Rust) => findings.extend([
            program("rustc", "install Rust (https://rustup.rs)").await,
            program("cargo", "install Rust (https://rustup.rs)").await,
            program("cc", "install a C compiler (the package gcc or clang)").await,
        ]),
        Some(Needed::Of(config)) => findings.push(toolchain(&config).await),
        Some(Needed::Commands(config)) => findings.extend(commands(&config, Path::new("."))),
        Some(Needed::Settings(problem)) => {
            findings.push(Finding { what: "the project's settings".into(), cure: Some(problem) })
        }
        None => {}
    }
    findings.extend(state_and_key(state).await);
    let mut code = 0;
    for Finding { what, cure } in findings {
        screen::print(format!("{} {what}", if cure.is_none() { "ok     " } else { "missing" }));
        if let Some(cure) = cure {
            screen::print(format!("        cure: {cure}"));
            code = MISSING;
        }
    }
    Ok(code)
}

/// What a folder's project needs.
enum Needed {
    /// Rust, which the demo needs too.
    Rust,
    /// The programs of the language and the commands of these settings.
    Of(Box<RunConfig>),
    /// Nothing but what the commands of these settings begin with.
    Commands(Box<RunConfig>),
    /// Settings that can be read; what is wrong with them.
    Settings(String),
}

/// By the project's settings or by what it looks like; where there is no project, the demo is what can be done.
async fn needed(folder: &Path) -> Option<Needed> {
    let config = match std::fs::read_to_string(folder.join(settings::PROJECT_FILE)) {
        Ok(text) => settings::assembled(&text),
        Err(_) => match settings::detect_in_work_tree(folder).await.ok().flatten() {
            Some(found) => {
                RunConfig::assemble(ProjectFile::from_detected(found), Overrides::default()).map_err(Problem::input)
            }
            None => return Some(Needed::Rust),
        },
    };
    let config = match config {
        Ok(config) => config,
        Err(problem) => return Some(Needed::Settings(problem.message)),
    };
    match config.project.language.as_str() {
        "rust" => Some(Needed::Rust),
        language if LANGUAGES.contains(&language) => Some(Needed::Of(Box::new(config))),
        _ => Some(Needed::Commands(Box::new(config))),
    }
}

/// The programs of a project's language, as a check would find them.
async fn toolchain(config: &RunConfig) -> Finding {
    let language = &config.project.language;
    match runner::find_toolchain(config, Path::new(".")).await {
        Ok(found) => Finding { what: format!("{language}: {}", found.identity), cure: None },
        Err(error) => Finding { what: language.clone(), cure: Some(causes(&error)) },
    }
}

/// Programs that are often named, and what brings them.
const CURES: [(&str, &str); 8] = [
    ("make", "install make"),
    ("cmake", "install CMake"),
    ("ctest", "install CMake"),
    ("meson", "install Meson"),
    ("mvn", "install Maven"),
    ("gradle", "install Gradle"),
    ("bundle", "install Ruby's Bundler"),
    ("mix", "install Elixir"),
];

/// The programs that the project's commands begin with and that are nowhere to be found.
fn commands(config: &RunConfig, folder: &Path) -> Vec<Finding> {
    let setup = config.setup.iter().map(|command| command.command.as_str());
    let checks = config.checks.iter().map(|check| check.command.as_str());
    let mut missing: Vec<&str> = setup.chain(checks).filter_map(first_word).collect();
    missing.retain(|program| !is_there(program, folder));
    missing.sort_unstable();
    missing.dedup();
    let cure = |program: &str| {
        let known = CURES.iter().find(|(name, _)| *name == program).map(|(_, cure)| (*cure).to_owned());
        let cure = known.unwrap_or_else(|| format!("install {program}"));
        format!("{cure}, or name another command in {}", settings::PROJECT_FILE)
    };
    missing.into_iter().map(|program| Finding { what: program.to_owned(), cure: Some(cure(program)) }).collect()
}

/// The program that a command line begins with; `None` where only a shell knows.
fn first_word(command: &str) -> Option<&str> {
    let word = command.split_whitespace().find(|word| !word.contains('='))?;
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+".contains(c));
    (is_plain && !BUILT_IN.contains(&word)).then_some(word)
}

/// Words that a shell carries out itself.
const BUILT_IN: [&str; 12] =
    [".", "cd", "echo", "exec", "export", "false", "for", "if", "set", "test", "true", "while"];

/// Whether a command finds this program: in the project, by its path, or where programs are looked for.
fn is_there(program: &str, folder: &Path) -> bool {
    if program.contains('/') {
        return folder.join(program).is_file();
    }
    let path = settings::environment("PATH").unwrap_or_default();
    let system = ["/usr/local/bin", "/usr/bin", "/bin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|place| place.join(program).is_file())
}

/// A program that answers when it is asked for its version.
async fn program(name: &str, cure: &str) -> Finding {
    let asked = Command::new(name).arg("--version").stderr(Stdio::null()).output().await;
    let said = asked.ok().filter(|output| output.status.success());
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned());
    let cure = format!("{cure}; Rust projects and `gatewright demo` need it");
    Finding { cure: said.is_none().then_some(cure), what: said.unwrap_or_else(|| name.to_owned()) }
}

async fn git() -> Finding {
    let asked = Command::new("git").arg("--version").stderr(Stdio::null()).output().await;
    let said = asked.ok().filter(|output| output.status.success());
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let is_good = said.as_deref().and_then(git_version).is_some_and(|found| found >= OLDEST_GIT);
    let (major, minor) = OLDEST_GIT;
    Finding {
        what: said.unwrap_or_else(|| "git".into()),
        cure: (!is_good).then(|| format!("install git {major}.{minor} or later")),
    }
}

/// Major and minor of `git version 2.39.5`, whatever follows.
fn git_version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("git version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether what a project runs can be confined.
pub(crate) async fn confinement() -> Finding {
    let found = sandbox::Sandbox::probe().await;
    let cure = "allow unprivileged user namespaces (sysctl user.max_user_namespaces, \
                kernel.apparmor_restrict_unprivileged_userns=0), or use a kernel with Landlock 3 (Linux 6.2)";
    Finding { what: format!("confinement: {found}"), cure: (!found.can_confine()).then(|| cure.into()) }
}

/// The state folder and, since that may hold it, the key that the settings here ask for.
async fn state_and_key(state: &Path) -> Vec<Finding> {
    let what = format!("state folder {}", state.display());
    match Local::read(state).await {
        Ok(local) => {
            let mut found = vec![Finding { what, cure: None }];
            // Settings that cannot be read are told by `run`; until then it is the default's key that will be missed.
            for name in keys_of(&settings::provider_here().unwrap_or_default()) {
                found.push(key(name, &Keys(&local.store)).await);
            }
            local.close().await;
            found
        }
        Err(problem) => {
            let cure = "free the disk, mend the folder's owner and mode, or choose another with --state";
            vec![Finding { what: format!("{what}: {problem}"), cure: Some(cure.into()) }]
        }
    }
}

async fn key(name: &str, keys: &dyn KeySource) -> Finding {
    let what = format!("{name} in {}", keys.place());
    let cure = format!("export {name} with a key of your provider; `gatewright demo` needs none");
    match keys.key(name).await {
        Ok(found) => Finding { what, cure: found.is_none().then_some(cure) },
        Err(error) => Finding { what: format!("{what}: {}", causes(&error)), cure: Some(cure) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_begins_with_a_program() {
        for (line, program) in [
            ("make test", Some("make")),
            ("CI=1 ./run.sh all", Some("./run.sh")),
            ("cd api && make", None),
            ("(make)", None),
            ("", None),
        ] {
            assert_eq!(first_word(line), program, "{line}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(is_there("sh", folder.path()) && !is_there("./run.sh", folder.path()));
    }

    #[test]
    fn a_version_is_read_whatever_follows_it() {
        assert_eq!(git_version("git version 2.39.5"), Some((2, 39)));
        assert_eq!(git_version("git version 2.50.1 (Apple Git-155)"), Some((2, 50)));
        assert_eq!(git_version("git version 3.0"), Some((3, 0)));
        assert_eq!(git_version("not git"), None);
        assert!(git_version("git version 2.9.0") < Some(OLDEST_GIT));
    }
}
