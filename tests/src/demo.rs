//! The demo's input as a world: the published package, the bug report, the held-out tests and the recording.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::World;

/// Where the demo's input lies in this repository.
pub fn input() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cli/demo")
}

/// A world whose repository is the demo's package, with more files laid over it.
pub fn world(more: &[(&str, &str)]) -> World {
    World::with_tree(&input().join("repository"), more)
}

/// The recording's lines; the first one is its header.
pub fn recording() -> Vec<Value> {
    let text = fs::read_to_string(input().join("cassette.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes lines as a cassette into the world and gives the provider that plays it.
pub fn play(world: &World, kind: &str, lines: &[Value]) -> String {
    let file = world.path("cassette.jsonl");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&file, text).unwrap();
    format!("{kind}:{}", file.display())
}

/// The tool calls of an answer of this role, to be changed.
pub fn calls<'a>(lines: &'a mut [Value], role: &'a str) -> impl Iterator<Item = &'a mut Value> {
    let prefix = format!("{role}/");
    lines
        .iter_mut()
        .filter(move |line| line["session"].as_str().is_some_and(|session| session.starts_with(&prefix)))
        .flat_map(|line| line["response"]["parts"].as_array_mut().unwrap())
        .filter(|part| part["type"] == "tool_call")
}
