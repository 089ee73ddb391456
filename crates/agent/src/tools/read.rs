//! Looking: list, read, search. Every answer is bounded and says how to get the rest.

use std::fmt::Write as _;

use globset::{GlobBuilder, GlobMatcher};
use regex::{Regex, RegexBuilder};
use run_model::RepoPath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::workspace::{ToolFailure, Workspace};

const MAX_PATHS: usize = 400;
pub(super) const MAX_LINES: usize = 800;
pub(super) const MAX_ANSWER_BYTES: usize = 32 * 1024;
const MAX_LINE_BYTES: usize = 2_000;
const MAX_MATCHES: usize = 100;
const MAX_CONTEXT: u32 = 10;

/// Input of `list_files`.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListFiles {
    /// Which paths: `*` stays within a folder, `**` crosses folders, `{a,b}` is either. `src/**/*.rs` for instance. All, if left out.
    #[serde(default)]
    glob: Option<String>,
}

/// Input of `read_file`.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadFile {
    /// The file, relative to the repository's root.
    path: RepoPath,
    /// The first line, counted from 1; the beginning, if left out.
    #[serde(default)]
    from_line: Option<u32>,
    /// The last line, included; as far as the answer reaches, if left out.
    #[serde(default)]
    to_line: Option<u32>,
}

/// Input of `search`.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// What to look for.
    pattern: String,
    /// Whether the pattern is a regular expression; plain text, if left out.
    #[serde(default)]
    regex: bool,
    /// Whether upper and lower case count as the same.
    #[serde(default)]
    ignore_case: bool,
    /// Which paths to search, as in list_files; all, if left out.
    #[serde(default)]
    glob: Option<String>,
    /// Lines to show before and after each match, 0 to 10; 2, if left out.
    #[serde(default)]
    context_lines: Option<u32>,
}

pub(super) fn list_files(input: &ListFiles, workspace: &Workspace<'_>) -> Result<String, ToolFailure> {
    let paths = matching_paths(input.glob.as_deref(), workspace)?;
    if paths.is_empty() {
        return Ok("no file matches".into());
    }
    let mut answer = String::new();
    for path in paths.iter().take(MAX_PATHS) {
        answer.push_str(path.as_str());
        answer.push('\n');
    }
    if paths.len() > MAX_PATHS {
        let more = paths.len() - MAX_PATHS;
        let _ = writeln!(answer, "... and {more} more: narrow the glob");
    }
    Ok(answer)
}

pub(super) fn read_file(input: ReadFile, workspace: &Workspace<'_>) -> Result<String, ToolFailure> {
    let ReadFile { path, from_line, to_line } = input;
    let text = workspace.text(&path)?;
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return Ok(format!("{path} is empty"));
    }
    let first = from_line.unwrap_or(1).max(1) as usize;
    let last = to_line.map_or(lines.len(), |line| (line as usize).min(lines.len()));
    if first > lines.len() || last < first {
        return Err(format!("{path} has {} lines: ask for lines within 1 to {}", lines.len(), lines.len()).into());
    }
    let mut body = String::new();
    let mut shown = first - 1;
    for line in &lines[first - 1..last] {
        if shown + 1 - first >= MAX_LINES || body.len() + line.len().min(MAX_LINE_BYTES) > MAX_ANSWER_BYTES {
            break;
        }
        shown += 1;
        let _ = writeln!(body, "{shown}|{}", cut(line, MAX_LINE_BYTES));
    }
    let rest = if shown < last { format!("\n... go on with from_line {}", shown + 1) } else { String::new() };
    let end = if shown == lines.len() && !text.ends_with('\n') { "\n(no newline at the end of the file)" } else { "" };
    Ok(format!("{path}, lines {first} to {shown} of {}\n{}{rest}{end}", lines.len(), body.trim_end_matches('\n')))
}

pub(super) fn search(input: &Search, workspace: &Workspace<'_>) -> Result<String, ToolFailure> {
    let pattern = compile(input)?;
    let context = input.context_lines.unwrap_or(2).min(MAX_CONTEXT) as usize;
    let (mut answer, mut matches, mut skipped) = (String::new(), 0, 0);
    let (mut left_out, mut files_left_out) = (0, 0);
    for path in matching_paths(input.glob.as_deref(), workspace)? {
        let text = match workspace.text(&path) {
            Ok(text) => text,
            Err(ToolFailure::Refused(_)) => {
                skipped += 1;
                continue;
            }
            Err(broken) => return Err(broken),
        };
        let (shown, found) = search_file(&path, &text, (&pattern, context, MAX_MATCHES - matches), &mut answer);
        matches += shown;
        left_out += found - shown;
        files_left_out += usize::from(found > shown);
    }
    if left_out > 0 {
        let _ = writeln!(
            answer,
            "... and {left_out} more matching lines in {files_left_out} files: narrow the pattern or the glob"
        );
    }
    if matches == 0 {
        let meant_otherwise = !input.regex && input.pattern.contains(['|', '*', '\\', '^', '$', '[']);
        answer.push_str("no match");
        answer.push_str(if meant_otherwise { " for this plain text; an expression needs regex: true\n" } else { "\n" });
    }
    if skipped > 0 {
        let _ = writeln!(answer, "(files that are not UTF-8 text or are too large were not searched: {skipped})");
    }
    Ok(answer)
}

/// Shows a file's matches with their surroundings until the answer is full. How many were shown, and how many there are.
fn search_file(
    path: &RepoPath,
    text: &str,
    (pattern, context, at_most): (&Regex, usize, usize),
    answer: &mut String,
) -> (usize, usize) {
    let lines: Vec<&str> = text.lines().collect();
    let mut hits: Vec<usize> = (0..lines.len()).filter(|&line| pattern.is_match(lines[line])).collect();
    let found = hits.len();
    hits.truncate(at_most);
    if hits.is_empty() || answer.len() >= MAX_ANSWER_BYTES {
        return (0, found);
    }
    let _ = writeln!(answer, "{path}");
    let mut next = 0;
    for (count, &hit) in hits.iter().enumerate() {
        if answer.len() >= MAX_ANSWER_BYTES {
            return (count, found);
        }
        let from = hit.saturating_sub(context).max(next);
        if context > 0 && from > next && next > 0 {
            answer.push_str("--\n");
        }
        let until = hits.get(count + 1).map_or(lines.len(), |&later| later).min(hit + context + 1);
        for (number, line) in lines.iter().enumerate().take(until.max(hit + 1)).skip(from) {
            let mark = if number == hit { ':' } else { '-' };
            let _ = writeln!(answer, "{}{mark}{}", number + 1, cut(line, 400));
        }
        next = until.max(hit + 1);
    }
    (hits.len(), found)
}

fn compile(input: &Search) -> Result<Regex, ToolFailure> {
    if input.pattern.is_empty() {
        return Err("the pattern is empty: say what to look for".to_owned().into());
    }
    let pattern = if input.regex { input.pattern.clone() } else { regex::escape(&input.pattern) };
    RegexBuilder::new(&pattern).case_insensitive(input.ignore_case).size_limit(1 << 20).build().map_err(|problem| {
        format!("the pattern is not a regular expression that can be used: {problem}; for plain text leave regex out")
            .into()
    })
}

fn matching_paths(glob: Option<&str>, workspace: &Workspace<'_>) -> Result<Vec<RepoPath>, ToolFailure> {
    let mut paths = workspace.paths();
    if let Some(glob) = glob {
        let matcher = glob_matcher(glob)?;
        paths.retain(|path| matcher.is_match(path.as_str()));
    }
    Ok(paths)
}

/// A folder's name stands for all that is in it.
fn glob_matcher(glob: &str) -> Result<GlobMatcher, ToolFailure> {
    let glob = glob.strip_prefix("./").unwrap_or(glob);
    let folder = glob.strip_suffix('/').map(|folder| format!("{folder}/**"));
    let glob = folder.as_deref().unwrap_or(if matches!(glob, "" | ".") { "**" } else { glob });
    let built = GlobBuilder::new(glob).literal_separator(true).build();
    let glob = built.map_err(|problem| format!("not a glob: {problem}; write one like src/**/*.rs"))?;
    Ok(glob.compile_matcher())
}

fn cut(line: &str, max_bytes: usize) -> String {
    if line.len() <= max_bytes {
        return line.to_owned();
    }
    let end = line.floor_char_boundary(max_bytes);
    format!("{}[... {} bytes of this line left out]", &line[..end], line.len() - end)
}
