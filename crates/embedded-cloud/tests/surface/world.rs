//! A state folder with virtual time, and the clouds that are opened on it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use embedded_cloud::{Attachment, Cloud, CloudClient, CloudOptions, FunctionRegistry, StreamRule};
use run_model::time::{SeededRandomness, VirtualClock};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const TABLE: &str = "gatewright";

pub(crate) struct World {
    folder: TempDir,
    pub(crate) clock: VirtualClock,
    pub(crate) machines: Vec<(String, String)>,
    pub(crate) rules: Vec<StreamRule>,
    pub(crate) environment: BTreeMap<String, Value>,
}

impl World {
    pub(crate) fn new() -> Self {
        World {
            folder: tempfile::tempdir().unwrap(),
            clock: VirtualClock::at(1_780_000_000_000),
            machines: Vec::new(),
            rules: Vec::new(),
            environment: BTreeMap::new(),
        }
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn options(&self) -> CloudOptions {
        CloudOptions {
            state_dir: self.state_dir(),
            clock: Arc::new(self.clock.clone()),
            randomness: Arc::new(SeededRandomness::new(7)),
            machines: self.machines.clone(),
            stream_rules: self.rules.clone(),
            environment_secrets: self.environment.clone(),
            commit_hook: None,
        }
    }

    pub(crate) async fn opened(&self) -> Cloud {
        driver(Cloud::open(self.options()).await.unwrap())
    }

    pub(crate) async fn started(&self, functions: FunctionRegistry) -> Cloud {
        let mut cloud = self.opened().await;
        cloud.start(functions).await.unwrap();
        cloud
    }

    pub(crate) async fn client(&self) -> CloudClient {
        match Cloud::open(self.options()).await.unwrap() {
            Attachment::Client(client) => client,
            Attachment::Driver(_) => panic!("nobody drives"),
        }
    }
}

pub(crate) fn driver(attachment: Attachment) -> Cloud {
    match attachment {
        Attachment::Driver(cloud) => cloud,
        Attachment::Client(_) => panic!("somebody else drives"),
    }
}

/// Creates the table, with a stream, through any configuration.
pub(crate) async fn table(config: &aws_types::SdkConfig) -> aws_sdk_dynamodb::Client {
    let client = aws_sdk_dynamodb::Client::new(config);
    let attribute = |name: &str| {
        let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        definition.build().unwrap()
    };
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewImage);
    client
        .create_table()
        .table_name(TABLE)
        .attribute_definitions(attribute("pk"))
        .attribute_definitions(attribute("sk"))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .billing_mode(BillingMode::PayPerRequest)
        .stream_specification(stream.build().unwrap())
        .send()
        .await
        .unwrap();
    client
}

pub(crate) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) async fn put(client: &aws_sdk_dynamodb::Client, pk: &str, note: &str) {
    let put = client.put_item().table_name(TABLE).item("pk", text(pk)).item("sk", text("-")).item("note", text(note));
    put.send().await.unwrap();
}

pub(crate) async fn note_of(client: &aws_sdk_dynamodb::Client, pk: &str) -> Option<String> {
    let get = client.get_item().table_name(TABLE).consistent_read(true).key("pk", text(pk)).key("sk", text("-"));
    let item = get.send().await.unwrap().item?;
    item["note"].as_s().ok().cloned()
}
