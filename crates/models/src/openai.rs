//! The chat completions of OpenAI, and of the many servers that speak them more or less.

mod wire;
mod written;

use std::sync::atomic::{AtomicBool, Ordering};

use agent::ports::{ModelRequest, ModelResponse};
use config::Dialect;
use reqwest::header::{AUTHORIZATION, HeaderName};
use serde_json::Value;

use self::wire::Manner;
use crate::live::{Failure, Said, Wire};

/// The names of the bound of an answer: OpenAI's own, and that of almost everybody else.
const BOUNDS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// The dialect, and what a server has been found to refuse.
pub(crate) struct ChatCompletions {
    /// The names of the bound, the likelier one first.
    bounds: [&'static str; 2],
    /// Whether the second is used.
    renames_bound: AtomicBool,
    /// Whether it is no longer said that a tool has to be called.
    leaves_choice: AtomicBool,
}

impl ChatCompletions {
    /// For this server, of which nothing is known yet but its address.
    pub(crate) fn at(base_url: &str) -> Self {
        let [newer, older] = BOUNDS;
        let bounds = if base_url == Dialect::OpenAi.own_server() { [newer, older] } else { [older, newer] };
        Self { bounds, renames_bound: AtomicBool::new(false), leaves_choice: AtomicBool::new(false) }
    }

    fn manner(&self) -> Manner {
        Manner {
            bound: self.bounds[usize::from(self.renames_bound.load(Ordering::Relaxed))],
            requires_call: !self.leaves_choice.load(Ordering::Relaxed),
        }
    }
}

impl Wire for ChatCompletions {
    fn name(&self) -> &'static str {
        "OpenAI chat completions"
    }

    fn path(&self) -> &'static str {
        "/chat/completions"
    }

    fn key_header(&self, key: &str) -> (HeaderName, String) {
        (AUTHORIZATION, format!("Bearer {key}"))
    }

    fn body(&self, request: &ModelRequest) -> Value {
        wire::request(request, self.manner())
    }

    fn answer(&self, request: &ModelRequest, body: &[u8]) -> Result<ModelResponse, Failure> {
        wire::response(request, body)
    }

    fn gives_way(&self, sent: &Value, refused: &Said) -> bool {
        let words = refused.words.to_lowercase();
        if sent.get("tool_choice").is_some() && words.contains("tool_choice") {
            self.leaves_choice.store(true, Ordering::Relaxed);
            return true;
        }
        let [first, second] = self.bounds;
        // One that is merely too large is named too, but neither beside the other name nor as unknown.
        let is_unknown = ["unsupported parameter", "unrecognized", "unknown", "not permitted"];
        let is_refused =
            words.contains(first) && (words.contains(second) || is_unknown.iter().any(|text| words.contains(text)));
        if sent.get(first).is_some() && is_refused {
            self.renames_bound.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_has_its_newer_name_at_openai_and_the_older_one_elsewhere() {
        let bound = |base_url| ChatCompletions::at(base_url).manner().bound;
        assert_eq!(bound("https://api.openai.com/v1"), "max_completion_tokens");
        assert_eq!(bound("https://openrouter.ai/api/v1"), "max_tokens");
    }
}
