//! Writes the commented `gatewright.toml` that `gatewright init` leaves in a project.

use toml::Value;

use crate::{CommandSpec, Detected, TestFormat, defaults};

/// The text of a `gatewright.toml` for this project: what was found is set, every other setting is shown with its default.
pub fn render_toml(detected: &Detected) -> String {
    let Detected { project, setup, setup_files, warm_up, checks, test_paths, manifests, notes: _ } = detected;
    let checks: String =
        checks.iter().map(|check| table("checks", &check.name, &check.command, Some(check.format))).collect();
    let owned = |globs: &[&str]| list(&defaults::globs(globs));
    // What a language adds is set; the usual globs alone are shown as a default.
    let extended = |key: &str, usual: &[&str], more: &[String]| {
        let sign = if more.is_empty() { "#" } else { "" };
        format!("{sign}{key} = {}", list(&[defaults::globs(usual), more.to_vec()].concat()))
    };
    let parts = [
        ("@language@", text(&project.language)),
        ("@root@", text(&project.root)),
        ("@setup_files@", list(setup_files)),
        ("@setup@\n", tables("setup", setup)),
        ("@warm_up@\n", tables("warm_up", warm_up)),
        ("@checks@\n", checks),
        ("@protected@", owned(defaults::PROTECTED)),
        ("@test_paths@", extended("test_paths", defaults::TEST_PATHS, test_paths)),
        ("@manifests@", extended("manifests", defaults::MANIFESTS, manifests)),
    ];
    let template = include_str!("gatewright.toml.template").to_owned();
    parts.into_iter().fold(template, |text, (place, value)| text.replace(place, &value))
}

fn text(value: &str) -> String {
    Value::from(value).to_string()
}

fn list(values: &[String]) -> String {
    Value::from(values.to_vec()).to_string()
}

fn tables(key: &str, commands: &[CommandSpec]) -> String {
    commands.iter().map(|command| table(key, &command.name, &command.command, None)).collect()
}

fn table(key: &str, name: &str, command: &str, format: Option<TestFormat>) -> String {
    let word = TestFormat::NAMES.iter().find(|(_, known)| Some(*known) == format).map(|(word, _)| *word);
    let format = word.map(|word| format!("format = {}\n", text(word))).unwrap_or_default();
    format!("[[{key}]]\nname = {}\ncommand = {}\n{format}\n", text(name), text(command))
}

#[cfg(test)]
mod tests {
    use run_model::risk::RiskLevel;

    use super::*;
    use crate::{ProjectFile, detect};

    fn detected(files: &[&str]) -> Detected {
        let text = |name: &str| match name {
            "Cargo.toml" => "[package]\nname = \"a\"".into(),
            "package.json" => "{\"scripts\": {\"test\": \"jest\"}}".into(),
            _ => "module a".into(),
        };
        detect(files, &|name| Some(text(name))).unwrap()
    }

    #[test]
    fn the_file_says_what_was_detected() {
        let projects = [
            &["Cargo.toml"][..],
            &["Cargo.toml", "Cargo.lock"],
            &["package.json", "package-lock.json"],
            &["requirements.txt", "tests/test_a.py"],
            &["a/go.mod", "a/a_test.go"],
        ];
        for files in projects {
            let detected = detected(files);
            assert_eq!(ProjectFile::parse(&render_toml(&detected)).unwrap(), ProjectFile::from_detected(detected));
        }
    }

    #[test]
    fn every_default_it_shows_is_the_default() {
        let detected = detected(&["Cargo.toml"]);
        let shown =
            |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned();
        let text = render_toml(&detected);
        let all = text.lines().map(shown).collect::<Vec<_>>().join("\n");
        assert_ne!(all, text);
        let mut expected = ProjectFile::from_detected(detected);
        let waits = [(RiskLevel::Medium, 1_800), (RiskLevel::High, 3_600), (RiskLevel::Critical, 7_200)];
        expected.0.limits.gate_seconds = waits.into();
        assert_eq!(ProjectFile::parse(&all).unwrap(), expected);
    }

    #[test]
    fn every_setting_stands_in_the_file() {
        let text = render_toml(&detected(&["Cargo.toml"]));
        for key in ["turns", "temperature", "cassette", "script", "free", "check_disk_mib", "read_only", "protected"] {
            assert!(text.contains(key), "{key}");
        }
        assert!(!text.contains('@'), "a place was not filled");
    }
}
