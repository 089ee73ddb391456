//! Who answers, and who gets the key.

use std::sync::Arc;

use agent::ports::{Model, ModelResponse, PortError};
use async_trait::async_trait;
use config::{Dialect, Provider, RunConfig};
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{ErrorName, FunctionError};

use crate::live::fake_provider::{FakeProvider, KEY};
use crate::live::tests::request;
use crate::{ApiKey, KeySource, connect, key_names, keys_of};

/// The key; `None` fails to be asked.
struct Keys(Option<&'static str>);

/// A key with an address beside it.
struct Beside(String);

#[async_trait]
impl KeySource for Beside {
    async fn key(&self, name: &str) -> Result<Option<ApiKey>, PortError> {
        Ok(ApiKey::new(if name.ends_with("_BASE_URL") { &self.0 } else { KEY }))
    }

    fn place(&self) -> String {
        "the secret gatewright/dev/models".into()
    }
}

#[async_trait]
impl KeySource for Keys {
    async fn key(&self, name: &str) -> Result<Option<ApiKey>, PortError> {
        if name.ends_with("_BASE_URL") {
            return Ok(None);
        }
        self.0.map(ApiKey::new).ok_or_else(|| PortError::Unavailable("the secret store is down".into()))
    }

    fn place(&self) -> String {
        "the environment or the secret gatewright/local/models".into()
    }
}

fn provider(dialect: Dialect, base_url: &str) -> Provider {
    let (base_url, timeout_seconds) = (base_url.to_owned(), 5);
    match dialect {
        Dialect::Anthropic => Provider::Anthropic { base_url, timeout_seconds },
        Dialect::OpenAi => Provider::OpenAi { base_url, timeout_seconds },
    }
}

fn asking(provider: Provider) -> RunConfig {
    RunConfig { provider, ..RunConfig::default() }
}

async fn connected(config: &RunConfig, keys: impl KeySource) -> Result<Arc<dyn Model>, FunctionError> {
    let clock = Arc::new(VirtualClock::at(0));
    Ok(connect(config, &keys, clock, Arc::new(SeededRandomness::new(1))).await?)
}

#[tokio::test]
async fn the_factory_gives_what_the_settings_name() {
    for dialect in Dialect::ALL {
        let folder = tempfile::tempdir().unwrap();
        let cassette = folder.path().join("c.jsonl");
        let server = FakeProvider::start(dialect, []).await;
        let live = provider(dialect, &(server.base_url.clone() + "/"));

        let answering = connected(&asking(live.clone()), Keys(Some(KEY))).await.unwrap();
        let response = answering.complete(&request()).await.unwrap();
        let record = Provider::Record { cassette: cassette.clone(), upstream: Box::new(live) };
        let recorder = connected(&asking(record), Keys(Some(KEY))).await.unwrap();
        assert_eq!(recorder.complete(&request()).await.unwrap(), response);
        assert_eq!(server.bodies().len(), 2);

        let answers =
            [Provider::Replay { cassette: cassette.clone() }, Provider::Scripted { script: cassette.clone() }];
        for provider in answers {
            let model = connected(&asking(provider), Keys(None)).await.unwrap();
            let again = model.complete(&request()).await.unwrap();
            assert_eq!(again, ModelResponse { estimated: true, ..response.clone() });
        }
        assert_eq!(server.bodies().len(), 2);
        assert!(!std::fs::read_to_string(cassette).unwrap().contains(KEY));
    }
}

#[tokio::test]
async fn what_one_dialect_recorded_replays_for_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let cassette = folder.path().join("c.jsonl");
    let mut answers = Vec::new();
    for dialect in Dialect::ALL {
        let server = FakeProvider::start(dialect, []).await;
        let upstream = Box::new(provider(dialect, &server.base_url));
        let record = asking(Provider::Record { cassette: cassette.clone(), upstream });
        let recorder = connected(&record, Keys(Some(KEY))).await.unwrap();
        answers.push((recorder.complete(&request()).await.unwrap().parts, server.bodies().len()));
    }
    assert_eq!(answers, [(answers[0].0.clone(), 1), (answers[0].0.clone(), 0)], "the second finds the first's");
}

#[tokio::test]
async fn a_repository_alone_does_not_say_who_gets_the_key() {
    for dialect in Dialect::ALL {
        let at = |base_url: &str| asking(provider(dialect, base_url));
        let (elsewhere, name) = ("https://elsewhere.invalid/models", key_names(dialect).base_url);
        for keys in [None, Some("https://models.example")] {
            let keys = Beside(keys.unwrap_or_default().into());
            let error = connected(&at(elsewhere), keys).await.err().unwrap();
            assert_eq!(error.name, ErrorName::ModelRefused);
            assert!(error.message.contains(elsewhere) && !error.message.contains(KEY), "{error}");
            let expected = format!("set {name} to it in the secret gatewright/dev/models");
            assert!(error.message.ends_with(&expected), "{error}");
            let record = Provider::Record { cassette: "/nowhere/c".into(), upstream: Box::new(at(elsewhere).provider) };
            let error = connected(&asking(record), Keys(Some(KEY))).await.err().unwrap();
            assert_eq!(error.name, ErrorName::ModelRefused);
        }
        assert!(connected(&at(elsewhere), Beside(format!("{elsewhere}/"))).await.is_ok());
        let own = at(&dialect.own_server());
        let error = connected(&own, Beside("http://models.example".into())).await.err().unwrap();
        let expected = format!("{name} in the secret gatewright/dev/models is no address");
        assert!(error.message.starts_with(&expected), "{error}");
        // Settings that say nothing leave it to who owns the key.
        let server = FakeProvider::start(dialect, []).await;
        let model = connected(&own, Beside(server.base_url.clone())).await.unwrap();
        model.complete(&request()).await.unwrap();
        assert_eq!(server.bodies().len(), 1);
    }
}

#[tokio::test]
async fn each_dialect_has_a_key_of_its_own() {
    struct Only(&'static str);

    #[async_trait]
    impl KeySource for Only {
        async fn key(&self, name: &str) -> Result<Option<ApiKey>, PortError> {
            Ok((name == self.0).then(|| ApiKey::new(KEY)).flatten())
        }

        fn place(&self) -> String {
            "the environment".into()
        }
    }

    for (dialect, other) in [(Dialect::Anthropic, Dialect::OpenAi), (Dialect::OpenAi, Dialect::Anthropic)] {
        let config = asking(provider(dialect, &dialect.own_server()));
        assert!(connected(&config, Only(key_names(dialect).key)).await.is_ok());
        let error = connected(&config, Only(key_names(other).key)).await.err().unwrap();
        let expected = format!("set {} in the environment", key_names(dialect).key);
        assert!(error.message.ends_with(&expected), "{error}");
    }
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

#[tokio::test]
async fn a_server_of_ones_own_machine_may_do_without_a_key() {
    let here = provider(Dialect::OpenAi, "http://127.0.0.1:9/v1");
    assert_eq!(keys_of(&here), Vec::<&str>::new());
    assert!(connected(&asking(here), Keys(Some(""))).await.is_ok());
    for asks in [
        provider(Dialect::OpenAi, "https://models.example/v1"),
        provider(Dialect::OpenAi, &Dialect::OpenAi.own_server()),
        provider(Dialect::Anthropic, "http://127.0.0.1:9"),
    ] {
        assert_eq!(keys_of(&asks).len(), 1, "{asks:?}");
        let error = connected(&asking(asks), Keys(Some(""))).await.err().unwrap();
        assert!(error.message.starts_with("there is no key"), "{error}");
    }
}
