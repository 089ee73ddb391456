//! Changing: write, edit, delete. Line ends stay as the file has them.

use run_model::RepoPath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::workspace::{ToolFailure, Workspace};

/// Input of `write_file`.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteFile {
    /// The file, relative to the repository's root.
    path: RepoPath,
    /// The whole new content.
    content: String,
}

/// Input of `edit_file`.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EditFile {
    /// The file, relative to the repository's root.
    path: RepoPath,
    /// The piece to replace, exactly as it stands in the file.
    old: String,
    /// What to put in its place; empty to take the piece out.
    new: String,
    /// Whether to replace every occurrence; exactly one must exist, if left out.
    #[serde(default)]
    replace_all: bool,
}

/// Input of `delete_file`.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteFile {
    /// The file, relative to the repository's root.
    path: RepoPath,
}

pub(super) fn write_file(input: WriteFile, workspace: &mut Workspace<'_>) -> Result<String, ToolFailure> {
    let WriteFile { path, mut content } = input;
    let existed = workspace.bytes(&path)?.is_some();
    if existed && is_crlf(&workspace.text(&path)?) && !content.contains('\r') {
        content = content.replace('\n', "\r\n");
    }
    let lines = content.lines().count();
    workspace.write(&path, content)?;
    Ok(format!("{} {path}, {lines} lines", if existed { "replaced" } else { "created" }))
}

pub(super) fn edit_file(input: &EditFile, workspace: &mut Workspace<'_>) -> Result<String, ToolFailure> {
    let EditFile { path, old, new, replace_all } = input;
    if old.is_empty() {
        return Err("`old` is empty: give the text to replace, or use write_file for a new file".to_owned().into());
    }
    if old == new {
        return Err("`old` and `new` are the same: nothing would change".to_owned().into());
    }
    let text = workspace.text(path)?;
    let plain = PlainText::of(&text);
    let places = plain.places(old);
    match places.len() {
        0 => return Err(not_found(path, &text, old).into()),
        1 => {}
        _ if *replace_all => {}
        many => {
            let lines: Vec<String> = places.iter().take(5).map(|&at| plain.line(at).to_string()).collect();
            let lines = lines.join(", ");
            return Err(format!(
                "`old` occurs {many} times in {path} (lines {lines}): add neighbouring lines to make it unique, or set \
                 replace_all to change them all"
            )
            .into());
        }
    }
    let changed = plain.replace(&text, &places, old, new);
    workspace.write(path, changed)?;
    let lines: Vec<String> = places.iter().take(5).map(|&at| plain.line(at).to_string()).collect();
    Ok(format!("edited {path}, {} place(s), line {}", places.len(), lines.join(", ")))
}

pub(super) fn delete_file(input: DeleteFile, workspace: &mut Workspace<'_>) -> Result<String, ToolFailure> {
    workspace.delete(&input.path)?;
    Ok(format!("deleted {}", input.path))
}

/// A text with `\n` for every line end, and where each of its bytes stands in the original.
struct PlainText {
    text: String,
    origin: Vec<usize>,
    crlf: bool,
}

impl PlainText {
    fn of(original: &str) -> Self {
        let mut text = String::with_capacity(original.len());
        let mut origin = Vec::with_capacity(original.len() + 1);
        for (at, character) in original.char_indices() {
            if character == '\r' && original[at + 1..].starts_with('\n') {
                continue;
            }
            // The piece that begins with a line end takes the carriage return before it along.
            let start = if character == '\n' && original[..at].ends_with('\r') { at - 1 } else { at };
            text.push(character);
            origin.extend((0..character.len_utf8()).map(|byte| start + byte));
        }
        origin.push(original.len());
        Self { text, origin, crlf: is_crlf(original) }
    }

    fn places(&self, old: &str) -> Vec<usize> {
        self.text.match_indices(&old.replace("\r\n", "\n")).map(|(at, _)| at).collect()
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    fn replace(&self, original: &str, places: &[usize], old: &str, new: &str) -> String {
        let length = old.replace("\r\n", "\n").len();
        let new = new.replace("\r\n", "\n");
        let new = if self.crlf { new.replace('\n', "\r\n") } else { new };
        let (mut changed, mut done) = (String::with_capacity(original.len() + new.len()), 0);
        for &at in places {
            changed.push_str(&original[done..self.origin[at]]);
            changed.push_str(&new);
            done = self.origin[at + length];
        }
        changed.push_str(&original[done..]);
        changed
    }
}

/// Whether most lines of a text end in CR LF.
fn is_crlf(text: &str) -> bool {
    let crlf = text.matches("\r\n").count();
    crlf * 2 > text.matches('\n').count()
}

/// That the text is not there, and what may have gone wrong.
fn not_found(path: &RepoPath, text: &str, old: &str) -> String {
    let numbered = |line: &str| line.split_once('|').is_some_and(|(n, _)| n.trim().parse::<u32>().is_ok());
    if old.lines().all(|line| line.is_empty() || numbered(line)) {
        return format!("`old` does not occur in {path}: leave out the line numbers and bars that read_file shows");
    }
    let wanted: Vec<&str> = old.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let same = |window: &[&str]| !wanted.is_empty() && window == wanted.as_slice();
    if let Some(at) = lines.windows(wanted.len().max(1)).position(same) {
        let line = at + 1;
        return format!("`old` occurs in {path} at line {line} with other white space: copy it exactly from read_file");
    }
    match wanted.first().and_then(|first| lines.iter().position(|line| line == first)) {
        Some(at) => format!(
            "`old` does not occur in {path}; its first line stands at line {}, but what follows differs: read the file \
             again and copy it exactly",
            at + 1
        ),
        None => format!("`old` does not occur in {path}: read the file again and copy the piece exactly"),
    }
}
