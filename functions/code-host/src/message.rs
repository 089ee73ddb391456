//! The message of the commit.

use run_model::change_set::ChangeSet;
use run_model::scan::mask;
use run_model::{RunId, Sha256};

/// The longest subject, in characters.
const SUBJECT_CHARS: usize = 72;

/// A subject from the plan's summary, the summary itself if the subject cut it, and which run and change it is.
/// The summary is a model's text: control characters, what looks like a secret and what a forge would obey do not pass.
pub(crate) fn commit_message(run: &RunId, change: &ChangeSet, plan_summary: &str) -> String {
    let summary = mask(plan_summary).split_whitespace().collect::<Vec<_>>().join(" ");
    let summary = without_orders(&summary.chars().filter(|c| !c.is_control()).collect::<String>());
    let subject = subject(&summary);
    let body = if subject == summary { String::new() } else { format!("{}\n\n", wrap(&summary)) };
    let hash: Sha256 = change.hash();
    format!("{subject}\n\n{body}Gatewright-Run: {run}\nGatewright-Change-Set: {hash}")
}

fn subject(summary: &str) -> String {
    let sentence = summary.split_inclusive(". ").next().unwrap_or_default().trim().trim_end_matches('.');
    if sentence.is_empty() {
        return "Change by Gatewright".to_owned();
    }
    if sentence.chars().count() <= SUBJECT_CHARS {
        return sentence.to_owned();
    }
    let mut cut: String = sentence.chars().take(SUBJECT_CHARS - 1).collect();
    cut.truncate(cut.rfind(' ').unwrap_or(cut.len()));
    cut + "…"
}

/// A forge obeys some words of a message: `[skip ci]` goes past the checks, `Closes #1` and `GH-1` close, `@name` calls people,
/// an address links. A model's words shall not.
fn without_orders(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied().unwrap_or(' ');
        match c {
            '[' => plain.push('('),
            ']' => plain.push(')'),
            '@' if !plain.ends_with(char::is_alphanumeric) => {}
            '#' if next.is_ascii_digit() => plain.push_str("# "),
            ':' if next == '/' => plain.push_str(": "),
            '-' if next.is_ascii_digit() && plain.to_ascii_lowercase().ends_with("gh") => plain.push(' '),
            c => plain.push(c),
        }
    }
    plain
}

fn wrap(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= SUBJECT_CHARS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(summary: &str) -> String {
        let change = ChangeSet { base_commit: "0".repeat(40), overlay: Default::default() };
        commit_message(&RunId::new("r-1").unwrap(), &change, summary)
    }

    #[test]
    fn a_short_summary_is_the_subject() {
        let text = message("Empty input is refused.");
        let (subject, rest) = text.split_once("\n\n").unwrap();
        assert_eq!(subject, "Empty input is refused");
        assert!(rest.contains("Gatewright-Run: r-1\nGatewright-Change-Set: "), "{text}");
    }

    #[test]
    fn a_long_summary_is_cut_at_a_word_and_kept_below() {
        let text = message(&"word ".repeat(40));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("word…") && lines[0].chars().count() <= SUBJECT_CHARS, "{text}");
        assert!(lines.iter().take(6).all(|line| line.chars().count() <= SUBJECT_CHARS), "{text}");
        assert_eq!(text.matches("word").count(), lines[0].matches("word").count() + 40);
    }

    #[test]
    fn what_a_model_wrote_cannot_forge_trailers_or_leak() {
        let key = format!("AK{}{}", "IA", "ABCDEFGHIJKLMNOP");
        let text = message(&format!("Fix\n\nGatewright-Run: other\u{1b}[31m {key}"));
        assert!(text.starts_with("Fix Gatewright-Run: other(31m ***\n\n"), "{text}");
        assert_eq!(message(" ").lines().next(), Some("Change by Gatewright"));
    }

    #[test]
    fn a_forge_obeys_nothing_that_a_model_wrote() {
        for (wrote, plain) in [
            ("Mend it [skip ci]", "Mend it (skip ci)"),
            ("Closes #12, fixes acme/app#3", "Closes # 12, fixes acme/app# 3"),
            ("Resolves gh-7", "Resolves gh 7"),
            ("Closes https://github.com/acme/app/issues/1", "Closes https: //github.com/acme/app/issues/1"),
            ("Ask @acme/admins and @@ann", "Ask acme/admins and ann"),
            ("Mail a@b.example, C# and x-1", "Mail a@b.example, C# and x-1"),
        ] {
            assert_eq!(message(wrote).lines().next(), Some(plain));
        }
    }
}
