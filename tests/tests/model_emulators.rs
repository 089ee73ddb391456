//! Model servers that other people wrote: what they say of the client when they fail, and what a real model answers it.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use agent::ports::{Message, ModelError, ModelRequest, ModelResponse, Part, Speaker, StopReason, ToolSpec};
use config::Dialect;
use run_model::SessionId;
use serde_json::{Value, json};
use tests::asking::connect;
use tests::emulators::Emulator;
use tests::{Ended, Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";

fn question(text: &str) -> ModelRequest {
    let tool = ToolSpec {
        name: "submit".into(),
        description: "Hands the result in.".into(),
        input_schema: json!({"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}),
    };
    ModelRequest {
        session: SessionId::new("developer", None, 1),
        turn: 1,
        model: "claude-sonnet-4-5".into(),
        system: "You answer in one short sentence.".into(),
        tools: vec![tool],
        messages: vec![Message { speaker: Speaker::User, parts: vec![Part::Text { text: text.into() }] }],
        max_output_tokens: 64,
        temperature_milli: Some(0),
    }
}

async fn ask(server: &Emulator, dialect: Dialect) -> Result<ModelResponse, ModelError> {
    connect(dialect, server.base_url(dialect)).await.complete(&question("What is blue?")).await
}

fn replies(script: &Script) -> Vec<Value> {
    let calls = |response: ModelResponse| -> Vec<Value> {
        let call = |part| match part {
            Part::ToolCall { name, input, .. } => json!({"name": name, "arguments": input}),
            other => panic!("{other:?}"),
        };
        response.parts.into_iter().map(call).collect()
    };
    script.responses().into_iter().map(|response| json!({"type": "reply", "tool_calls": calls(response)})).collect()
}

#[test]
fn a_whole_run_survives_what_llmock_does_to_it_and_is_found_patient() {
    let (test, path) = ("test \"$(sh sum.sh 1 2)\" = 3\n", "tests/two.sh");
    let crew = Script::default().planned().develops(1, "sum.sh", RIGHT).tests(1, path, test).approves(1);
    for dialect in Dialect::ALL {
        let server = Emulator::llmock();
        let mut said = replies(&crew);
        // The first answer that gets through is broken, so the orchestrator has to be heard again.
        said.insert(0, said[0].clone());
        let faults = [
            json!({"type": "fail", "status": 429, "retry_after": 1}),
            json!({"type": "fail", "status": 529, "retry_after": 1}),
            json!({"type": "fail", "status": 503}),
            json!({"type": "tool_fault", "kind": "malformed_arguments"}),
        ];
        let behaviors = [&faults[..], &said].concat();
        server.control("POST", "/_llmock/scenario", &json!({"behaviors": behaviors}));
        let (kind, base_url) = (dialect.as_str(), server.base_url(dialect));
        let world = World::quick_with(&format!("[provider]\nkind = \"{kind}\"\nbase_url = \"{base_url}\"\n"));
        let mut command = world.command(&["run", "--requirements", "make it right", "--yes", "--json"]);
        command.env("ANTHROPIC_API_KEY", "a-key").env("OPENAI_API_KEY", "a-key");
        let run = Ended::of(&command.output().unwrap()).expect(0).json();
        assert_eq!(world.on_branch(run["branch"].as_str().unwrap(), "sum.sh").as_deref(), Some(RIGHT));
        let verdict = server.control("GET", "/_llmock/verdict", &Value::Null);
        // Eight answers and three failures; the eight are one call each.
        assert_eq!(
            (&verdict["findings"], &verdict["calls"], &verdict["attempts"], &verdict["faults_injected"]),
            (&json!([]), &json!(8), &json!(11), &json!(3)),
            "{dialect:?}: {verdict:#}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_llmock_refuses_is_not_asked_for_again() {
    for dialect in Dialect::ALL {
        let server = Emulator::llmock();
        for (status, code, cure) in [
            (401, None, "API_KEY"),
            (403, None, "give it access"),
            (404, None, "check model and base_url"),
            (400, Some("context_length_exceeded"), "lower context_tokens"),
            (429, Some("insufficient_quota"), "add credit"),
        ] {
            // Anthropic has no codes.
            let Some(code) = (code.is_none() || dialect == Dialect::OpenAi).then_some(code) else { continue };
            let fail = json!({"type": "fail", "status": status, "code": code, "message": "so it is"});
            server.control("POST", "/_llmock/scenario", &json!({"behaviors": [fail]}));
            let error = ask(&server, dialect).await.unwrap_err();
            let ModelError::Refused(said) = &error else { panic!("{status}: {error:?}") };
            assert!(said.contains("so it is") && said.contains(cure), "{said}");
            let asked = server.control("GET", "/_llmock/requests", &Value::Null);
            assert_eq!(asked["count"], 1, "{status}: {asked:#}");
            server.control("POST", "/_llmock/reset", &Value::Null);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_aimock_loses_and_an_answer_that_it_breaks_may_be_charged() {
    let folder = tempfile::tempdir().unwrap();
    let server = Emulator::aimock(folder.path());
    for dialect in Dialect::ALL {
        for (chaos, says) in [("disconnectRate", "the connection was lost"), ("malformedRate", "the answer is no")] {
            server.control("POST", "/__aimock/chaos", &json!({chaos: 1}));
            let error = ask(&server, dialect).await.unwrap_err();
            let ModelError::Unavailable { message, may_be_charged: true } = &error else { panic!("{error:?}") };
            assert!(message.contains(says), "{message}");
        }
        server.control("POST", "/__aimock/chaos", &json!({"rateLimitRate": 1}));
        let error = ask(&server, dialect).await.unwrap_err();
        assert!(matches!(error, ModelError::Throttled { .. }), "{error:?}");
        server.control("POST", "/__aimock/chaos", &json!({}));
        let response = ask(&server, dialect).await.unwrap();
        assert_eq!(response.parts, [Part::Text { text: "hello".into() }]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_answers_in_both_dialects() {
    let server = Emulator::small_model();
    for dialect in Dialect::ALL {
        let response = ask(&server, dialect).await.unwrap();
        let [Part::Text { text }] = &response.parts[..] else { panic!("{dialect:?}: {response:?}") };
        assert!(text.split_whitespace().count() > 1, "{text}");
        let usage = response.usage;
        assert!(usage.input_tokens + usage.cache_read_tokens > 10 && usage.output_tokens > 1, "{usage:?}");
        assert!(!response.estimated);
        let cut = connect(dialect, server.base_url(dialect)).await;
        let cut =
            cut.complete(&ModelRequest { max_output_tokens: 2, ..question("Count to a hundred.") }).await.unwrap();
        assert_eq!(cut.stop_reason, StopReason::MaxTokens, "{cut:?}");
    }
}
