//! Clock and chance of one step, and the tokens made from them.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use run_model::Randomness;
use states_language::Env;

/// Eight bytes say whose a token is, so that no index of tokens is needed; 24 random bytes are the secret.
const TOKEN_BYTES: usize = 32;
const OWNER_BYTES: usize = 8;

/// What the States Language itself does not have.
pub(super) struct Chance<'a> {
    pub(super) randomness: &'a dyn Randomness,
    /// The execution that steps.
    pub(super) id: i64,
    pub(super) now_ms: i64,
}

impl Env for Chance<'_> {
    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn random(&mut self) -> f64 {
        self.randomness.unit()
    }

    fn token(&mut self) -> String {
        let mut bytes = [0_u8; TOKEN_BYTES];
        bytes[..OWNER_BYTES].copy_from_slice(&self.id.to_be_bytes());
        self.randomness.fill(&mut bytes[OWNER_BYTES..]);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn uuid(&mut self) -> String {
        uuid(self.randomness)
    }
}

/// The execution that a token claims to belong to; none for what was never a token.
pub(super) fn token_owner(token: &str) -> Option<i64> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == TOKEN_BYTES)?;
    bytes[..OWNER_BYTES].try_into().ok().map(i64::from_be_bytes)
}

/// A version 4 UUID.
pub(crate) fn uuid(randomness: &dyn Randomness) -> String {
    let mut bytes = [0_u8; 16];
    randomness.fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_model::time::SeededRandomness;

    #[test]
    fn a_token_names_its_owner_and_differs_from_the_next() {
        let randomness = SeededRandomness::new(1);
        let mut chance = Chance { randomness: &randomness, id: 77, now_ms: 0 };
        let (one, two) = (chance.token(), chance.token());
        assert_ne!(one, two);
        assert_eq!(token_owner(&one), Some(77));
        for not_a_token in ["", "x", &one[1..], "!!!"] {
            assert_eq!(token_owner(not_a_token), None, "{not_a_token}");
        }
    }

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        let uuid = uuid(&SeededRandomness::new(2));
        assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]));
    }
}
