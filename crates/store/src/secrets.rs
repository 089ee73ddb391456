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
    /// [`StoreError::NotFound`], also without a value; [`StoreError::Corrupt`] if it is not a JSON object;
    /// [`StoreError::Unavailable`].
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
        if output.secret_string().is_some_and(|text| text.trim().is_empty()) {
            return Err(StoreError::NotFound(format!("value of the secret {name}")));
        }
        // The parser's message may quote the secret, so it goes no further.
        let secret = output.secret_string().and_then(|text| serde_json::from_str::<Map<_, _>>(text).ok());
        let secret = secret.ok_or_else(|| StoreError::corrupt(format!("secret {name}"), "it is not a JSON object"))?;
        self.0.secrets.put(name, now_ms, secret.clone());
        Ok(secret)
    }

    /// Sets the value of a secret that is there already. Others may go on with the former one for five minutes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Unavailable`].
    pub async fn put_secret(&self, name: &str, fields: Map<String, Value>) -> Result<(), StoreError> {
        let value = Value::Object(fields.clone()).to_string();
        let sent = self.secrets_manager().put_secret_value().secret_id(name).secret_string(value).send().await;
        sent.map_err(|error| match error.as_service_error() {
            Some(service_error) if service_error.is_resource_not_found_exception() => {
                StoreError::NotFound(format!("secret {name}"))
            }
            _ => StoreError::unavailable("set a secret", error),
        })?;
        self.0.secrets.put(name, self.now_ms(), fields);
        Ok(())
    }

    /// The value of a fresh signing secret.
    pub fn new_signing_secret(&self) -> Map<String, Value> {
        [(TOKEN_KEY.to_owned(), Value::from(self.0.randomness.hex_id(32)))].into_iter().collect()
    }

    /// Whether a value can be the signing secret's.
    pub fn is_signing_secret(fields: &Map<String, Value>) -> bool {
        token_key(fields).is_some()
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
        let secret = Value::Object(self.new_signing_secret()).to_string();
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
        let problem = format!("its field {TOKEN_KEY} is not 64 hexadecimal digits");
        Ok(Seal::new(&token_key(&secret).ok_or_else(|| StoreError::corrupt(format!("secret {name}"), problem))?))
    }
}

fn token_key(secret: &Map<String, Value>) -> Option<[u8; 32]> {
    let digits = secret.get(TOKEN_KEY).and_then(Value::as_str)?;
    <[u8; 32]>::try_from(hex::decode(digits).ok()?).ok()
}
