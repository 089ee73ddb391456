use std::sync::{Arc, Mutex};

use embedded_cloud::step_functions::{CommitPoint, CommitSide};
use embedded_cloud::{Cloud, CloudOptions};

use crate::world::{World, driver, put, table};

#[tokio::test]
async fn every_durable_commit_is_seen_from_both_sides_and_nothing_else_is() {
    let (mut world, seen) = (World::new(), Arc::new(Mutex::new(Vec::new())));
    let machine = r#"{"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": {"Type": "Succeed"}}}"#;
    world.machines.push(("machine".into(), machine.into()));
    let sink = seen.clone();
    let note = move |point: CommitPoint, kind: &str| {
        sink.lock().unwrap().push((point, kind.to_owned()));
        Ok(())
    };
    let commit_hook = Some(Arc::new(note) as _);
    let cloud = driver(Cloud::open(CloudOptions { commit_hook, ..world.options() }).await.unwrap());
    let commits = || {
        let points = std::mem::take(&mut *seen.lock().unwrap());
        let sides = |pair: &[(CommitPoint, String)]| {
            let [(before, kind), (after, same)] = pair else { panic!("{pair:?}") };
            assert_eq!([before.side, after.side], [CommitSide::Before, CommitSide::After]);
            assert_eq!((before.number, kind), (after.number, same));
            (before.number, kind.clone())
        };
        points.chunks(2).map(sides).collect::<Vec<_>>()
    };
    let opened = commits().len() as u64;
    assert!(opened > 0, "the machine is written down");

    let config = cloud.sdk_config();
    let tables = table(&config).await;
    put(&tables, "RUN#1", "a note").await;
    assert_eq!(kinds(commits(), opened), ["1 CreateTable", "2 PutItem RUN"]);
    let secrets = aws_sdk_secretsmanager::Client::new(&config);
    secrets.create_secret().name("s").secret_string("{}").send().await.unwrap();
    assert_eq!(kinds(commits(), opened), ["3 secrets.json"]);
    let objects = aws_sdk_s3::Client::new(&config);
    objects.create_bucket().bucket("bucket").send().await.unwrap();
    let body = aws_sdk_s3::primitives::ByteStream::from_static(b"bytes");
    objects.put_object().bucket("bucket").key("k").body(body).send().await.unwrap();
    assert_eq!(kinds(commits(), opened), ["4 objects/bucket/k"]);
    objects.get_object().bucket("bucket").key("k").send().await.unwrap();
    tables.list_tables().send().await.unwrap();
    assert_eq!(kinds(commits(), opened), [""; 0], "who reads commits nothing");
}

/// The commits, counted from here, with their kinds.
fn kinds(commits: Vec<(u64, String)>, opened: u64) -> Vec<String> {
    commits.into_iter().map(|(number, kind)| format!("{} {kind}", number - opened)).collect()
}
