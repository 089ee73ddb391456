//! Logs with secrets masked: JSON on standard output, one event a line, or wherever a [`Masked`] writes.

use std::io::{self, Write};
use std::sync::Arc;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::Environment;

const MASK: &str = "***";
/// Variables whose values are secret, by the end of their names.
const SECRET_VARIABLES: [&str; 5] = ["_API_KEY", "_SECRET", "_SECRET_ACCESS_KEY", "_TOKEN", "_PASSWORD"];
/// How keys of providers and forges begin, and bearers of our own.
const SECRET_PREFIXES: [&str; 9] = ["gwb_", "sk-", "ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "AKIA", "ASIA"];
/// Shorter words are never taken for a key.
const SHORTEST_KEY: usize = 16;
/// Longer words are taken for a task token: the longest harmless one, an object's key, has 130 characters.
const LONGEST_WORD: usize = 160;

/// Masks what is, is named like or looks like a secret.
#[derive(Clone, Debug, Default)]
pub struct Mask(Arc<[String]>);

impl Mask {
    /// Masks the secret values of these variables, besides everything that looks like a key or a task token.
    pub fn of(environment: &Environment) -> Self {
        let secrets = environment.variables().filter(|(name, value)| names_secret(name) && value.len() >= 8);
        Self(secrets.map(|(_, value)| value.to_owned()).collect())
    }

    /// The text with `***` for each secret.
    pub fn apply(&self, text: &str) -> String {
        let text = self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASK));
        let between_words = |c: char| !(c.is_ascii_alphanumeric() || "_-+/=".contains(c));
        let mut masked = String::with_capacity(text.len());
        let mut field = Field::default();
        for piece in text.split_inclusive(between_words) {
            let word = piece.trim_end_matches(between_words);
            let secret = field.is_of_secret(word) || looks_secret(word);
            masked.push_str(if secret { MASK } else { word });
            masked.push_str(&piece[word.len()..]);
            field.pass(word, &piece[word.len()..]);
        }
        masked
    }
}

/// The field of a JSON text, escaped or not, whose value may come next.
#[derive(Default)]
struct Field {
    is_secret: bool,
    /// What stands between its name and its value.
    between: String,
}

impl Field {
    /// Whether the word is the value of a secret: `"ANTHROPIC_API_KEY":"word`.
    fn is_of_secret(&self, word: &str) -> bool {
        let begins_value = self.between.contains(':') && self.between.ends_with('"');
        self.is_secret && begins_value && !word.is_empty()
    }

    fn pass(&mut self, word: &str, after: &str) {
        if !word.is_empty() {
            self.is_secret = names_secret(word);
            self.between.clear();
        }
        self.between.push_str(after);
    }
}

fn names_secret(name: &str) -> bool {
    SECRET_VARIABLES.iter().any(|end| name.ends_with(end))
}

fn looks_secret(word: &str) -> bool {
    let is_key = word.len() >= SHORTEST_KEY && SECRET_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    is_key || word.len() >= LONGEST_WORD
}

/// Writes events to `W`, masked.
#[derive(Debug)]
pub struct Masked<W> {
    to: W,
    mask: Mask,
}

impl<W> Masked<W> {
    /// Writes to `to` what `mask` leaves.
    pub fn new(to: W, mask: Mask) -> Self {
        Self { to, mask }
    }
}

impl<W: Write> Write for Masked<W> {
    /// An event comes in one piece, so no secret is cut in two.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.to.write_all(self.mask.apply(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Begins to log, panics included. A second call changes nothing.
pub fn begin(environment: &Environment) {
    let level = environment.get("AWS_LAMBDA_LOG_LEVEL").or_else(|| environment.get("RUST_LOG")).unwrap_or("info");
    let mask = Mask::of(environment);
    let filter: Targets = level.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || Masked::new(io::stdout(), mask.clone()))
        .finish()
        .with(filter);
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
            r#"{{"key":"sk-ant-api03-abcdefgh","authorization":"Bearer gwb_{hash}","other":"a-key-of-no-known-shape","token":"{token}","region":"eu-north-1","object":"runs/r-1/artefacts/{hash}.json"}}"#
        );
        let expected = format!(
            r#"{{"key":"***","authorization":"Bearer ***","other":"***","token":"***","region":"eu-north-1","object":"runs/r-1/artefacts/{hash}.json"}}"#
        );
        assert_eq!(mask.apply(&line), expected);
    }

    #[test]
    fn the_value_of_a_secret_field_is_masked_however_often_it_was_escaped() {
        let mask = Mask::default();
        for (line, expected) in [
            (r#"{"ANTHROPIC_API_KEY":"plain","model":"m"}"#, r#"{"ANTHROPIC_API_KEY":"***","model":"m"}"#),
            (r#"b"{\"ANTHROPIC_API_KEY\": \"plain\"}""#, r#"b"{\"ANTHROPIC_API_KEY\": \"***\"}""#),
            ("set ANTHROPIC_API_KEY: it is missing", "set ANTHROPIC_API_KEY: it is missing"),
        ] {
            assert_eq!(mask.apply(line), expected);
        }
    }
}
