//! What can be wrong with settings. Every message names the key, the value and the cure.

use run_model::FunctionError;

/// Why settings were refused, by what their writer does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A key that nobody reads, mostly a slip of the pen.
    #[error("{key}: unknown key; {cure}")]
    UnknownKey {
        /// The whole key: `limits.turn`.
        key: String,
        /// The nearest name, or the names there are.
        cure: String,
    },
    /// A value that does not fit its key.
    #[error("{key} = {value}: {cure}")]
    BadValue {
        /// The whole key: `limits.turns`.
        key: String,
        /// What stood there.
        value: String,
        /// What may stand there.
        cure: String,
    },
    /// A key without which the rest means nothing.
    #[error("{key} is missing: {cure}")]
    Missing {
        /// The whole key.
        key: String,
        /// What to write.
        cure: String,
    },
    /// Something that looks like a credential. It is not repeated here.
    #[error(
        "line {line} holds what looks like a key ({looks_like}...): keys belong in the environment or the secret store, take it \
         out and replace it at its provider"
    )]
    KeyInFile {
        /// Counted from 1.
        line: usize,
        /// The well-known beginning of such keys.
        looks_like: &'static str,
    },
    /// There is nothing to measure a change with.
    #[error("the project has no checks: run `gatewright init`, then name under [[checks]] the command that tests it")]
    NoChecks,
}

/// The settings of a run that a function cannot use.
impl From<ConfigError> for FunctionError {
    fn from(problem: ConfigError) -> Self {
        Self::invalid("config", problem)
    }
}
