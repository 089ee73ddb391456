//! A recording behind the Messages API: a request is answered with what was recorded for exactly this request.

use std::path::Path;

use agent::ports::{Message, Model, ModelError, ModelRequest, ModelResponse, Part, Speaker, ToolSpec};
use models::Replay;
use run_model::SessionId;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::machines::roles;

/// Whom a stage saw asking, and whom the recording was made for. Everything else of a request has to be as it was recorded.
const ASKED_BY: (&str, &str) = ("<requirement from=\"bearer\">", "<requirement from=\"local\">");

/// A cassette that answers bodies of requests.
pub(crate) struct Recording {
    replay: Replay,
    runtime: Runtime,
}

impl Recording {
    pub(crate) fn open(cassette: &Path) -> Self {
        Self { replay: Replay::open(cassette).unwrap(), runtime: Builder::new_current_thread().build().unwrap() }
    }

    /// The recorded answer; without one, what the nearest recording has otherwise.
    pub(crate) fn answer(&self, body: &str) -> Result<ModelResponse, String> {
        let asked = request(&serde_json::from_str(body).unwrap());
        self.runtime.block_on(self.replay.complete(&asked)).map_err(|miss: ModelError| miss.to_string())
    }
}

/// The role whose prompt a request begins with.
pub(crate) fn role_of(body: &Value) -> Option<String> {
    let system = body["system"].to_string().to_lowercase();
    roles().into_iter().find(|role| system.contains(&format!("# {role}\\n")))
}

/// How many answers a request's transcript has.
pub(crate) fn answers_in(body: &Value) -> usize {
    body["messages"].as_array().unwrap().iter().filter(|message| message["role"] == "assistant").count()
}

/// The request that was made into this body. Its session, which no body has and no recording is found by, is told as far as the
/// body shows it.
fn request(body: &Value) -> ModelRequest {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tool = |tool: &Value| ToolSpec {
        name: text(&tool["name"]),
        description: text(&tool["description"]),
        input_schema: tool["input_schema"].clone(),
    };
    let role = role_of(body).expect("every prompt names its role");
    ModelRequest {
        session: SessionId::new(&role, None, 1),
        turn: u32::try_from(answers_in(body)).unwrap() + 1,
        model: text(&body["model"]),
        system: text(&body["system"][0]["text"]),
        tools: body["tools"].as_array().into_iter().flatten().map(tool).collect(),
        messages: body["messages"].as_array().unwrap().iter().map(message).collect(),
        max_output_tokens: body["max_tokens"].as_u64().unwrap(),
        temperature_milli: body["temperature"].as_f64().map(|value| (value * 1_000.0).round() as u32),
    }
}

fn message(message: &Value) -> Message {
    let speaker = if message["role"] == "user" { Speaker::User } else { Speaker::Assistant };
    Message { speaker, parts: message["content"].as_array().unwrap().iter().map(part).collect() }
}

fn as_recorded(text: String) -> String {
    text.strip_prefix(ASKED_BY.0).map(|rest| format!("{}{rest}", ASKED_BY.1)).unwrap_or(text)
}

fn part(block: &Value) -> Part {
    let text = |field: &str| block[field].as_str().unwrap().to_owned();
    match block["type"].as_str().unwrap() {
        "text" => Part::Text { text: as_recorded(text("text")) },
        "tool_use" => Part::ToolCall { id: text("id"), name: text("name"), input: block["input"].clone() },
        "tool_result" => {
            let is_error = block["is_error"].as_bool().unwrap();
            Part::ToolResult { id: text("tool_use_id"), content: text("content"), is_error }
        }
        strange => panic!("no request of ours has a block of type {strange}"),
    }
}
