//! Which packages come and go with an edit to a manifest or lock file, in plain words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::change_set::{Edit, Overlay};
use crate::diff::BaseContent;

/// Packages by name, each with what is said of its version: a manifest's range, a lock file's number.
type Packages = BTreeMap<String, BTreeSet<String>>;

/// So many packages are named of one file; the diff shows them all.
const NAMED: usize = 40;

/// What every edited file of a known kind does to the packages, a line each: `Cargo.lock: adds rand 0.9.0, removes time 0.1.43`.
///
/// For the person who decides. It reads files that a model wrote and whose tools it does not run: what it says is a help beside
/// the diff and no proof.
pub fn package_changes(manifests: &Overlay, base_content: BaseContent<'_>) -> Vec<String> {
    let line = |(path, edit): (&crate::RepoPath, &Edit)| {
        let name = path.as_str().rsplit('/').next().unwrap_or_default();
        let new = match edit {
            Edit::Write(content) => content.as_str(),
            Edit::Delete => "",
        };
        let (old, new) = (packages(name, &base_content(path).unwrap_or_default())?, packages(name, new)?);
        let changes = changes(&old, &new);
        (!changes.is_empty()).then(|| format!("{path}: {}", shown(&changes)))
    };
    manifests.0.iter().filter_map(line).collect()
}

fn changes(old: &Packages, new: &Packages) -> Vec<String> {
    let versions = |of: &BTreeSet<String>| of.iter().map(String::as_str).collect::<Vec<_>>().join(" and ");
    let came = new.iter().filter(|(name, _)| !old.contains_key(*name));
    let went = old.iter().filter(|(name, _)| !new.contains_key(*name));
    let moved =
        new.iter().filter_map(|(name, now)| old.get(name).filter(|was| *was != now).map(|was| (name, was, now)));
    came.map(|(name, now)| format!("adds {name} {}", versions(now)))
        .chain(moved.map(|(name, was, now)| format!("changes {name} from {} to {}", versions(was), versions(now))))
        .chain(went.map(|(name, was)| format!("removes {name} {}", versions(was))))
        .map(|change| change.trim_end().to_owned())
        .collect()
}

fn shown(changes: &[String]) -> String {
    let named = changes.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if changes.len() > NAMED { format!("{named} and {} changes more", changes.len() - NAMED) } else { named }
}

/// The packages that a file names; `None` of a file whose kind is not known.
fn packages(name: &str, text: &str) -> Option<Packages> {
    let found = match name {
        "Cargo.lock" | "uv.lock" | "poetry.lock" => of_package_tables(text),
        "Cargo.toml" => of_dependency_tables(text),
        "package-lock.json" | "npm-shrinkwrap.json" => of_npm_lock(text),
        "package.json" => of_package_json(text),
        "pnpm-lock.yaml" => of_pnpm_lock(text),
        "go.mod" => of_lines(text, go_requirement),
        _ if name.starts_with("requirements") && name.ends_with(".txt") => of_lines(text, requirement),
        _ => return None,
    };
    let mut packages = Packages::new();
    for (name, version) in found {
        packages.entry(name).or_default().insert(version);
    }
    Some(packages)
}

type Found = Vec<(String, String)>;

fn of_lines(text: &str, read: fn(&str) -> Option<(&str, &str)>) -> Found {
    let found = text.lines().filter_map(|line| read(line.trim()));
    found.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
}

/// The text of `key = "text"`.
fn assigned<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    Some(line.strip_prefix(key)?.trim_start().strip_prefix('=')?.trim().trim_matches('"'))
}

/// `[[package]]` with a name and a version each, as cargo, uv and Poetry lock them.
fn of_package_tables(text: &str) -> Found {
    let field = |table: &str, key: &str| {
        let own = table.lines().skip(1).take_while(|line| !line.starts_with('['));
        own.filter_map(|line| assigned(line, key)).next().map(str::to_owned)
    };
    let tables = text.split("[[package]]").skip(1);
    tables.filter_map(|table| Some((field(table, "name")?, field(table, "version").unwrap_or_default()))).collect()
}

/// `[dependencies]` and its like, and `[dependencies.name]`, as a Cargo manifest has them.
fn of_dependency_tables(text: &str) -> Found {
    let (mut found, mut is_inside) = (Found::new(), false);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            is_inside = header.ends_with("dependencies");
            if let Some((_, name)) = header.rsplit_once("dependencies.") {
                found.push((name.to_owned(), String::new()));
            }
        } else if let Some((name, version)) = line.split_once('=').filter(|_| is_inside) {
            found.push((name.trim().to_owned(), version.trim().trim_matches('"').to_owned()));
        }
    }
    found
}

fn of_npm_lock(text: &str) -> Found {
    let lock: Value = serde_json::from_str(text).unwrap_or_default();
    let installed = lock["packages"].as_object().into_iter().flatten();
    let package = |(place, package): (&String, &Value)| {
        let (_, name) = place.rsplit_once("node_modules/")?;
        Some((name.to_owned(), package["version"].as_str().unwrap_or_default().to_owned()))
    };
    installed.filter_map(package).collect()
}

fn of_package_json(text: &str) -> Found {
    let manifest: Value = serde_json::from_str(text).unwrap_or_default();
    let kinds = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];
    let named = kinds.into_iter().filter_map(|kind| manifest[kind].as_object()).flatten();
    named.map(|(name, range)| (name.clone(), range.as_str().unwrap_or_default().to_owned())).collect()
}

/// The keys of `packages:`, which are `name@version`.
fn of_pnpm_lock(text: &str) -> Found {
    let lines = text.lines().skip_while(|line| *line != "packages:").skip(1);
    let own = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    let keys = own.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = keys.filter_map(|line| line.trim().strip_suffix(':')?.trim_matches('\'').rsplit_once('@'));
    names.map(|(name, version)| (name.trim_start_matches('/').to_owned(), version.to_owned())).collect()
}

fn go_requirement(line: &str) -> Option<(&str, &str)> {
    let mut words = line.strip_prefix("require ").unwrap_or(line).split_whitespace();
    let (module, version) = (words.next()?, words.next()?);
    (version.starts_with('v') && module.contains('.')).then_some((module, version))
}

fn requirement(line: &str) -> Option<(&str, &str)> {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let version = rest.split([';', '#', '\\']).next().unwrap_or_default().trim();
    name.starts_with(|c: char| c.is_ascii_alphanumeric()).then_some((name, version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RepoPath;

    fn told(path: &str, old: &str, new: &str) -> Vec<String> {
        let edits = Overlay([(RepoPath::new(path).unwrap(), Edit::Write(new.into()))].into());
        package_changes(&edits, &|_| Some(old.to_owned()))
    }

    #[test]
    fn a_lock_of_tables_says_what_comes_goes_and_changes() {
        let package = |name: &str, version: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\ndependencies = [\n \"x\",\n]\n\n")
        };
        let old = ["version = 4\n\n".to_owned(), package("a", "1.0.0"), package("b", "1.0.0")].concat();
        let new = [package("b", "2.0.0"), package("b", "2.1.0"), package("c", "0.1.0")].concat();
        let said = "adds c 0.1.0, changes b from 1.0.0 to 2.0.0 and 2.1.0, removes a 1.0.0";
        for path in ["Cargo.lock", "sub/uv.lock", "poetry.lock"] {
            assert_eq!(told(path, &old, &new), [format!("{path}: {said}")]);
        }
        assert_eq!(told("Cargo.lock", &old, &old), Vec::<String>::new());
    }

    #[test]
    fn every_known_kind_of_file_is_read() {
        let cargo = "[package]\nname = \"x\"\n[dev-dependencies]\nrand = \"0.9\"\n[target.x.dependencies.time]\nversion = \"1\"\n";
        let npm = r#"{"packages": {"": {}, "node_modules/a/node_modules/@s/b": {"version": "1.2.3"}}}"#;
        let node = r#"{"name": "x", "devDependencies": {"jest": "^29"}}"#;
        let pnpm = "importers:\n  .:\n    x: 1\npackages:\n\n  '@s/b@1.2.3':\n    resolution: {}\n  c@2.0.0:\n\nsnapshots:\n  d@1:\n";
        let go = "module a.b/c\n\ngo 1.22\n\nrequire (\n\tgithub.com/x/y v1.2.3 // indirect\n)\n";
        let pip =
            "--hash x\nrequests[socks]==2.1 ; python_version > \"3\"\ntext-unidecode==1.3 \\\n    --hash=sha256:0\n";
        for (path, new, said) in [
            ("Cargo.toml", cargo, "adds rand 0.9, adds time"),
            ("package-lock.json", npm, "adds @s/b 1.2.3"),
            ("package.json", node, "adds jest ^29"),
            ("pnpm-lock.yaml", pnpm, "adds @s/b 1.2.3, adds c 2.0.0"),
            ("go.mod", go, "adds github.com/x/y v1.2.3"),
            ("requirements-dev.txt", pip, "adds requests [socks]==2.1, adds text-unidecode ==1.3"),
        ] {
            assert_eq!(told(path, "", new), [format!("{path}: {said}")]);
        }
        assert_eq!(told("build.gradle", "", "x"), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_goes_takes_its_packages_along_and_a_long_list_is_cut_with_its_length() {
        let gone = Overlay([(RepoPath::new("go.mod").unwrap(), Edit::Delete)].into());
        assert_eq!(package_changes(&gone, &|_| Some("a.b/c v1.0.0\n".into())), ["go.mod: removes a.b/c v1.0.0"]);
        let many: String = (0..NAMED + 2).map(|n| format!("p{n:02}==1\n")).collect();
        assert!(told("requirements.txt", "", &many)[0].ends_with("adds p39 ==1 and 2 changes more"));
    }
}
