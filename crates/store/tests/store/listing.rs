//! What an index lists is read many items at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use crate::world::{World, budget, run_record};

/// How often each operation was asked for.
type Counts = Arc<Mutex<BTreeMap<String, u32>>>;

/// Counts what goes by.
#[derive(Clone, Debug)]
struct Counting<T> {
    inner: T,
    counts: Counts,
}

impl HttpClient for Counting<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, parts: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, parts);
        SharedHttpConnector::new(Counting { inner, counts: self.counts.clone() })
    }
}

impl HttpConnector for Counting<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        *self.counts.lock().unwrap().entry(operation).or_default() += 1;
        self.inner.call(request)
    }
}

/// The store of a world, with what it asks for counted from now on.
fn counted(world: &World) -> (store::Store, Counts) {
    let counts = Counts::default();
    let client = Counting { inner: world.sdk.http_client().unwrap(), counts: counts.clone() };
    (world.store_over(&world.sdk.to_builder().http_client(client).build()), counts)
}

async fn admit(world: &World, count: i64) -> Vec<String> {
    for number in 0..count {
        let mut run = run_record(&format!("r-{number}"));
        run.created_ms += number;
        world.store.admit(run, budget(1)).await.unwrap();
    }
    (0..count).rev().map(|number| format!("r-{number}")).collect()
}

async fn listed(store: &store::Store) -> Vec<String> {
    let runs = store.list_runs(1_000).await.unwrap();
    runs.into_iter().map(|run| run.run_id.to_string()).collect()
}

#[tokio::test]
async fn a_hundred_items_are_one_request_and_stay_in_order() {
    let world = World::new().await;
    let newest_first = admit(&world, 101).await;
    let (store, counts) = counted(&world);
    assert_eq!(listed(&store).await, newest_first);
    assert_eq!(*counts.lock().unwrap(), [("BatchGetItem".into(), 2), ("Query".into(), 1)].into());
}

#[tokio::test]
async fn an_empty_index_asks_for_nothing_more() {
    let world = World::new().await;
    let (store, counts) = counted(&world);
    assert_eq!(listed(&store).await, Vec::<String>::new());
    assert_eq!(*counts.lock().unwrap(), [("Query".into(), 1)].into());
}

#[tokio::test]
async fn what_one_answer_cannot_hold_is_asked_for_again() {
    let world = World::new().await;
    let newest_first = admit(&world, 46).await;
    // DynamoDB answers with 16 MB at most and leaves the rest over.
    for run in &newest_first {
        let mut item = world.raw_item(&format!("RUN#{run}"), "RUN").await.unwrap();
        item.insert("padding".into(), AttributeValue::S("x".repeat(390_000)));
        world.put_raw(item).await;
    }
    let (store, counts) = counted(&world);
    assert_eq!(listed(&store).await, newest_first);
    assert_eq!(counts.lock().unwrap()["BatchGetItem"], 2);
}
