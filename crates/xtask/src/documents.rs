//! Documents name only files and tests that exist, and the README's links lead somewhere.

use std::path::Path;

use anyhow::{Context, Result};
use regex::Regex;

/// Every relative link, back-ticked path or test of a Markdown file that leads nowhere.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    let link = Regex::new(r"\]\(([^)#\s]+)(#[^)]*)?\)")?;
    let ticked = Regex::new(r"`((?:crates|functions|state-machines|docs|tests|infra|action)/[A-Za-z0-9_./-]+)`")?;
    let mut problems = Vec::new();
    for path in crate::files(root)?.iter().filter(|path| path.ends_with(".md") && !is_foreign(path)) {
        let text = std::fs::read_to_string(root.join(path)).with_context(|| path.clone())?;
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        let links = link.captures_iter(&text).map(|found| found[1].to_owned()).filter(|to| !to.contains("://"));
        let dead = links.filter(|to| !root.join(folder).join(to).exists());
        problems.extend(dead.map(|to| format!("{path}: the link to {to} leads nowhere")));
        let named = ticked.captures_iter(&text).map(|found| found[1].to_owned());
        let gone = named.filter(|to| !root.join(to.trim_end_matches('/')).exists());
        problems.extend(gone.map(|to| format!("{path}: names {to}, which is not there")));
        problems.extend(tests_gone(&text, &|file| std::fs::read_to_string(root.join(file)).unwrap_or_default())?);
    }
    Ok(problems)
}

/// The tests that a document names as "`test` in `file`", or as one "in the same file" as the one before, and that `source`
/// has not got.
fn tests_gone(text: &str, source: &dyn Fn(&str) -> String) -> Result<Vec<String>> {
    let named = Regex::new(r"`([a-z0-9_]+)`[^`|]*? in (?:the same file|`([A-Za-z0-9_./-]+\.rs)`)")?;
    let mut file = "no file";
    let mut gone = Vec::new();
    for found in named.captures_iter(text) {
        file = found.get(2).map_or(file, |place| place.as_str());
        if !source(file).contains(&format!("fn {}(", &found[1])) {
            gone.push(format!("there is no {} in {file}", &found[1]));
        }
    }
    Ok(gone)
}

/// Third-party inputs keep their own documents as they are, and a prompt speaks of the repository it will be used on.
fn is_foreign(path: &str) -> bool {
    let is_recorded = path.starts_with("tests/recordings/") && path.contains("/repository/");
    is_recorded || path.starts_with("crates/cli/demo/") || path.ends_with("role.md")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_test_that_is_gone_is_seen() {
        let text = "| a | `here_it_is` in `a.rs` |\n| b | `renamed` and its neighbours in the same file |\n";
        let found = super::tests_gone(text, &|_| "fn here_it_is() {}".into()).unwrap();
        assert_eq!(found, ["there is no renamed in a.rs"]);
    }

    #[test]
    fn these_documents_lead_somewhere() {
        assert_eq!(super::problems(&crate::root()).unwrap(), Vec::<String>::new());
    }
}
