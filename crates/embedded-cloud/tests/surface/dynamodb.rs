use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use embedded_cloud::FunctionRegistry;

use crate::world::{TABLE, World, note_of, put, table, text};

#[tokio::test]
async fn a_failed_condition_is_typed_and_shows_the_item() {
    let world = World::new();
    let cloud = world.opened().await;
    let client = table(&cloud.sdk_config()).await;
    put(&client, "RUN#1", "first").await;
    let again = client.put_item().table_name(TABLE).item("pk", text("RUN#1")).item("sk", text("-"));
    let error = again
        .condition_expression("attribute_not_exists(pk)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_conditional_check_failed_exception(), "{error:?}");
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(error) = error else {
        panic!("another error");
    };
    assert_eq!(error.item.unwrap()["note"], text("first"));
}

#[tokio::test]
async fn a_transaction_is_whole_or_tells_why_not() {
    let world = World::new();
    let cloud = world.opened().await;
    let client = table(&cloud.sdk_config()).await;
    put(&client, "RUN#1", "first").await;
    let outbox = Put::builder().table_name(TABLE).item("pk", text("OUTBOX#1")).item("sk", text("-"));
    let decide = |expected: &str| {
        let update = Update::builder().table_name(TABLE).key("pk", text("RUN#1")).key("sk", text("-"));
        let update = update
            .update_expression("SET note = :new")
            .condition_expression("note = :expected")
            .expression_attribute_values(":new", text("second"))
            .expression_attribute_values(":expected", text(expected));
        client
            .transact_write_items()
            .transact_items(
                TransactWriteItem::builder().put(outbox.clone().item("note", text("go")).build().unwrap()).build(),
            )
            .transact_items(TransactWriteItem::builder().update(update.build().unwrap()).build())
            .send()
    };
    let error = decide("other").await.unwrap_err().into_service_error();
    assert!(error.is_transaction_canceled_exception(), "{error:?}");
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(error) =
        error
    else {
        panic!("another error");
    };
    let codes: Vec<_> = error.cancellation_reasons().iter().map(|reason| reason.code().unwrap()).collect();
    assert_eq!(codes, ["None", "ConditionalCheckFailed"]);
    assert_eq!(note_of(&client, "OUTBOX#1").await, None);

    decide("first").await.unwrap();
    assert_eq!(note_of(&client, "OUTBOX#1").await.as_deref(), Some("go"));
    assert_eq!(note_of(&client, "RUN#1").await.as_deref(), Some("second"));
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_crash() {
    let world = World::new();
    let cloud = world.started(FunctionRegistry::new()).await;
    let client = table(&cloud.sdk_config()).await;
    put(&client, "RUN#1", "kept").await;
    drop(client);
    drop(cloud);
    let cloud = world.opened().await;
    let client = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
    assert_eq!(note_of(&client, "RUN#1").await.as_deref(), Some("kept"));
}

#[tokio::test]
async fn arns_name_the_region_of_the_configuration() {
    let world = World::new();
    let cloud = world.opened().await;
    let client = table(&cloud.sdk_config()).await;
    let table = client.describe_table().table_name(TABLE).send().await.unwrap().table.unwrap();
    assert_eq!(table.table_arn.unwrap(), "arn:aws:dynamodb:us-east-1:000000000000:table/gatewright");
    assert!(table.latest_stream_arn.unwrap().starts_with("arn:aws:dynamodb:us-east-1:000000000000:table/"));
}

#[tokio::test]
async fn what_is_not_answered_is_refused_by_name() {
    let world = World::new();
    let cloud = world.opened().await;
    let client = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
    let error = client.describe_limits().send().await.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("UnknownOperationException"));
    assert!(error.message().unwrap().contains("DescribeLimits"), "{error:?}");
}

#[tokio::test]
async fn a_missing_table_is_typed() {
    let world = World::new();
    let cloud = world.opened().await;
    let client = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
    let get = client.get_item().table_name("nowhere").key("pk", text("a")).send().await;
    assert!(get.unwrap_err().into_service_error().is_resource_not_found_exception());
}
