//! The repositories that a stage works on: whoever owns the account says which, and nobody who asks for a run.

use std::collections::BTreeSet;

/// What a stage works on. Without any it works on nothing.
///
/// A repository's settings say who answers the agents and which commands run on a runner, so that to choose the repository is
/// to choose those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repositories(BTreeSet<String>);

/// The stage does not work on this repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository: {0:?} is not among those that this stage works on")]
pub struct NotListed(String);

impl NotListed {
    /// What helps.
    pub const CURE: &'static str = "whoever owns the account names every repository of the stage: gatewright aws deploy \
                                    --stage STAGE --repository OWNER/NAME --repository OWNER/NAME";
}

impl Repositories {
    /// Reads a list as the environment has it, `owner/name,owner/name`; an absolute path names a folder.
    pub fn parse(list: &str) -> Self {
        Self(list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(plain).collect())
    }

    /// Checks that this repository, in any of the ways to spell it, is one of them. Of an address the host is not looked at
    /// here: only the forge of the stage's own secret is asked.
    ///
    /// # Errors
    /// [`NotListed`], whose cure is [`NotListed::CURE`].
    pub fn check(&self, repository: &str) -> Result<(), NotListed> {
        if self.0.contains(&plain(repository)) { Ok(()) } else { Err(NotListed(repository.to_owned())) }
    }
}

/// GitHub does not tell cases apart; paths do.
fn plain(repository: &str) -> String {
    if repository.starts_with('/') {
        return repository.to_owned();
    }
    let path = match repository.strip_prefix("https://") {
        Some(address) => address.split_once('/').map_or("", |(_host, path)| path),
        None => repository,
    };
    let path = path.trim_end_matches('/');
    path.strip_suffix(".git").unwrap_or(path).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_repository_passes_however_it_is_spelt() {
        let listed = Repositories::parse("acme/app, Acme/Other.rs,/srv/App");
        for repository in [
            "acme/app",
            "Acme/App",
            "https://github.com/acme/app",
            "https://github.com/acme/app.git",
            "https://ghe.acme.com/acme/app/",
            "acme/other.rs",
            "/srv/App",
        ] {
            assert_eq!(listed.check(repository), Ok(()), "{repository}");
        }
        for stranger in [
            "",
            "acme",
            "acme/ap",
            "acme/app2",
            "mallory/app",
            "/acme/app",
            "/srv/app",
            "acme/app/x",
            "https://github.com/mallory/acme/app",
            "git@github.com:acme/app.git",
            "http://github.com/acme/app",
        ] {
            assert_eq!(listed.check(stranger), Err(NotListed(stranger.into())), "{stranger}");
        }
    }

    #[test]
    fn without_a_list_everything_is_refused() {
        for list in ["", " ", ",,"] {
            for repository in ["acme/app", "", "/", ","] {
                assert!(Repositories::parse(list).check(repository).is_err(), "{list:?} {repository:?}");
            }
        }
    }
}
