//! JSON logs on standard output, one event a line, with secrets masked.

use std::io::{self, Write};
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use crate::Environment;

const MASK: &str = "***";
/// Variables whose values are secret, by the end of their names.
const SECRET_VARIABLES: [&str; 5] = ["_API_KEY", "_SECRET", "_SECRET_ACCESS_KEY", "_TOKEN", "_PASSWORD"];
/// How keys of providers and forges begin.
const SECRET_PREFIXES: [&str; 8] = ["sk-", "ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "AKIA", "ASIA"];
/// Shorter words are never taken for a key.
const SHORTEST_KEY: usize = 16;
/// Longer words are taken for a task token: the longest harmless one, an object's key, has 130 characters.
const LONGEST_WORD: usize = 160;

/// Masks what is or looks like a secret.
#[derive(Clone, Debug, Default)]
pub struct Mask(Arc<[String]>);

impl Mask {
    /// Masks the secret values of these variables, besides everything that looks like a key or a task token.
    pub fn of(environment: &Environment) -> Self {
        let is_secret = |name: &str| SECRET_VARIABLES.iter().any(|end| name.ends_with(end));
        let secrets = environment.variables().filter(|(name, value)| is_secret(name) && value.len() >= 8);
        Self(secrets.map(|(_, value)| value.to_owned()).collect())
    }

    /// The text with `***` for each secret.
    pub fn apply(&self, text: &str) -> String {
        let text = self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASK));
        let between_words = |c: char| !(c.is_ascii_alphanumeric() || "_-+/=".contains(c));
        let mut masked = String::with_capacity(text.len());
        for piece in text.split_inclusive(between_words) {
            let word = piece.trim_end_matches(between_words);
            masked.push_str(if looks_secret(word) { MASK } else { word });
            masked.push_str(&piece[word.len()..]);
        }
        masked
    }
}

fn looks_secret(word: &str) -> bool {
    let is_key = word.len() >= SHORTEST_KEY && SECRET_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    is_key || word.len() >= LONGEST_WORD
}

/// Writes masked events to standard output.
struct MaskedOutput(Mask);

impl Write for MaskedOutput {
    /// An event comes in one piece, so no secret is cut in two.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stdout().write_all(self.0.apply(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Begins to log, panics included. A second call changes nothing.
pub fn begin(environment: &Environment) {
    let level = environment.get("AWS_LAMBDA_LOG_LEVEL").or_else(|| environment.get("RUST_LOG")).unwrap_or("info");
    let mask = Mask::of(environment);
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(EnvFilter::new(level))
        .with_writer(move || MaskedOutput(mask.clone()));
    if subscriber.try_init().is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panicked")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_stays() {
        let mask = Mask::of(&Environment::of([
            ("ANTHROPIC_API_KEY", "a-key-of-no-known-shape"),
            ("AWS_REGION", "eu-north-1"),
        ]));
        let token = "AAAAKgAAAAIAAAAA/b+".repeat(12);
        let hash = "0123456789abcdef".repeat(4);
        let line = format!(
            r#"{{"key":"sk-ant-api03-abcdefgh","other":"a-key-of-no-known-shape","token":"{token}","region":"eu-north-1","object":"runs/r-1/artefacts/{hash}.json"}}"#
        );
        let expected = format!(
            r#"{{"key":"***","other":"***","token":"***","region":"eu-north-1","object":"runs/r-1/artefacts/{hash}.json"}}"#
        );
        assert_eq!(mask.apply(&line), expected);
    }
}
