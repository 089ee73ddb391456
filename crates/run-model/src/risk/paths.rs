//! What the name of a file says, whatever the project's settings say of it.

/// Whether a file is prose by its name: what no program reads, unless it says that it does.
pub fn is_prose(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let prose = name.rsplit_once('.').is_some_and(|(_, kind)| matches!(kind, "md" | "markdown" | "rst" | "adoc"));
    prose || matches!(name.as_str(), "license" | "licence" | "notice" | "authors" | "changelog" | "readme")
}

/// Files that say which tests run, how they are built, what is loaded before them or what a lint lets pass.
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
    "sitecustomize.py",
    "usercustomize.py",
    "tsconfig.json",
    ".npmrc",
    ".pnpmfile.cjs",
    ".pnpmfile.mjs",
    ".swcrc",
    "go.work",
];

/// How the names of such files begin where they come in several languages.
const CHECK_CONFIGURATION_OF: &[&str] = &[
    "jest.config.",
    "vitest.config.",
    "vitest.workspace.",
    "vite.config.",
    "babel.config.",
    ".babelrc",
    ".mocharc",
    ".eslintrc",
];

/// Whether a file decides what the checks check, wherever it lies: no tester may write it, and a change to it is told by name.
pub fn configures_checks(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let cargo = path.split('/').any(|part| part == ".cargo") && name.starts_with("config");
    let of_several = || CHECK_CONFIGURATION_OF.iter().any(|begin| name.starts_with(begin));
    cargo || name.ends_with(".pth") || CHECK_CONFIGURATION.contains(&name.as_str()) || of_several()
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
        for name in [
            ".cargo/config.toml",
            "a/clippy.toml",
            "build.rs",
            "Makefile",
            "tests/conftest.py",
            "pytest.ini",
            "tox.ini",
            "setup.cfg",
            "src/sitecustomize.py",
            "tests/UserCustomize.py",
            "tests/site.pth",
            "jest.config.mjs",
            "test/vitest.config.mts",
            "vite.config.js",
            "babel.config.json",
            "test/.mocharc.yml",
            ".npmrc",
            ".pnpmfile.cjs",
            ".swcrc",
            "go.work",
        ] {
            assert!(configures_checks(name), "{name}");
        }
        for name in ["src/config.toml", "tests/test_conftest.py", "src/jest.ts", "src/config.ts", "go.mod"] {
            assert!(!configures_checks(name), "{name}");
        }
    }
}
