//! When prose is more than prose: a program includes it, or a test runner takes code from it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::RepoPath;

/// A macro that takes a file or a folder into a program.
static INCLUDES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:include\w*|doctest)!").expect("a literal pattern"));
/// So many characters after it may name what it takes.
const REACH: usize = 200;
/// An opening or closing fence, with its language.
static FENCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[\s>*+.)\d-]*(`{3,}|~{3,})\s*([^`]*)$").expect("a literal pattern"));
/// What marks a code block as Rust to rustdoc, besides saying nothing.
const RUST: [&str; 8] =
    ["rust", "should_panic", "no_run", "ignore", "compile_fail", "test_harness", "standalone", "standalone_crate"];

/// Whether one of these Rust sources includes the file, or a folder that it lies in: by name, since a path may be put
/// together.
pub fn is_included<'a>(path: &RepoPath, sources: impl IntoIterator<Item = &'a str>) -> bool {
    let stems = path.as_str().split('/').map(|part| part.split('.').next().unwrap_or(part));
    let names: Vec<String> = stems.filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect();
    let taken = |source: &'a str| {
        let after = INCLUDES.find_iter(source).filter_map(move |found| source.get(found.end()..));
        after.map(|after| after.chars().take(REACH).collect::<String>().to_ascii_lowercase())
    };
    sources.into_iter().flat_map(taken).any(|taken| names.iter().any(|name| taken.contains(name.as_str())))
}

/// Whether the new text has a code block that rustdoc or doctest may run and the old text has not.
pub(super) fn adds_examples(old: &str, new: &str) -> bool {
    let had = examples(old);
    examples(new).iter().any(|example| !had.contains(example))
}

/// The code blocks that rustdoc may run (fenced as Rust or as nothing, or indented) and the prompts of Python.
fn examples(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut block: Option<Block<'_>> = None;
    for line in text.lines() {
        if line.trim_start().starts_with(">>>") {
            found.insert(line.trim().to_owned());
        }
        let fence = FENCE.captures(line).and_then(|parts| Some((parts.get(1)?.as_str(), parts.get(2)?.as_str())));
        match (&mut block, fence) {
            (None, Some((fence, language))) => {
                block = Some(Block { fence, runs: is_run(language), code: String::new() })
            }
            (Some(open), Some((fence, ""))) if fence.starts_with(open.fence) => {
                found.extend(block.take().filter(|block| block.runs).map(|block| block.code));
            }
            (Some(open), _) => {
                open.code.push_str(line);
                open.code.push('\n');
            }
            (None, None) if line.starts_with("    ") || line.starts_with('\t') => drop(found.insert(line.to_owned())),
            (None, None) => {}
        }
    }
    // A block that nothing closes goes to the end.
    found.extend(block.filter(|block| block.runs).map(|block| block.code));
    found
}

/// A code block that has begun.
struct Block<'a> {
    fence: &'a str,
    runs: bool,
    code: String,
}

/// Whether rustdoc takes a block of this language for Rust.
fn is_run(language: &str) -> bool {
    let mut words = language.split([',', ' ', '\t', '{', '}']).filter(|word| !word.is_empty());
    words.all(|word| RUST.contains(&word) || word.starts_with("edition") || word.starts_with("ignore-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn included(path: &str, source: &str) -> bool {
        is_included(&RepoPath::new(path).unwrap(), [source])
    }

    #[test]
    fn what_a_program_includes_is_found_by_its_name() {
        for source in [
            "#![doc = include_str!(\"../README.md\")]",
            "#![doc = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/README\", \".md\"))]",
            "doc_comment::doctest!(\"../README.md\");",
            "include_bytes!(\n    \"../readme.md\"\n)",
        ] {
            assert!(included("README.md", source), "{source}");
        }
        assert!(included("docs/guide.md", "static DOCS: Dir = include_dir!(\"$CARGO_MANIFEST_DIR/docs\");"));
        assert!(!included("README.md", "//! See README.md.\nconst X: &str = include_str!(\"x.txt\");"));
        assert!(!included("CHANGELOG.md", "#![doc = include_str!(\"../README.md\")]"));
    }

    #[test]
    fn code_that_may_run_is_told_from_code_that_does_not() {
        for text in [
            "```\nf();\n```\n",
            "```rust\nf();\n```\n",
            "~~~ rust,should_panic\nf();\n~~~\n",
            "```edition2021\nf();",
            "- ```\n  f();\n  ```\n",
            "Like this:\n\n    f();\n",
            ">>> f()\n",
            "```text\n```\n```\nf();\n```\n",
        ] {
            assert!(adds_examples("", text), "{text}");
        }
        for text in
            ["prose\n", "```sh\ncargo run\n```\n", "```text\n```` not closed\n    f();\n```\nprose\n", "`f()`\n"]
        {
            assert!(!adds_examples("", text), "{text}");
        }
    }

    #[test]
    fn only_new_code_counts() {
        let old = "# One\n```\nf();\n```\n";
        assert!(!adds_examples(old, &format!("{old}More prose.\n")));
        assert!(adds_examples(old, &old.replace("f();", "g();")));
        // The same lines as another language.
        assert!(adds_examples("```text\nf();\n```\n", "```\nf();\n```\n"));
    }
}
