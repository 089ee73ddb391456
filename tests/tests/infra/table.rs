//! The table that the template declares is the table that the store makes where there is no template.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{KeySchemaElement, TableDescription};
use embedded_cloud::{Attachment, Cloud};
use lambda_host::{OsRandomness, SystemClock};
use serde_json::{Value, json};
use store::{Names, Store};
use tests::state::options;
use tests::template::Template;

use crate::{complains, none, template};

fn keys(schema: &[KeySchemaElement]) -> Value {
    schema
        .iter()
        .map(|key| json!({ "AttributeName": key.attribute_name(), "KeyType": key.key_type().as_str() }))
        .collect()
}

/// A table as a template would declare it, without its name.
fn declared(table: &TableDescription, expires_by: &str) -> Value {
    let attributes = table.attribute_definitions().iter().map(|attribute| {
        json!({ "AttributeName": attribute.attribute_name(), "AttributeType": attribute.attribute_type().as_str() })
    });
    let indices = table.global_secondary_indexes().iter().map(|index| {
        json!({
            "IndexName": index.index_name(),
            "KeySchema": keys(index.key_schema()),
            "Projection": { "ProjectionType": index.projection().unwrap().projection_type().unwrap().as_str() },
        })
    });
    let view = table.stream_specification().unwrap().stream_view_type().unwrap();
    json!({
        "AttributeDefinitions": attributes.collect::<Value>(),
        "KeySchema": keys(table.key_schema()),
        "GlobalSecondaryIndexes": indices.collect::<Value>(),
        "BillingMode": table.billing_mode_summary().unwrap().billing_mode().unwrap().as_str(),
        "StreamSpecification": { "StreamViewType": view.as_str() },
        "TimeToLiveSpecification": { "AttributeName": expires_by, "Enabled": true },
    })
}

/// The table that the store makes on one machine.
fn made() -> Value {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Attachment::Driver(cloud) = Cloud::open(options(&folder.path().join("state"))).await.unwrap() else {
            panic!("driven")
        };
        let (sdk, names) = (cloud.sdk_config(), Names::for_stage("dev"));
        let store = Store::new(&sdk, names.clone(), Arc::new(SystemClock), Arc::new(OsRandomness));
        store.create_table_and_bucket().await.unwrap();
        let client = aws_sdk_dynamodb::Client::new(&sdk);
        let described = client.describe_table().table_name(&names.table).send().await.unwrap();
        let expiry = client.describe_time_to_live().table_name(&names.table).send().await.unwrap();
        let expires_by = expiry.time_to_live_description().unwrap().attribute_name().unwrap().to_owned();
        cloud.shutdown().await;
        declared(described.table().unwrap(), &expires_by)
    })
}

fn problems(template: &Template, made: &Value) -> Vec<String> {
    let declared = template.properties("Table");
    let differing = made.as_object().unwrap().iter().filter(|(name, value)| sorted(&declared[name]) != sorted(value));
    let mut problems: Vec<String> =
        differing.map(|(name, value)| format!("{name} is {} and the store makes {value}", declared[name])).collect();
    let names = Names::for_stage("${Stage}");
    let named = [
        ("Table", "TableName", names.table),
        ("ModelsSecret", "Name", names.models_secret),
        ("ForgeSecret", "Name", names.forge_secret),
        ("SigningSecret", "Name", names.signing_secret),
    ];
    for (id, field, name) in named {
        if template.properties(id)[field] != json!({ "Fn::Sub": name }) {
            problems.push(format!("{id} is not called {name}"));
        }
    }
    problems
}

/// The order of definitions means nothing.
fn sorted(value: &Value) -> Vec<String> {
    let mut items: Vec<String> = tests::template::list(value).into_iter().map(sorted_fields).collect();
    items.sort_unstable();
    items
}

fn sorted_fields(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

#[test]
fn the_table_is_the_one_that_the_store_makes() {
    let made = made();
    none(&problems(&template(), &made));
    let check = |template: &Template| problems(template, &made);
    let index = |template: &mut Template| {
        template.properties_mut("Table")["GlobalSecondaryIndexes"][0]["KeySchema"][1]["AttributeName"] = "sk".into();
    };
    complains(check, index, "GlobalSecondaryIndexes is");
    let expiry = |template: &mut Template| {
        template.properties_mut("Table")["TimeToLiveSpecification"]["AttributeName"] = "ttl".into();
    };
    complains(check, expiry, "TimeToLiveSpecification is");
    let secret = |template: &mut Template| template.properties_mut("ForgeSecret")["Name"] = "forge".into();
    complains(check, secret, "ForgeSecret is not called gatewright/${Stage}/forge");
}
