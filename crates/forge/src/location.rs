//! What the words for a repository lead to.

use std::path::PathBuf;

use crate::ForgeError;

/// Where a repository lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine: an absolute path.
    Folder(PathBuf),
    /// A repository on GitHub.
    GitHub(RemoteName),
}

/// A repository's name on GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteName {
    /// The host of its https address; `None` where only `owner/name` was given.
    pub host: Option<String>,
    /// The person or organisation.
    pub owner: String,
    /// The repository.
    pub name: String,
}

impl Location {
    /// Reads an absolute path, `owner/name`, or `https://HOST/owner/name` with or without `.git`.
    ///
    /// # Errors
    /// [`ForgeError::BadRepository`]
    pub fn parse(text: &str) -> Result<Self, ForgeError> {
        if text.starts_with('/') {
            return Ok(Self::Folder(text.into()));
        }
        let bad = || ForgeError::BadRepository(text.to_owned());
        let (host, path) = match text.strip_prefix("https://") {
            Some(address) => {
                address.split_once('/').map(|(host, path)| (Some(host.to_owned()), path)).ok_or_else(bad)?
            }
            None => (None, text),
        };
        let path = path.trim_end_matches('/');
        let (owner, name) = path.split_once('/').ok_or_else(bad)?;
        let name = name.strip_suffix(".git").unwrap_or(name);
        let is_owner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let is_name = |c: char| is_owner(c) || c == '.';
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
        let fits = |text: &str, longest: usize, good: &dyn Fn(char) -> bool| {
            !matches!(text, "" | "." | "..") && text.len() <= longest && text.chars().all(good)
        };
        if fits(owner, 39, &is_owner)
            && fits(name, 100, &is_name)
            && host.as_deref().is_none_or(|host| fits(host, 255, &is_host))
        {
            let (owner, name) = (owner.to_owned(), name.to_owned());
            return Ok(Self::GitHub(RemoteName { host, owner, name }));
        }
        Err(bad())
    }
}

impl std::fmt::Display for RemoteName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_names_and_addresses_are_told_apart() {
        let remote = |host: Option<&str>| {
            Location::GitHub(RemoteName { host: host.map(Into::into), owner: "acme".into(), name: "app.rs".into() })
        };
        assert_eq!(Location::parse("/home/ann/app").unwrap(), Location::Folder("/home/ann/app".into()));
        assert_eq!(Location::parse("acme/app.rs").unwrap(), remote(None));
        for address in
            ["https://github.com/acme/app.rs", "https://github.com/acme/app.rs.git", "https://github.com/acme/app.rs/"]
        {
            assert_eq!(Location::parse(address).unwrap(), remote(Some("github.com")), "{address}");
        }
        for bad in [
            "",
            "app",
            "./app",
            "../app",
            "a/b/c",
            "acme/..",
            "acme/a b",
            "http://github.com/acme/app",
            "https://github.com/acme",
            "git@github.com:acme/app.git",
            "https://user:token@github.com/acme/app",
            "acme/app?x",
            "acme/%2e",
        ] {
            assert!(Location::parse(bad).is_err(), "{bad}");
        }
    }
}
