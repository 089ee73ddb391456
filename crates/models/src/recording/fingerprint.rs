//! What a request is known by: a hash of all that a provider would see, and one hash per part to tell what differs.

use std::collections::HashMap;

use agent::ports::{Message, ModelRequest, Part, Speaker, ToolSpec};
use run_model::Sha256;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Digits of a part's hash that are kept: enough to tell parts apart, not to trust them.
const PART_DIGITS: usize = 12;

/// A request's identity. Session and turn are no part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fingerprint {
    /// SHA-256 of the canonical JSON of model, system prompt, tools, messages, output limit and temperature.
    pub key: String,
    /// Beginnings of the hashes of the parts: model and limits, system prompt, list of tools, then every part of every message.
    pub prefix: Vec<String>,
    /// What each of `prefix` is, in words.
    pub labels: Vec<String>,
}

impl Fingerprint {
    /// The fingerprint of this request.
    pub fn of(request: &ModelRequest) -> Self {
        let limits = json!([request.model, request.max_output_tokens, request.temperature_milli]);
        let mut parts = vec![
            (format!("model and limits ({}, {} tokens)", request.model, request.max_output_tokens), limits),
            ("system prompt".to_owned(), json!(request.system)),
            ("list of tools".to_owned(), json!(request.tools)),
        ];
        parts.extend(message_parts(&request.messages));
        let (labels, prefix) = parts.into_iter().map(|(label, value)| (label, part_hash(value))).unzip();
        Self { key: key_of(request), prefix, labels }
    }

    /// What this request says otherwise than one with this system prompt and these tools would, in words: of a part that every
    /// request of a role has. Nothing of a script, which was never asked.
    pub fn stale(&self, system: &str, tools: &[ToolSpec]) -> Vec<&str> {
        let now = [json!(system), json!(tools)].map(part_hash);
        let parts = self.labels.iter().zip(&self.prefix).skip(1).zip(&now);
        parts.filter(|((_, recorded), now)| recorded != now).map(|((label, _), _)| label.as_str()).collect()
    }

    /// How many parts two requests have in common before they differ.
    pub(crate) fn common(&self, other: &Self) -> usize {
        self.prefix.iter().zip(&other.prefix).take_while(|(a, b)| a == b).count()
    }

    /// What differs first between the recorded request (`self`) and the one that is asked, in words.
    pub(crate) fn first_difference(&self, asked: &Self) -> String {
        let at = self.common(asked);
        match (self.labels.get(at), asked.labels.get(at)) {
            (Some(recorded), Some(now)) if recorded == now => format!("the {now} differs"),
            (Some(recorded), Some(now)) => format!("the recording has the {recorded}, the request has the {now}"),
            (None, Some(now)) => format!("the recording ends before the {now}"),
            (Some(recorded), None) => format!("the request ends before the {recorded}"),
            (None, None) => "every part is alike, only their arrangement in messages differs".to_owned(),
        }
    }
}

fn key_of(request: &ModelRequest) -> String {
    let seen = json!({
        "max_output_tokens": request.max_output_tokens,
        "messages": request.messages,
        "model": request.model,
        "system": request.system,
        "temperature_milli": request.temperature_milli,
        "tools": request.tools,
    });
    hash(seen).as_str().to_owned()
}

fn part_hash(value: Value) -> String {
    hash(value).as_str()[..PART_DIGITS].to_owned()
}

/// The hash of a value's canonical JSON: compact, the keys of every object sorted.
fn hash(mut value: Value) -> Sha256 {
    value.sort_all_objects();
    Sha256::of(value.to_string().as_bytes())
}

fn message_parts(messages: &[Message]) -> Vec<(String, Value)> {
    let mut calls = HashMap::new();
    let mut parts = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        for part in &message.parts {
            let what = match part {
                Part::Text { text } if message.speaker == Speaker::User => format!("text {}", first_line(text)),
                Part::Text { text } => format!("answer {}", first_line(text)),
                Part::ToolCall { id, name, input } => {
                    let call = format!("{name}{}", main_argument(input));
                    calls.insert(id.as_str(), call.clone());
                    format!("call of {call}")
                }
                Part::ToolResult { id, .. } => {
                    format!("tool result of {}", calls.get(id.as_str()).unwrap_or(id))
                }
            };
            parts.push((format!("{what} (message {})", at + 1), json!([message.speaker, part])));
        }
    }
    parts
}

fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    format!("{:?}", line.chars().take(48).collect::<String>())
}

/// The argument that tells one call of a tool from another: its first text.
fn main_argument(input: &Value) -> String {
    let texts = input.as_object().into_iter().flat_map(|fields| fields.values());
    let first = texts.filter_map(Value::as_str).find(|text| !text.is_empty() && !text.contains('\n'));
    first.map(|text| format!(" {}", text.chars().take(80).collect::<String>())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use run_model::SessionId;

    use super::*;

    fn request() -> ModelRequest {
        let result =
            |content: &str| Part::ToolResult { id: "call-1-0".into(), content: content.into(), is_error: false };
        let call =
            Part::ToolCall { id: "call-1-0".into(), name: "read_file".into(), input: json!({"path": "src/lib.rs"}) };
        ModelRequest {
            session: SessionId::new("developer", None, 1),
            turn: 2,
            model: "m".into(),
            system: "You develop.".into(),
            tools: vec![ToolSpec {
                name: "read_file".into(),
                description: "Reads.".into(),
                input_schema: json!({"type": "object", "properties": {"path": {"type": "string"}}}),
            }],
            messages: vec![
                Message { speaker: Speaker::User, parts: vec![Part::Text { text: "\n# Task\nfix it".into() }] },
                Message { speaker: Speaker::Assistant, parts: vec![call] },
                Message { speaker: Speaker::User, parts: vec![result("fn a() {}")] },
            ],
            max_output_tokens: 100,
            temperature_milli: None,
        }
    }

    fn changed(change: impl FnOnce(&mut ModelRequest)) -> Fingerprint {
        let mut request = request();
        change(&mut request);
        Fingerprint::of(&request)
    }

    #[test]
    fn the_key_is_settled_for_good() {
        // Recordings depend on it: if this changes, every cassette is stale.
        assert_eq!(Fingerprint::of(&request()).key, "13f5f978da72e7edaed35705c5dc5247bd4cb68a37e2f0b4932710a676e7df9d");
    }

    #[test]
    fn a_recording_is_stale_where_prompt_or_tools_have_changed() {
        let (recorded, asked) = (Fingerprint::of(&request()), request());
        assert!(recorded.stale(&asked.system, &asked.tools).is_empty());
        assert_eq!(recorded.stale("You do.", &asked.tools), ["system prompt"]);
        assert_eq!(recorded.stale(&asked.system, &[]), ["list of tools"]);
        assert!(Fingerprint::default().stale("You do.", &[]).is_empty());
    }

    #[test]
    fn session_turn_and_the_order_of_keys_do_not_count() {
        let same = changed(|r| {
            r.session = SessionId::new("tester", None, 3);
            r.turn = 9;
            r.tools[0].input_schema = json!({"properties": {"path": {"type": "string"}}, "type": "object"});
        });
        assert_eq!(same, Fingerprint::of(&request()));
    }

    #[test]
    fn everything_else_counts_and_is_named() {
        let difference = |change: fn(&mut ModelRequest)| {
            let (recorded, asked) = (Fingerprint::of(&request()), changed(change));
            assert_ne!(recorded.key, asked.key);
            recorded.first_difference(&asked)
        };
        assert_eq!(difference(|r| r.system.push(' ')), "the system prompt differs");
        assert_eq!(difference(|r| r.tools.clear()), "the list of tools differs");
        assert_eq!(difference(|r| r.temperature_milli = Some(0)), "the model and limits (m, 100 tokens) differs");
        assert_eq!(
            difference(|r| r.max_output_tokens = 99),
            "the recording has the model and limits (m, 100 tokens), the request has the model and limits (m, 99 tokens)"
        );
        assert_eq!(
            difference(|r| r.messages[2].parts =
                vec![Part::ToolResult { id: "call-1-0".into(), content: "fn b() {}".into(), is_error: false }]),
            "the tool result of read_file src/lib.rs (message 3) differs"
        );
        assert_eq!(
            difference(|r| r.messages.truncate(2)),
            "the request ends before the tool result of read_file src/lib.rs (message 3)"
        );
        assert_eq!(
            difference(|r| r.messages[0].parts = vec![Part::Text { text: "# Other".into() }]),
            "the recording has the text \"# Task\" (message 1), the request has the text \"# Other\" (message 1)"
        );
        assert_eq!(
            difference(|r| {
                let parts = r.messages.remove(2).parts;
                r.messages[1].parts.extend(parts);
                r.messages[1].speaker = Speaker::Assistant;
            }),
            "the recording has the tool result of read_file src/lib.rs (message 3), the request has the tool result of \
             read_file src/lib.rs (message 2)"
        );
    }
}
