//! What the programs of a language are told by variables, and which folders of a tree hold programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::workspace::Workspace;

/// Where a command runs.
pub(crate) struct Place<'a> {
    /// The workspace by its paths inside.
    pub(crate) inside: &'a Workspace,
    /// The project's folder in the tree.
    pub(crate) root: &'a str,
    /// What setup fetched, or where it fetches to.
    pub(crate) dependencies: &'a Path,
    /// Whether it has the network, as setup does.
    pub(crate) network: bool,
}

/// The variables of a language's programs. Nothing is fetched without the network, nothing asks a question, nothing tells
/// its maker, and what is built lands in the workspace's target.
pub(crate) fn variables(language: &str, place: &Place<'_>) -> BTreeMap<String, String> {
    let variables = match language {
        "rust" => rust(place),
        "python" => python(place),
        "node" => node(place),
        "go" => go(place),
        _ => Vec::new(),
    };
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Folders of the tree whose programs come first: setup made them, and no change may write there.
pub(crate) fn program_folders(language: &str, place: &Place<'_>) -> Vec<PathBuf> {
    let folder = match language {
        "python" => ".venv/bin",
        "node" => "node_modules/.bin",
        _ => return Vec::new(),
    };
    let root = place.inside.tree().join(place.root).components().collect::<PathBuf>();
    vec![root.join(folder)]
}

type Variables = Vec<(&'static str, String)>;

fn rust(place: &Place<'_>) -> Variables {
    vec![
        ("CARGO_HOME", text(place.dependencies)),
        ("CARGO_TARGET_DIR", text(&place.inside.target())),
        ("CARGO_INCREMENTAL", "0".into()),
        ("CARGO_TERM_COLOR", "never".into()),
        ("CARGO_NET_OFFLINE", (!place.network).to_string()),
    ]
}

fn python(place: &Place<'_>) -> Variables {
    let mut variables = vec![
        // The order of sets is the same in every run.
        ("PYTHONHASHSEED", "0".to_owned()),
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ("PYTHONNOUSERSITE", "1".into()),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1".into()),
        ("PIP_NO_INPUT", "1".into()),
        ("PIP_PROGRESS_BAR", "off".into()),
        ("UV_NO_PROGRESS", "1".into()),
        ("UV_PYTHON_DOWNLOADS", "never".into()),
        ("UV_LINK_MODE", "copy".into()),
        ("POETRY_VIRTUALENVS_IN_PROJECT", "true".into()),
        ("POETRY_NO_INTERACTION", "1".into()),
    ];
    if place.network {
        variables.push(("UV_COMPILE_BYTECODE", "1".into()));
    } else {
        variables.extend([("UV_OFFLINE", "1".into()), ("PIP_NO_INDEX", "1".into())]);
    }
    variables
}

fn node(place: &Place<'_>) -> Variables {
    vec![
        // A runner then neither watches nor writes snapshots.
        ("CI", "true".into()),
        ("npm_config_audit", "false".into()),
        ("npm_config_fund", "false".into()),
        ("npm_config_update_notifier", "false".into()),
        ("npm_config_progress", "false".into()),
        ("npm_config_offline", (!place.network).to_string()),
    ]
}

fn go(place: &Place<'_>) -> Variables {
    let mut variables = vec![
        ("GOMODCACHE", text(&place.dependencies.join("go-modules"))),
        ("GOCACHE", text(&place.inside.target().join("go-build"))),
        ("GOPATH", text(&place.inside.home().join("go"))),
        ("GOTOOLCHAIN", "local".to_owned()),
        ("GOTELEMETRY", "off".into()),
    ];
    if !place.network {
        variables.push(("GOPROXY", "off".into()));
    }
    variables
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_whose_programs_are_found_is_told_something() {
        let inside = Workspace::at("/workspace".into());
        let place = Place { inside: &inside, root: ".", dependencies: Path::new("/d"), network: false };
        for language in sandbox::toolchain::LANGUAGES {
            assert!(!variables(language, &place).is_empty(), "{language}");
        }
    }
}
