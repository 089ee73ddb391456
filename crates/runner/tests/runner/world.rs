//! What a test has: a runner, its store, and projects to check.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{CheckSpec, CommandSpec, RunConfig, TestFormat};
use embedded_cloud::{Attachment, Cloud, CloudOptions};
use flate2::Compression;
use flate2::write::GzEncoder;
use run_model::change_set::{Edit, Overlay};
use run_model::evidence::{CheckJob, Evidence, Purpose};
use run_model::run::ArtefactRef;
use run_model::snapshot::{Entry, EntryKind, Manifest, SnapshotRef};
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{JobId, RepoPath, RunId, Sha256};
use runner::Runner;
use sandbox::Sandbox;
use serde_json::Value;
use store::{Names, NewEvent, OutboxKind, Store};

pub(crate) const NAME: &str = "this-process";

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) runner: Runner,
    pub(crate) state: PathBuf,
    jobs: u32,
    attachment: Attachment,
    _folder: tempfile::TempDir,
}

/// A base and what is laid over it.
pub(crate) struct Project {
    pub(crate) config: RunConfig,
    pub(crate) files: BTreeMap<&'static str, String>,
    pub(crate) links: BTreeMap<&'static str, String>,
    pub(crate) overlay: Vec<(&'static str, Option<&'static str>)>,
    pub(crate) setup: Vec<(&'static str, &'static str)>,
    pub(crate) held_out: Vec<(&'static str, &'static str)>,
}

/// How a job ended: evidence, or the name and message of an error.
pub(crate) type End = Result<Evidence, (String, String)>;

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let clock = Arc::new(VirtualClock::at(1_800_000_000_000));
        let state = folder.path().join("state");
        let options = CloudOptions::new(state.clone(), clock.clone(), Arc::new(SeededRandomness::new(1)));
        let attachment = Cloud::open(options).await.unwrap();
        let randomness = Arc::new(SeededRandomness::new(2));
        let store = Store::new(&attachment.sdk_config(), Names::for_stage("local"), clock.clone(), randomness);
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        let runner = Runner::new(store.clone(), sandbox(), state.clone(), clock, NAME);
        Self { store, runner, state, jobs: 0, attachment, _folder: folder }
    }

    /// A store whose table is not there, and a state folder for whoever uses it.
    pub(crate) fn store_without_a_table(&self, clock: &VirtualClock) -> (Store, PathBuf) {
        let (names, randomness) = (Names::for_stage("nowhere"), Arc::new(SeededRandomness::new(3)));
        let store = Store::new(&self.attachment.sdk_config(), names, Arc::new(clock.clone()), randomness);
        (store, self.state.join("nowhere"))
    }

    /// Queues a job for a project.
    pub(crate) async fn queue(&mut self, project: &Project) -> CheckJob {
        self.jobs += 1;
        let archive = archive(project.files.iter().map(|(path, text)| (*path, text.as_str())), &project.links);
        let manifest = serde_json::to_vec(&project.manifest()).unwrap();
        let (archive_sha256, number) = (Sha256::of(&archive), self.jobs);
        let put = async |name: &str, bytes: Vec<u8>| {
            let key = format!("runs/r-1/{number}/{name}");
            self.store.put_object(&key, bytes).await.unwrap();
            key
        };
        let job = CheckJob {
            job_id: JobId::new(format!("job-{number}")).unwrap(),
            run_id: RunId::new("r-1").unwrap(),
            purpose: Purpose::Task,
            priority: run_model::run::Priority::Normal,
            snapshot: SnapshotRef {
                commit: "0".repeat(40),
                archive_key: put("snapshot.tar.gz", archive).await,
                archive_sha256,
                manifest_key: put("manifest.json", manifest).await,
            },
            overlay_key: Some(put("overlay.json", serde_json::to_vec(&project.overlay()).unwrap()).await),
            setup_key: match project.setup.is_empty() {
                true => None,
                false => Some(put("setup.json", serde_json::to_vec(&project.let_in()).unwrap()).await),
            },
            held_out_key: match project.held_out.is_empty() {
                true => None,
                false => Some(put("held-out", archive_of(&project.held_out)).await),
            },
            config_key: put("config.json", serde_json::to_vec(&project.config).unwrap()).await,
        };
        self.store.put_job(job.clone(), "token", NewEvent::new("checks.queued", "the checks run")).await.unwrap();
        job
    }

    /// Queues a job, has it run, and says how it ended.
    pub(crate) async fn measure(&mut self, project: &Project) -> End {
        let job = self.queue(project).await;
        assert!(self.runner.run_once().await.unwrap().is_some());
        self.end(&job).await.unwrap()
    }

    /// How a job ended, if it has.
    pub(crate) async fn end(&self, job: &CheckJob) -> Option<End> {
        let answer = self.store.answer_for(OutboxKind::Job, job.job_id.as_str()).await.ok()?;
        Some(match answer.result {
            Ok(result) => Ok(self.store.get_json(&evidence_of(&result)).await.unwrap()),
            Err(error) => Err(error),
        })
    }
}

pub(crate) fn sandbox() -> Sandbox {
    Sandbox::with_child(Path::new(env!("CARGO_BIN_EXE_runner-child")))
}

fn evidence_of(result: &Value) -> ArtefactRef {
    serde_json::from_value(result["evidence"].clone()).unwrap()
}

impl Project {
    /// A project whose only check is this line.
    pub(crate) fn plain(line: &str) -> Self {
        let check = CheckSpec { name: "check".into(), command: line.into(), format: TestFormat::Plain };
        Self {
            config: RunConfig { checks: vec![check], ..RunConfig::default() },
            files: BTreeMap::from([("README.md", "hello\n".into())]),
            links: BTreeMap::new(),
            overlay: Vec::new(),
            setup: Vec::new(),
            held_out: Vec::new(),
        }
    }

    /// A small Rust library with one test, set up as detection does.
    pub(crate) fn rust() -> Self {
        let manifest = "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        let source = "pub fn double(n: i32) -> i32 {\n    n * 2\n}\n\n#[test]\nfn doubles() {\n    assert_eq!(double(2), 4);\n}\n";
        let detected = config::detect(&["Cargo.toml"], &|_| Some(manifest.to_owned())).unwrap();
        let mut project = Self::plain("");
        project.config.project = detected.project;
        project.config.setup = detected.setup;
        project.config.setup_files = detected.setup_files;
        project.config.warm_up = detected.warm_up;
        project.config.checks = detected.checks;
        project.files.extend([("Cargo.toml", manifest.to_owned()), ("src/lib.rs", source.to_owned())]);
        project
    }

    pub(crate) fn with_edit(mut self, path: &'static str, content: Option<&'static str>) -> Self {
        self.overlay.push((path, content));
        self
    }

    fn overlay(&self) -> Overlay {
        let edit = |content: Option<&str>| content.map_or(Edit::Delete, |content| Edit::Write(content.to_owned()));
        Overlay(self.overlay.iter().map(|(path, content)| (RepoPath::new(*path).unwrap(), edit(*content))).collect())
    }

    fn let_in(&self) -> Overlay {
        let edit = |(path, content): &(&str, &str)| (RepoPath::new(*path).unwrap(), Edit::Write((*content).to_owned()));
        Overlay(self.setup.iter().map(edit).collect())
    }

    fn manifest(&self) -> Manifest {
        let entry = |(path, text): (&&str, &String)| Entry {
            path: (*path).to_owned(),
            kind: EntryKind::File,
            bytes: text.len() as u64,
            sha256: Sha256::of(text.as_bytes()),
        };
        Manifest { entries: self.files.iter().map(entry).collect() }
    }
}

pub(crate) fn command(name: &str, line: &str) -> CommandSpec {
    CommandSpec { name: name.into(), command: line.into() }
}

pub(crate) fn archive_of(files: &[(&'static str, &'static str)]) -> Vec<u8> {
    archive(files.iter().copied(), &BTreeMap::new())
}

fn archive<'a>(files: impl Iterator<Item = (&'a str, &'a str)>, links: &BTreeMap<&'static str, String>) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, path, target).unwrap();
    }
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}
