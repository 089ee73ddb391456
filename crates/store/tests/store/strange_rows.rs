use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use run_model::JobId;

use crate::jobs::{job, told};
use crate::world::World;

fn row(pk: &str, sk: &str, partition: &str, body: &str) -> HashMap<String, AttributeValue> {
    let attributes = [("pk", pk), ("sk", sk), ("gsi1pk", partition), ("gsi1sk", "0"), ("body", body)];
    attributes.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned()))).into()
}

/// Rows that somebody with the rights of an agent could write, before everything else in each partition.
async fn hostile(world: &World) {
    for partition in ["JOBS#queued", "JOBS#claimed", "GRANTS", "RUNS", "GATES#pending"] {
        for number in 0..60 {
            world.put_raw(row("RUN#r-1#work", &format!("EVENT#{partition}{number}"), partition, "{}")).await;
        }
        world.put_raw(row("RUN#r-1#work", "RUN", partition, "{}")).await;
    }
}

#[tokio::test]
async fn rows_of_another_kind_are_neither_listed_nor_in_the_way() {
    let (world, run) = World::with_run().await;
    world.store.put_job(job("j-1"), "t", told()).await.unwrap();
    let before = world.store.run(&run).await.unwrap();
    hostile(&world).await;
    assert_eq!(world.store.run(&run).await.unwrap(), before, "what others decide by lies elsewhere");
    let claimed = world.store.lease_job("runner", i64::MAX).await.unwrap().map(|job| job.job_id);
    assert_eq!(claimed, Some(JobId::new("j-1").unwrap()), "though sixty others stand before it");
    assert_eq!(world.store.claim_job("runner").await.unwrap(), None);
    world.store.requeue_jobs_of_others("me").await.unwrap();
    assert_eq!(world.store.grants().await.unwrap(), []);
    assert_eq!(world.store.pending_gates().await.unwrap(), []);
    let runs: Vec<_> = world.store.list_runs(10).await.unwrap().into_iter().map(|run| run.run_id).collect();
    assert_eq!(runs, [run]);
}

#[tokio::test]
async fn a_damaged_row_hides_no_other() {
    let (world, run) = World::with_run().await;
    world.put_raw(row("JOB#j-0", "JOB", "JOBS#queued", "{}")).await;
    world.put_raw(row("RUN#r-0", "RUN", "RUNS", "no json")).await;
    world.store.put_job(job("j-1"), "t", told()).await.unwrap();
    assert!(world.store.claim_job("runner").await.unwrap().is_some());
    let runs: Vec<_> = world.store.list_runs(10).await.unwrap().into_iter().map(|run| run.run_id).collect();
    assert_eq!(runs, [run]);
}
