//! Rust: the toolchain that the repository's file asks for, or the default one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Asking, Toolchain, ToolchainError};

const CURE: &str = "install Rust (https://rustup.rs)";

/// Finds the Rust toolchain that a repository asks for, or else the default one.
///
/// Of the environment `PATH`, `HOME`, `CARGO_HOME`, `RUSTUP_HOME` and `RUSTUP_TOOLCHAIN` are used. Of the repository only the
/// channel in `rust-toolchain.toml` is: nothing that lies in it is run, nothing is installed.
///
/// # Errors
/// [`ToolchainError`] by what to do next.
pub(super) async fn find(
    environment: &BTreeMap<String, String>,
    repository: &Path,
) -> Result<Toolchain, ToolchainError> {
    let mut asking = Asking::of(environment, &["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"]);
    asking.set("RUSTUP_TOOLCHAIN", channel(repository)?);
    asking.set("RUSTUP_AUTO_INSTALL", Some("0".to_owned()));
    let sysroot = asking.ask(Path::new("rustc"), &["--print", "sysroot"], CURE).await?;
    let sysroot = Path::new(sysroot.trim());
    let sysroot = sysroot.canonicalize().unwrap_or_else(|_| sysroot.to_owned());
    let bin = sysroot.join("bin");
    let identity = asking.ask(&bin.join("rustc"), &["-vV"], CURE).await?;
    let home = environment.get("HOME").map(|home| Path::new(home).join(".cargo"));
    let cargo_home =
        environment.get("CARGO_HOME").map(PathBuf::from).or(home).and_then(|home| home.canonicalize().ok());
    // Cargo's own programs first; subcommands that the user installed after them.
    let installed = cargo_home.as_ref().map(|home| home.join("bin")).filter(|bin| bin.is_dir());
    let mut toolchain = Toolchain { identity, cargo_home, ..Toolchain::default() };
    toolchain.folders.push(bin);
    toolchain.folders.extend(installed.clone());
    toolchain.read_only.push(sysroot);
    toolchain.read_only.extend(installed);
    Ok(toolchain)
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
        let _alone = super::super::ALONE.lock().await;
        let environment = BTreeMap::from([("PATH".to_owned(), "/nowhere".to_owned())]);
        let error = find(&environment, Path::new("/")).await.unwrap_err().to_string();
        assert!(error.contains("install Rust"), "{error}");
    }
}
