//! An overlay as a unified diff over the base: for prompts, for the person at the gate, for the report.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use similar::{ChangeTag, TextDiff};

use crate::RepoPath;
use crate::change_set::{Edit, Overlay};

/// Gives the base's content of a path: `None` if it has none, or one that is not text.
pub type BaseContent<'a> = &'a dyn Fn(&RepoPath) -> Option<String>;

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileChange {
    /// The base does not have it.
    Added,
    /// The base has it.
    Modified,
    /// It is gone.
    Deleted,
}

/// One line of one side, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffLine {
    /// Its number in its own file.
    pub number: u32,
    /// Its text without the line end.
    pub text: String,
}

/// One file's part of a diff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDiff {
    /// The file.
    pub path: RepoPath,
    /// What happens to it.
    pub change: FileChange,
    /// The lines that come, numbered in the new file.
    pub added: Vec<DiffLine>,
    /// The lines that go, numbered in the old file.
    pub removed: Vec<DiffLine>,
    /// The part as `git diff` would write it.
    pub text: String,
}

/// The files that an overlay really changes, sorted by path; a file written as it was is left out.
pub fn diff(overlay: &Overlay, base_content: BaseContent<'_>) -> Vec<FileDiff> {
    overlay.0.iter().filter_map(|(path, edit)| file_diff(path, base_content(path).as_deref(), edit)).collect()
}

/// All parts as one text.
pub fn unified(files: &[FileDiff]) -> String {
    files.iter().map(|file| file.text.as_str()).collect()
}

fn file_diff(path: &RepoPath, old: Option<&str>, edit: &Edit) -> Option<FileDiff> {
    let (change, new) = match (old, edit) {
        (Some(old), Edit::Write(new)) if old == new => return None,
        (Some(_), Edit::Write(new)) => (FileChange::Modified, new.as_str()),
        (None, Edit::Write(new)) => (FileChange::Added, new.as_str()),
        (_, Edit::Delete) => (FileChange::Deleted, ""),
    };
    let (old_name, new_name) = match change {
        FileChange::Added => ("/dev/null".to_owned(), format!("b/{path}")),
        FileChange::Modified => (format!("a/{path}"), format!("b/{path}")),
        FileChange::Deleted => (format!("a/{path}"), "/dev/null".to_owned()),
    };
    let lines = TextDiff::from_lines(old.unwrap_or_default(), new);
    let mut text = format!("diff --git a/{path} b/{path}\n");
    match change {
        FileChange::Added => text.push_str("new file mode 100644\n"),
        FileChange::Deleted => text.push_str("deleted file\n"),
        FileChange::Modified => {}
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", lines.unified_diff().context_radius(3).header(&old_name, &new_name));
    let side = |tag| lines_of(&lines, tag);
    Some(FileDiff {
        path: path.clone(),
        change,
        added: side(ChangeTag::Insert),
        removed: side(ChangeTag::Delete),
        text,
    })
}

fn lines_of<'a>(diff: &TextDiff<'a, 'a, 'a, str>, tag: ChangeTag) -> Vec<DiffLine> {
    let number = |change: &similar::Change<&str>| change.new_index().or(change.old_index()).unwrap_or_default();
    diff.iter_all_changes()
        .filter(|change| change.tag() == tag)
        .map(|change| DiffLine {
            number: u32::try_from(number(&change) + 1).unwrap_or(u32::MAX),
            text: without_line_end(change.value()).to_owned(),
        })
        .collect()
}

/// A carriage return alone is kept: it ends no line where text is shown, it only hides what stands before it.
fn without_line_end(line: &str) -> &str {
    line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn overlay(edits: &[(&str, Option<&str>)]) -> Overlay {
        let edit = |content: &Option<&str>| content.map_or(Edit::Delete, |text| Edit::Write(text.into()));
        Overlay(edits.iter().map(|(path, content)| (RepoPath::new(*path).unwrap(), edit(content))).collect())
    }

    fn base(path: &RepoPath) -> Option<String> {
        match path.as_str() {
            "a.rs" => Some("one\ntwo\nthree\n".into()),
            "gone.rs" => Some("x\n".into()),
            "empty" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn a_diff_reads_as_git_writes_it() {
        let edits = overlay(&[("a.rs", Some("one\n2\nthree")), ("gone.rs", None), ("new.rs", Some("n\n"))]);
        insta::assert_snapshot!(unified(&diff(&edits, &base)));
    }

    #[test]
    fn lines_are_numbered_on_their_own_side() {
        let files = diff(&overlay(&[("a.rs", Some("zero\none\nthree\n"))]), &base);
        assert_eq!(files[0].added, [DiffLine { number: 1, text: "zero".into() }]);
        assert_eq!(files[0].removed, [DiffLine { number: 2, text: "two".into() }]);
    }

    #[test]
    fn a_file_written_as_it_was_is_no_change() {
        assert_eq!(diff(&overlay(&[("a.rs", Some("one\ntwo\nthree\n"))]), &base), []);
        assert_eq!(diff(&overlay(&[("empty", None)]), &base)[0].change, FileChange::Deleted);
    }
}
