//! The table and the bucket, as `infra/` declares them on AWS: on one machine the store makes them itself.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, StreamSpecification, StreamViewType, TimeToLiveSpecification, TimeToLiveStatus,
};

use crate::bucket::is_refused;
use crate::error::Cause;
use crate::table::{EXPIRES_AT, INDEX};
use crate::{Store, StoreError};

impl Store {
    /// Makes table and bucket where they are missing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn create_table_and_bucket(&self) -> Result<(), StoreError> {
        self.create_table().await?;
        self.enable_expiry().await?;
        let sent = self.bucket().create().await;
        match sent {
            Err(error) if !is_refused(&error, "BucketAlreadyOwnedByYou") => {
                Err(StoreError::unavailable("create the bucket", error))
            }
            _ => Ok(()),
        }
    }

    async fn create_table(&self) -> Result<(), StoreError> {
        let failed = |error| StoreError::unavailable("describe the table", error);
        let index = GlobalSecondaryIndex::builder()
            .index_name(INDEX)
            .set_key_schema(Some(key_schema("gsi1pk", "gsi1sk").map_err(failed)?))
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build();
        let stream = StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(StreamViewType::NewAndOldImages)
            .build();
        let attributes = ["pk", "sk", "gsi1pk", "gsi1sk"].map(|name| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
        });
        let sent = self
            .dynamodb()
            .create_table()
            .table_name(&self.0.names.table)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(attributes.into_iter().collect::<Result<_, _>>().map_err(failed)?))
            .set_key_schema(Some(key_schema("pk", "sk").map_err(failed)?))
            .global_secondary_indexes(index.map_err(failed)?)
            .stream_specification(stream.map_err(failed)?)
            .send()
            .await;
        match sent {
            Err(error) if !error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => {
                Err(StoreError::unavailable("create the table", error))
            }
            _ => Ok(()),
        }
    }

    async fn enable_expiry(&self) -> Result<(), StoreError> {
        let failed = |error: Cause| StoreError::unavailable("let the table's items expire", error);
        let table = &self.0.names.table;
        let described = self.dynamodb().describe_time_to_live().table_name(table).send().await;
        let described = described.map_err(|error| failed(error.into()))?;
        let status = described.time_to_live_description().and_then(|expiry| expiry.time_to_live_status());
        if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            return Ok(());
        }
        let expiry = TimeToLiveSpecification::builder().attribute_name(EXPIRES_AT).enabled(true).build();
        let request = self.dynamodb().update_time_to_live().table_name(table);
        let sent = request.time_to_live_specification(expiry.map_err(|error| failed(error.into()))?).send().await;
        sent.map(drop).map_err(|error| failed(error.into()))
    }
}

fn key_schema(pk: &str, sk: &str) -> Result<Vec<KeySchemaElement>, aws_sdk_dynamodb::error::BuildError> {
    [(pk, KeyType::Hash), (sk, KeyType::Range)]
        .into_iter()
        .map(|(name, kind)| KeySchemaElement::builder().attribute_name(name).key_type(kind).build())
        .collect()
}
