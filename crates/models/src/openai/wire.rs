//! The shapes of chat completions: <https://platform.openai.com/docs/api-reference/chat>.

use std::collections::HashMap;

use agent::ports::{Message, ModelRequest, ModelResponse, Part, Speaker, StopReason, ToolSpec};
use reqwest::StatusCode;
use run_model::budget::TokenUsage;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::written;
use crate::live::{Failure, Said};

/// Bytes of text that count as a token where a server counts none: fewer than there mostly are, so that rather too much is
/// charged to the budget.
const BYTES_PER_TOKEN: usize = 3;

/// How a server is spoken to.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// The name under which it takes the bound of an answer.
    pub(super) bound: &'static str,
    /// Whether it is told that a tool has to be called.
    pub(super) requires_call: bool,
}

/// The body of a request.
pub(super) fn request(request: &ModelRequest, manner: Manner) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    body.insert(manner.bound.into(), json!(request.max_output_tokens));
    if let Some(thousandths) = request.temperature_milli {
        body.insert("temperature".into(), json!(f64::from(thousandths) / 1_000.0));
    }
    if !request.tools.is_empty() {
        body.insert("tools".into(), request.tools.iter().map(tool).collect());
        if manner.requires_call {
            // A turn without a call comes to nothing.
            body.insert("tool_choice".into(), json!("required"));
        }
    }
    body.insert("messages".into(), Value::Array(messages(request)));
    Value::Object(body)
}

fn tool(tool: &ToolSpec) -> Value {
    let ToolSpec { name, description, input_schema } = tool;
    json!({"type": "function", "function": {"name": name, "description": description, "parameters": input_schema}})
}

fn messages(request: &ModelRequest) -> Vec<Value> {
    let ids = ids(&request.messages);
    let mut said = Vec::with_capacity(request.messages.len() + 1);
    if !request.system.trim().is_empty() {
        said.push(json!({"role": "system", "content": request.system}));
    }
    for Message { speaker, parts } in &request.messages {
        let text = text(parts);
        match speaker {
            Speaker::User => {
                said.extend(parts.iter().filter_map(|part| result(part, &ids)));
                said.extend(text.map(|text| json!({"role": "user", "content": text})));
            }
            Speaker::Assistant => {
                let calls: Vec<Value> = parts.iter().filter_map(|part| call(part, &ids)).collect();
                match (text, calls.is_empty()) {
                    (None, true) => {}
                    (text, true) => said.push(json!({"role": "assistant", "content": text})),
                    (text, false) => said.push(json!({"role": "assistant", "content": text, "tool_calls": calls})),
                }
            }
        }
    }
    said
}

/// The calls' ids as nine letters and digits each: some servers take no others.
fn ids(messages: &[Message]) -> HashMap<&str, String> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    let ids = parts.filter_map(|part| if let Part::ToolCall { id, .. } = part { Some(id.as_str()) } else { None });
    ids.enumerate().map(|(at, id)| (id, format!("call{at:05}"))).collect()
}

fn text(parts: &[Part]) -> Option<String> {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text { text } if !text.trim().is_empty() => Some(text.as_str()),
        _ => None,
    });
    let texts: Vec<&str> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

fn call(part: &Part, ids: &HashMap<&str, String>) -> Option<Value> {
    let Part::ToolCall { id, name, input } = part else { return None };
    let function = json!({"name": name, "arguments": input.to_string()});
    Some(json!({"id": ids.get(id.as_str()), "type": "function", "function": function}))
}

/// A result as a message of its own; that it is an error can only be said in it.
fn result(part: &Part, ids: &HashMap<&str, String>) -> Option<Value> {
    let Part::ToolResult { id, content, is_error } = part else { return None };
    let content = if *is_error { format!("Error: {content}") } else { content.clone() };
    Some(json!({"role": "tool", "tool_call_id": ids.get(id.as_str()), "content": content}))
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    /// What a router says whose provider failed, with status 200.
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Choice {
    message: Reply,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Reply {
    /// A text, or a list of parts of which some are texts.
    #[serde(default)]
    content: Value,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Value,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Default, Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    /// From routers to providers that charge for it.
    #[serde(default)]
    cache_write_tokens: Option<u64>,
}

/// Reads the body of a 200.
pub(super) fn response(request: &ModelRequest, body: &[u8]) -> Result<ModelResponse, Failure> {
    let lost = |problem: &str| Failure::Lost(format!("the answer is no chat completion ({problem})"));
    let answer: Answer = serde_json::from_slice(body).map_err(|error| lost(&error.to_string()))?;
    if !answer.error.is_null() {
        return Err(failed(&answer.error, body));
    }
    let choice = answer.choices.into_iter().next().ok_or_else(|| lost("without a choice"))?;
    let (reason, refusal) = (choice.finish_reason.unwrap_or_default(), choice.message.refusal);
    if reason == "error" {
        return Err(Failure::Lost("the provider failed in mid-answer".into()));
    }
    let parts = parts(said(&choice.message.content), choice.message.tool_calls.unwrap_or_default(), &request.tools);
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let stop_reason = match reason.as_str() {
        "content_filter" => StopReason::Refusal,
        _ if refusal.is_some_and(|text| !text.is_empty()) => StopReason::Refusal,
        "length" => StopReason::MaxTokens,
        _ if calls => StopReason::ToolUse,
        _ => StopReason::EndTurn,
    };
    let counted = answer.usage.and_then(counted);
    let estimated = counted.is_none();
    let usage = counted.unwrap_or_else(|| estimate(request, &parts));
    Ok(ModelResponse { parts, stop_reason, usage, estimated })
}

/// A failure that came with status 200.
fn failed(error: &Value, body: &[u8]) -> Failure {
    let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let status = status.filter(|code| (400..600).contains(code)).and_then(|code| StatusCode::from_u16(code).ok());
    let said = Said::read(body);
    match status {
        Some(status) => Failure::Status { status, retry_after_ms: None, said },
        None => Failure::Lost(format!("the provider failed: {}", said.words)),
    }
}

/// What a message says; what a model only thought is none of it.
fn said(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().concat()),
        _ => None,
    }
}

fn parts(content: Option<String>, calls: Vec<Call>, tools: &[ToolSpec]) -> Vec<Part> {
    let content = content.filter(|text| !text.trim().is_empty());
    if calls.is_empty() {
        let Some(text) = content else { return Vec::new() };
        return written::calls(&text, tools).unwrap_or_else(|| vec![Part::Text { text }]);
    }
    let calls = calls.into_iter().map(|Call { id, function: Function { name, arguments } }| Part::ToolCall {
        id: id.unwrap_or_default(),
        name,
        input: input(arguments),
    });
    content.map(|text| Part::Text { text }).into_iter().chain(calls).collect()
}

/// What a call is made with: JSON in a string. What is none stays a string, and the loop tells the model.
pub(super) fn input(arguments: Value) -> Value {
    match arguments {
        Value::String(text) if text.trim().is_empty() => json!({}),
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        Value::Null => json!({}),
        other => other,
    }
}

/// The tokens as the server counts them. The prompt's include those that a cache served; reasoning is output, also with a
/// server that says so in the total alone. `None` if it has not counted both.
fn counted(usage: Usage) -> Option<TokenUsage> {
    let (prompt_tokens, completion_tokens) = usage.prompt_tokens.zip(usage.completion_tokens)?;
    let details = usage.prompt_tokens_details.unwrap_or_default();
    let cache_read_tokens = details.cached_tokens.unwrap_or_default();
    let cache_write_tokens = details.cache_write_tokens.unwrap_or_default();
    let by_total = usage.total_tokens.unwrap_or_default().saturating_sub(prompt_tokens);
    Some(TokenUsage {
        input_tokens: prompt_tokens.saturating_sub(cache_read_tokens.saturating_add(cache_write_tokens)),
        output_tokens: completion_tokens.max(by_total),
        cache_read_tokens,
        cache_write_tokens,
    })
}

/// The tokens of an exchange that a server has not counted.
fn estimate(request: &ModelRequest, parts: &[Part]) -> TokenUsage {
    let part_bytes = |part: &Part| match part {
        Part::Text { text } => text.len(),
        Part::ToolCall { name, input, .. } => name.len() + input.to_string().len(),
        Part::ToolResult { content, .. } => content.len(),
    };
    let tokens = |bytes: usize| bytes.div_ceil(BYTES_PER_TOKEN) as u64;
    let tools = request.tools.iter().map(|known| tool(known).to_string().len()).sum::<usize>();
    let asked = request.messages.iter().flat_map(|message| &message.parts).map(part_bytes).sum::<usize>();
    TokenUsage {
        input_tokens: tokens(request.system.len() + tools + asked),
        output_tokens: tokens(parts.iter().map(part_bytes).sum()),
        ..TokenUsage::default()
    }
}
