//! Where the Rust toolchain really lies, for a command that may see nothing else.
//!
//! Version managers put small programs on the `PATH` that find the real ones by files in the user's home; inside
//! they would find nothing, and outside they may install what a repository asks for. So the real programs are looked
//! up once, and only they are shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// A toolchain by real paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    /// What it calls itself: the whole answer of `rustc -vV`, for cache keys.
    pub identity: String,
    /// The `PATH` to run it with.
    pub path: String,
    /// What a command must see of it, for [`crate::Command::read_only`].
    pub read_only: Vec<PathBuf>,
    /// The user's cargo home, where a registry's settings may lie; never shown as a whole, it can hold credentials.
    pub cargo_home: Option<PathBuf>,
}

/// Why no toolchain was found.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// Install Rust, or put `rustc` on the `PATH`.
    #[error("could not run `{program}`; is Rust installed and on the PATH?")]
    NotFound {
        /// The program.
        program: String,
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
    /// The toolchain file is unreadable: correct it.
    #[error("could not read {path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

/// Finds the Rust toolchain that a repository asks for, or else the default one.
///
/// `environment` is the caller's; of it `PATH`, `HOME`, `CARGO_HOME`, `RUSTUP_HOME` and `RUSTUP_TOOLCHAIN` are used. Of the
/// repository only the channel in `rust-toolchain.toml` is: nothing that lies in it is run, nothing is installed.
///
/// # Errors
/// [`ToolchainError`] by what to do next.
pub async fn rust(environment: &BTreeMap<String, String>, repository: &Path) -> Result<Toolchain, ToolchainError> {
    let mut asked: BTreeMap<&str, String> = BTreeMap::new();
    for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        asked.extend(environment.get(name).map(|value| (name, value.clone())));
    }
    asked.extend(channel(repository)?.map(|channel| ("RUSTUP_TOOLCHAIN", channel)));
    asked.insert("RUSTUP_AUTO_INSTALL", "0".to_owned());
    let sysroot = ask(&asked, Path::new("rustc"), &["--print", "sysroot"]).await?;
    let sysroot = Path::new(sysroot.trim());
    let sysroot = sysroot.canonicalize().unwrap_or_else(|_| sysroot.to_owned());
    let bin = sysroot.join("bin");
    let identity = ask(&asked, &bin.join("rustc"), &["-vV"]).await?;
    let home = environment.get("HOME").map(|home| Path::new(home).join(".cargo"));
    let cargo_home =
        environment.get("CARGO_HOME").map(PathBuf::from).or(home).and_then(|home| home.canonicalize().ok());
    // Cargo's own programs first; subcommands that the user installed after them.
    let installed = cargo_home.as_ref().map(|home| home.join("bin")).filter(|bin| bin.is_dir());
    let directories = [Some(bin.clone()), installed.clone(), Some("/usr/bin".into()), Some("/bin".into())];
    let path: Vec<String> =
        directories.into_iter().flatten().map(|directory| directory.to_string_lossy().into_owned()).collect();
    Ok(Toolchain {
        identity,
        path: path.join(":"),
        read_only: [sysroot].into_iter().chain(installed).collect(),
        cargo_home,
    })
}

async fn ask(environment: &BTreeMap<&str, String>, program: &Path, args: &[&str]) -> Result<String, ToolchainError> {
    let name = || program.display().to_string();
    let output = Command::new(program)
        .args(args)
        .env_clear()
        .envs(environment)
        // Not in the repository: a version manager would read its files there.
        .current_dir("/")
        .output()
        .await
        .map_err(|source| ToolchainError::NotFound { program: name(), source })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ToolchainError::Failed { program: name(), message });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The channel that a repository's toolchain file names, in either of its two spellings.
fn channel(repository: &Path) -> Result<Option<String>, ToolchainError> {
    for name in ["rust-toolchain.toml", "rust-toolchain"] {
        let path = repository.join(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(ToolchainError::File { path, message: error.to_string() }),
        };
        return channel_in(&path, &text);
    }
    Ok(None)
}

fn channel_in(path: &Path, text: &str) -> Result<Option<String>, ToolchainError> {
    let channel = if text.contains('[') {
        let file: toml::Table = text.parse().map_err(|error: toml::de::Error| ToolchainError::File {
            path: path.to_owned(),
            message: error.message().to_owned(),
        })?;
        let toolchain = file.get("toolchain").and_then(toml::Value::as_table);
        if toolchain.is_some_and(|toolchain| toolchain.contains_key("path")) {
            return Err(ToolchainError::Unsupported { path: path.to_owned(), asked: "path".to_owned() });
        }
        toolchain.and_then(|toolchain| toolchain.get("channel")).and_then(toml::Value::as_str).map(str::to_owned)
    } else {
        Some(text.trim().to_owned())
    };
    match channel {
        Some(channel) if !is_channel(&channel) => {
            Err(ToolchainError::Unsupported { path: path.to_owned(), asked: channel })
        }
        channel => Ok(channel),
    }
}

/// `stable`, `1.95.0`, `nightly-2026-01-01-x86_64-unknown-linux-gnu`: never a path.
fn is_channel(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "-._".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel_of(text: &str) -> Result<Option<String>, ToolchainError> {
        channel_in(Path::new("rust-toolchain.toml"), text)
    }

    #[test]
    fn both_spellings_name_a_channel() {
        assert_eq!(channel_of("[toolchain]\nchannel = \"1.95.0\"\n").unwrap().as_deref(), Some("1.95.0"));
        assert_eq!(channel_of("nightly-2026-01-01\n").unwrap().as_deref(), Some("nightly-2026-01-01"));
        assert_eq!(channel_of("[toolchain]\ncomponents = []\n").unwrap(), None);
    }

    #[test]
    fn a_toolchain_that_lies_in_the_repository_is_not_followed() {
        assert!(channel_of("[toolchain]\npath = \"tools\"\n").unwrap_err().to_string().contains("`path`"));
        for path in ["../evil", "/tmp/evil", ""] {
            assert!(matches!(channel_of(path), Err(ToolchainError::Unsupported { .. })), "{path}");
        }
    }

    #[tokio::test]
    async fn a_missing_toolchain_says_what_to_do() {
        let environment = BTreeMap::from([("PATH".to_owned(), "/nowhere".to_owned())]);
        let error = rust(&environment, Path::new("/")).await.unwrap_err().to_string();
        assert!(error.contains("is Rust installed"), "{error}");
    }
}
