//! Who answers the agents.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::defaults;

/// Who answers the agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Provider {
    /// The Anthropic Messages API, or a server that speaks it.
    Anthropic {
        /// The server, without `/v1/messages`.
        #[serde(default = "defaults::anthropic_base_url")]
        base_url: String,
        /// How long one answer may take, in seconds.
        #[serde(default = "defaults::answer_timeout_seconds")]
        timeout_seconds: u64,
    },
    /// OpenAI's chat completions, or a server that speaks them.
    #[serde(rename = "openai")]
    OpenAi {
        /// The server, without `/chat/completions`; most end in `/v1`.
        #[serde(default = "defaults::openai_base_url")]
        base_url: String,
        /// How long one answer may take, in seconds.
        #[serde(default = "defaults::answer_timeout_seconds")]
        timeout_seconds: u64,
    },
    /// Answers from a cassette, by the hash of the request.
    Replay {
        /// The file.
        cassette: PathBuf,
    },
    /// Answers from the cassette what it holds, asks `upstream` for the rest and adds the answer to the cassette.
    Record {
        /// The file; made if it is not there.
        cassette: PathBuf,
        /// Who answers what is not recorded.
        upstream: Box<Provider>,
    },
    /// Answers in the order of a script, whatever is asked.
    Scripted {
        /// The file, in the format of a cassette.
        script: PathBuf,
    },
}

/// The language that a live provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI chat completions.
    OpenAi,
}

/// A server that answers over the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server<'a> {
    /// What it speaks.
    pub dialect: Dialect,
    /// Its address, without what the dialect adds.
    pub base_url: &'a str,
    /// How long one answer may take, in seconds.
    pub timeout_seconds: u64,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 2] = [Self::Anthropic, Self::OpenAi];

    /// The word for it in settings and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
        }
    }

    /// The address of whoever made it.
    pub fn own_server(self) -> String {
        match self {
            Self::Anthropic => defaults::anthropic_base_url(),
            Self::OpenAi => defaults::openai_base_url(),
        }
    }

    /// A provider that speaks it: its own server, unless another is named.
    pub(crate) fn provider(self, base_url: Option<String>, timeout_seconds: Option<u64>) -> Provider {
        let base_url = base_url.unwrap_or_else(|| self.own_server());
        let timeout_seconds = timeout_seconds.unwrap_or_else(defaults::answer_timeout_seconds);
        match self {
            Self::Anthropic => Provider::Anthropic { base_url, timeout_seconds },
            Self::OpenAi => Provider::OpenAi { base_url, timeout_seconds },
        }
    }
}

impl Server<'_> {
    /// Whether this is the address of whoever made the dialect.
    pub fn is_the_providers_own(&self) -> bool {
        self.base_url.trim_end_matches('/') == self.dialect.own_server()
    }
}

impl Default for Provider {
    fn default() -> Self {
        Dialect::Anthropic.provider(None, None)
    }
}

impl Provider {
    /// The word that names its kind in settings and on the command line.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Anthropic { .. } => Dialect::Anthropic.as_str(),
            Self::OpenAi { .. } => Dialect::OpenAi.as_str(),
            Self::Replay { .. } => "replay",
            Self::Record { .. } => "record",
            Self::Scripted { .. } => "scripted",
        }
    }

    /// The server that is asked, also while recording; `None` if all answers come from a file.
    pub fn server(&self) -> Option<Server<'_>> {
        let server = |dialect, base_url, timeout_seconds| Some(Server { dialect, base_url, timeout_seconds });
        match self {
            Self::Anthropic { base_url, timeout_seconds } => server(Dialect::Anthropic, base_url, *timeout_seconds),
            Self::OpenAi { base_url, timeout_seconds } => server(Dialect::OpenAi, base_url, *timeout_seconds),
            Self::Record { upstream, .. } => upstream.server(),
            Self::Replay { .. } | Self::Scripted { .. } => None,
        }
    }

    /// Has this server asked instead of the one that is named; nothing changes if none is.
    pub fn point_to(&mut self, server: &str) {
        match self {
            Self::Anthropic { base_url, .. } | Self::OpenAi { base_url, .. } => server.clone_into(base_url),
            Self::Record { upstream, .. } => upstream.point_to(server),
            Self::Replay { .. } | Self::Scripted { .. } => {}
        }
    }
}
