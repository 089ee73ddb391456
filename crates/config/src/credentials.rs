//! Spots what looks like a provider's key, so that none ends in a file under version control.

/// How the keys of well-known services begin, and how many more characters make one.
const BEGINNINGS: &[(&str, usize)] = &[
    ("sk-", 20),
    ("AKIA", 16),
    ("ASIA", 16),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("AIza", 30),
    ("lin_api_", 20),
    ("-----BEGIN ", 8),
];

/// The line (from 1) and the beginning of the first thing that looks like a key.
pub(crate) fn find_credential(text: &str) -> Option<(usize, &'static str)> {
    text.lines().enumerate().find_map(|(at, line)| looks_like_key(line).map(|beginning| (at + 1, beginning)))
}

fn looks_like_key(line: &str) -> Option<&'static str> {
    let part_of_key = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == ' ';
    let holds = |(beginning, more): &(&'static str, usize)| {
        line.match_indices(beginning).any(|(at, _)| {
            let (before, rest) = (&line[..at], &line[at + beginning.len()..]);
            let stands_alone = !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            // Only the head of a PEM block holds spaces.
            let run = rest.chars().take_while(|c| part_of_key(*c) && (*c != ' ' || beginning.ends_with(' '))).count();
            stands_alone && run >= *more
        })
    };
    BEGINNINGS.iter().find(|entry| holds(entry)).map(|(beginning, _)| *beginning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_and_words_are_not() {
        let long = "a1B2".repeat(10);
        for beginning in ["sk-", "sk-ant-api03-", "ghp_", "github_pat_", "AIza"] {
            assert!(find_credential(&format!("x = \"{beginning}{long}\"")).is_some(), "{beginning}");
        }
        assert_eq!(find_credential("a\n-----BEGIN PRIVATE KEY-----"), Some((2, "-----BEGIN ")));
        for harmless in
            ["risk-assessment-of-the-whole-thing-here", "sk-short", "the task-list-that-is-long-enough-indeed", "AKIA"]
        {
            assert_eq!(find_credential(harmless), None, "{harmless}");
        }
    }
}
