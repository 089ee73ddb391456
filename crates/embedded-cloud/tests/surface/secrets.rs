use std::fs;
use std::os::unix::fs::PermissionsExt;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_sdk_secretsmanager::primitives::Blob;
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_secret_goes_round_and_keeps_its_previous_version() {
    let world = World::new();
    let cloud = world.opened().await;
    let client = Client::new(&cloud.sdk_config());
    let name = "gatewright/local/signing";
    let created = client.create_secret().name(name).secret_string("one").send().await.unwrap();
    client.put_secret_value().secret_id(created.arn().unwrap()).secret_binary(Blob::new("two")).send().await.unwrap();
    drop((client, cloud));

    let cloud = world.opened().await;
    let client = Client::new(&cloud.sdk_config());
    let current = client.get_secret_value().secret_id(name).send().await.unwrap();
    assert_eq!(current.secret_binary().unwrap().as_ref(), b"two");
    assert_eq!(current.version_stages(), ["AWSCURRENT"]);
    let previous = client.get_secret_value().secret_id(name).version_stage("AWSPREVIOUS").send().await.unwrap();
    assert_eq!(previous.secret_string(), Some("one"));
    assert_eq!(previous.version_id(), created.version_id());
    let described = client.describe_secret().secret_id(name).send().await.unwrap();
    assert_eq!(described.version_ids_to_stages().unwrap().len(), 2);

    let mode = fs::metadata(world.state_dir().join("secrets.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn errors_are_those_of_the_service() {
    let world = World::new();
    let cloud = world.opened().await;
    let client = Client::new(&cloud.sdk_config());
    let missing = client.get_secret_value().secret_id("nothing").send().await.unwrap_err().into_service_error();
    assert!(missing.is_resource_not_found_exception());
    client.create_secret().name("a").secret_string("one").send().await.unwrap();
    let twice = client.create_secret().name("a").secret_string("two").send().await.unwrap_err().into_service_error();
    assert!(twice.is_resource_exists_exception());
    let refused = client.delete_secret().secret_id("a").send().await.unwrap_err().into_service_error();
    assert_eq!(refused.code(), Some("UnknownOperationException"));
    assert!(refused.message().unwrap().contains("DeleteSecret"));
}

#[tokio::test]
async fn a_repeated_request_changes_nothing() {
    let world = World::new();
    let cloud = world.opened().await;
    let client = Client::new(&cloud.sdk_config());
    let create = |value: &str| {
        client
            .create_secret()
            .name("a")
            .client_request_token("0123456789abcdef0123456789abcdef")
            .secret_string(value)
            .send()
    };
    let first = create("one").await.unwrap();
    assert_eq!(create("one").await.unwrap().version_id(), first.version_id());
    assert!(create("two").await.unwrap_err().into_service_error().is_resource_exists_exception());
}

#[tokio::test]
async fn the_environment_lies_over_the_file_and_never_in_it() {
    let mut world = World::new();
    world.environment.insert("models".into(), json!({ "anthropic": "from-environment" }));
    world.environment.insert("token".into(), json!("bare"));
    let cloud = world.opened().await;
    let client = Client::new(&cloud.sdk_config());
    let get = async |name: &str| {
        let answer = client.get_secret_value().secret_id(name).send().await.unwrap();
        answer.secret_string().unwrap().to_owned()
    };
    assert_eq!(get("token").await, "bare");
    assert_eq!(get("models").await, r#"{"anthropic":"from-environment"}"#);
    let stored = r#"{"openai":"stored","anthropic":"old"}"#;
    client.create_secret().name("models").secret_string(stored).send().await.unwrap();
    let both: serde_json::Value = serde_json::from_str(&get("models").await).unwrap();
    assert_eq!(both, json!({ "openai": "stored", "anthropic": "from-environment" }));
    let file = fs::read_to_string(world.state_dir().join("secrets.json")).unwrap();
    assert!(file.contains("stored") && !file.contains("from-environment"));

    let pages = client.list_secrets().max_results(1).into_paginator().send().collect::<Result<Vec<_>, _>>();
    let pages = pages.await.unwrap();
    let names: Vec<_> = pages.iter().flat_map(|page| page.secret_list()).map(|entry| entry.name().unwrap()).collect();
    assert_eq!(names, ["models", "token"]);
}
