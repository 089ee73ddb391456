//! The globs of the settings, ready to be asked.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use run_model::risk::PathClass;

use crate::{ConfigError, RunConfig};

/// Tells protected, test and manifest paths apart. Upper and lower case count as the same, since they do on some machines.
#[derive(Clone, Debug)]
pub struct PathRules {
    protected: GlobSet,
    test_paths: GlobSet,
    manifests: GlobSet,
    commands: GlobSet,
}

impl PathRules {
    /// Compiles the globs of these settings. `*` stays within a folder, `**` crosses folders.
    ///
    /// # Errors
    /// [`ConfigError::BadValue`] naming the glob that cannot be read.
    pub fn new(config: &RunConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            protected: compile("policy.protected", &config.protected)?,
            test_paths: compile("policy.test_paths", &config.test_paths)?,
            manifests: compile("policy.manifests", &config.manifests)?,
            commands: compile("checks.command", &named_by_commands(config))?,
        })
    }

    /// Whether a command that sets up, warms up or checks the project names this path, or its end: a command may have changed
    /// its folder.
    pub fn is_command(&self, path: &str) -> bool {
        self.commands.is_match(path)
    }

    /// Whether a change to this path is critical.
    pub fn is_protected(&self, path: &str) -> bool {
        self.protected.is_match(path)
    }

    /// Whether this path holds tests.
    pub fn is_test(&self, path: &str) -> bool {
        self.test_paths.is_match(path)
    }

    /// Whether this is a manifest or lock file.
    pub fn is_manifest(&self, path: &str) -> bool {
        self.manifests.is_match(path)
    }

    /// All that these settings say of a path.
    pub fn classify(&self, path: &str) -> PathClass {
        PathClass {
            protected: self.is_protected(path),
            manifest: self.is_manifest(path),
            test: self.is_test(path),
            command: self.is_command(path),
            included: false,
        }
    }
}

/// Those of `globs` that match one of `paths`, in their order; one that cannot be read matches nothing.
pub fn globs_that_match<'a>(globs: &'a [String], paths: impl Iterator<Item = &'a str> + Clone) -> Vec<&'a str> {
    let matches = |glob: &&'a str| {
        let one = compile("policy", std::slice::from_ref(&(*glob).to_owned()));
        one.is_ok_and(|set| paths.clone().any(|path| set.is_match(path)))
    };
    globs.iter().map(String::as_str).filter(matches).collect()
}

/// Every word of every command, as a glob of files that it may mean.
fn named_by_commands(config: &RunConfig) -> Vec<String> {
    let checks = config.checks.iter().map(|check| &check.command);
    let lines = config.setup.iter().chain(&config.warm_up).map(|command| &command.command).chain(checks);
    let words = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || "'\"`;|&()<>=$".contains(c)));
    let names = words.map(|word| word.trim_start_matches(['.', '/']).trim_end_matches('/'));
    names.filter(|name| !name.is_empty()).map(glob_of_word).collect()
}

/// A word that is no glob stands for itself.
fn glob_of_word(word: &str) -> String {
    let glob = format!("**/{word}");
    if GlobBuilder::new(&glob).build().is_ok() { glob } else { format!("**/{}", globset::escape(word)) }
}

fn compile(key: &str, globs: &[String]) -> Result<GlobSet, ConfigError> {
    let bad = |value: &str, problem: &globset::Error| ConfigError::BadValue {
        key: key.into(),
        value: format!("{value:?}"),
        cure: format!("not a glob ({}); write paths like \"docs/**\" or \"**/*.lock\"", problem.kind()),
    };
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let built = GlobBuilder::new(glob).literal_separator(true).case_insensitive(true).build();
        set.add(built.map_err(|problem| bad(glob, &problem))?);
    }
    set.build().map_err(|problem| bad(&globs.join(", "), &problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckSpec, CommandSpec, TestFormat};

    #[test]
    fn the_globs_that_match_something_are_named_in_their_order() {
        let globs = ["**/Cargo.toml", "**/go.mod", "{", ".git*"].map(str::to_owned);
        assert_eq!(globs_that_match(&globs, [".gitignore", "a/cargo.toml"].into_iter()), ["**/Cargo.toml", ".git*"]);
    }

    #[test]
    fn the_default_globs_tell_the_kinds_of_paths_apart() {
        let rules = PathRules::new(&RunConfig::default()).unwrap();
        for path in [
            ".github/workflows/ci.yml",
            ".gitignore",
            "docs/CODEOWNERS",
            "codeowners",
            "build.rs",
            "a/build.rs",
            ".cargo/config.toml",
            "sitecustomize.py",
            "tests/usercustomize.py",
            "a/b.pth",
            "web/.npmrc",
        ] {
            assert!(rules.is_protected(path), "{path}");
        }
        for path in ["src/lib.rs", "README.md", "src/github.rs", "builder.rs"] {
            assert!(!rules.is_protected(path), "{path}");
        }
        for path in [
            "tests/parse.rs",
            "crates/a/tests/deep/x.rs",
            "src/parse_test.go",
            "py/test_a.py",
            "benches/b.rs",
            "src/tests.rs",
        ] {
            assert!(rules.is_test(path), "{path}");
        }
        assert!(!rules.is_test("contests/a.rs"));
        assert!(
            rules.is_manifest("Cargo.toml")
                && rules.is_manifest("a/b/Cargo.lock")
                && !rules.is_manifest("src/Cargo.rs")
        );
    }

    #[test]
    fn what_a_command_names_is_known() {
        let check = |command: &str| CheckSpec { name: "c".into(), command: command.into(), format: TestFormat::Plain };
        let checks = vec![check("sh ./check.sh && cd ci; bash 'lint.sh'"), check("sh scripts/*.sh {broken [word")];
        let setup = vec![CommandSpec { name: "s".into(), command: "PATH=$(tools/path) ./install".into() }];
        let rules = PathRules::new(&RunConfig { checks, setup, ..RunConfig::default() }).unwrap();
        for path in ["check.sh", "ci/lint.sh", "scripts/any.sh", "tools/path", "install"] {
            assert!(rules.is_command(path), "{path}");
        }
        for path in ["src/lib.rs", "check.sh/README.md", "other.sh", "scripts/deep/any.sh"] {
            assert!(!rules.is_command(path), "{path}");
        }
    }

    #[test]
    fn a_bad_glob_is_named() {
        let config = RunConfig { protected: vec!["a[".into()], ..RunConfig::default() };
        let error = PathRules::new(&config).unwrap_err().to_string();
        assert!(error.starts_with("policy.protected = \"a[\": not a glob"), "{error}");
    }
}
