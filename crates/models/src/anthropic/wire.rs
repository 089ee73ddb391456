//! The shapes of the Messages API: <https://docs.anthropic.com/en/api/messages>, version 2023-06-01.

use agent::ports::{Message, ModelRequest, ModelResponse, Part, Speaker, StopReason};
use run_model::budget::TokenUsage;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The body of a request.
///
/// Four places tell the provider what to cache, its limit: the tools, the system prompt, and the last two messages of the
/// user. The next turn repeats all up to the last of them, so it is read from the cache then; the one before is where this
/// turn finds what the turn before has written, however many parts came in between.
pub(super) fn request(request: &ModelRequest) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    body.insert("max_tokens".into(), json!(request.max_output_tokens));
    if let Some(thousandths) = request.temperature_milli {
        body.insert("temperature".into(), json!(f64::from(thousandths) / 1_000.0));
    }
    if !request.system.trim().is_empty() {
        body.insert("system".into(), json!([cached(json!({"type": "text", "text": request.system}))]));
    }
    let tool = |tool: &agent::ports::ToolSpec| json!({"name": tool.name, "description": tool.description, "input_schema": tool.input_schema});
    let mut tools: Vec<Value> = request.tools.iter().map(tool).collect();
    if let Some(last) = tools.pop() {
        tools.push(cached(last));
        body.insert("tools".into(), Value::Array(tools));
    }
    body.insert("messages".into(), Value::Array(messages(&request.messages)));
    Value::Object(body)
}

fn messages(messages: &[Message]) -> Vec<Value> {
    let mut cache_places = 2;
    let mut turns = Vec::with_capacity(messages.len());
    for message in messages.iter().rev() {
        let mut blocks: Vec<Value> = message.parts.iter().filter_map(block).collect();
        let Some(last) = blocks.pop() else { continue };
        let role = match message.speaker {
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
        };
        let cache_here = message.speaker == Speaker::User && cache_places > 0;
        cache_places -= i32::from(cache_here);
        blocks.push(if cache_here { cached(last) } else { last });
        turns.push(json!({"role": role, "content": blocks}));
    }
    turns.reverse();
    turns
}

/// A part as a block; the API refuses text without a visible character, so such text is left out.
fn block(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text } if text.trim().is_empty() => None,
        Part::Text { text } => Some(json!({"type": "text", "text": text})),
        Part::ToolCall { id, name, input } => Some(json!({"type": "tool_use", "id": id, "name": name, "input": input})),
        Part::ToolResult { id, content, is_error } => {
            Some(json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error}))
        }
    }
}

fn cached(mut block: Value) -> Value {
    block["cache_control"] = json!({"type": "ephemeral"});
    block
}

#[derive(Deserialize)]
struct Answer {
    content: Vec<Block>,
    stop_reason: String,
    usage: Usage,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    /// Thinking and whatever else is not meant for the loop.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: u64,
    output_tokens: u64,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
}

/// Reads the body of a 200.
pub(super) fn response(body: &[u8]) -> Result<ModelResponse, String> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| format!("the answer is no message of the API ({error})"))?;
    let part = |block| match block {
        Block::Text { text } => Some(Part::Text { text }),
        Block::ToolUse { id, name, input } => Some(Part::ToolCall { id, name, input }),
        Block::Other => None,
    };
    let Usage { input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens } = answer.usage;
    Ok(ModelResponse {
        parts: answer.content.into_iter().filter_map(part).collect(),
        stop_reason: match answer.stop_reason.as_str() {
            "tool_use" => StopReason::ToolUse,
            "max_tokens" | "model_context_window_exceeded" => StopReason::MaxTokens,
            "refusal" => StopReason::Refusal,
            _ => StopReason::EndTurn,
        },
        usage: TokenUsage {
            input_tokens,
            output_tokens,
            cache_read_tokens: cache_read_input_tokens.unwrap_or_default(),
            cache_write_tokens: cache_creation_input_tokens.unwrap_or_default(),
        },
        estimated: false,
    })
}
