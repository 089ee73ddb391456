use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use agent::ports::{Message, Model, ModelError, ModelRequest, ModelResponse, Part, Speaker, StopReason, ToolSpec};
use config::{Dialect, Server};
use run_model::budget::TokenUsage;
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{Clock, FunctionError, SessionId};
use serde_json::{Value, json};

use super::Live;
use super::fake_provider::{FakeProvider, KEY, MODEL, Play, TIMEOUT_SECONDS, error, message};
use crate::{ApiKey, key_names};

fn client(server: Server<'_>, clock: &VirtualClock, key: &str) -> Live {
    let randomness = Arc::new(SeededRandomness::new(1));
    Live::new(&server, ApiKey::new(key), Arc::new(clock.clone()), randomness).unwrap()
}

fn text(text: &str) -> Part {
    Part::Text { text: text.into() }
}

/// A developer's third turn: two tools, a call, its result, a call again.
pub(crate) fn request() -> ModelRequest {
    let tool = |name: &str| ToolSpec {
        name: name.into(),
        description: format!("What {name} does."),
        input_schema: json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}),
    };
    let call = |turn: u32| Part::ToolCall {
        id: format!("call-{turn}-0"),
        name: "read_file".into(),
        input: json!({"path": "src/lib.rs"}),
    };
    let result = |turn: u32, is_error| Part::ToolResult {
        id: format!("call-{turn}-0"),
        content: format!("result {turn}"),
        is_error,
    };
    let say = |speaker, parts| Message { speaker, parts };
    ModelRequest {
        session: SessionId::new("developer", None, 1),
        turn: 3,
        model: MODEL.into(),
        system: "You develop.".into(),
        tools: vec![tool("read_file"), tool("delete_file")],
        messages: vec![
            say(Speaker::User, vec![text("The task.")]),
            say(Speaker::Assistant, vec![text("I look."), call(1)]),
            say(Speaker::User, vec![result(1, true)]),
            say(Speaker::Assistant, vec![text(" "), call(2)]),
            say(Speaker::User, vec![result(2, false), text("Two turns are left.")]),
        ],
        max_output_tokens: 1_000,
        temperature_milli: Some(250),
    }
}

/// Runs `work` and moves the clock on whenever it waits for seconds, not for the answer's time-out.
async fn patiently<T>(clock: &VirtualClock, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::task::yield_now() => {
                let wait_ms = clock.next_due_ms().map_or(i64::MAX, |due| due - clock.now_ms());
                if wait_ms <= 10_000 {
                    clock.advance(wait_ms);
                }
            }
        }
    }
}

struct Asked {
    result: Result<ModelResponse, ModelError>,
    requests: usize,
    waited_ms: i64,
}

async fn ask(dialect: Dialect, plays: impl IntoIterator<Item = Play>) -> Asked {
    let clock = VirtualClock::at(1_000);
    let provider = FakeProvider::start(dialect, plays).await;
    let result = patiently(&clock, client(provider.server(), &clock, KEY).complete(&request())).await;
    Asked { result, requests: provider.bodies().len(), waited_ms: clock.now_ms() - 1_000 }
}

fn throttled(dialect: Dialect, headers: &'static str) -> Play {
    Play::Status(429, headers, error(dialect, "rate_limit_error", "slow down"))
}

#[tokio::test]
async fn the_body_of_a_request_with_tools() {
    for dialect in Dialect::ALL {
        let provider = FakeProvider::start(dialect, []).await;
        client(provider.server(), &VirtualClock::at(0), KEY).complete(&request()).await.unwrap();
        insta::assert_json_snapshot!(format!("the_body_for_{}", dialect.as_str()), provider.bodies()[0]);
    }
}

#[tokio::test]
async fn a_bare_question_has_neither_system_nor_tools_and_a_silent_turn_is_left_out() {
    for dialect in Dialect::ALL {
        let provider = FakeProvider::start(dialect, []).await;
        let mut bare = ModelRequest { system: String::new(), tools: vec![], temperature_milli: None, ..request() };
        bare.messages.truncate(1);
        bare.messages.push(Message { speaker: Speaker::Assistant, parts: vec![] });
        bare.messages.push(Message { speaker: Speaker::User, parts: vec![text("Say something.")] });
        client(provider.server(), &VirtualClock::at(0), KEY).complete(&bare).await.unwrap();
        let body = &provider.bodies()[0];
        let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["model", "max_tokens", "messages"]);
        assert_eq!(body["messages"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn text_tool_calls_and_every_kind_of_token_are_read() {
    let of_messages = json!([
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "I read."},
        {"type": "tool_use", "id": "one", "name": "read_file", "input": {"path": "a"}},
        {"type": "tool_use", "id": "two", "name": "run_checks", "input": {}},
    ]);
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls = [call("one", "read_file", r#"{"path": "a"}"#), call("two", "run_checks", "")];
    let of_completions = json!({"role": "assistant", "content": "I read.", "reasoning": "hm", "tool_calls": calls});
    let call = |id: &str, name: &str, input: Value| Part::ToolCall { id: id.into(), name: name.into(), input };
    let parts =
        vec![text("I read."), call("one", "read_file", json!({"path": "a"})), call("two", "run_checks", json!({}))];
    let usage = TokenUsage { input_tokens: 11, output_tokens: 7, cache_read_tokens: 3, cache_write_tokens: 5 };
    let expected = ModelResponse { parts, stop_reason: StopReason::ToolUse, usage, estimated: false };
    for (dialect, content, reason) in
        [(Dialect::Anthropic, of_messages, "tool_use"), (Dialect::OpenAi, of_completions, "tool_calls")]
    {
        let asked = ask(dialect, [Play::Message(message(dialect, content, reason))]).await;
        assert_eq!((asked.result, asked.requests, asked.waited_ms), (Ok(expected.clone()), 1, 0), "{dialect:?}");
    }
}

#[tokio::test]
async fn every_reason_to_stop_has_its_word() {
    let reasons = [
        (Dialect::Anthropic, "end_turn", StopReason::EndTurn),
        (Dialect::Anthropic, "stop_sequence", StopReason::EndTurn),
        (Dialect::Anthropic, "max_tokens", StopReason::MaxTokens),
        (Dialect::Anthropic, "refusal", StopReason::Refusal),
        (Dialect::OpenAi, "stop", StopReason::EndTurn),
        (Dialect::OpenAi, "length", StopReason::MaxTokens),
        (Dialect::OpenAi, "content_filter", StopReason::Refusal),
    ];
    for (dialect, reason, expected) in reasons {
        let content = match dialect {
            Dialect::Anthropic => json!([]),
            Dialect::OpenAi => json!({"role": "assistant", "content": "I"}),
        };
        let asked = ask(dialect, [Play::Message(message(dialect, content, reason))]).await;
        assert_eq!(asked.result.unwrap().stop_reason, expected, "{reason}");
    }
}

#[tokio::test]
async fn a_short_throttle_is_waited_out() {
    for dialect in Dialect::ALL {
        for (headers, waited_ms) in
            [("retry-after: 2\r\n", 2_000), ("retry-after: 2\r\nretry-after-ms: 1500\r\n", 1_500)]
        {
            let asked = ask(dialect, [throttled(dialect, headers)]).await;
            assert!(asked.result.is_ok());
            assert_eq!((asked.requests, asked.waited_ms), (2, waited_ms), "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn a_long_throttle_is_the_callers() {
    for dialect in Dialect::ALL {
        let asked = ask(dialect, [throttled(dialect, "retry-after: 60\r\n")]).await;
        let Err(ModelError::Throttled { message, retry_after_ms }) = asked.result else { panic!("{:?}", asked.result) };
        assert!(message.contains("429, rate_limit_error: slow down"), "{message}");
        assert_eq!((retry_after_ms, asked.requests, asked.waited_ms), (Some(60_000), 1, 0));
    }
}

#[tokio::test]
async fn an_overloaded_provider_is_asked_four_times_within_five_seconds() {
    for dialect in Dialect::ALL {
        let overloaded = || Play::Status(529, "", error(dialect, "overloaded_error", "Overloaded"));
        let asked = ask(dialect, (0..9).map(|_| overloaded())).await;
        assert!(matches!(asked.result, Err(ModelError::Throttled { retry_after_ms: None, .. })), "{:?}", asked.result);
        assert_eq!(asked.requests, 4);
        assert!((1_750..=5_000).contains(&asked.waited_ms), "{}", asked.waited_ms);
    }
}

#[tokio::test]
async fn a_failure_on_their_side_is_tried_again_and_then_free_of_charge() {
    for dialect in Dialect::ALL {
        let failure = || Play::Status(500, "", error(dialect, "api_error", "Internal server error"));
        assert!(ask(dialect, [failure(), failure()]).await.result.is_ok());
        let asked = ask(dialect, (0..9).map(|_| failure())).await;
        let Err(ModelError::Unavailable { message, may_be_charged }) = asked.result else {
            panic!("{:?}", asked.result)
        };
        assert!(message.contains("500, api_error: Internal server error"), "{message}");
        assert_eq!((may_be_charged, asked.requests), (false, 4));
    }
}

#[tokio::test]
async fn an_answer_that_may_be_charged_is_not_asked_for_twice() {
    for (dialect, half, no_answer) in [
        (Dialect::Anthropic, r#"{"type": "message", "content": []}"#, "the answer is no message of the API"),
        (Dialect::OpenAi, r#"{"object": "chat.completion", "choices": []}"#, "the answer is no chat completion"),
    ] {
        for (play, says) in [
            (Play::CutShort, "the answer broke off"),
            (Play::HangUp, "the connection was lost before an answer came"),
            (Play::Status(200, "", "{\"id\": 1".into()), no_answer),
            (Play::Status(200, "", String::new()), no_answer),
            (Play::Status(200, "", half.into()), no_answer),
        ] {
            let asked = ask(dialect, [play]).await;
            let Err(ModelError::Unavailable { message, may_be_charged }) = asked.result else {
                panic!("{:?}", asked.result)
            };
            assert!(message.contains(says), "{message}");
            assert_eq!((may_be_charged, asked.requests), (true, 1), "{message}");
        }
    }
}

#[tokio::test]
async fn another_server_that_answers_with_200_is_refused_and_charges_nothing() {
    for dialect in Dialect::ALL {
        for body in ["<!doctype html><title>welcome</title>", "OK", "[]", "\"hello\""] {
            let asked = ask(dialect, [Play::Status(200, "", body.into())]).await;
            let Err(ModelError::Refused(message)) = asked.result else { panic!("{:?}", asked.result) };
            assert!(message.contains("it is no such server: check base_url"), "{message}");
            assert_eq!(asked.requests, 1);
        }
    }
}

#[tokio::test]
async fn silence_ends_at_the_time_out() {
    let clock = VirtualClock::at(0);
    let provider = FakeProvider::start(Dialect::OpenAi, [Play::Silence]).await;
    let client = client(provider.server(), &clock, KEY);
    let asking = tokio::spawn(async move { client.complete(&request()).await });
    while provider.bodies().is_empty() {
        tokio::task::yield_now().await;
    }
    clock.advance(i64::try_from(TIMEOUT_SECONDS * 1_000).unwrap() - 1);
    tokio::task::yield_now().await;
    assert!(!asking.is_finished());
    clock.advance(1);
    let Err(ModelError::Unavailable { message, may_be_charged }) = asking.await.unwrap() else { panic!("it answered") };
    assert!(message.contains("no answer within 600 s") && may_be_charged, "{message}");
}

#[tokio::test]
async fn all_attempts_together_end_at_the_time_out() {
    let clock = VirtualClock::at(0);
    let failure = Play::Status(500, "", error(Dialect::Anthropic, "api_error", "Internal server error"));
    let provider = FakeProvider::start(Dialect::Anthropic, [failure, Play::Silence]).await;
    let client = client(provider.server(), &clock, KEY);
    let asking = tokio::spawn(async move { client.complete(&request()).await });
    while provider.bodies().len() < 2 {
        tokio::task::yield_now().await;
        if let Some(due_ms) = clock.next_due_ms().filter(|due_ms| *due_ms < 10_000) {
            clock.advance(due_ms - clock.now_ms());
        }
    }
    clock.advance(i64::try_from(TIMEOUT_SECONDS * 1_000).unwrap() - clock.now_ms());
    assert!(matches!(asking.await.unwrap(), Err(ModelError::Unavailable { may_be_charged: true, .. })));
}

#[tokio::test]
async fn nobody_at_home_on_this_machine_is_said_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let clock = VirtualClock::at(0);
    let nobody = Server { dialect: Dialect::OpenAi, base_url: &url, timeout_seconds: TIMEOUT_SECONDS };
    let result = patiently(&clock, client(nobody, &clock, KEY).complete(&request())).await;
    let Err(ModelError::Refused(message)) = result else { panic!("{result:?}") };
    assert_eq!(message, format!("{url}: nobody listens there; start the server, or mend base_url"));
    assert_eq!(clock.now_ms(), 0, "waiting would not help");
}

#[tokio::test]
async fn a_refusal_says_what_the_provider_said_and_the_cure() {
    for dialect in Dialect::ALL {
        for (status, kind, cure) in [
            (400, "invalid_request_error", "check the role's model, temperature, max_output_tokens and context_tokens"),
            (402, "billing_error", "add credit"),
            (403, "permission_error", "give it access to a-model"),
            (404, "not_found_error", "check model and base_url"),
            (413, "request_too_large", "lower context_tokens"),
            (302, "moved", "write the final base_url"),
            (429, "insufficient_quota", "add credit"),
            (400, "context_length_exceeded", "lower context_tokens"),
        ] {
            let play = Play::Status(status, "location: http://127.0.0.1:1/\r\n", error(dialect, kind, "so it is"));
            let asked = ask(dialect, [play]).await;
            let Err(ModelError::Refused(message)) = asked.result else { panic!("{:?}", asked.result) };
            assert!(message.contains(&format!("{status}, {kind}: so it is; ")) && message.contains(cure), "{message}");
            assert_eq!((asked.requests, asked.waited_ms), (1, 0), "{message}");
        }
    }
}

#[tokio::test]
async fn what_servers_say_in_forms_of_their_own_is_passed_on() {
    for (body, expected) in [
        (r#"{"error": "model \"x\" not found, try pulling it first"}"#, "404, model \"x\" not found"),
        (r#"{"detail": "Not Found"}"#, "404, Not Found"),
        (r#"{"error": {"code": 404, "message": "No endpoints found"}}"#, "404, No endpoints found"),
        ("plain\n  words", "404, plain words"),
        ("", "404, without a word"),
    ] {
        let asked = ask(Dialect::OpenAi, [Play::Status(404, "", body.into())]).await;
        let Err(ModelError::Refused(message)) = asked.result else { panic!("{:?}", asked.result) };
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn a_key_is_never_printed_even_if_the_provider_repeats_it() {
    for dialect in Dialect::ALL {
        let provider = FakeProvider::start(dialect, []).await;
        let client = client(provider.server(), &VirtualClock::at(0), "sk-wrong");
        let error = client.complete(&request()).await.unwrap_err();
        let printed = format!("{error} {error:?} {client:?} {:?}", FunctionError::from(error.clone()));
        let name = key_names(dialect).key;
        assert!(printed.contains(&format!("401, authentication_error: invalid key ***; check {name}")), "{printed}");
        assert!(!printed.contains("sk-wrong"), "{printed}");
    }
}

#[test]
fn a_key_that_cannot_travel_is_refused_unprinted() {
    for dialect in Dialect::ALL {
        let clock = Arc::new(VirtualClock::at(0));
        let server = Server { dialect, base_url: "http://127.0.0.1:1", timeout_seconds: 1 };
        let key = ApiKey::new("sk\nbroken");
        let error = Live::new(&server, key, clock, Arc::new(SeededRandomness::new(1))).unwrap_err();
        let printed = format!("{error} {error:?}");
        let expected = format!("{} holds characters", key_names(dialect).key);
        assert!(printed.contains(&expected) && !printed.contains("broken"), "{printed}");
    }
}

/// What a chat completion with this message comes to.
async fn completed(content: Value, reason: &str) -> ModelResponse {
    let play = Play::Message(message(Dialect::OpenAi, content, reason));
    ask(Dialect::OpenAi, [play]).await.result.unwrap()
}

#[tokio::test]
async fn a_call_whose_arguments_are_no_json_comes_as_it_was_written() {
    let broken = r#"{"path": "a"#;
    let call = json!({"id": "x", "type": "function", "function": {"name": "read_file", "arguments": broken}});
    let response = completed(json!({"content": null, "tool_calls": [call]}), "stop").await;
    let expected = Part::ToolCall { id: "x".into(), name: "read_file".into(), input: json!(broken) };
    assert_eq!((response.parts, response.stop_reason), (vec![expected], StopReason::ToolUse));
}

#[tokio::test]
async fn a_call_that_a_server_left_in_the_text_is_a_call() {
    let written = "```json\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}\n```";
    let response = completed(json!({"role": "assistant", "content": written}), "stop").await;
    let expected = Part::ToolCall { id: String::new(), name: "read_file".into(), input: json!({"path": "a"}) };
    assert_eq!((response.parts, response.stop_reason), (vec![expected], StopReason::ToolUse));
    let prose = completed(json!({"role": "assistant", "content": format!("Thus:\n{written}")}), "stop").await;
    assert!(matches!(&prose.parts[..], [Part::Text { .. }]) && prose.stop_reason == StopReason::EndTurn, "{prose:?}");
}

#[tokio::test]
async fn of_an_answer_in_parts_what_is_said_counts_and_what_is_thought_does_not() {
    let thought = json!({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]});
    let content = json!([thought, {"type": "text", "text": "Yes"}, {"type": "text", "text": "."}]);
    let response = completed(json!({"role": "assistant", "content": content}), "stop").await;
    assert_eq!(response.parts, [Part::Text { text: "Yes.".into() }]);
}

#[tokio::test]
async fn a_model_that_says_why_it_refuses_has_refused() {
    let response = completed(json!({"role": "assistant", "content": null, "refusal": "I will not."}), "stop").await;
    assert_eq!((response.parts, response.stop_reason), (vec![], StopReason::Refusal));
}

#[tokio::test]
async fn tokens_that_a_server_does_not_count_are_estimated_and_said_to_be() {
    let mut uncounted = message(Dialect::OpenAi, json!({"role": "assistant", "content": "four words of it"}), "stop");
    uncounted.as_object_mut().unwrap().remove("usage");
    let response = ask(Dialect::OpenAi, [Play::Message(uncounted)]).await.result.unwrap();
    assert!(response.estimated);
    assert!(response.usage.input_tokens > 100 && response.usage.output_tokens == 6, "{:?}", response.usage);
    let mut half = message(Dialect::OpenAi, json!({"role": "assistant", "content": "x"}), "stop");
    for usage in [json!({}), json!({"prompt_tokens": 10})] {
        half["usage"] = usage;
        let response = ask(Dialect::OpenAi, [Play::Message(half.clone())]).await.result.unwrap();
        assert!(response.estimated && response.usage.output_tokens == 1, "{:?}", response.usage);
    }
    // One that counts reasoning in the total alone.
    let mut hidden = message(Dialect::OpenAi, json!({"role": "assistant", "content": "x"}), "stop");
    hidden["usage"] = json!({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 62});
    let response = ask(Dialect::OpenAi, [Play::Message(hidden)]).await.result.unwrap();
    let usage = TokenUsage { input_tokens: 10, output_tokens: 52, ..TokenUsage::default() };
    assert_eq!((response.usage, response.estimated), (usage, false));
}

#[tokio::test]
async fn a_server_that_refuses_a_way_of_asking_is_asked_otherwise_from_then_on() {
    let refuses = |text: &str| Play::Status(400, "", error(Dialect::OpenAi, "invalid_request_error", text));
    let provider = FakeProvider::start(
        Dialect::OpenAi,
        [
            refuses("tool_choice: only auto is supported"),
            refuses("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
        ],
    )
    .await;
    let client = client(provider.server(), &VirtualClock::at(0), KEY);
    for _ in 0..2 {
        client.complete(&request()).await.unwrap();
    }
    let asked: Vec<(bool, bool)> = provider
        .bodies()
        .iter()
        .map(|body| (body["tool_choice"] == "required", body["max_completion_tokens"].is_number()))
        .collect();
    assert_eq!(asked, [(true, false), (false, false), (false, true), (false, true)]);
    assert!(provider.bodies().iter().all(|body| body["tools"].as_array().is_some_and(|tools| tools.len() == 2)));
}

#[tokio::test]
async fn a_bound_that_is_too_large_is_no_bound_of_another_name() {
    let too_large = "max_tokens is too large: 1000. This model supports at most 512 completion tokens";
    let play = || Play::Status(400, "", error(Dialect::OpenAi, "invalid_request_error", too_large));
    let asked = ask(Dialect::OpenAi, [play(), play()]).await;
    let Err(ModelError::Refused(message)) = asked.result else { panic!("{:?}", asked.result) };
    assert!(message.contains("check the role's model, temperature, max_output_tokens"), "{message}");
    assert_eq!(asked.requests, 1);
}

#[tokio::test]
async fn a_failure_inside_a_200_is_one() {
    let failure = |error: Value| Play::Message(json!({"error": error}));
    let busy = failure(json!({"code": 429, "message": "the provider is busy"}));
    let asked = ask(Dialect::OpenAi, [busy]).await;
    assert!(asked.result.is_ok() && asked.requests == 2, "{:?}", asked.result);
    let asked = ask(Dialect::OpenAi, [failure(json!({"message": "upstream died"}))]).await;
    let Err(ModelError::Unavailable { message: said, may_be_charged: true }) = asked.result else {
        panic!("{:?}", asked.result)
    };
    assert!(said.contains("the provider failed: upstream died"), "{said}");
    let died = message(Dialect::OpenAi, json!({"role": "assistant", "content": "half an"}), "error");
    let asked = ask(Dialect::OpenAi, [Play::Message(died)]).await;
    assert!(matches!(asked.result, Err(ModelError::Unavailable { may_be_charged: true, .. })), "{:?}", asked.result);
}
