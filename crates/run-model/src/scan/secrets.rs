//! The shapes of secrets: found in a change, hidden in what a commit says.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What stands where a secret stood.
const MASKED: &str = "***";
/// Bits for each character from which a value looks random; words lie below.
const RANDOM_BITS: f64 = 3.5;

/// Secrets that are known by their own shape. Where a pattern has a group, the group is the secret.
static SHAPES: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    [
        ("AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
        ("AWS secret key", r#"(?i)aws.{0,20}secret.{0,20}['"= :]([0-9a-z/+]{40})(?:[^0-9a-z/+=]|$)"#),
        ("GitHub token", r"\b(?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{50,})\b"),
        ("GitLab token", r"\bglpat-[0-9A-Za-z_-]{20,}"),
        ("Slack token", r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}"),
        ("Slack webhook", r"https://hooks\.slack\.com/services/[0-9A-Za-z/]{20,}"),
        ("Stripe key", r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,}\b"),
        ("Anthropic key", r"\bsk-ant-[0-9A-Za-z_-]{20,}"),
        ("OpenAI key", r"\bsk-(?:proj-|svcacct-)?[0-9A-Za-z_-]{32,}"),
        ("Google key", r"\bAIza[0-9A-Za-z_-]{35}"),
        ("npm token", r"\bnpm_[0-9A-Za-z]{36}\b"),
        ("PyPI token", r"\bpypi-[0-9A-Za-z_-]{50,}"),
        ("SendGrid key", r"\bSG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}"),
        ("private key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
        ("JSON web token", r"\beyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}"),
        ("password in a URL", r#"\b[a-z][a-z0-9+.-]*://[^\s/:@'"]{1,64}:([^\s/:@'"{}$<>]{6,})@[\w.-]"#),
    ]
    .map(|(kind, pattern)| (kind, Regex::new(pattern).expect("a literal pattern")))
    .into()
});

/// A name that promises a secret, and the quoted or bare value it is given.
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)(?:passw(?:or)?d|passphrase|secret|token|api_?-?key|credential|authorization)\w*['"]?\s*(?::\s*[\w&' ]+=|=>|:=|=|:)\s*(?:bearer\s+)?(?:['"`]([^'"`\s]{12,})['"`]|([0-9A-Za-z_+/=-]{20,})(?:[\s,;]|$))"#,
    )
    .expect("a literal pattern")
});

/// The first kind of secret that a line seems to hold.
pub(super) fn kind(line: &str) -> Option<&'static str> {
    let shape = SHAPES.iter().find(|(_, pattern)| pattern.is_match(line)).map(|(kind, _)| *kind);
    shape.or_else(|| ASSIGNMENT.captures_iter(line).any(|found| is_random(value(&found))).then_some("random secret"))
}

/// The text with everything that looks like a secret replaced by `***`: for logs and for what people are shown.
/// A private key loses its whole block.
pub fn mask(text: &str) -> String {
    let mut text = PRIVATE_KEY_BLOCK.replace_all(text, MASKED).into_owned();
    for (_, pattern) in SHAPES.iter() {
        text = pattern.replace_all(&text, |found: &Captures<'_>| hide(found, found.get(1))).into_owned();
    }
    let assignment = |found: &Captures<'_>| {
        let secret = if is_random(value(found)) { found.get(1).or(found.get(2)) } else { None };
        secret.map_or_else(|| found[0].to_owned(), |secret| hide(found, Some(secret)))
    };
    text.split_inclusive('\n').map(|line| ASSIGNMENT.replace_all(line, assignment)).collect()
}

static PRIVATE_KEY_BLOCK: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*-----|\z)")
        .expect("a literal pattern")
});

/// What was found, with the secret part of it (or all) hidden.
fn hide(found: &Captures<'_>, secret: Option<regex::Match<'_>>) -> String {
    secret.map_or_else(|| MASKED.to_owned(), |secret| found[0].replace(secret.as_str(), MASKED))
}

fn value<'a>(found: &Captures<'a>) -> &'a str {
    found.get(1).or(found.get(2)).map_or("", |value| value.as_str())
}

/// Whether a value looks drawn by chance: letters and digits mixed, and many bits to each character (Shannon).
fn is_random(value: &str) -> bool {
    let mixed = value.bytes().any(|b| b.is_ascii_digit()) && value.bytes().any(|b| b.is_ascii_alphabetic());
    let plain = !value.contains(['{', '$', '<', '(', ' ']);
    mixed && plain && bits_per_character(value) >= RANDOM_BITS
}

fn bits_per_character(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    value.bytes().for_each(|b| counts[usize::from(b)] += 1);
    let length = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters and digits as if drawn by chance: assembled here, so that the repository holds nothing that looks like a secret.
    fn random(length: usize) -> String {
        let alphabet: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
        (0..length).map(|n| alphabet[(n * n * 7 + n * 13 + 5) % alphabet.len()]).collect()
    }

    fn upper(length: usize) -> String {
        random(length * 2).to_uppercase()[..length].to_owned()
    }

    fn secrets() -> Vec<(&'static str, String)> {
        let dashes = "-".repeat(5);
        vec![
            ("AWS access key", format!("AK{}{}", "IA", upper(16))),
            ("AWS secret key", format!("aws_secret_access_key = {}", random(40))),
            ("GitHub token", format!("gh{}_{}", 'p', random(36))),
            ("GitLab token", format!("gl{}-{}", "pat", random(20))),
            ("Slack token", format!("xo{}-{}", "xb", random(24))),
            ("Slack webhook", format!("https://hooks.{}/services/{}", "slack.com", random(30))),
            ("Stripe key", format!("sk_{}_{}", "live", random(24))),
            ("Anthropic key", format!("sk-{}-{}", "ant", random(40))),
            ("OpenAI key", format!("sk-{}-{}", "proj", random(40))),
            ("Google key", format!("AI{}{}", "za", random(35))),
            ("npm token", format!("np{}_{}", 'm', random(36))),
            ("PyPI token", format!("py{}-{}", "pi", random(60))),
            ("SendGrid key", format!("S{}.{}.{}", 'G', random(22), random(43))),
            ("private key", format!("{dashes}BEGIN RSA {} KEY{dashes}", "PRIVATE")),
            ("JSON web token", format!("ey{0}{1}.ey{0}{1}.{1}", 'J', random(20))),
            ("password in a URL", format!("postgres://user:{}@db.example.com/x", random(12))),
            ("random secret", format!("const {}: &str = \"{}\";", "DB_PASSWORD", random(20))),
            ("random secret", format!("\"api{}\": \"{}\"", "Key", random(20))),
            ("random secret", format!("{}={}", "SESSION_TOKEN", random(24))),
        ]
    }

    #[test]
    fn every_shape_is_known_and_masked() {
        for (expected, line) in secrets() {
            assert_eq!(kind(&line), Some(expected), "{line}");
            let masked = mask(&format!("before {line} after\nnext"));
            assert!(masked.starts_with("before ") && masked.contains(MASKED), "{masked}");
            assert!(!masked.contains(&line), "{masked}");
        }
    }

    #[test]
    fn a_private_key_loses_its_whole_block() {
        let dashes = "-".repeat(5);
        let key = format!("{dashes}BEGIN {0} KEY{dashes}\nabc\ndef\n{dashes}END {0} KEY{dashes}", "PRIVATE");
        assert_eq!(mask(&format!("a\n{key}\nb")), "a\n***\nb");
    }

    #[test]
    fn what_only_sounds_like_a_secret_is_left_alone() {
        for line in [
            "let token = lexer.next_token();",
            "password = \"change-me-please\"",
            "fn secret(name: &str) -> Option<&str>",
            "token: \"${{ secrets.GITHUB_TOKEN }}\"",
            "let api_key = std::env::var(\"ANTHROPIC_API_KEY\")?;",
            "https://example.com/a:b@c",
            "sha256 = \"a\"",
            "tokens: 1000000",
        ] {
            assert_eq!(kind(line), None, "{line}");
            assert_eq!(mask(line), line);
        }
    }
}
