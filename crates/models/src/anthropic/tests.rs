use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use agent::ports::{
    Message, Model, ModelError, ModelRequest, ModelResponse, Part, PortError, Speaker, StopReason, ToolSpec,
};
use async_trait::async_trait;
use config::{Provider, RunConfig};
use run_model::budget::TokenUsage;
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{Clock, ErrorName, FunctionError, SessionId};
use serde_json::json;

use super::Anthropic;
use super::fake_provider::{FakeProvider, KEY, MODEL, Play, error, message};
use crate::{ApiKey, KeySource, connect};

const TIMEOUT_SECONDS: u64 = 600;

fn client(base_url: &str, clock: &VirtualClock, key: &str) -> Anthropic {
    let randomness = Arc::new(SeededRandomness::new(1));
    Anthropic::new(base_url, TIMEOUT_SECONDS, ApiKey::new(key).unwrap(), Arc::new(clock.clone()), randomness).unwrap()
}

fn text(text: &str) -> Part {
    Part::Text { text: text.into() }
}

/// A developer's third turn: two tools, a call, its result, a call again.
fn request() -> ModelRequest {
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

async fn ask(plays: impl IntoIterator<Item = Play>) -> Asked {
    let clock = VirtualClock::at(1_000);
    let provider = FakeProvider::start(plays).await;
    let result = patiently(&clock, client(&provider.base_url, &clock, KEY).complete(&request())).await;
    Asked { result, requests: provider.bodies().len(), waited_ms: clock.now_ms() - 1_000 }
}

fn throttled(headers: &'static str) -> Play {
    Play::Status(429, headers, error("rate_limit_error", "slow down"))
}

#[tokio::test]
async fn the_body_of_a_request_with_tools() {
    let clock = VirtualClock::at(0);
    let provider = FakeProvider::start([]).await;
    client(&provider.base_url, &clock, KEY).complete(&request()).await.unwrap();
    insta::assert_json_snapshot!(provider.bodies()[0]);
}

#[tokio::test]
async fn a_bare_question_has_neither_system_nor_tools_and_a_silent_turn_is_left_out() {
    let provider = FakeProvider::start([]).await;
    let mut bare = ModelRequest { system: String::new(), tools: vec![], temperature_milli: None, ..request() };
    bare.messages.truncate(1);
    bare.messages.push(Message { speaker: Speaker::Assistant, parts: vec![] });
    bare.messages.push(Message { speaker: Speaker::User, parts: vec![text("Say something.")] });
    client(&provider.base_url, &VirtualClock::at(0), KEY).complete(&bare).await.unwrap();
    let body = &provider.bodies()[0];
    let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["model", "max_tokens", "messages"]);
    assert_eq!(body["messages"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn text_tool_calls_and_every_kind_of_token_are_read() {
    let content = json!([
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "I read."},
        {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {"path": "a"}},
    ]);
    let asked = ask([Play::Message(message(content, "tool_use"))]).await;
    let call = Part::ToolCall { id: "toolu_1".into(), name: "read_file".into(), input: json!({"path": "a"}) };
    let usage = TokenUsage { input_tokens: 11, output_tokens: 7, cache_read_tokens: 3, cache_write_tokens: 5 };
    let parts = vec![text("I read."), call];
    let expected = ModelResponse { parts, stop_reason: StopReason::ToolUse, usage, estimated: false };
    assert_eq!((asked.result, asked.requests, asked.waited_ms), (Ok(expected), 1, 0));
}

#[tokio::test]
async fn every_reason_to_stop_has_its_word() {
    for (reason, expected) in [
        ("end_turn", StopReason::EndTurn),
        ("stop_sequence", StopReason::EndTurn),
        ("max_tokens", StopReason::MaxTokens),
        ("refusal", StopReason::Refusal),
    ] {
        let asked = ask([Play::Message(message(json!([]), reason))]).await;
        assert_eq!(asked.result.unwrap().stop_reason, expected, "{reason}");
    }
}

#[tokio::test]
async fn a_short_throttle_is_waited_out() {
    let asked = ask([throttled("retry-after: 2\r\n")]).await;
    assert!(asked.result.is_ok());
    assert_eq!((asked.requests, asked.waited_ms), (2, 2_000));
}

#[tokio::test]
async fn a_long_throttle_is_the_callers() {
    let asked = ask([throttled("retry-after: 60\r\n")]).await;
    let Err(ModelError::Throttled { message, retry_after_ms }) = asked.result else { panic!("{:?}", asked.result) };
    assert!(message.contains("429, rate_limit_error: slow down"), "{message}");
    assert_eq!((retry_after_ms, asked.requests, asked.waited_ms), (Some(60_000), 1, 0));
}

#[tokio::test]
async fn an_overloaded_provider_is_asked_four_times_within_five_seconds() {
    let overloaded = || Play::Status(529, "", error("overloaded_error", "Overloaded"));
    let asked = ask((0..9).map(|_| overloaded())).await;
    assert!(matches!(asked.result, Err(ModelError::Throttled { retry_after_ms: None, .. })), "{:?}", asked.result);
    assert_eq!(asked.requests, 4);
    assert!((1_750..=5_000).contains(&asked.waited_ms), "{}", asked.waited_ms);
}

#[tokio::test]
async fn a_failure_on_their_side_is_tried_again_and_then_free_of_charge() {
    let failure = || Play::Status(500, "", error("api_error", "Internal server error"));
    assert!(ask([failure(), failure()]).await.result.is_ok());
    let asked = ask((0..9).map(|_| failure())).await;
    let Err(ModelError::Unavailable { message, may_be_charged }) = asked.result else { panic!("{:?}", asked.result) };
    assert!(message.contains("500, api_error: Internal server error"), "{message}");
    assert_eq!((may_be_charged, asked.requests), (false, 4));
}

#[tokio::test]
async fn an_answer_that_may_be_charged_is_not_asked_for_twice() {
    let half = r#"{"type": "message", "content": []}"#;
    for (play, says) in [
        (Play::CutShort, "the answer broke off"),
        (Play::HangUp, "the connection was lost before an answer came"),
        (Play::Status(200, "", "<html>proxy</html>".into()), "the answer is no message of the API"),
        (Play::Status(200, "", half.into()), "the answer is no message of the API"),
    ] {
        let asked = ask([play]).await;
        let Err(ModelError::Unavailable { message, may_be_charged }) = asked.result else {
            panic!("{:?}", asked.result)
        };
        assert!(message.contains(says), "{message}");
        assert_eq!((may_be_charged, asked.requests), (true, 1), "{message}");
    }
}

#[tokio::test]
async fn silence_ends_at_the_time_out() {
    let clock = VirtualClock::at(0);
    let provider = FakeProvider::start([Play::Silence]).await;
    let client = client(&provider.base_url, &clock, KEY);
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
    let failure = Play::Status(500, "", error("api_error", "Internal server error"));
    let provider = FakeProvider::start([failure, Play::Silence]).await;
    let client = client(&provider.base_url, &clock, KEY);
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
async fn nobody_at_home_is_free_of_charge() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let clock = VirtualClock::at(0);
    let result = patiently(&clock, client(&url, &clock, KEY).complete(&request())).await;
    assert!(matches!(result, Err(ModelError::Unavailable { may_be_charged: false, .. })), "{result:?}");
    assert!((1..=5_000).contains(&clock.now_ms()));
}

#[tokio::test]
async fn a_refusal_says_what_the_provider_said_and_the_cure() {
    for (status, kind, cure) in [
        (400, "invalid_request_error", "check the role's model, max_output_tokens and context_tokens"),
        (402, "billing_error", "add credit"),
        (403, "permission_error", "give it access to claude-sonnet-4-5"),
        (404, "not_found_error", "check model and base_url"),
        (413, "request_too_large", "lower context_tokens"),
        (302, "moved", "write the final base_url"),
    ] {
        let asked = ask([Play::Status(status, "location: http://127.0.0.1:1/\r\n", error(kind, "so it is"))]).await;
        let Err(ModelError::Refused(message)) = asked.result else { panic!("{:?}", asked.result) };
        assert!(message.contains(&format!("{status}, {kind}: so it is; ")) && message.contains(cure), "{message}");
        assert_eq!((asked.requests, asked.waited_ms), (1, 0), "{message}");
    }
}

#[tokio::test]
async fn a_key_is_never_printed_even_if_the_provider_repeats_it() {
    let provider = FakeProvider::start([]).await;
    let client = client(&provider.base_url, &VirtualClock::at(0), "sk-ant-wrong");
    let error = client.complete(&request()).await.unwrap_err();
    let printed = format!("{error} {error:?} {client:?} {:?}", FunctionError::from(error.clone()));
    assert!(printed.contains("401, authentication_error: invalid x-api-key ***; check ANTHROPIC_API_KEY"), "{printed}");
    assert!(!printed.contains("sk-ant-wrong"), "{printed}");
}

#[test]
fn a_key_that_cannot_travel_is_refused_unprinted() {
    let clock = Arc::new(VirtualClock::at(0));
    let key = ApiKey::new("sk-ant\nbroken").unwrap();
    let error = Anthropic::new("http://127.0.0.1:1", 1, key, clock, Arc::new(SeededRandomness::new(1))).unwrap_err();
    let printed = format!("{error} {error:?}");
    assert!(printed.contains("ANTHROPIC_API_KEY holds characters") && !printed.contains("broken"), "{printed}");
}

/// The key; `None` fails to be asked.
struct Keys(Option<&'static str>);

/// A key with an address beside it.
struct Beside(String);

#[async_trait]
impl KeySource for Beside {
    async fn key(&self, name: &str) -> Result<Option<ApiKey>, PortError> {
        Ok(ApiKey::new(if name == "ANTHROPIC_BASE_URL" { &self.0 } else { KEY }))
    }

    fn place(&self) -> String {
        "the secret gatewright/dev/models".into()
    }
}

#[async_trait]
impl KeySource for Keys {
    async fn key(&self, name: &str) -> Result<Option<ApiKey>, PortError> {
        if name == "ANTHROPIC_BASE_URL" {
            return Ok(None);
        }
        assert_eq!(name, "ANTHROPIC_API_KEY");
        self.0.map(ApiKey::new).ok_or_else(|| PortError::Unavailable("the secret store is down".into()))
    }

    fn place(&self) -> String {
        "the environment or the secret gatewright/local/models".into()
    }
}

async fn connected(config: &RunConfig, keys: impl KeySource) -> Result<Arc<dyn Model>, FunctionError> {
    let clock = Arc::new(VirtualClock::at(0));
    Ok(connect(config, &keys, clock, Arc::new(SeededRandomness::new(1))).await?)
}

#[tokio::test]
async fn the_factory_gives_what_the_settings_name() {
    let folder = tempfile::tempdir().unwrap();
    let cassette = folder.path().join("c.jsonl");
    let provider = FakeProvider::start([]).await;
    let live = Provider::Anthropic { base_url: provider.base_url.clone() + "/", timeout_seconds: 5 };
    let with = |provider| RunConfig { provider, ..RunConfig::default() };

    let anthropic = connected(&with(live.clone()), Keys(Some(KEY))).await.unwrap();
    let response = anthropic.complete(&request()).await.unwrap();
    let record = Provider::Record { cassette: cassette.clone(), upstream: Box::new(live) };
    let recorder = connected(&with(record), Keys(Some(KEY))).await.unwrap();
    assert_eq!(recorder.complete(&request()).await.unwrap(), response);
    assert_eq!(provider.bodies().len(), 2);

    let answers = [Provider::Replay { cassette: cassette.clone() }, Provider::Scripted { script: cassette.clone() }];
    for provider in answers {
        let model = connected(&with(provider), Keys(None)).await.unwrap();
        assert_eq!(model.complete(&request()).await.unwrap(), ModelResponse { estimated: true, ..response.clone() });
    }
    assert_eq!(provider.bodies().len(), 2);
    assert!(!std::fs::read_to_string(cassette).unwrap().contains(KEY));
}

#[tokio::test]
async fn a_repository_alone_does_not_say_who_gets_the_key() {
    let at = |base_url: &str| RunConfig {
        provider: Provider::Anthropic { base_url: base_url.into(), timeout_seconds: 5 },
        ..RunConfig::default()
    };
    let elsewhere = "https://elsewhere.invalid/models";
    for keys in [None, Some("https://models.example")] {
        let keys = Beside(keys.unwrap_or_default().into());
        let error = connected(&at(elsewhere), keys).await.err().unwrap();
        assert_eq!(error.name, ErrorName::ModelRefused);
        assert!(error.message.contains(elsewhere) && !error.message.contains(KEY), "{error}");
        assert!(error.message.ends_with("set ANTHROPIC_BASE_URL to it in the secret gatewright/dev/models"), "{error}");
        let record = Provider::Record { cassette: "/nowhere/c".into(), upstream: Box::new(at(elsewhere).provider) };
        let recording = RunConfig { provider: record, ..RunConfig::default() };
        assert_eq!(connected(&recording, Keys(Some(KEY))).await.err().unwrap().name, ErrorName::ModelRefused);
    }
    assert!(connected(&at(elsewhere), Beside(format!("{elsewhere}/"))).await.is_ok());
    let error = connected(&RunConfig::default(), Beside("http://models.example".into())).await.err().unwrap();
    assert!(
        error.message.starts_with("ANTHROPIC_BASE_URL in the secret gatewright/dev/models is no address"),
        "{error}"
    );
    // Settings that say nothing leave it to who owns the key.
    let provider = FakeProvider::start([]).await;
    let model = connected(&RunConfig::default(), Beside(provider.base_url.clone())).await.unwrap();
    model.complete(&request()).await.unwrap();
    assert_eq!(provider.bodies().len(), 1);
}

#[tokio::test]
async fn a_missing_key_is_named_with_the_places_to_put_it() {
    let error = connected(&RunConfig::default(), Keys(Some(" "))).await.err().unwrap();
    let expected = "there is no key for the model provider: set ANTHROPIC_API_KEY in the environment or the secret \
                    gatewright/local/models";
    assert_eq!((error.name, error.message.as_str()), (ErrorName::ModelRefused, expected));
    let error = connected(&RunConfig::default(), Keys(None)).await.err().unwrap();
    assert_eq!(error.name, ErrorName::StoreUnavailable);
    assert!(error.message.ends_with("the secret store is down"), "{error}");
}
