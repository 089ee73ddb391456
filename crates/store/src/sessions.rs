//! Sessions between two turns, fenced by their epoch.

use agent::ports::{Checkpoint, HeldSession, PortError, Sessions};
use async_trait::async_trait;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValue;
use run_model::{RunId, SessionId};

use crate::record::{BODY_SCHEMA, check_schema, has_body, number_of};
use crate::table::{Condition, Key, number};
use crate::{Store, StoreError};

impl Store {
    async fn take_session(&self, run: &RunId, session: &SessionId) -> Result<HeldSession, StoreError> {
        let key = Key::session(run, session);
        self.check_row(&key)?;
        let request = self.dynamodb().update_item().table_name(&self.0.names.table).set_key(Some(key.attributes()));
        let sent = request
            .update_expression("ADD #epoch :one SET #schema = :schema")
            .condition_expression("attribute_not_exists(#schema) OR #schema <= :schema")
            .expression_attribute_names("#epoch", "epoch")
            .expression_attribute_names("#schema", "schema")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":schema", number(BODY_SCHEMA))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        let item = match sent {
            Ok(output) => output.attributes.unwrap_or_default(),
            Err(error) => return Err(self.refused_take(&key, error).await),
        };
        let epoch = number_of(&item, "epoch").and_then(|epoch| u64::try_from(epoch).ok());
        let epoch = epoch.ok_or_else(|| StoreError::corrupt(&key, "its epoch is no number"))?;
        let checkpoint = if has_body(&item) { self.decode_body(&item).await? } else { Checkpoint::default() };
        Ok(HeldSession { session: session.clone(), epoch, checkpoint })
    }

    async fn refused_take(&self, key: &Key, error: aws_sdk_dynamodb::error::SdkError<UpdateItemError>) -> StoreError {
        if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) {
            let item = self.get(key).await.map(Option::unwrap_or_default);
            if let Err(newer) = item.and_then(|item| check_schema(&item, BODY_SCHEMA)) {
                return newer;
            }
        }
        StoreError::unavailable("take a session", error)
    }

    async fn save_session(&self, run: &RunId, held: &HeldSession) -> Result<(), StoreError> {
        let key = Key::session(run, &held.session);
        let mut item = key.attributes();
        item.insert("schema".into(), number(BODY_SCHEMA));
        item.insert("epoch".into(), number(held.epoch));
        item.extend(self.encode_body(run, &key, &held.checkpoint).await?);
        let outcome = self.put(item, Condition::equal("epoch", number(held.epoch))).await?;
        if outcome.is_written() { Ok(()) } else { Err(StoreError::Fenced(held.session.clone())) }
    }
}

#[async_trait]
impl Sessions for Store {
    async fn take(&self, run: &RunId, session: &SessionId) -> Result<HeldSession, PortError> {
        Ok(self.take_session(run, session).await?)
    }

    async fn save(&self, run: &RunId, held: &HeldSession) -> Result<(), PortError> {
        Ok(self.save_session(run, held).await?)
    }
}
