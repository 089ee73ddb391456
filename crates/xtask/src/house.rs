//! One name everywhere: folder = crate = substitution in the machines = registry key; and what every room must have.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use regex::Regex;

const MACHINE_END: &str = ".asl.json";
const DRAWERS: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "imp"];
const LONGEST_FILE: usize = 500;

/// Every breach of the house's order.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    let files = crate::files(root)?;
    let mut problems = rooms(root)?;
    problems.extend(substitutions(root, &files)?);
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

/// Every crate has a README, every function a library that can be served, and the crate bears its folder's name.
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
            let missing = ["src/lib.rs", "src/serve.rs"].into_iter().filter(|file| !here.join(file).is_file());
            if place == "functions" {
                problems.extend(missing.map(|file| format!("functions/{folder} has no {file}")));
            }
        }
    }
    Ok(problems)
}

/// Every `${name}` of a machine is a function's folder or a machine's file, with `_` for `-`.
fn substitutions(root: &Path, files: &[String]) -> Result<Vec<String>> {
    let mut known: BTreeSet<String> =
        folders(&root.join("functions"))?.iter().map(|name| name.replace('-', "_")).collect();
    let machines: Vec<&str> = files.iter().filter_map(|path| machine(path)).collect();
    known.extend(machines.iter().map(|name| name.replace('-', "_")));
    let pattern = Regex::new(r"\$\{([^}]*)\}")?;
    let mut problems = Vec::new();
    for machine in machines {
        let path = format!("state-machines/{machine}{MACHINE_END}");
        let text = std::fs::read_to_string(root.join(&path)).with_context(|| path.clone())?;
        let strangers = pattern.captures_iter(&text).filter(|found| !known.contains(&found[1]));
        problems
            .extend(strangers.map(|found| format!("{path}: ${{{}}} is neither a function nor a machine", &found[1])));
    }
    Ok(problems)
}

/// The name of the machine that a file defines.
pub(crate) fn machine(path: &str) -> Option<&str> {
    path.strip_prefix("state-machines/")?.strip_suffix(MACHINE_END)
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

/// Ignored tests wherever they stand, and the length of what is shipped (tests start at `#[cfg(test)]`).
fn source_problems(path: &str, source: &str) -> Vec<String> {
    let ignored = source.lines().zip(1..).filter(|(line, _)| ignores(line));
    let mut problems: Vec<String> =
        ignored.map(|(_, number)| format!("{path}:{number}: an ignored test tests nothing")).collect();
    let is_shipped =
        !["tests/", "benches/"].iter().any(|place| path.starts_with(place) || path.contains(&format!("/{place}")));
    let shipped = source.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
    if is_shipped && shipped > LONGEST_FILE {
        problems.push(format!("{path}: {shipped} lines of production code, more than {LONGEST_FILE}"));
    }
    problems
}

/// Whether an attribute of this line takes a test out, always or under a condition.
fn ignores(line: &str) -> bool {
    let attribute = line.trim_start().strip_prefix("#[").unwrap_or_default();
    let words = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "ignore");
    attribute.starts_with("ignore") || (attribute.starts_with("cfg_attr") && words(attribute))
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
    fn an_ignored_test_is_seen_wherever_it_stands() {
        let test = |attribute: &str| {
            format!("fn shipped() {{}}\n#[cfg(test)]\nmod tests {{\n    {attribute}\n    fn a() {{}}\n}}\n")
        };
        for place in ["crates/a/src/b.rs", "crates/a/tests/b.rs", "tests/tests/b.rs"] {
            for attribute in ["#[ignore]", "#[ignore = \"slow\"]", "#[cfg_attr(unix, ignore)]"] {
                let found = source_problems(place, &test(attribute));
                assert_eq!(found, [format!("{place}:4: an ignored test tests nothing")], "{attribute}");
            }
            assert_eq!(source_problems(place, &test("#[test] // ignore the rest")), Vec::<String>::new());
        }
    }

    #[test]
    fn a_machine_that_calls_a_stranger_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = "state-machines/new-one.asl.json".to_owned();
        std::fs::create_dir_all(folder.path().join("state-machines")).unwrap();
        std::fs::create_dir_all(folder.path().join("functions")).unwrap();
        std::fs::write(folder.path().join(&path), "${new_one} ${stranger}").unwrap();
        let found = substitutions(folder.path(), std::slice::from_ref(&path)).unwrap();
        assert_eq!(found, [format!("{path}: ${{stranger}} is neither a function nor a machine")]);
    }

    #[test]
    fn long_files_are_seen_but_their_tests_are_not_counted() {
        let long = "x\n".repeat(501);
        assert_eq!(source_problems("crates/a/src/b.rs", &long).len(), 1);
        let tested = format!("x\n#[cfg(test)]\n{long}");
        assert_eq!(source_problems("crates/a/src/b.rs", &tested).len(), 0);
    }
}
