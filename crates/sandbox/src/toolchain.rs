//! Where a language's programs really lie, for a command that may see nothing else.
//!
//! Version managers put small programs on the `PATH` that find the real ones by files in the user's home; inside
//! they would find nothing, and outside they may install what a repository asks for. So the real programs are looked
//! up once, and only they are shown.

mod go;
mod node;
mod programs;
mod python;
mod rust;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// The languages whose programs are found; a project in another one makes do with the system's own.
pub const LANGUAGES: [&str; 4] = ["rust", "python", "node", "go"];
/// Programs that a project's commands may name and that do not come with its language.
pub const TOOLS: [&str; 3] = ["uv", "poetry", "pnpm"];

/// Where the system's own programs lie.
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A toolchain by real paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolchain {
    /// What it calls itself (the whole answer of `rustc -vV`, of `node --version`), for cache keys.
    pub identity: String,
    /// Folders of programs, those of the language first; the system's own come after them.
    pub folders: Vec<PathBuf>,
    /// What a command must see of it, for [`crate::Command::read_only`].
    pub read_only: Vec<PathBuf>,
    /// The user's cargo home, where a registry's settings may lie; never shown as a whole, it can hold credentials.
    pub cargo_home: Option<PathBuf>,
}

impl Toolchain {
    /// The `PATH` to run it with, in which these folders come first.
    pub fn path(&self, first: &[PathBuf]) -> String {
        let folders = first.iter().chain(&self.folders).map(|folder| folder.to_string_lossy().into_owned());
        folders.chain([SYSTEM_PATH.to_owned()]).collect::<Vec<_>>().join(":")
    }
}

/// Why no toolchain was found.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// It is not installed, or not on the `PATH`.
    #[error("could not run `{program}`, which this project needs: {cure}")]
    NotFound {
        /// The program.
        program: String,
        /// How to get it.
        cure: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The program ran and refused: its message says what to install.
    #[error("`{program}` failed: {message}")]
    Failed {
        /// The program.
        program: String,
        /// What it wrote.
        message: String,
    },
    /// The repository's toolchain file asks for what a sandbox cannot give: name a channel there.
    #[error("{path} asks for a toolchain by `{asked}`; only a channel's name is followed")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        asked: String,
    },
    /// What would have to be shown of it holds the user's home: install it in a folder of its own.
    #[error("the programs of {language} lie in {path}, which holds your home: install them in a folder of their own")]
    TooWide {
        /// The language.
        language: String,
        /// What a command would see.
        path: PathBuf,
    },
    /// The toolchain file is unreadable: correct it.
    #[error("could not read {path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

/// Finds the programs of a language, one of [`LANGUAGES`], and of `tools`, some of [`TOOLS`]; nothing for another language.
///
/// `environment` is the caller's. Nothing that lies in the repository is run, and nothing is installed.
///
/// # Errors
/// [`ToolchainError`] by what to do next.
pub async fn find(
    language: &str,
    tools: &[&str],
    environment: &BTreeMap<String, String>,
    repository: &Path,
) -> Result<Toolchain, ToolchainError> {
    let found = match language {
        "rust" => rust::find(environment, repository).await,
        "python" => python::find(environment, tools).await,
        "node" => node::find(environment, tools).await,
        "go" => go::find(environment).await,
        _ => Ok(Toolchain::default()),
    }?;
    let home = environment.get("HOME").map(|home| Path::new(home).canonicalize().unwrap_or_else(|_| home.into()));
    let holds_home = |path: &&PathBuf| home.as_ref().is_some_and(|home| home.starts_with(path));
    match found.read_only.iter().find(holds_home) {
        Some(path) => Err(ToolchainError::TooWide { language: language.to_owned(), path: path.clone() }),
        None => Ok(found),
    }
}

/// How programs are asked about themselves: with few variables, and not in the repository, whose files a version manager
/// would read there.
struct Asking(BTreeMap<&'static str, String>);

impl Asking {
    /// With `PATH`, `HOME` and these variables of the caller.
    fn of(environment: &BTreeMap<String, String>, names: &[&'static str]) -> Self {
        let names = ["PATH", "HOME"].iter().chain(names);
        Self(names.filter_map(|name| Some((*name, environment.get(*name)?.clone()))).collect())
    }

    /// Sets a variable, if there is a value.
    fn set(&mut self, name: &'static str, value: Option<String>) {
        self.0.extend(value.map(|value| (name, value)));
    }

    async fn ask(&self, program: &Path, args: &[&str], cure: &'static str) -> Result<String, ToolchainError> {
        let name = || program.display().to_string();
        let output = Command::new(program)
            .args(args)
            .env_clear()
            .envs(&self.0)
            .current_dir("/")
            .output()
            .await
            .map_err(|source| ToolchainError::NotFound { program: name(), cure, source })?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(ToolchainError::Failed { program: name(), message });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Held by every test that writes a program and runs it: another's child would hold the file open for writing, and then it
/// is "busy".
#[cfg(test)]
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
