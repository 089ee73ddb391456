//! What the name of a file says, whatever the project's settings say of it.

/// Whether a file is prose by its name: what no program reads, unless it says that it does.
pub fn is_prose(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let prose = name.rsplit_once('.').is_some_and(|(_, kind)| matches!(kind, "md" | "markdown" | "rst" | "adoc"));
    prose || matches!(name.as_str(), "license" | "licence" | "notice" | "authors" | "changelog" | "readme")
}

/// Files that say which tests run, how they are built or what a lint lets pass.
const CHECK_CONFIGURATION: &[&str] = &[
    "build.rs",
    "clippy.toml",
    ".clippy.toml",
    "rustfmt.toml",
    ".rustfmt.toml",
    "deny.toml",
    "nextest.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
    "conftest.py",
    "pytest.ini",
    "tox.ini",
    "setup.cfg",
    "noxfile.py",
    "makefile",
    "justfile",
    "tarpaulin.toml",
    ".eslintrc.json",
    "tsconfig.json",
    "vitest.config.ts",
    "jest.config.js",
];

/// Whether a file decides what the checks check.
pub(super) fn configures_checks(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let cargo = path.split('/').any(|part| part == ".cargo") && name.starts_with("config");
    cargo || CHECK_CONFIGURATION.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_told_from_what_programs_read() {
        for prose in ["README.md", "docs/a/b.rst", "LICENSE", "CHANGELOG"] {
            assert!(is_prose(prose), "{prose}");
        }
        for other in ["docs/conf.py", "requirements.txt", "CMakeLists.txt", "md", "src/readme.rs"] {
            assert!(!is_prose(other), "{other}");
        }
    }

    #[test]
    fn check_configuration_is_known_by_name() {
        for name in [".cargo/config.toml", "a/clippy.toml", "build.rs", "Makefile"] {
            assert!(configures_checks(name), "{name}");
        }
        assert!(!configures_checks("src/config.toml"));
    }
}
