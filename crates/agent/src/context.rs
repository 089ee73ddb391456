//! What fits into a request: the oldest tool results go first, the task never.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ports::{Message, ModelRequest, Part, Speaker, ToolSpec};
use crate::tools::describe;

/// Bytes per token: fewer than providers report for prose or code, so that what fits by it seldom turns out too long.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens that a provider adds to a request with tools, by what the providers' documents say.
const ADDED_BY_PROVIDER_TOKENS: u64 = 1_000;
/// What a part costs beside its text.
const PART_OVERHEAD_BYTES: u64 = 24;
/// Shorter texts are not worth a stub.
const WORTH_A_STUB_BYTES: usize = 200;
/// More bytes of prose for each token that an answer may have are no answer of a model that keeps to its bound.
const MOST_BYTES_PER_TOKEN: u64 = 4;

/// The most tokens that a request's input can be: providers split text into pieces of at least one byte.
pub(crate) fn most_input_tokens(request: &ModelRequest) -> u64 {
    let messages: u64 = request.messages.iter().map(message_bytes).sum();
    fixed_bytes(&request.system, &request.tools) + messages + ADDED_BY_PROVIDER_TOKENS
}

/// Bytes of what every request of a session begins with.
pub(crate) fn fixed_bytes(system: &str, tools: &[ToolSpec]) -> u64 {
    let tool = |tool: &ToolSpec| tool.name.len() + tool.description.len() + tool.input_schema.to_string().len();
    (system.len() + tools.iter().map(tool).sum::<usize>()) as u64
}

/// Makes the transcript fit: replaces tool results by one-line stubs, the oldest first, then long inputs of old calls,
/// then what the model said besides, then the newest results. The first message (task, design, diff) stays whole. Trims well below the limit, so that the
/// beginning of the transcript then stays the same for a while and the provider's cache keeps serving it.
///
/// Returns what went.
///
/// # Errors
/// The tokens that are left over when nothing more can go.
pub(crate) fn fit(messages: &mut [Message], fixed_bytes: u64, limit_tokens: u64) -> Result<Vec<String>, u64> {
    let mut bytes = fixed_bytes + messages.iter().map(message_bytes).sum::<u64>();
    let limit = limit_tokens * BYTES_PER_TOKEN;
    let mut gone = Vec::new();
    if bytes <= limit {
        return Ok(gone);
    }
    let labels = call_labels(messages);
    let newest = messages.len().saturating_sub(1);
    let stages = [
        (1..newest, Kind::Result, limit / 4 * 3),
        (1..newest, Kind::Call, limit),
        (1..newest, Kind::Prose, limit),
        (newest..newest + 1, Kind::Result, limit),
    ];
    for (range, kind, enough) in stages {
        for message in messages.iter_mut().take(range.end).skip(range.start.max(1)) {
            let is_models = message.speaker == Speaker::Assistant;
            for part in message.parts.iter_mut().filter(|_| is_models || kind != Kind::Prose) {
                if bytes <= enough {
                    return Ok(gone);
                }
                let before = part_bytes(part);
                if let Some(what) = shorten(part, kind, &labels) {
                    bytes = bytes - before + part_bytes(part);
                    gone.push(what);
                }
            }
        }
    }
    if bytes <= limit { Ok(gone) } else { Err(bytes.div_ceil(BYTES_PER_TOKEN)) }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Result,
    Call,
    Prose,
}

/// Cuts what an answer says beside its calls where it is longer than an answer of so many tokens can be: a transcript with it
/// would never fit again.
pub(crate) fn cut_prose(parts: &mut [Part], most_tokens: u64) {
    let mut room = usize::try_from(most_tokens.saturating_mul(MOST_BYTES_PER_TOKEN)).unwrap_or(usize::MAX);
    for part in parts {
        let Part::Text { text } = part else { continue };
        if text.len() > room {
            let kept = text.floor_char_boundary(room);
            let cut = text.len() - kept;
            text.truncate(kept);
            text.push_str(&format!("\n[{cut} bytes cut: the answer was longer than an answer may be]"));
            room = 0;
        } else {
            room -= text.len();
        }
    }
}

/// Replaces what is long in a part by a stub and says what went; `None` if nothing did.
fn shorten(part: &mut Part, kind: Kind, labels: &BTreeMap<String, String>) -> Option<String> {
    match part {
        Part::ToolResult { id, content, .. } if kind == Kind::Result && content.len() > WORTH_A_STUB_BYTES => {
            let what = format!("{} bytes of {}", content.len(), labels.get(id).map_or("a call", String::as_str));
            *content = format!("[left out to save space: {what}; call it again if you need it]");
            Some(what)
        }
        Part::ToolCall { name, input: Value::Object(fields), .. } if kind == Kind::Call => {
            let long: Vec<&mut Value> = fields
                .iter_mut()
                .map(|(_, value)| value)
                .filter(|value| value.as_str().is_some_and(|text| text.len() > WORTH_A_STUB_BYTES))
                .collect();
            let bytes: usize = long.iter().filter_map(|value| value.as_str()).map(str::len).sum();
            if bytes == 0 {
                return None;
            }
            long.into_iter().for_each(|value| *value = Value::from("[left out to save space]"));
            Some(format!("{bytes} bytes of input of {name}"))
        }
        Part::Text { text } if kind == Kind::Prose && text.len() > WORTH_A_STUB_BYTES => {
            let what = format!("{} bytes of what was said", text.len());
            *text = format!("[left out to save space: {what}]");
            Some(what)
        }
        _ => None,
    }
}

fn call_labels(messages: &[Message]) -> BTreeMap<String, String> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    let label = |part: &Part| match part {
        Part::ToolCall { id, name, input } => Some((id.clone(), describe(name, input))),
        _ => None,
    };
    parts.filter_map(label).collect()
}

fn message_bytes(message: &Message) -> u64 {
    message.parts.iter().map(part_bytes).sum()
}

fn part_bytes(part: &Part) -> u64 {
    let text = match part {
        Part::Text { text } => text.len(),
        Part::ToolCall { name, input, .. } => name.len() + input.to_string().len(),
        Part::ToolResult { content, .. } => content.len(),
    };
    text as u64 + PART_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn transcript(turns: usize, result_bytes: usize) -> Vec<Message> {
        let task = Part::Text { text: "t".repeat(600) };
        let mut messages = vec![Message { speaker: Speaker::User, parts: vec![task] }];
        for turn in 1..=turns {
            let id = format!("call-{turn}-1");
            let input = json!({"path": format!("f{turn}"), "content": "c".repeat(300)});
            let call = Part::ToolCall { id: id.clone(), name: "write_file".into(), input };
            let result = Part::ToolResult { id, content: "r".repeat(result_bytes), is_error: false };
            messages.push(Message { speaker: Speaker::Assistant, parts: vec![call] });
            messages.push(Message { speaker: Speaker::User, parts: vec![result] });
        }
        messages
    }

    fn tokens(messages: &[Message]) -> u64 {
        messages.iter().map(message_bytes).sum::<u64>().div_ceil(BYTES_PER_TOKEN)
    }

    #[test]
    fn what_fits_is_left_alone() {
        let mut messages = transcript(3, 900);
        let before = messages.clone();
        assert!(fit(&mut messages, 0, tokens(&before)).unwrap().is_empty());
        assert_eq!(messages, before);
    }

    #[test]
    fn the_oldest_results_go_first_and_the_task_stays() {
        let mut messages = transcript(6, 3_000);
        let before = messages.clone();
        let limit = tokens(&before) - 1;
        let gone = fit(&mut messages, 0, limit).unwrap();
        assert_eq!(gone[0], "3000 bytes of write_file f1");
        assert!(tokens(&messages) <= limit * 3 / 4, "trimmed well below the limit");
        assert_eq!(messages[0], before[0]);
        assert_eq!(messages[12], before[12], "the newest result stays");
        let stub = "[left out to save space: 3000 bytes of write_file f1; call it again if you need it]";
        assert_eq!(
            messages[2].parts[0],
            Part::ToolResult { id: "call-1-1".into(), content: stub.into(), is_error: false }
        );
    }

    #[test]
    fn what_the_model_said_goes_before_the_session_does() {
        let mut messages = transcript(2, 300);
        let said = Part::Text { text: "s".repeat(1 << 20) };
        messages[3].parts.insert(0, said);
        let gone = fit(&mut messages, 0, 2_000).unwrap();
        assert_eq!(gone.last().unwrap(), "1048576 bytes of what was said");
        assert_eq!(
            messages[3].parts[0],
            Part::Text { text: "[left out to save space: 1048576 bytes of what was said]".into() }
        );
        assert_eq!(messages[0], transcript(0, 0)[0], "the task stays");
    }

    #[test]
    fn an_answer_longer_than_an_answer_may_be_is_cut_at_a_character() {
        let text = |text: &str| Part::Text { text: text.into() };
        let mut parts = vec![text("a"), text("\u{e9}\u{e9}\u{e9}"), text("b")];
        let whole = parts.clone();
        cut_prose(&mut parts, 2);
        assert_eq!(parts, whole, "eight bytes fit");
        cut_prose(&mut parts, 1);
        let cut = |kept: &str, bytes| {
            text(&format!("{kept}\n[{bytes} bytes cut: the answer was longer than an answer may be]"))
        };
        assert_eq!(parts, [text("a"), cut("\u{e9}", 4), cut("", 1)]);
    }

    #[test]
    fn then_long_inputs_then_the_newest_result_and_then_it_is_an_error() {
        let mut messages = transcript(3, 3_000);
        let gone = fit(&mut messages, 0, 550).unwrap();
        assert!(gone.iter().any(|what| what == "300 bytes of input of write_file"), "{gone:?}");
        assert_eq!(gone.last().unwrap(), "3000 bytes of write_file f3");
        assert!(fit(&mut transcript(3, 3_000), 0, 200).unwrap_err() > 200);
    }
}
