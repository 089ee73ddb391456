//! What a test has: a store, its clock, and the table underneath.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use embedded_cloud::{Attachment, Cloud, CloudOptions};
use run_model::budget::Budget;
use run_model::run::{ArtefactRef, NewRun, Requester, RunRecord};
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{RunId, Sha256, TaskId};
use store::{Names, Store};

pub(crate) const START_MS: i64 = 1_800_000_000_000;

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) clock: VirtualClock,
    pub(crate) sdk: aws_types::SdkConfig,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    _attachment: Attachment,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = VirtualClock::at(START_MS);
        let options =
            CloudOptions::new(folder.path().join("state"), Arc::new(clock.clone()), Arc::new(SeededRandomness::new(1)));
        let attachment = Cloud::open(options).await.unwrap();
        let sdk = attachment.sdk_config();
        let world = Self {
            store: store_over(&sdk, &clock),
            clock,
            dynamodb: aws_sdk_dynamodb::Client::new(&sdk),
            sdk,
            _attachment: attachment,
            _folder: folder,
        };
        world.store.create_table_and_bucket().await.unwrap();
        world.store.ensure_signing_secret().await.unwrap();
        world
    }

    /// A world in which this run is admitted with a budget of 3,000 micro-dollars and 1,000,000 tokens.
    pub(crate) async fn with_run() -> (Self, RunId) {
        let world = Self::new().await;
        let record = run_record("r-1");
        let run = record.run_id.clone();
        world.store.admit(record, budget(3_000)).await.unwrap();
        (world, run)
    }

    /// Another process' store: it remembers nothing that this one does.
    pub(crate) fn another_store(&self) -> Store {
        self.store_over(&self.sdk)
    }

    /// A store that reaches the same table in its own way.
    pub(crate) fn store_over(&self, sdk: &aws_types::SdkConfig) -> Store {
        store_over(sdk, &self.clock)
    }

    pub(crate) async fn raw_item(&self, pk: &str, sk: &str) -> Option<HashMap<String, AttributeValue>> {
        let request = self.dynamodb.get_item().table_name(&self.store.names().table);
        let request = request.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into()));
        request.consistent_read(true).send().await.unwrap().item
    }

    pub(crate) async fn put_raw(&self, item: HashMap<String, AttributeValue>) {
        let request = self.dynamodb.put_item().table_name(&self.store.names().table).set_item(Some(item));
        request.send().await.unwrap();
    }

    /// Every item of the table.
    pub(crate) async fn raw_items(&self) -> Vec<HashMap<String, AttributeValue>> {
        let output = self.dynamodb.scan().table_name(&self.store.names().table).send().await.unwrap();
        output.items.unwrap_or_default()
    }

    /// Every item as people could read it: compressed bodies spelled out.
    pub(crate) async fn readable(&self) -> String {
        let mut text = String::new();
        for mut item in self.raw_items().await {
            if let Some(AttributeValue::B(body)) = item.remove("body_gz") {
                flate2::read::GzDecoder::new(body.as_ref()).read_to_string(&mut text).unwrap();
            }
            text.push_str(&format!("{item:?}"));
        }
        text
    }

    /// Ids of the outbox items, with what they are about and where they stand.
    pub(crate) async fn outbox(&self) -> Vec<store::OutboxItem> {
        let mut found = Vec::new();
        for item in self.raw_items().await {
            if let Some(id) = item["pk"].as_s().unwrap().strip_prefix("OUTBOX#") {
                found.push(self.store.outbox(id).await.unwrap());
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }
}

fn store_over(sdk: &aws_types::SdkConfig, clock: &VirtualClock) -> Store {
    let randomness = Arc::new(SeededRandomness::new(2));
    Store::new(sdk, Names::for_stage("local"), Arc::new(clock.clone()), randomness)
}

pub(crate) fn run_id(id: &str) -> RunId {
    RunId::new(id).unwrap()
}

pub(crate) fn task_id(id: &str) -> TaskId {
    TaskId::new(id).unwrap()
}

pub(crate) fn budget(limit_microusd: u64) -> Budget {
    Budget { limit_microusd, limit_tokens: 1_000_000, committed_microusd: 0, committed_tokens: 0 }
}

pub(crate) fn artefact(name: &str) -> ArtefactRef {
    ArtefactRef { key: format!("runs/r-1/{name}"), sha256: Sha256::of(name.as_bytes()), bytes: name.len() as u64 }
}

pub(crate) fn run_record(id: &str) -> RunRecord {
    RunRecord::admitted(NewRun {
        run_id: run_id(id),
        execution_arn: "arn:1".into(),
        repository: "/somewhere".into(),
        base_ref: "main".into(),
        requirement: artefact("requirement.txt"),
        config: artefact("config.json"),
        requester: Requester::local("ada"),
        now_ms: START_MS,
    })
}
