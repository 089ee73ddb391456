//! One name everywhere: folder = crate = substitution in the machines = registry key; and what every room must have.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use regex::Regex;

const MACHINES: &[&str] = &["pipeline", "task-graph", "task"];
const DRAWERS: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "imp"];
const LONGEST_FILE: usize = 500;

/// Every breach of the house's order.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    let files = crate::files(root)?;
    let mut problems = rooms(root)?;
    problems.extend(substitutions(root)?);
    problems.extend(files.iter().filter_map(|path| drawer(path)));
    problems.extend(orphans(root, &files)?);
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        let source = std::fs::read_to_string(root.join(path)).with_context(|| path.clone())?;
        problems.extend(source_problems(path, &source));
    }
    Ok(problems)
}

fn folders(path: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Every crate has a README, every function a library and a thin `main`, and the crate bears its folder's name.
fn rooms(root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for place in ["crates", "functions"] {
        for folder in folders(&root.join(place))? {
            let here = root.join(place).join(&folder);
            if !here.join("README.md").is_file() {
                problems.push(format!("{place}/{folder} has no README.md"));
            }
            let manifest = std::fs::read_to_string(here.join("Cargo.toml"))?;
            let name = if folder == "cli" { "gatewright" } else { &folder };
            if !manifest.contains(&format!("name = \"{name}\"")) {
                problems.push(format!("{place}/{folder}: the crate does not bear its folder's name"));
            }
            let missing = ["src/lib.rs", "src/main.rs"].into_iter().filter(|file| !here.join(file).is_file());
            if place == "functions" {
                problems.extend(missing.map(|file| format!("functions/{folder} has no {file}")));
            }
        }
    }
    Ok(problems)
}

/// Every `${name}` of a machine is a function's folder or a machine's file, with `_` for `-`.
fn substitutions(root: &Path) -> Result<Vec<String>> {
    let mut known: BTreeSet<String> =
        folders(&root.join("functions"))?.iter().map(|name| name.replace('-', "_")).collect();
    known.extend(MACHINES.iter().map(|name| name.replace('-', "_")));
    let pattern = Regex::new(r"\$\{([^}]*)\}")?;
    let mut problems = Vec::new();
    for machine in MACHINES {
        let path = format!("state-machines/{machine}.asl.json");
        let text = std::fs::read_to_string(root.join(&path)).with_context(|| path.clone())?;
        let strangers = pattern.captures_iter(&text).filter(|found| !known.contains(&found[1]));
        problems
            .extend(strangers.map(|found| format!("{path}: ${{{}}} is neither a function nor a machine", &found[1])));
    }
    Ok(problems)
}

/// Files of a crate's `src` that no other file of it declares as a module: nobody compiles them.
fn orphans(root: &Path, files: &[String]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        let Some((home, inside)) = path.split_once("/src/") else { continue };
        let parts: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
        let (Some(name), false) = (parts.iter().rev().find(|part| **part != "mod"), parts[0] == "bin") else {
            continue;
        };
        let declared = format!("mod {name};");
        let siblings = files.iter().filter(|other| other.starts_with(&format!("{home}/src/")) && *other != path);
        let mut found = matches!(*name, "lib" | "main");
        for sibling in siblings {
            found = found || std::fs::read_to_string(root.join(sibling))?.contains(&declared);
        }
        if !found {
            problems.push(format!("{path}: no file declares it as a module, so nobody compiles it"));
        }
    }
    Ok(problems)
}

fn drawer(path: &str) -> Option<String> {
    let parts = path.split('/').map(|part| part.trim_end_matches(".rs"));
    let found = parts.clone().find(|part| DRAWERS.contains(part))?;
    Some(format!("{path}: {found} is a drawer; name the thing"))
}

/// Length, unfinished work and `unwrap` in what is shipped (tests start at `#[cfg(test)]`).
fn source_problems(path: &str, source: &str) -> Vec<String> {
    let in_tests = path.starts_with("tests/") || path.contains("/tests/") || path.contains("/benches/");
    if in_tests {
        return Vec::new();
    }
    let shipped: Vec<&str> = source.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).collect();
    let mut problems = Vec::new();
    if shipped.len() > LONGEST_FILE {
        problems.push(format!("{path}: {} lines of production code, more than {LONGEST_FILE}", shipped.len()));
    }
    for (number, line) in shipped.iter().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if code.contains(concat!("#[ig", "nore")) {
            problems.push(format!("{path}:{}: an ignored test tests nothing", number + 1));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nobody_compiles_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["a/src/lib.rs", "a/src/used.rs", "a/src/left_over.rs"].map(str::to_owned);
        std::fs::create_dir_all(folder.path().join("a/src")).unwrap();
        files.iter().for_each(|file| std::fs::write(folder.path().join(file), "mod used;\n").unwrap());
        let found = orphans(folder.path(), &files).unwrap();
        assert!(found.len() == 1 && found[0].starts_with("a/src/left_over.rs"), "{found:?}");
    }

    #[test]
    fn this_house_is_in_order() {
        assert_eq!(problems(&crate::root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn drawers_are_seen_wherever_they_stand() {
        assert!(drawer("crates/store/src/utils.rs").is_some());
        assert!(drawer("crates/helpers/src/lib.rs").is_some());
        assert!(drawer("crates/store/src/runs.rs").is_none());
    }

    #[test]
    fn long_files_are_seen_but_their_tests_are_not_counted() {
        let long = "x\n".repeat(501);
        assert_eq!(source_problems("crates/a/src/b.rs", &long).len(), 1);
        let tested = format!("x\n#[cfg(test)]\n{long}");
        assert_eq!(source_problems("crates/a/src/b.rs", &tested).len(), 0);
    }
}
