use std::sync::Arc;

use run_model::time::SeededRandomness;
use serde_json::json;
use store::{Names, Store, StoreError};

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
async fn an_object_that_was_written_over_is_refused_by_name_however_it_is_read() {
    let world = World::new().await;
    let run = run_id("r-1");
    let record = vec!["x".repeat(1_000); 1_000];
    let kept = [
        world.store.put_archive(&run, b"archive".to_vec()).await.unwrap(),
        world.store.put_artefact(&run, b"manifest".to_vec()).await.unwrap(),
        world.store.put_held_out(&run, b"held out".to_vec()).await.unwrap(),
        world.store.put_json(&run, &record).await.unwrap(),
    ];
    for artefact in kept {
        assert_eq!(run_model::Sha256::named_by(&artefact.key), Some(artefact.sha256.clone()), "{}", artefact.key);
        world.store.put_object(&artefact.key, b"forged".to_vec()).await.unwrap();
        let error = world.store.get_object(&artefact.key).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("object {} is damaged", artefact.key)), "{error}");
    }
}

#[tokio::test]
async fn what_is_kept_is_never_written_over() {
    let world = World::new().await;
    let run = run_id("r-1");
    let artefact = world.store.put_artefact(&run, b"first".to_vec()).await.unwrap();
    world.store.put_object(&artefact.key, b"somebody else's".to_vec()).await.unwrap();
    assert_eq!(world.store.put_artefact(&run, b"first".to_vec()).await.unwrap(), artefact);
    let s3 =
        aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&world.sdk).force_path_style(true).build());
    let there = s3.get_object().bucket(&world.store.names().bucket).key(&artefact.key).send().await.unwrap();
    assert_eq!(there.body.collect().await.unwrap().to_vec(), b"somebody else's", "the writer asked for a new object");
}

#[tokio::test]
async fn an_object_that_does_not_fit_into_a_functions_memory_is_refused_with_the_cure() {
    let world = World::new().await;
    let names = Names { memory_mb: Some(50), ..world.store.names().clone() };
    let (clock, randomness) = (Arc::new(world.clock.clone()), Arc::new(SeededRandomness::new(9)));
    let narrow = Store::new(&world.sdk, names, clock, randomness);
    let run = run_id("r-1");
    let fits = world.store.put_artefact(&run, vec![1; 1 << 20]).await.unwrap();
    assert_eq!(narrow.get_artefact(&fits).await.unwrap().len(), 1 << 20);
    let large = world.store.put_artefact(&run, vec![1; (1 << 20) + 1]).await.unwrap();
    let error = narrow.get_artefact(&large).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { bytes, .. } if bytes == (1 << 20) + 1), "{error}");
    let error = error.to_string();
    assert!(error.contains("takes 2 MiB, more than the 1 that a function of 50 MB has room for"), "{error}");
    assert!(error.ends_with("`gatewright aws deploy --stage STAGE --memory 100`"), "{error}");
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
