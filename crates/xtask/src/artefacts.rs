//! What is deployed: the real `sam build`, and how large its programs are and how fast they start.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compression, write::DeflateEncoder};
use regex::Regex;

use crate::world;

/// What the largest zip may be.
pub(crate) const LARGEST_BYTES: u64 = 4_000_000;
/// What the first request for an event may take, from the start of the process.
pub(crate) const FIRST_POLL: Duration = Duration::from_millis(10);
/// What a function may occupy when it asks for its first event.
pub(crate) const RESIDENT_KIB: u64 = 15 << 10;
/// How often each is started; the median counts.
const STARTS: usize = 9;
/// Where `sam build` puts what it makes here: beside what somebody built to deploy it.
pub(crate) const BUILT: &str = "target/artefacts";
const TEMPLATE: &str = "infra/template.yaml";
/// What each program's zip is known to be.
const SIZES: &str = "infra/artefacts.toml";

/// A function, the program that it is in, and what `sam build` made.
pub(crate) struct Artefact {
    pub(crate) function: String,
    pub(crate) program: String,
    bootstrap: PathBuf,
}

/// Builds every function as a team does that deploys, for this machine's processor. What the compiler makes on the way lies
/// under `target`.
pub(crate) fn build(root: &Path, target: &Path) -> Result<Vec<Artefact>> {
    let world = world::builders(root)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = format!("{}:{}", world.join("cargo-lambda/bin").display(), path.to_string_lossy());
    let arguments = ["build", "--template", TEMPLATE, "--build-dir", BUILT, "--parameter-overrides"];
    let arguments = [&arguments[..], &["Architecture=x86_64"]].concat();
    let mut command = Command::new(world.join("sam/bin/sam"));
    command.args(&arguments).current_dir(root).env("PATH", path);
    command.env("SAM_CLI_TELEMETRY", "0").env("AWS_DEFAULT_REGION", "us-east-1").env("CARGO_TARGET_DIR", target);
    println!("$ sam {}", arguments.join(" "));
    let status = command.status().context("sam cannot be started")?;
    ensure!(status.success(), "sam build failed ({status})");
    built(root)
}

/// What was made of each function of the template.
fn built(root: &Path) -> Result<Vec<Artefact>> {
    let template = fs::read_to_string(root.join(TEMPLATE))?;
    let function = Regex::new(
        r"(?m)^  (\w+):\n    Type: AWS::Serverless::Function\n.*Binary: ([\w-]+)(?:.*\n)+?      Handler: (\S+)$",
    )?;
    let found = function.captures_iter(&template).map(|found| {
        let bootstrap = root.join(BUILT).join(&found[1]).join("bootstrap");
        ensure!(bootstrap.is_file(), "sam build made no {}", bootstrap.display());
        Ok(Artefact { function: found[3].to_owned(), program: found[2].to_owned(), bootstrap })
    });
    let mut artefacts = found.collect::<Result<Vec<_>>>()?;
    ensure!(
        artefacts.len() == template.matches("AWS::Serverless::Function").count(),
        "a function is written otherwise"
    );
    artefacts.sort_by(|a, b| a.function.cmp(&b.function));
    Ok(artefacts)
}

/// Holds each program's zip to what it is known to be, and a tenth more.
pub(crate) fn hold_sizes(root: &Path, artefacts: &[Artefact]) -> Result<()> {
    let mut zips = BTreeMap::new();
    for artefact in artefacts {
        if !zips.contains_key(&artefact.program) {
            zips.insert(artefact.program.clone(), artefact.zip_bytes()?);
        }
    }
    println!("zips: {zips:?}");
    let known: BTreeMap<String, u64> = toml::from_str(&fs::read_to_string(root.join(SIZES))?).context(SIZES)?;
    let problems = oversized(&zips, &known);
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

/// The zips beyond a tenth more than is known of them or beyond what any may be, and those of which nothing is known.
fn oversized(zips: &BTreeMap<String, u64>, known: &BTreeMap<String, u64>) -> Vec<String> {
    let gone = known.keys().filter(|name| !zips.contains_key(*name));
    let mut problems: Vec<String> = gone.map(|name| format!("{SIZES}: there is no {name}")).collect();
    for (program, bytes) in zips {
        let known = known.get(program).copied().unwrap_or_default();
        let bound = LARGEST_BYTES.min(known * 11 / 10);
        if *bytes > bound {
            problems.push(format!(
                "the zip of {program} has {bytes} bytes and may have {bound}, by the {known} of {SIZES}: find out what made it grow, \
                 and if it has to be so, say so there"
            ));
        }
    }
    problems
}

impl Artefact {
    /// The size of the archive that is uploaded: one deflated file, and some 130 bytes around it.
    pub(crate) fn zip_bytes(&self) -> Result<u64> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&fs::read(&self.bootstrap)?)?;
        Ok(encoder.finish()?.len() as u64 + 130)
    }

    /// From the start of the process to its first request for an event, and what it then occupies in KiB: the medians.
    pub(crate) fn start(&self) -> Result<(Duration, u64)> {
        let mut starts = (0..STARTS).map(|_| self.start_once()).collect::<Result<Vec<_>>>()?;
        starts.sort_unstable();
        let (first_poll, _) = starts[STARTS / 2];
        starts.sort_unstable_by_key(|(_, resident)| *resident);
        Ok((first_poll, starts[STARTS / 2].1))
    }

    fn start_once(&self) -> Result<(Duration, u64)> {
        let runtime_api = TcpListener::bind("127.0.0.1:0")?;
        let mut command = Command::new(&self.bootstrap);
        command.env_clear().envs(ENVIRONMENT);
        command.env("AWS_LAMBDA_FUNCTION_NAME", &self.function).env("_HANDLER", &self.function);
        command.env("AWS_LAMBDA_RUNTIME_API", runtime_api.local_addr()?.to_string());
        let begun = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut asked = String::new();
        let (stream, _) = runtime_api.accept()?;
        BufReader::new(stream).read_line(&mut asked)?;
        let first_poll = begun.elapsed();
        let resident = resident_kib(child.id());
        child.kill()?;
        child.wait()?;
        ensure!(asked.contains("/invocation/next"), "{} asked for {asked:?} first", self.function);
        Ok((first_poll, resident?))
    }
}

/// What Lambda gives a function, with names of resources that are not there.
const ENVIRONMENT: [(&str, &str); 9] = [
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_ACCESS_KEY_ID", "none"),
    ("AWS_SECRET_ACCESS_KEY", "none"),
    ("GATEWRIGHT_STAGE", "dev"),
    ("GATEWRIGHT_PIPELINE_ARN", "arn:aws:states:us-east-1:000000000000:stateMachine:pipeline"),
    ("GATEWRIGHT_JANITOR_ARN", "arn:aws:lambda:us-east-1:000000000000:function:janitor"),
    ("GATEWRIGHT_SCHEDULES_ROLE_ARN", "arn:aws:iam::000000000000:role/schedules"),
];

fn resident_kib(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the process is gone")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_says_which_program_a_function_is_in() {
        let root = tempfile::tempdir().unwrap();
        let template = fs::read_to_string(crate::root().join(TEMPLATE)).unwrap();
        fs::create_dir(root.path().join("infra")).unwrap();
        fs::write(root.path().join(TEMPLATE), template).unwrap();
        assert!(built(root.path()).is_err(), "nothing is built");
        for function in fs::read_dir(crate::root().join("functions")).unwrap() {
            let name = function.unwrap().file_name().into_string().unwrap();
            let resource: String = name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
            fs::create_dir_all(root.path().join(BUILT).join(&resource)).unwrap();
            fs::write(root.path().join(BUILT).join(&resource).join("bootstrap"), "").unwrap();
        }
        let artefacts = built(root.path()).unwrap();
        let found: Vec<_> = artefacts.iter().map(|artefact| (&*artefact.function, &*artefact.program)).collect();
        assert!(found.contains(&("task-callback", "services")) && found.contains(&("tester", "agents")), "{found:?}");
        assert_eq!(found.len(), 14);
    }

    #[test]
    fn a_zip_that_grew_or_that_nobody_knows_is_seen() {
        let sizes = |sizes: &[(&str, u64)]| sizes.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect();
        let known = sizes(&[("a", 1_000)]);
        assert!(oversized(&sizes(&[("a", 1_100)]), &known).is_empty());
        assert!(oversized(&sizes(&[("a", 1_101)]), &known)[0].contains("1101 bytes and may have 1100"));
        assert!(oversized(&sizes(&[("a", 900), ("b", 1)]), &known)[0].contains("the zip of b has 1 bytes"));
        assert_eq!(oversized(&sizes(&[]), &known), ["infra/artefacts.toml: there is no a"]);
        let at_the_limit = sizes(&[("a", LARGEST_BYTES)]);
        assert!(oversized(&at_the_limit, &at_the_limit).is_empty());
        let beyond = sizes(&[("a", LARGEST_BYTES + 1)]);
        assert!(oversized(&beyond, &beyond)[0].contains("and may have 4000000"), "what is known does not excuse it");
    }

    #[test]
    fn a_zip_is_as_large_as_its_deflated_program() {
        let folder = tempfile::tempdir().unwrap();
        let bootstrap = folder.path().join("bootstrap");
        fs::write(&bootstrap, vec![7; 1 << 20]).unwrap();
        let zip = Artefact { function: "api".into(), program: "services".into(), bootstrap }.zip_bytes().unwrap();
        assert!((130..10_000).contains(&zip), "{zip}");
    }
}
