//! The GitHub App that a fake GitHub knows: it checks what the App's key signed.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

pub(super) const ID: u64 = 4711;

#[derive(Clone, Copy)]
pub(super) struct App(&'static KeyPair);

/// Made once for a process, since that takes a while; and made here, so that no key lies in the repository.
static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

impl App {
    pub(super) fn new() -> Self {
        Self(&KEY)
    }

    pub(super) fn pem(&self) -> String {
        let der: Pkcs8V1Der<'_> = self.0.as_der().unwrap();
        let encoded = BASE64_STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let kind = "PRIVATE KEY";
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
    }

    /// Whether the App's key signed this token, in the App's name.
    pub(super) fn signed(&self, token: &str) -> bool {
        let Some((content, signature)) = token.rsplit_once('.') else { return false };
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        let claims: Value = serde_json::from_slice(&decode(content.rsplit('.').next().unwrap())).unwrap_or_default();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.0.public_key().as_ref());
        let issuer = claims["iss"].as_u64().or_else(|| claims["iss"].as_str()?.parse().ok());
        key.verify(content.as_bytes(), &decode(signature)).is_ok() && issuer == Some(ID)
    }
}
