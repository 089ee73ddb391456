use std::collections::HashMap;
use std::io::Write;

use agent::ports::{Checkpoint, Message, Part, PortError, Sessions, Speaker};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use flate2::Compression;
use flate2::write::GzEncoder;
use run_model::time::SeededRandomness;
use run_model::{Randomness, SessionId};

use crate::world::{World, task_id};

fn session() -> SessionId {
    SessionId::new("developer", Some(&task_id("t1")), 1)
}

fn said(text: impl Into<String>) -> Message {
    Message { speaker: Speaker::Assistant, parts: vec![Part::Text { text: text.into() }] }
}

#[tokio::test]
async fn a_session_goes_on_where_it_was() {
    let (world, run) = World::with_run().await;
    let mut held = world.store.take(&run, &session()).await.unwrap();
    assert_eq!((held.epoch, &held.checkpoint), (1, &Checkpoint::default()));
    held.checkpoint.turns = 1;
    held.checkpoint.messages.push(said("one"));
    world.store.save(&run, &held).await.unwrap();
    held.checkpoint.turns = 2;
    world.store.save(&run, &held).await.unwrap();

    let next = world.another_store().take(&run, &session()).await.unwrap();
    assert_eq!((next.epoch, next.checkpoint), (2, held.checkpoint));
}

#[tokio::test]
async fn an_invocation_that_was_given_up_cannot_write() {
    let (world, run) = World::with_run().await;
    let mut old = world.store.take(&run, &session()).await.unwrap();
    let mut new = world.store.take(&run, &session()).await.unwrap();
    new.checkpoint.messages.push(said("new"));
    world.store.save(&run, &new).await.unwrap();
    old.checkpoint.messages.push(said("old"));
    assert_eq!(world.store.save(&run, &old).await, Err(PortError::Fenced(session())));
    assert_eq!(world.store.take(&run, &session()).await.unwrap().checkpoint, new.checkpoint);
}

#[tokio::test]
async fn a_checkpoint_that_dynamodb_would_refuse_lies_in_the_object_store() {
    let (world, run) = World::with_run().await;
    let mut held = world.store.take(&run, &session()).await.unwrap();
    held.checkpoint.messages.push(said(SeededRandomness::new(1).hex_id(400_000)));
    world.store.save(&run, &held).await.unwrap();

    let item = world.raw_item("RUN#r-1#work", "SESSION#developer/t1/1").await.unwrap();
    assert!(!item.contains_key("body") && !item.contains_key("body_gz"));
    assert!(item["body_ref"].as_s().unwrap().contains("runs/r-1/records/"));
    let mut next = world.store.take(&run, &session()).await.unwrap();
    assert_eq!(next.checkpoint, held.checkpoint);

    // And back again once it is small.
    next.checkpoint = Checkpoint { turns: 3, ..Checkpoint::default() };
    world.store.save(&run, &next).await.unwrap();
    assert_eq!(world.store.take(&run, &session()).await.unwrap().checkpoint, next.checkpoint);
}

#[tokio::test]
async fn what_is_written_is_charged_by_the_kilobyte_so_a_long_body_is_compressed() {
    let (world, run) = World::with_run().await;
    let mut held = world.store.take(&run, &session()).await.unwrap();
    held.checkpoint.messages.push(said("a line of a file that says much the same as the next one\n".repeat(500)));
    world.store.save(&run, &held).await.unwrap();
    let item = world.raw_item("RUN#r-1#work", "SESSION#developer/t1/1").await.unwrap();
    assert!(!item.contains_key("body") && item["body_gz"].as_b().unwrap().as_ref().len() < 1_024, "{item:?}");
    assert_eq!(world.store.take(&run, &session()).await.unwrap().checkpoint, held.checkpoint);
}

#[tokio::test]
async fn a_body_that_unpacks_to_more_than_anybody_writes_is_damaged() {
    let (world, run) = World::with_run().await;
    let mut held = world.store.take(&run, &session()).await.unwrap();
    let huge = "0".repeat(17 << 20);
    held.checkpoint.messages.push(said(huge.clone()));
    world.store.save(&run, &held).await.unwrap();
    let mut item = world.raw_item("RUN#r-1#work", "SESSION#developer/t1/1").await.unwrap();
    assert!(item.remove("body_ref").is_some(), "however well it compresses: {item:?}");
    assert_eq!(world.store.take(&run, &session()).await.unwrap().checkpoint, held.checkpoint);

    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(huge.as_bytes()).unwrap();
    item.insert("body_gz".into(), AttributeValue::B(Blob::new(packed.finish().unwrap())));
    world.put_raw(item).await;
    let Err(PortError::Unavailable(message)) = world.store.take(&run, &session()).await else { panic!("it was taken") };
    assert!(message.contains("more than anybody writes"), "{message}");
}

#[tokio::test]
async fn an_item_with_a_body_says_that_it_may_be_compressed_and_an_older_one_still_reads() {
    let (world, run) = World::with_run().await;
    let mut held = world.store.take(&run, &session()).await.unwrap();
    held.checkpoint.messages.push(said("the same again and again ".repeat(100)));
    world.store.save(&run, &held).await.unwrap();
    // The first schema knew a body as text and by reference; its programs would take this session for an empty one.
    let schema = |item: &HashMap<String, AttributeValue>| item["schema"].as_n().unwrap().clone();
    let of_bodies: Vec<_> = world.raw_items().await.into_iter().filter(|item| item.contains_key("body_gz")).collect();
    assert!(!of_bodies.is_empty() && of_bodies.iter().all(|item| schema(item) == "2"), "{of_bodies:?}");

    let mut old = world.raw_item("RUN#r-1#work", "SESSION#developer/t1/1").await.unwrap();
    old.remove("body_gz");
    old.insert("body".into(), AttributeValue::S(serde_json::to_string(&held.checkpoint).unwrap()));
    old.insert("schema".into(), AttributeValue::N("1".into()));
    world.put_raw(old).await;
    assert_eq!(world.store.take(&run, &session()).await.unwrap().checkpoint, held.checkpoint);
    assert_eq!(schema(&world.raw_item("RUN#r-1#work", "SESSION#developer/t1/1").await.unwrap()), "2");
}

#[tokio::test]
async fn a_session_of_a_newer_program_is_left_alone() {
    let (world, run) = World::with_run().await;
    world.store.take(&run, &session()).await.unwrap();
    let mut item = world.raw_item("RUN#r-1#work", "SESSION#developer/t1/1").await.unwrap();
    item.insert("schema".into(), AttributeValue::N("3".into()));
    world.put_raw(item.clone()).await;
    let Err(PortError::Unavailable(message)) = world.store.take(&run, &session()).await else { panic!("it was taken") };
    assert!(message.contains("RUN#r-1#work/SESSION#developer/t1/1 has schema 3"), "{message}");
    assert_eq!(world.raw_item("RUN#r-1#work", "SESSION#developer/t1/1").await.unwrap(), item);
}
