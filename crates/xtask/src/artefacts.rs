//! What is deployed: the real `sam build`, and how large its programs are and how fast they start.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::{Compression, write::DeflateEncoder};

use crate::world;

/// What the largest zip may be.
pub(crate) const LARGEST_BYTES: u64 = 4 << 20;
/// What the first request for an event may take, from the start of the process.
pub(crate) const FIRST_POLL: Duration = Duration::from_millis(10);
/// What a function may occupy when it asks for its first event.
pub(crate) const RESIDENT_KIB: u64 = 15 << 10;
/// How often each is started; the median counts.
const STARTS: usize = 9;

/// A built function.
pub(crate) struct Artefact {
    pub(crate) function: String,
    program: PathBuf,
}

/// What `sam build` made of every function, by its name.
fn built(root: &Path) -> Result<Vec<Artefact>> {
    let mut artefacts = Vec::new();
    for entry in fs::read_dir(root.join("functions"))? {
        let function = entry?.file_name().to_string_lossy().into_owned();
        let program = root.join(".aws-sam/build").join(camel_case(&function)).join("bootstrap");
        ensure!(program.is_file(), "sam build made no {}", program.display());
        artefacts.push(Artefact { function, program });
    }
    artefacts.sort_by(|a, b| a.function.cmp(&b.function));
    Ok(artefacts)
}

/// Builds every function as a team does that deploys, for this machine's processor.
pub(crate) fn build(root: &Path) -> Result<Vec<Artefact>> {
    let world = world::builders(root)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = format!("{}:{}", world.join("cargo-lambda/bin").display(), path.to_string_lossy());
    let arguments = ["build", "--template", "infra/template.yaml", "--parameter-overrides", "Architecture=x86_64"];
    let mut command = Command::new(world.join("sam/bin/sam"));
    command.args(arguments).current_dir(root).env("PATH", path);
    command.env("SAM_CLI_TELEMETRY", "0").env("AWS_DEFAULT_REGION", "us-east-1");
    println!("$ sam {}", arguments.join(" "));
    let status = command.status().context("sam cannot be started")?;
    ensure!(status.success(), "sam build failed ({status})");
    built(root)
}

impl Artefact {
    /// The size of the archive that is uploaded: one deflated file, and some 130 bytes around it.
    pub(crate) fn zip_bytes(&self) -> Result<u64> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&fs::read(&self.program)?)?;
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
        let mut command = Command::new(&self.program);
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

/// The function's resource in the template.
fn camel_case(function: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    function.split('-').map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_a_resource_by_its_name_in_capitals() {
        assert_eq!(camel_case("task-callback"), "TaskCallback");
        assert_eq!(camel_case("api"), "Api");
    }

    #[test]
    fn a_zip_is_as_large_as_its_deflated_program() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("bootstrap");
        fs::write(&program, vec![7; 1 << 20]).unwrap();
        let zip = Artefact { function: "api".into(), program }.zip_bytes().unwrap();
        assert!((130..10_000).contains(&zip), "{zip}");
    }
}
