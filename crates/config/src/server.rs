//! Servers that a provider's key travels to.

use crate::ConfigError;

/// Checks that a key may travel to this address at all: over plain HTTP only within the machine.
///
/// # Errors
/// [`ConfigError::BadValue`] with the cure; what may be a password is not repeated.
pub fn check_server(base_url: &str) -> Result<(), ConfigError> {
    let bad = |value: String| ConfigError::BadValue {
        key: "provider.base_url".into(),
        value,
        cure: "write https://HOST, or http://127.0.0.1:PORT on this machine, without user, password or query".into(),
    };
    let (scheme, rest) = base_url.split_once("://").unwrap_or_default();
    if rest.contains(['@', '?', '#']) {
        return Err(bad(format!("{scheme}://...")));
    }
    let fits = match scheme {
        "https" => !host(base_url).is_empty(),
        "http" => is_on_this_machine(base_url),
        _ => false,
    };
    if fits { Ok(()) } else { Err(bad(base_url.to_owned())) }
}

/// Whether what is sent to this address, which [`check_server`] let pass, stays on this machine.
pub fn is_on_this_machine(base_url: &str) -> bool {
    matches!(host(base_url), "localhost" | "127.0.0.1" | "[::1]")
}

fn host(base_url: &str) -> &str {
    let (_scheme, rest) = base_url.split_once("://").unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit_once(':').map_or(authority, |(host, _port)| host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, Server};

    #[test]
    fn a_key_travels_in_the_clear_only_within_the_machine() {
        for good in ["https://api.anthropic.com", "http://127.0.0.1:18090", "http://localhost:1/x", "http://[::1]:8080"]
        {
            assert_eq!(check_server(good), Ok(()), "{good}");
        }
        for wrong in [
            "http://example.com",
            "api.anthropic.com",
            "https://",
            "https://me:pw@host",
            "ftp://x",
            "http://127.0.0.1.evil.com",
        ] {
            let error = check_server(wrong).unwrap_err().to_string();
            assert!(!error.contains("pw"), "{error}");
        }
    }

    #[test]
    fn what_only_begins_like_the_provider_or_this_machine_is_neither() {
        let is_own = |dialect, base_url| Server { dialect, base_url, timeout_seconds: 1 }.is_the_providers_own();
        assert!(
            is_own(Dialect::Anthropic, "https://api.anthropic.com/") && is_on_this_machine("https://localhost:8443")
        );
        assert!(is_own(Dialect::OpenAi, "https://api.openai.com/v1/"));
        assert!(!is_own(Dialect::OpenAi, "https://api.anthropic.com"), "each has one of its own");
        for other in [
            "https://api.anthropic.com.evil.example",
            "https://api.anthropic.com/../x",
            "http://api.anthropic.com",
            "https://api.openai.com/v2",
            "https://127.0.0.1.evil.example",
            "https://localhost.evil.example:443",
            "https://evil.example/localhost",
        ] {
            let is_any = Dialect::ALL.iter().any(|dialect| is_own(*dialect, other));
            assert!(!is_any && !is_on_this_machine(other), "{other}");
        }
    }
}
