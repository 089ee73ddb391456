//! What AWS would charge for is counted, by whom it was for.

use std::fs::OpenOptions;
use std::io::Write;

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use aws_sdk_s3::primitives::ByteStream;
use embedded_cloud::meter::{Used, item, used_for};
use embedded_cloud::{Cloud, FunctionRegistry};
use serde_json::Value;

use crate::functions::invoke;
use crate::world::{TABLE, World, driver, table, text};

/// The subject of these tests is the key that begins with an S and stands in a request's body or path.
fn subject(request: &str) -> Option<String> {
    let at = request.find("subject-")?;
    Some(request[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect())
}

async fn counting(world: &World, functions: impl FnOnce(&Cloud) -> FunctionRegistry) -> Cloud {
    let mut cloud = world.opened().await;
    cloud.count_for(subject).unwrap();
    let functions = functions(&cloud);
    cloud.start(functions).await.unwrap();
    cloud
}

fn of(world: &World, subject: &str, function: &str) -> Used {
    let mut used = used_for(&world.state_dir(), subject).unwrap().remove(function).unwrap_or_default();
    // What a clock measured differs.
    assert!(used.remove(item::LAMBDA_MS).is_none_or(|ms| ms >= 1.0));
    used
}

fn used<const N: usize>(amounts: [(&str, f64); N]) -> Used {
    amounts.map(|(item, amount)| (item.to_owned(), amount)).into()
}

/// An item of the subject of a little more than so many KB.
fn row(kilobytes: usize) -> [(String, AttributeValue); 3] {
    [("pk", text("subject-1")), ("sk", text("-")), ("note", text(&"x".repeat(kilobytes * 1024)))]
        .map(|(name, value)| (name.to_owned(), value))
}

#[tokio::test]
async fn items_are_counted_by_size_and_transactions_twice() {
    let world = World::new();
    let cloud = counting(&world, |cloud| {
        let client = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
        FunctionRegistry::new().with("writer", move |_, _| {
            let client = client.clone();
            async move {
                let put = client.put_item().table_name(TABLE).set_item(Some(row(2).into())).send().await.unwrap();
                assert!(put.consumed_capacity().is_none(), "nobody asked for it");
                let put = Put::builder().table_name(TABLE).set_item(Some(row(4).into())).build().unwrap();
                let write = TransactWriteItem::builder().put(put).build();
                client.transact_write_items().transact_items(write).send().await.unwrap();
                for consistent in [true, false] {
                    let key = client.get_item().table_name(TABLE).key("pk", text("subject-1")).key("sk", text("-"));
                    key.consistent_read(consistent).send().await.unwrap();
                }
                let refused = client.put_item().table_name(TABLE).set_item(Some(row(0).into()));
                refused.condition_expression("attribute_not_exists(pk)").send().await.unwrap_err();
                Ok(Value::Null)
            }
        })
    })
    .await;
    table(&cloud.sdk_config()).await;
    invoke(&world.state_dir(), "writer", "", "{}").await;
    // 3 for two KB and a bit, twice 5 in the transaction, 1 for what was refused; 2 for reading a little over four KB, 1 for the other.
    let expected = [(item::LAMBDA_REQUEST, 1.0), (item::DYNAMODB_WRITE, 14.0), (item::DYNAMODB_READ, 3.0)];
    assert_eq!(of(&world, "subject-1", "writer"), used(expected));
    cloud.shutdown().await;
}

#[tokio::test]
async fn whatever_asks_is_counted_for_whom_it_asks_and_looking_is_free() {
    let world = World::new();
    let cloud = counting(&world, |cloud| {
        let client = aws_sdk_s3::Client::from_conf(
            aws_sdk_s3::config::Builder::from(&cloud.sdk_config()).force_path_style(true).build(),
        );
        FunctionRegistry::new().with("keeper", move |_, _| {
            let client = client.clone();
            async move {
                let put = client.put_object().bucket("kept").key("subject-2/a").body(ByteStream::from_static(b"12345"));
                put.send().await.unwrap();
                client.get_object().bucket("kept").key("subject-3/a").send().await.unwrap_err();
                embedded_cloud::meter::logged(70);
                Ok(Value::Null)
            }
        })
    })
    .await;
    let looking = aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::config::Builder::from(&cloud.sdk_config()).force_path_style(true).build(),
    );
    looking.create_bucket().bucket("kept").send().await.unwrap();
    invoke(&world.state_dir(), "keeper", "", r#"{"requestContext":{"http":{}}}"#).await;
    looking.get_object().bucket("kept").key("subject-2/a").send().await.unwrap();
    let part = aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::config::Builder::from(&cloud.sdk_config_counted_as("part")).force_path_style(true).build(),
    );
    part.get_object().bucket("kept").key("subject-2/a").send().await.unwrap();
    // What names nobody is for the first who was named.
    let mut first = of(&world, "subject-2", "keeper");
    assert!(first.remove(item::S3_STORED_BYTE).is_some_and(|bytes| bytes >= 5.0));
    let expected = [(item::LAMBDA_REQUEST, 1.0), (item::HTTP_CALL, 1.0), (item::S3_WRITE, 1.0), (item::LOG_BYTE, 70.0)];
    assert_eq!(first, used(expected));
    assert_eq!(of(&world, "subject-3", "keeper"), used([(item::S3_READ, 1.0)]));
    assert_eq!(of(&world, "subject-2", "part"), used([(item::S3_READ, 1.0)]));
    cloud.shutdown().await;
}

#[tokio::test]
async fn the_next_process_goes_on_with_the_count() {
    let world = World::new();
    for calls in [1.0, 2.0] {
        let mut cloud = driver(Cloud::open(world.options()).await.unwrap());
        cloud.count_for(subject).unwrap();
        let client = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
        if calls < 2.0 {
            table(&cloud.sdk_config()).await;
        }
        let functions = FunctionRegistry::new().with("reader", move |_, _| {
            let client = client.clone();
            async move {
                let get = client.get_item().table_name(TABLE).key("pk", text("subject-4")).key("sk", text("-"));
                get.send().await.unwrap();
                Ok(Value::Null)
            }
        });
        cloud.start(functions).await.unwrap();
        invoke(&world.state_dir(), "reader", "", "{}").await;
        let expected = [(item::LAMBDA_REQUEST, calls), (item::DYNAMODB_READ, calls / 2.0)];
        assert_eq!(of(&world, "subject-4", "reader"), used(expected));
        cloud.shutdown().await;
    }
}

/// As a disk leaves it that was full in the middle of an entry, and has room again while the same process goes on.
#[tokio::test]
async fn nothing_is_written_behind_half_an_entry() {
    let world = World::new();
    let cloud = counting(&world, |cloud| {
        let client = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
        FunctionRegistry::new().with("reader", move |_, _| {
            let client = client.clone();
            async move {
                let get = client.get_item().table_name(TABLE).key("pk", text("subject-5")).key("sk", text("-"));
                get.send().await.unwrap();
                Ok(Value::Null)
            }
        })
    })
    .await;
    table(&cloud.sdk_config()).await;
    invoke(&world.state_dir(), "reader", "", "{}").await;
    let mut file = OpenOptions::new().append(true).open(world.state_dir().join("meter.jsonl")).unwrap();
    file.write_all(b"{\"subject\":\"subject-5\",\"fun").unwrap();
    invoke(&world.state_dir(), "reader", "", "{}").await;
    let expected = [(item::LAMBDA_REQUEST, 2.0), (item::DYNAMODB_READ, 1.0)];
    assert_eq!(of(&world, "subject-5", "reader"), used(expected));
    cloud.shutdown().await;
}
