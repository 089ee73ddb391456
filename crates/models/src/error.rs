//! Why a model could not be connected to.

use agent::ports::PortError;
use config::ConfigError;
use run_model::{ErrorName, FunctionError};

/// Why a model could not be connected to. Nothing has been asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The provider needs a key that nobody has set.
    #[error("there is no key for the model provider: set {name} in {place}")]
    NoKey {
        /// The name the key is looked for under.
        name: &'static str,
        /// Where it was looked for.
        place: String,
    },
    /// The place that keys come from failed.
    #[error("the key of the model provider could not be fetched")]
    KeySource(#[source] PortError),
    /// The key holds characters that no header can carry.
    #[error("{0} holds characters that cannot be sent: copy the key again, without quotes or line breaks")]
    UnsendableKey(&'static str),
    /// The settings of a repository name a server that whoever owns the key has not named.
    #[error(
        "the key is not sent to {base_url}, which the settings of the repository name: if it is yours, set {name} to it in {place}"
    )]
    StrangeServer {
        /// The name under which its address may stand beside the key.
        name: &'static str,
        /// The server.
        base_url: String,
        /// Where the key is.
        place: String,
    },
    /// The address beside the key is none that a key may travel to.
    #[error("{name} in {place} is no address that a key may travel to")]
    BadServer {
        /// The name of the address.
        name: &'static str,
        /// Where the key is.
        place: String,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// Only a live provider can be recorded.
    #[error("provider.upstream = {0}: only a live provider can be recorded: anthropic, openai")]
    NotLive(&'static str),
    /// The program was built without the feature `recording`.
    #[error(
        "provider.kind = {0}: this program neither records nor replays, as nothing that is deployed does: name a provider that answers"
    )]
    NoRecordings(&'static str),
    /// The cassette or script cannot be used.
    #[cfg(feature = "recording")]
    #[error(transparent)]
    Cassette(#[from] crate::CassetteError),
    /// The HTTP client could not be built (no certificates, mostly).
    #[error("the HTTP client could not be built: {0}")]
    Client(String),
}

impl From<ConnectError> for FunctionError {
    fn from(error: ConnectError) -> Self {
        let name = match &error {
            ConnectError::NoKey { .. }
            | ConnectError::UnsendableKey(_)
            | ConnectError::StrangeServer { .. }
            | ConnectError::BadServer { .. } => ErrorName::ModelRefused,
            ConnectError::KeySource(_) => ErrorName::StoreUnavailable,
            ConnectError::NotLive(_) | ConnectError::NoRecordings(_) => ErrorName::InvalidInput,
            #[cfg(feature = "recording")]
            ConnectError::Cassette(_) => ErrorName::InvalidInput,
            ConnectError::Client(_) => ErrorName::Internal,
        };
        Self::new(name, with_sources(&error))
    }
}

/// An error and what caused it, on one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
