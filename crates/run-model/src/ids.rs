//! Identifiers are types: a task is never mistaken for a run, and a path that leaves the repository cannot be written down.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::gate::GateKind;

/// Why a text is not an identifier of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a {kind}: {rule}")]
pub struct BadId {
    kind: &'static str,
    value: String,
    rule: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a text of lower-case letters, digits and `-`, not longer than the kind allows.
            ///
            /// # Errors
            /// [`BadId`] if it is empty, too long or holds anything else.
            pub fn new(value: impl Into<String>) -> Result<Self, BadId> {
                let value = value.into();
                let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
                let fits = (1..=$max).contains(&value.len()) && value.bytes().all(plain) && !value.starts_with('-');
                let rule = concat!("use 1 to ", $max, " lower-case letters, digits and dashes, not starting with a dash");
                if fits { Ok(Self(value)) } else { Err(BadId { kind: $kind, value, rule }) }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;

            fn try_from(value: String) -> Result<Self, BadId> {
                Self::new(value)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;

            fn from_str(value: &str) -> Result<Self, BadId> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    /// A run: one requirement on its way to a change.
    RunId, "run id", 40
);
id!(
    /// A task of a run's plan.
    TaskId, "task id", 20
);
id!(
    /// A gate: one decision that a person has to take.
    GateId, "gate id", 72
);
id!(
    /// A check job.
    JobId, "job id", 72
);

/// An agent session: one role at work on one thing, `<role>/<task or run>/<iteration>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(String);

impl SessionId {
    /// The session of `role` on `task` (or on the run as a whole) in this iteration, counted from 1.
    pub fn new(role: &str, task: Option<&TaskId>, iteration: u32) -> Self {
        Self(format!("{role}/{}/{iteration}", task.map_or("run", TaskId::as_str)))
    }

    /// The session of `role` on the question of this number at gates of this kind, counted from 1. No task has such a name.
    pub fn at_gate(role: &str, kind: GateKind, number: u32) -> Self {
        Self(format!("{role}/gate:{}/{number}", kind.as_str()))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256 in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sha256(String);

impl Sha256 {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(sha2::Sha256::digest(bytes)))
    }

    /// The hash of the canonical JSON of a value (fields in declaration order, maps sorted).
    pub fn of_json(value: &impl Serialize) -> Self {
        // Our own types always serialise: they hold no maps with non-string keys.
        Self::of(&serde_json::to_vec(value).unwrap_or_default())
    }

    /// The hash that an object's key is named by: `<folder>/<64 digits>.<ending>`. `None` if its name is something else.
    pub fn named_by(key: &str) -> Option<Self> {
        let name = key.rsplit('/').next()?.split('.').next()?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (name.len() == 64 && name.bytes().all(is_digit)).then(|| Self(name.to_owned()))
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256 in the making, of what comes piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Sha256Sum(sha2::Sha256);

impl Sha256Sum {
    /// Takes the next piece.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> Sha256 {
        Sha256(hex::encode(self.0.finalize()))
    }
}

/// A path inside the repository: relative, `/`-separated, UTF-8, never through `.git` and never upwards.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct RepoPath(String);

impl RepoPath {
    /// Takes a path as a model or a person writes it; a leading `./` is dropped.
    ///
    /// # Errors
    /// [`BadId`] if it is empty, absolute, longer than 1024 bytes, leaves the repository, enters `.git`, or holds a
    /// backslash, a NUL or another control character.
    pub fn new(value: impl Into<String>) -> Result<Self, BadId> {
        let value = value.into();
        let trimmed = value.strip_prefix("./").unwrap_or(&value);
        let good_part = |part: &str| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git");
        let good = trimmed.len() <= 1024
            && !trimmed.chars().any(|c| c.is_control() || c == '\\')
            && trimmed.split('/').all(good_part);
        if good {
            return Ok(Self(trimmed.to_owned()));
        }
        let rule = "use a relative path inside the repository, with / between its parts, without .. and outside .git";
        Err(BadId { kind: "repository path", value, rule })
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RepoPath {
    type Error = BadId;

    fn try_from(value: String) -> Result<Self, BadId> {
        Self::new(value)
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside_the_repository() {
        for good in ["src/lib.rs", "./a", "a/b-c/d.e", "Cargo.toml", "..a/b", "ä/ö"] {
            assert!(RepoPath::new(good).is_ok(), "{good}");
        }
        for bad in
            ["", "/etc/passwd", "../x", "a/../b", "a//b", ".git/config", "a/.GIT/hooks", "a\\b", "a\0", "a\nb", "a/"]
        {
            assert!(RepoPath::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(RepoPath::new("./src/lib.rs").unwrap().as_str(), "src/lib.rs");
    }

    #[test]
    fn a_key_that_is_named_by_a_hash_says_so() {
        let hash = Sha256::of(b"x");
        for key in [format!("runs/r-1/artefacts/{hash}.json"), format!("a/{hash}.tar.gz"), hash.to_string()] {
            assert_eq!(Sha256::named_by(&key), Some(hash.clone()), "{key}");
        }
        for key in ["runs/r-1/manifest.json", "", "a/", &format!("{hash}/x"), &format!("a/{hash}0"), &"G".repeat(64)] {
            assert_eq!(Sha256::named_by(key), None, "{key}");
        }
        let mut sum = Sha256Sum::default();
        [b"a".as_slice(), b"", b"bc"].iter().for_each(|piece| sum.add(piece));
        assert_eq!(sum.finish(), Sha256::of(b"abc"));
    }

    #[test]
    fn an_id_says_what_is_wrong_with_it() {
        assert!(RunId::new("r-20261125-ab12").is_ok());
        let error = RunId::new("Not good").unwrap_err().to_string();
        assert!(error.contains("\"Not good\" is not a run id"), "{error}");
        assert!(serde_json::from_str::<TaskId>("\"a/b\"").is_err());
    }
}
