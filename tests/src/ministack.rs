//! MiniStack, another party's AWS on the loopback, and the real SAM CLI that deploys the template onto it.
//!
//! Both are installed by `cargo xtask test --world`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_types::SdkConfig;
use lambda_host::Environment;
use serde_json::Value;
use tempfile::TempDir;

use crate::machines::{MACHINES, repository};
use crate::programs::artefacts;

/// The region of everything on it.
pub const REGION: &str = "us-east-1";
/// The credentials that MiniStack takes for the account's owner.
const CREDENTIALS: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_DEFAULT_REGION", REGION),
    ("AWS_REGION", REGION),
];

/// A program of a part of `target/world`, say `("sam", "sam")`.
pub fn program(part: &str, name: &str) -> PathBuf {
    self::part(part, &format!("bin/{name}"))
}

/// A file of a part of `target/world`.
pub fn part(part: &str, path: &str) -> PathBuf {
    let world = std::env::var_os("GATEWRIGHT_WORLD").map_or_else(|| repository().join("target/world"), PathBuf::from);
    let file = world.join(part).join(path);
    assert!(file.is_file(), "{} is not installed: cargo xtask test --world does it", file.display());
    file
}

/// A running MiniStack. It ends with this value.
pub struct MiniStack {
    process: Child,
    address: String,
    folder: TempDir,
}

impl MiniStack {
    /// Starts one that enforces the functions' roles. `variables` go before what is set here.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let address = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(program("ministack", "ministack"));
        command.envs(CREDENTIALS).env("AWS_ENDPOINT_URL", &address).env("BIND_HOST", "127.0.0.1");
        command.env("GATEWAY_PORT", &port).env("AUTH", "true").envs(variables.iter().copied());
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("Running on") {
            line.clear();
            assert!(told.read_line(&mut line).unwrap() > 0, "MiniStack ended before it listened");
        }
        // Somebody has to read on, or it would wait for its own words to be read.
        std::thread::spawn(move || drop(std::io::copy(&mut told.by_ref(), &mut std::io::sink())));
        Self { process, address, folder: tempfile::tempdir().unwrap() }
    }

    /// Where it answers.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// An SDK's configuration as the account's owner.
    pub fn sdk_config(&self) -> SdkConfig {
        let [id, secret, _, region] = CREDENTIALS;
        Environment::of([id, secret, region, ("AWS_ENDPOINT_URL", &self.address)]).sdk_config().unwrap()
    }

    /// Deploys what `sam build` made as the stack `gatewright-<stage>`. Returns what the SAM CLI printed.
    ///
    /// # Panics
    /// With what it printed, if it fails.
    pub fn deploy_built(&self, stage: &str) -> String {
        let built = artefacts().expect("`cargo xtask test --world` builds what is deployed here");
        self.deploy(stage, &built.join("template.yaml"))
    }

    /// Deploys the template with this program for every function and with these of its texts replaced by others.
    pub fn deploy_edited(&self, stage: &str, bootstrap: &Path, edits: &[(&str, &str)]) -> String {
        lay_out(self.folder.path(), "infra", bootstrap);
        let template = self.folder.path().join("infra/template.yaml");
        let text = fs::read_to_string(&template).unwrap();
        let edited = edits.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "the template has no {from}");
            text.replace(from, to)
        });
        fs::write(&template, edited).unwrap();
        self.deploy(stage, &template)
    }

    fn deploy(&self, stage: &str, template: &Path) -> String {
        let stage_parameter = format!("Stage={stage}");
        let stack = format!("gatewright-{stage}");
        self.sam(&[
            "deploy",
            "--template",
            template.to_str().unwrap(),
            "--stack-name",
            &stack,
            "--resolve-s3",
            "--capabilities",
            "CAPABILITY_IAM",
            "CAPABILITY_AUTO_EXPAND",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--parameter-overrides",
            "Architecture=x86_64",
            "Emulated=true",
            "Repositories=acme/app",
            &stage_parameter,
        ])
    }

    /// The outputs of a stage's stack.
    pub fn outputs(&self, stage: &str) -> BTreeMap<String, String> {
        let stack = format!("gatewright-{stage}");
        let printed = self.sam(&["list", "stack-outputs", "--stack-name", &stack, "--output", "json"]);
        let outputs: Value = printed.parse().unwrap_or_else(|error| panic!("{error}: {printed}"));
        let text = |output: &Value, field: &str| output[field].as_str().unwrap().to_owned();
        let outputs = outputs.as_array().unwrap().iter();
        outputs.map(|output| (text(output, "OutputKey"), text(output, "OutputValue"))).collect()
    }

    /// The variables with which other programs work in its account, the SAM CLI among them.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let tools = program("sam", "sam").parent().unwrap().to_owned();
        let path = std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path))).unwrap();
        let mut variables: Vec<_> = CREDENTIALS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        variables.push(("AWS_ENDPOINT_URL", self.address.clone()));
        variables.push(("PATH", path.into_string().unwrap()));
        variables
    }

    /// What AWS' own command line prints for the account's owner, as JSON.
    pub fn aws(&self, arguments: &[&str]) -> Value {
        let printed = self.aws_with(&[], arguments).unwrap_or_else(|refusal| panic!("aws {arguments:?}: {refusal}"));
        printed.parse().unwrap_or_else(|error| panic!("aws {arguments:?}: {error}: {printed}"))
    }

    /// What it prints for a function's role, or how the role is refused. The function serves here and now.
    ///
    /// # Errors
    /// What the command line says.
    pub fn aws_as(&self, function: &str, arguments: &[&str]) -> Result<String, String> {
        let (_, environment) = self.processes(function).pop().unwrap_or_else(|| panic!("{function} does not serve"));
        let of_role = |(name, _): &(String, String)| {
            matches!(name.as_str(), "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN")
        };
        let credentials: Vec<_> = environment.into_iter().filter(of_role).collect();
        assert_eq!(credentials.len(), 3, "a role has a session");
        self.aws_with(&credentials, arguments)
    }

    fn aws_with(&self, environment: &[(String, String)], arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program("aws", "aws"));
        command.args(arguments).args(["--output", "json"]).current_dir(self.folder.path());
        command.envs(self.environment()).envs(environment.iter().cloned());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// The processes that serve a function here and now, with the environment of each.
    pub fn processes(&self, function: &str) -> Vec<(i32, Vec<(String, String)>)> {
        let ours = [("AWS_ENDPOINT_URL", self.address.as_str()), ("_HANDLER", function)];
        let mut found = Vec::new();
        for process in fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()) {
            // What is no process has no environment, others' cannot be read, and one may have ended meanwhile.
            let Ok(environment) = fs::read(process.join("environ")) else { continue };
            let text = String::from_utf8_lossy(&environment);
            let variables = text.split('\0').filter_map(|variable| variable.split_once('='));
            let variables: Vec<(String, String)> =
                variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let has = |(name, value): (&str, &str)| variables.iter().any(|(n, v)| n == name && v == value);
            if ours.into_iter().all(has) {
                found.push((process.file_name().unwrap().to_str().unwrap().parse().unwrap(), variables));
            }
        }
        found
    }

    /// The pattern of the stack's one rule, and the ARN of its one target.
    pub fn status_rule(&self) -> (String, String) {
        let rules = self.aws(&["events", "list-rules"]);
        let [rule] = &rules["Rules"].as_array().unwrap()[..] else { panic!("one rule is deployed: {rules:#}") };
        assert_eq!(rule["State"], "ENABLED", "{rule:#}");
        let targets = self.aws(&["events", "list-targets-by-rule", "--rule", rule["Name"].as_str().unwrap()]);
        let [target] = &targets["Targets"].as_array().unwrap()[..] else { panic!("it has one target: {targets:#}") };
        let given: Vec<_> = target.as_object().unwrap().keys().filter(|key| key.starts_with("Input")).collect();
        assert!(given.is_empty(), "the target is given the event as it is: {target:#}");
        (rule["EventPattern"].as_str().unwrap().to_owned(), target["Arn"].as_str().unwrap().to_owned())
    }

    fn sam(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(program("sam", "sam"));
        command.args(arguments).current_dir(self.folder.path()).envs(CREDENTIALS);
        let output = command.env("AWS_ENDPOINT_URL", &self.address).env("SAM_CLI_TELEMETRY", "0").output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = || format!("sam {arguments:?}:\n{printed}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}", failed());
        printed
    }
}

/// What the template refers to, in the places where it looks, with the template in `templates`, a folder in `root`: the
/// template itself stays as it is.
pub fn lay_out(root: &Path, templates: &str, bootstrap: &Path) {
    let copy = |from: &Path, to: PathBuf| {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    };
    let folder = root.join(templates);
    let beside = folder.parent().unwrap();
    copy(&repository().join("infra/template.yaml"), folder.join("template.yaml"));
    for machine in MACHINES {
        let path = format!("state-machines/{machine}.asl.json");
        copy(&repository().join(&path), beside.join(&path));
    }
    copy(bootstrap, beside.join("crates/programs/bootstrap"));
}

impl Drop for MiniStack {
    fn drop(&mut self) {
        // Failures have nobody to be told to; a process that is gone already is as good.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
