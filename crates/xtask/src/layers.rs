//! A crate depends only on lower layers; siblings do not see each other.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// The libraries' layers; every folder of `functions/` is on [`FUNCTIONS`].
const LIBRARIES: &[(&str, u8)] = &[
    ("archive", 0),
    ("run-model", 0),
    ("states-language", 0),
    ("agent", 1),
    ("config", 1),
    ("forge", 2),
    ("models", 2),
    ("sandbox", 2),
    ("schedules", 2),
    ("store", 2),
    ("assessment", 3),
    ("embedded-cloud", 3),
    ("http-host", 3),
    ("lambda-host", 3),
    ("role-host", 3),
    ("runner", 3),
    ("gatewright", 5),
    ("programs", 5),
    ("tests", 6),
    ("xtask", 6),
];
const FUNCTIONS: u8 = 4;

/// Every dependency that points sideways or upwards, and every crate without a layer.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    let metadata = crate::output(root, "cargo", &["metadata", "--format-version", "1", "--no-deps"])?;
    let mut problems = breaches(&serde_json::from_str(&metadata)?)?;
    problems.extend(dear(root)?);
    problems.extend(replayable(root)?);
    Ok(problems)
}

fn breaches(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let mut layers = BTreeMap::new();
    let mut problems = Vec::new();
    for package in packages {
        let name = text(&package["name"]);
        match layer(name, text(&package["manifest_path"])) {
            Some(layer) => drop(layers.insert(name, layer)),
            None => problems.push(format!("{name} has no layer: give it one in crates/xtask/src/layers.rs")),
        }
    }
    for package in packages {
        let name = text(&package["name"]);
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // A test may look upwards; what is shipped, and what builds it, may not.
            let shipped = dependency["kind"] != "dev";
            let target = text(&dependency["name"]);
            problems.extend(layers.get(name).zip(layers.get(target)).filter(|(a, b)| shipped && a <= b).map(
                |(a, b)| {
                    format!("{name} (layer {a}) depends on {target} (layer {b}): a crate depends only on lower layers")
                },
            ));
        }
    }
    Ok(problems)
}

/// What `gatewright` must build without, or the demo keeps its first visitor waiting.
const DEAR: &[&str] = &["octocrab"];

fn dear(root: &Path) -> Result<Option<String>> {
    let tree = ["tree", "--package", "gatewright", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let tree = crate::output(root, "cargo", &tree)?;
    let found = tree.lines().find(|line| DEAR.contains(&line.split(' ').next().unwrap_or_default()));
    Ok(found.map(|found| format!("gatewright is built with {found}: only code-host's program needs it")))
}

/// What is deployed must not be able to answer from a file instead of asking a provider.
fn replayable(root: &Path) -> Result<Option<String>> {
    let tree = ["tree", "--package", "programs", "--edges", "normal,features", "--prefix", "none"];
    let found = holds_recordings(&crate::output(root, "cargo", &tree)?);
    Ok(found.then(|| "programs are built with the feature recording of models: only gatewright may replay".to_owned()))
}

fn holds_recordings(tree: &str) -> bool {
    tree.lines().any(|line| line.starts_with("models feature \"recording\""))
}

fn layer(name: &str, manifest: &str) -> Option<u8> {
    if manifest.contains("/functions/") {
        return Some(FUNCTIONS);
    }
    LIBRARIES.iter().find(|(library, _)| *library == name).map(|(_, layer)| *layer)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn functions_are_known_by_their_folder_and_strangers_have_no_layer() {
        assert_eq!(layer("tester", "/x/functions/tester/Cargo.toml"), Some(4));
        assert_eq!(layer("store", "/x/crates/store/Cargo.toml"), Some(2));
        assert_eq!(layer("utils", "/x/crates/utils/Cargo.toml"), None);
    }

    #[test]
    fn what_builds_a_crate_is_held_to_its_layer_and_what_tests_it_is_not() {
        let package = |name: &str, kind: Value| {
            let dependencies = json!([{"name": "runner", "kind": kind}]);
            json!({"name": name, "manifest_path": "/x/crates/Cargo.toml", "dependencies": dependencies})
        };
        let found = |kind: Value| {
            let metadata = json!({"packages": [package("config", kind), package("runner", json!("dev"))]});
            breaches(&metadata).unwrap().len()
        };
        assert_eq!([json!(null), json!("build"), json!("dev")].map(found), [1, 1, 0]);
    }

    #[test]
    fn what_can_replay_is_seen_in_the_tree_of_who_may() {
        let tree = |package| {
            let tree = ["tree", "--package", package, "--edges", "normal,features", "--prefix", "none"];
            crate::output(&crate::root(), "cargo", &tree).unwrap()
        };
        assert!(holds_recordings(&tree("gatewright")) && !holds_recordings(&tree("programs")));
    }

    #[test]
    fn this_house_is_in_order() {
        assert_eq!(problems(&crate::root()).unwrap(), Vec::<String>::new());
    }
}
