//! The page holds what the run is made of, and nothing that anybody wrote becomes markup.

use super::*;
use crate::render::tests::{facts, measured};
use run_model::evidence::{Purpose, TestOutcome};
use serde_json::json;

/// What would break out of a text, an attribute, a style, a comment, or the order of what is read.
const HOSTILE: [&str; 6] = [
    "</style><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'onmouseover='alert(1)",
    "</pre></details><iframe src=https://evil.example></iframe>",
    "<!-- <svg onload=alert(1)> -->&lt;b&gt;",
    "\u{202e}gnihton\u{2066}\u{1b}[2J",
];

fn event(sequence: u64, kind: &str, message: &str) -> RunEvent {
    serde_json::from_value(json!({
        "sequence": sequence, "at_ms": sequence * 60_000, "kind": kind, "task": "fix", "role": message, "message": message,
    }))
    .unwrap()
}

fn past(requirement: &str, events: Vec<RunEvent>) -> Past {
    Past { requirement: requirement.into(), events, gates: Vec::new(), verdicts: [].into(), is_orphaned: false }
}

/// A page in which this stands wherever anybody but us may write.
fn page_with(text: &str) -> String {
    let mut facts = facts("failed", json!({ "outcome": { "reason": text, "next_step": text }, "repository": text }));
    facts.files[0].text = format!("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-{text}\n+{text}\n");
    facts.usage[0].model = text.to_owned();
    facts.plan.as_mut().unwrap().summary = text.to_owned();
    let mut found = measured(Purpose::Final, TestOutcome::Failed);
    found.commands[0].output_tail = text.to_owned();
    found.commands[0].command = text.to_owned();
    let kinds = ["stage.entered", "evidence.judged", "review.concluded", "run.ended", text];
    let events = kinds.iter().zip(1..).map(|(kind, at)| event(at, kind, text)).collect();
    page(&past(text, events), &facts, &[Measured { title: text.into(), task: None, evidence: found }])
}

/// The names of all tags of a page, in order.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).map(|rest| rest.split([' ', '>']).next().unwrap_or_default()).collect()
}

#[test]
fn the_page_has_every_part() {
    let told = page_with("make it right");
    for part in
        ["<h1>Run r-1: failed", "Timeline", "Evidence", "Diff", "Turns", "Cost", "developer/fix/1#1#1", "$0.1285"]
    {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    for line in ["class=\"added\">+make it right", "class=\"removed\">-make it right"] {
        assert!(told.contains(line), "{line}");
    }
    assert!(told.contains("default-src &#39;none&#39;") || told.contains("content=\"default-src 'none';"), "{told}");
}

#[test]
fn no_text_becomes_markup() {
    let plain = page_with("harmless");
    for text in HOSTILE {
        let hostile = page_with(text);
        assert_eq!(tags(&hostile), tags(&plain), "{text}");
        assert!(!hostile.contains('\u{202e}') && !hostile.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn nothing_is_loaded_and_nothing_runs() {
    let told = page_with("see https://evil.example/x.js");
    for never in ["<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import", " on"] {
        let tags: Vec<&str> = told.split('<').skip(1).filter_map(|rest| rest.split('>').next()).collect();
        let found = tags.iter().find(|tag| format!("<{tag}").contains(never));
        assert!(found.is_none() && !STYLE.contains(never.trim_start()) || never == " on", "{never}: {found:?}");
    }
}

#[test]
fn secrets_are_hidden_and_sizes_are_bounded() {
    let key = "AKIAIOSFODNN7EXAMPLQ";
    assert!(!page_with(&format!("aws_access_key_id = {key}")).contains(key));
    let long = page_with(&"0123456789 ".repeat(300_000));
    assert!(long.len() < 6_000_000, "{}", long.len());
    assert!(long.contains("bytes more are left out"));
}
