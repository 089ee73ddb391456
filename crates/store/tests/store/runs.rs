use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use run_model::run::{Outcome, RunRecord, RunStatus, Stage};
use run_model::{ErrorName, FunctionError};
use store::{Admission, NewEvent, StoreError};

use crate::world::{START_MS, World, budget, run_id, run_record};

/// Does something of another writer's in the middle of this one's change.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work))
}

#[tokio::test]
async fn a_run_is_admitted_once() {
    let world = World::new().await;
    let Admission::New(admitted) = world.store.admit(run_record("r-1"), budget(10)).await.unwrap() else {
        panic!("it was there before")
    };
    assert_eq!((admitted.version, admitted.updated_ms), (1, START_MS));

    let mut again = run_record("r-1");
    again.repository = "/elsewhere".into();
    assert_eq!(world.store.admit(again, budget(99)).await.unwrap(), Admission::Existing(admitted.clone()));
    assert_eq!(world.store.run(&admitted.run_id).await.unwrap(), admitted);
    assert_eq!(world.store.budget(&admitted.run_id).await.unwrap(), budget(10));
    let kinds = world.store.events(&admitted.run_id, 0).await.unwrap().into_iter().map(|event| event.kind);
    assert_eq!(kinds.collect::<Vec<_>>(), ["run.admitted"]);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let world = World::new().await;
    let error = world.store.run(&run_id("r-9")).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no run r-9");
    assert_eq!(FunctionError::from(error).name, ErrorName::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_update_is_lost_when_many_write_at_once() {
    let (world, run) = World::with_run().await;
    let writers = (0..12).map(|number| {
        let (store, run) = (world.store.clone(), run.clone());
        tokio::spawn(async move { store.update_run(&run, |run| run.notices.push(format!("n{number}"))).await })
    });
    for written in join_all(writers).await {
        written.unwrap().unwrap();
    }
    let record = world.store.run(&run).await.unwrap();
    assert_eq!((record.notices.len(), record.version), (12, 13));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_runs_again_on_what_another_writer_left() {
    let (world, run) = World::with_run().await;
    let raw = world.raw_item("RUN#r-1", "RUN").await.unwrap();
    world.store.update_run(&run, |run| run.notices.push("theirs".into())).await.unwrap();
    let newer = world.raw_item("RUN#r-1", "RUN").await.unwrap();
    // The other writer's record appears between this writer's read and its write.
    world.put_raw(raw).await;
    let (dynamodb, table, mut tries) = (world.dynamodb.clone(), world.store.names().table.clone(), 0);
    let updated = world.store.update_run(&run, |run| {
        tries += 1;
        if tries == 1 {
            let put = dynamodb.put_item().table_name(&table).set_item(Some(newer.clone())).send();
            block_on(put).unwrap();
        }
        run.notices.push("ours".into());
    });
    assert_eq!(updated.await.unwrap().notices, ["theirs", "ours"]);
    assert_eq!(tries, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_always_late_gives_up() {
    let (world, run) = World::with_run().await;
    let (dynamodb, table) = (world.dynamodb.clone(), world.store.names().table.clone());
    let mut version = 1;
    let late = world.store.update_run(&run, |run| {
        run.notices.push("never written".into());
        version += 1;
        let update = dynamodb.update_item().table_name(&table);
        let update = update.key("pk", AttributeValue::S("RUN#r-1".into())).key("sk", AttributeValue::S("RUN".into()));
        let update = update.update_expression("ADD version :one");
        let update = update.expression_attribute_values(":one", AttributeValue::N("1".into()));
        block_on(update.send()).unwrap();
    });
    let error = late.await.unwrap_err();
    assert!(matches!(&error, StoreError::Conflict(what) if what == "run r-1"), "{error}");
    assert_eq!(version, 1 + 64);
}

#[tokio::test]
async fn a_stage_is_entered_with_one_event_however_often_it_is_said() {
    let (world, run) = World::with_run().await;
    for stage in [Stage::Snapshot, Stage::Snapshot, Stage::Baseline, Stage::Baseline] {
        assert_eq!(world.store.enter_stage(&run, stage).await.unwrap().stage, stage);
    }
    let events = world.store.events(&run, 1).await.unwrap();
    let said: Vec<_> =
        events.iter().map(|event| (event.sequence, event.kind.as_str(), event.message.as_str())).collect();
    assert_eq!(said, [(2, "stage.entered", "snapshot"), (3, "stage.entered", "baseline")]);
}

#[tokio::test]
async fn a_change_is_told_once_and_what_changes_nothing_is_not_written() {
    let (world, run) = World::with_run().await;
    for _ in 0..3 {
        let tell = |run: &mut RunRecord| {
            run.branch = Some("b".into());
            NewEvent::new("change.landed", "on b")
        };
        assert_eq!(world.store.update_run_telling(&run, tell).await.unwrap().version, 2);
    }
    assert_eq!(world.store.update_run(&run, |_| ()).await.unwrap().version, 2);
    assert_eq!(world.store.events(&run, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_run_ends_from_outside_once_and_not_after_it_landed() {
    let (world, run) = World::with_run().await;
    let outcome = |reason: &str| Outcome { reason: reason.into(), next_step: "Resume it.".into() };
    let event = || NewEvent::new("run.ended", "from outside");
    let end = |status, reason| world.store.end_run(&run, status, outcome(reason), event());
    world.store.update_run(&run, |run| run.branch = Some("gatewright/r".into())).await.unwrap();
    assert_eq!(end(RunStatus::Stopped, "too late").await.unwrap().status, RunStatus::Running);
    world.store.update_run(&run, |run| run.branch = None).await.unwrap();
    assert_eq!(end(RunStatus::Stopped, "first").await.unwrap().status, RunStatus::Stopped);
    let ended = end(RunStatus::Failed, "second").await.unwrap();
    assert_eq!((ended.status, ended.outcome), (RunStatus::Stopped, Some(outcome("first"))));
    let told = world.store.events(&run, 0).await.unwrap();
    assert_eq!(told.iter().filter(|event| event.kind == "run.ended").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stage_entered_by_many_at_once_is_told_once() {
    let (world, run) = World::with_run().await;
    let entering = (0..10).map(|_| {
        let (store, run) = (world.store.clone(), run.clone());
        tokio::spawn(async move { store.enter_stage(&run, Stage::Plan).await })
    });
    for entered in join_all(entering).await {
        assert_eq!(entered.unwrap().unwrap().stage, Stage::Plan);
    }
    assert_eq!(world.store.events(&run, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn runs_are_listed_newest_first() {
    let world = World::new().await;
    for (id, age_ms) in [("r-b", 20), ("r-a", 10), ("r-c", 30)] {
        let mut run = run_record(id);
        run.created_ms -= age_ms;
        world.store.admit(run, budget(1)).await.unwrap();
    }
    world.store.update_run(&run_id("r-c"), |run| run.status = RunStatus::Failed).await.unwrap();
    let listed = world.store.list_runs(2).await.unwrap();
    assert_eq!(listed.iter().map(|run| run.run_id.as_str()).collect::<Vec<_>>(), ["r-a", "r-b"]);
    assert_eq!(world.store.list_runs(100).await.unwrap()[2].status, RunStatus::Failed);
}

#[tokio::test]
async fn an_older_schema_reads_and_a_newer_one_is_refused_by_name() {
    let (world, run) = World::with_run().await;
    let mut item = world.raw_item("RUN#r-1", "RUN").await.unwrap();
    item.remove("schema");
    world.put_raw(item.clone()).await;
    assert_eq!(world.store.run(&run).await.unwrap().run_id, run);

    item.insert("schema".into(), AttributeValue::N("7".into()));
    world.put_raw(item.clone()).await;
    let newer = "RUN#r-1/RUN has schema 7, which a newer version of gatewright wrote; update gatewright";
    assert_eq!(world.store.run(&run).await.unwrap_err().to_string(), newer);
    let error = world.store.update_run(&run, |run| run.notices.clear()).await.unwrap_err();
    assert_eq!(error.to_string(), newer);
    assert_eq!(FunctionError::from(error).name, ErrorName::Internal);
    assert_eq!(world.raw_item("RUN#r-1", "RUN").await.unwrap(), item);
}

#[tokio::test]
async fn a_damaged_record_is_named() {
    let (world, run) = World::with_run().await;
    let mut item = world.raw_item("RUN#r-1", "RUN").await.unwrap();
    item.insert("body".into(), AttributeValue::S("{}".into()));
    world.put_raw(item).await;
    let error = world.store.run(&run).await.unwrap_err();
    assert!(error.to_string().starts_with("RUN#r-1/RUN is damaged: missing field"), "{error}");
}

#[tokio::test]
async fn setting_up_twice_changes_nothing() {
    let (world, run) = World::with_run().await;
    world.store.create_table_and_bucket().await.unwrap();
    assert!(world.store.run(&run).await.is_ok());
}
