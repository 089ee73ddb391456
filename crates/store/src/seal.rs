//! Task tokens at rest: ChaCha20-Poly1305, bound to what they wait for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use run_model::Randomness;

use crate::{Store, StoreError};

const NONCE_BYTES: usize = 12;

/// Seals tokens with the signing secret's key.
pub(crate) struct Seal(ChaCha20Poly1305);

impl Seal {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }

    /// The token, readable only with the key and only as the token of `about`.
    pub(crate) fn close(&self, randomness: &dyn Randomness, about: &str, token: &str) -> Result<String, StoreError> {
        let mut nonce = [0; NONCE_BYTES];
        randomness.fill(&mut nonce);
        let payload = Payload { msg: token.as_bytes(), aad: about.as_bytes() };
        let sealed = self.0.encrypt(&nonce.into(), payload);
        let sealed = sealed.map_err(|_| StoreError::corrupt(about, "its token is too long to be sealed"))?;
        Ok(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// The token of `about`.
    pub(crate) fn open(&self, about: &str, sealed: &str) -> Result<String, StoreError> {
        let damaged = || StoreError::corrupt(about, "its token cannot be opened with the stage's signing secret");
        let bytes = STANDARD.decode(sealed).map_err(|_| damaged())?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
        let token = self.0.decrypt(nonce.into(), Payload { msg: sealed, aad: about.as_bytes() });
        String::from_utf8(token.map_err(|_| damaged())?).map_err(|_| damaged())
    }
}

impl Store {
    pub(crate) async fn close_token(&self, about: &str, token: &str) -> Result<String, StoreError> {
        self.seal().await?.close(self.0.randomness.as_ref(), about, token)
    }
}

#[cfg(test)]
mod tests {
    use run_model::time::SeededRandomness;

    use super::*;

    #[test]
    fn a_token_opens_only_with_its_key_and_for_what_it_waits_for() {
        let seal = Seal::new(&[7; 32]);
        let sealed = seal.close(&SeededRandomness::new(1), "gate g-1", "the-token").unwrap();
        assert!(!sealed.contains("the-token"));
        assert_eq!(seal.open("gate g-1", &sealed).unwrap(), "the-token");
        assert!(seal.open("gate g-2", &sealed).is_err());
        assert!(Seal::new(&[8; 32]).open("gate g-1", &sealed).is_err());
        assert!(seal.open("gate g-1", "AAAA").is_err());
    }

    #[test]
    fn the_same_token_is_never_sealed_alike() {
        let (seal, randomness) = (Seal::new(&[7; 32]), SeededRandomness::new(1));
        let sealed = || seal.close(&randomness, "gate g-1", "the-token").unwrap();
        assert_ne!(sealed(), sealed());
    }
}
