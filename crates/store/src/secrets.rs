//! Secrets: JSON objects in Secrets Manager, remembered for five minutes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::seal::Seal;
use crate::{Store, StoreError};

const REMEMBERED_MS: i64 = 5 * 60 * 1000;
/// The field of the signing secret that holds the key of task tokens: 64 hexadecimal digits.
const TOKEN_KEY: &str = "token_key";

/// Secrets read a moment ago.
#[derive(Default)]
pub(crate) struct Cache(Mutex<HashMap<String, Remembered>>);

struct Remembered {
    read_ms: i64,
    fields: Map<String, Value>,
}

impl Cache {
    fn get(&self, name: &str, now_ms: i64) -> Option<Map<String, Value>> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = cache.get(name).filter(|secret| now_ms - secret.read_ms < REMEMBERED_MS);
        fresh.map(|secret| secret.fields.clone())
    }

    fn put(&self, name: &str, read_ms: i64, fields: Map<String, Value>) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(name.to_owned(), Remembered { read_ms, fields });
    }
}

impl Store {
    /// A secret's fields, at most five minutes old. `name` is one of [`crate::Names`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Corrupt`] if it is not a JSON object; [`StoreError::Unavailable`].
    pub async fn secret(&self, name: &str) -> Result<Map<String, Value>, StoreError> {
        let now_ms = self.now_ms();
        if let Some(secret) = self.0.secrets.get(name, now_ms) {
            return Ok(secret);
        }
        let sent = self.secrets_manager().get_secret_value().secret_id(name).send().await;
        let output = sent.map_err(|error| match error.as_service_error() {
            Some(service_error) if service_error.is_resource_not_found_exception() => {
                StoreError::NotFound(format!("secret {name}"))
            }
            _ => StoreError::unavailable("read a secret", error),
        })?;
        // The parser's message may quote the secret, so it goes no further.
        let secret = output.secret_string().and_then(|text| serde_json::from_str::<Map<_, _>>(text).ok());
        let secret = secret.ok_or_else(|| StoreError::corrupt(format!("secret {name}"), "it is not a JSON object"))?;
        self.0.secrets.put(name, now_ms, secret.clone());
        Ok(secret)
    }

    /// Creates the signing secret with a fresh key if there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ensure_signing_secret(&self) -> Result<(), StoreError> {
        let name = &self.0.names.signing_secret;
        match self.secret(name).await {
            Err(StoreError::NotFound(_)) => {}
            found => return found.map(drop),
        }
        let secret = serde_json::json!({ TOKEN_KEY: self.0.randomness.hex_id(32) }).to_string();
        let sent = self.secrets_manager().create_secret().name(name).secret_string(secret).send().await;
        match sent {
            Ok(_) => Ok(()),
            // Another process was first; its key is as good.
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_exists_exception()) => Ok(()),
            Err(error) => Err(StoreError::unavailable("create the signing secret", error)),
        }
    }

    pub(crate) async fn seal(&self) -> Result<Seal, StoreError> {
        let name = &self.0.names.signing_secret;
        let secret = self.secret(name).await?;
        let key = secret.get(TOKEN_KEY).and_then(Value::as_str).and_then(|digits| hex::decode(digits).ok());
        let key = key.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let problem = format!("its field {TOKEN_KEY} is not 64 hexadecimal digits");
        Ok(Seal::new(&key.ok_or_else(|| StoreError::corrupt(format!("secret {name}"), problem))?))
    }
}
