use serde_json::json;
use store::StoreError;

use crate::world::{World, run_id};

#[tokio::test]
async fn an_object_comes_back_as_it_was_put() {
    let world = World::new().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    world.store.put_object("runs/r-1/snapshot.tar.gz", bytes.clone()).await.unwrap();
    assert_eq!(world.store.get_object("runs/r-1/snapshot.tar.gz").await.unwrap(), bytes);
    let error = world.store.get_object("runs/r-1/nothing").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no object runs/r-1/nothing");
}

#[tokio::test]
async fn an_artefact_lies_under_its_hash_and_is_checked_when_it_is_read() {
    let world = World::new().await;
    let run = run_id("r-1");
    let artefact = world.store.put_json(&run, &json!({ "a": [1, 2] })).await.unwrap();
    assert_eq!(artefact.key, format!("runs/r-1/artefacts/{}.json", artefact.sha256));
    assert_eq!(artefact.bytes, 11);
    assert_eq!(world.store.put_json(&run, &json!({ "a": [1, 2] })).await.unwrap(), artefact);
    let value: serde_json::Value = world.store.get_json(&artefact).await.unwrap();
    assert_eq!(value, json!({ "a": [1, 2] }));

    world.store.put_object(&artefact.key, b"{\"a\":[1,3]}".to_vec()).await.unwrap();
    let error = world.store.get_artefact(&artefact).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains(&artefact.key), "{error}");
}

#[tokio::test]
async fn the_signing_secret_is_made_once() {
    let world = World::new().await;
    let name = &world.store.names().signing_secret;
    let secret = world.another_store().secret(name).await.unwrap();
    assert_eq!(secret["token_key"].as_str().unwrap().len(), 64);
    world.another_store().ensure_signing_secret().await.unwrap();
    assert_eq!(world.another_store().secret(name).await.unwrap(), secret);
}

#[tokio::test]
async fn a_secret_is_remembered_for_five_minutes() {
    let world = World::new().await;
    let name = &world.store.names().models_secret;
    let missing = world.store.secret(name).await.unwrap_err();
    assert_eq!(missing.to_string(), "there is no secret gatewright/local/models");

    let client = aws_sdk_secretsmanager::Client::new(&world.sdk);
    client.create_secret().name(name).secret_string(r#"{"anthropic":"k1"}"#).send().await.unwrap();
    assert_eq!(world.store.secret(name).await.unwrap()["anthropic"], "k1");
    client.put_secret_value().secret_id(name).secret_string(r#"{"anthropic":"k2"}"#).send().await.unwrap();
    world.clock.advance(299_999);
    assert_eq!(world.store.secret(name).await.unwrap()["anthropic"], "k1");
    world.clock.advance(1);
    assert_eq!(world.store.secret(name).await.unwrap()["anthropic"], "k2");

    client.put_secret_value().secret_id(name).secret_string("hunter2").send().await.unwrap();
    let error = world.another_store().secret(name).await.unwrap_err().with_causes();
    assert_eq!(error, "secret gatewright/local/models is damaged: it is not a JSON object");
}
