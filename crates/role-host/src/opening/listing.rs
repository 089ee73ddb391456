//! The paths of a tree in a few lines.

use std::collections::BTreeMap;
use std::fmt::Write;

use agent::MAX_FILE_BYTES;
use agent::ports::Tree as _;
use run_model::RepoPath;

use crate::scratch::LaidOver;

/// Paths that are shown one by one; of a larger tree, its folders.
const MAX_PATHS: usize = 250;
const MAX_FOLDERS: usize = 120;

/// A path and how many lines there are to read; only the path of what is no text, or too large to be read.
fn with_lines(tree: &LaidOver, path: &RepoPath) -> String {
    let is_readable = tree.size(path).is_some_and(|bytes| bytes <= MAX_FILE_BYTES as u64);
    let bytes = if is_readable { tree.read(path).ok().flatten() } else { None };
    match bytes.as_deref().map(str::from_utf8) {
        Some(Ok(text)) => format!("{path}: {}", text.lines().count()),
        _ => path.to_string(),
    }
}

/// Every path, or the folders with their counts if there are too many.
pub(super) fn files(tree: &LaidOver) -> String {
    let paths = tree.paths();
    if paths.len() <= MAX_PATHS {
        let lines: Vec<String> = paths.iter().map(|path| with_lines(tree, path)).collect();
        return lines.join("\n");
    }
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for path in &paths {
        let folder = path.as_str().rsplit_once('/').map_or(".", |(folder, _)| folder);
        *folders.entry(folder).or_default() += 1;
    }
    let mut text = format!("{} files in {} folders; use list_files for their names\n", paths.len(), folders.len());
    for (folder, count) in folders.iter().take(MAX_FOLDERS) {
        let _ = writeln!(text, "{folder}/ ({count})");
    }
    if folders.len() > MAX_FOLDERS {
        let _ = writeln!(text, "... and {} more folders", folders.len() - MAX_FOLDERS);
    }
    text
}
