//! `gatewright runner` at the service of a stage: the real `api` on a real table, asked over HTTP.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use config::{CheckSpec, CommandSpec, RunConfig, SandboxMode, TestFormat};
use embedded_cloud::{Attachment, Cloud, FunctionRegistry};
use lambda_host::{Environment, OsRandomness, SystemClock};
use run_model::evidence::{CheckJob, Evidence, Exit, Purpose};
use run_model::run::Priority;
use run_model::snapshot::{Entry, EntryKind, Manifest, SnapshotRef};
use run_model::time::VirtualClock;
use run_model::{Clock, JobId, RunId, Sha256};
use runner::remote::{Access, ApiAddress, ApiJobs, Stop};
use runner::{End, Runner};
use sandbox::Sandbox;
use serde_json::Value;
use store::{GrantKind, Names, NewEvent, NewGrant, OutboxKind, Store};
use tests::gateway::{Gateway, Trouble};
use tests::state::options;
use tests::world::program;
use tests::{Ended, Running, World};
use tokio::sync::watch;

const BEARER: &str = "GATEWRIGHT_RUNNER_BEARER";
/// It ends when somebody ends it.
const ENDLESS: &str = "while :; do sleep 1; done";

/// A stage with one runner's bearer.
struct Stage {
    world: World,
    gateway: Gateway,
    store: Store,
    /// The clock of the API: the cloud itself and the program have the real one.
    clock: VirtualClock,
    bearer: String,
    grant: String,
    _cloud: Cloud,
}

impl Stage {
    async fn new() -> Self {
        Self::at(SystemClock.now_ms()).await
    }

    /// A stage whose API thinks that it is this moment.
    async fn at(now_ms: i64) -> Self {
        let (world, clock) = (World::quick(), VirtualClock::at(now_ms));
        let opened = Cloud::open(options(&world.path("cloud"))).await.unwrap();
        let Attachment::Driver(mut cloud) = opened else { panic!("somebody drives") };
        cloud.start(FunctionRegistry::new()).await.unwrap();
        let url = format!("http://{}", cloud.serve_loopback().await.unwrap());
        let variables = [
            ("AWS_REGION", embedded_cloud::REGION),
            ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", "testing"),
            ("AWS_ENDPOINT_URL", url.as_str()),
        ];
        let sdk = Environment::of(variables).sdk_config().unwrap();
        let (names, time) = (Names::for_stage("dev"), Arc::new(clock.clone()));
        let store = Store::new(&sdk, names.clone(), time.clone(), Arc::new(OsRandomness));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        let host = NewGrant { name: "host".into(), roles: BTreeSet::new(), lifetime_seconds: 3_600 };
        let (bearer, grant) = store.add_bearer(GrantKind::Runner, host).await.unwrap();
        let api = api::Context::new(&sdk, names, time, Arc::new(OsRandomness), "arn".into());
        let gateway = Gateway::of(Arc::new(api));
        Self { world, gateway, store, clock, bearer, grant: grant.id, _cloud: cloud }
    }

    /// Queues a job on the quick project with this check.
    async fn queue(&self, id: &str, check: &str) -> JobId {
        self.queue_with(id, |config| config.checks[0].command = check.into()).await
    }

    async fn queue_with(&self, id: &str, change: impl FnOnce(&mut RunConfig)) -> JobId {
        let check = CheckSpec { name: "check".into(), command: "sh check.sh".into(), format: TestFormat::Plain };
        let mut config = RunConfig { checks: vec![check], ..RunConfig::default() };
        change(&mut config);
        let archive = self.world.path("archive.tar.gz");
        self.world.git(&["archive", "--output", archive.to_str().unwrap(), "HEAD"]);
        let archive = std::fs::read(archive).unwrap();
        let archive_sha256 = Sha256::of(&archive);
        let run_id = RunId::new("r-1").unwrap();
        let put = async |name: &str, bytes: Vec<u8>| {
            let key = format!("runs/r-1/{id}/{name}");
            self.store.put_object(&key, bytes).await.unwrap();
            key
        };
        let job = CheckJob {
            job_id: JobId::new(id).unwrap(),
            run_id,
            purpose: Purpose::Task,
            priority: Priority::Normal,
            snapshot: SnapshotRef {
                commit: "0".repeat(40),
                archive_key: put("archive", archive).await,
                archive_sha256,
                manifest_key: put("manifest", serde_json::to_vec(&self.manifest()).unwrap()).await,
            },
            overlay_key: None,
            setup_key: None,
            held_out_key: None,
            config_key: put("config", serde_json::to_vec(&config).unwrap()).await,
        };
        let job_id = job.job_id.clone();
        self.store.put_job(job, "token", NewEvent::new("checks.queued", "the checks run")).await.unwrap();
        job_id
    }

    fn manifest(&self) -> Manifest {
        let listed = self.world.git(&["ls-files"]);
        let entry = |path: &str| {
            let content = std::fs::read(self.world.repository().join(path)).unwrap();
            let (bytes, sha256) = (content.len() as u64, Sha256::of(&content));
            Entry { path: path.to_owned(), kind: EntryKind::File, bytes, sha256 }
        };
        Manifest { entries: listed.lines().map(entry).collect() }
    }

    fn command(&self, more: &[&str]) -> Command {
        let url = self.gateway.url();
        let mut command = self.world.command(&[&["runner", "--api", &url], more].concat());
        command.env(BEARER, &self.bearer);
        command
    }

    fn once(&self) -> Ended {
        Ended::of(&self.command(&["--once"]).output().unwrap())
    }

    fn start(&self, more: &[&str]) -> Running {
        Running::of(self.command(more).spawn().unwrap())
    }

    /// How the job ended: evidence, or the name and message of an error.
    async fn end(&self, job: &JobId) -> Result<Evidence, (String, String)> {
        let answer = self.store.answer_for(OutboxKind::Job, job.as_str()).await.unwrap();
        let result: Value = answer.result?;
        let evidence = serde_json::from_value(result["evidence"].clone()).unwrap();
        Ok(self.store.get_json(&evidence).await.unwrap())
    }

    /// Another runner takes over what the first one fell silent about.
    async fn taken_over(&self) {
        self.clock.advance(121_000);
        let until_ms = self.clock.now_ms() + 120_000;
        assert!(self.store.lease_job("other/1", until_ms).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_fetched_measured_and_reported() {
    let stage = Stage::new().await;
    let job = stage.queue("j-1", "sh check.sh && echo seen").await;
    let ended = stage.once().expect(0);
    assert!(ended.said("j-1: measured"), "{ended:?}");
    let evidence = stage.end(&job).await.unwrap();
    assert_eq!(evidence.commands[0].exit, Exit::Code(0), "{evidence:?}");
    assert!(evidence.commands[0].output_tail.contains("seen") && !evidence.layers.is_empty());
    let alive = stage.store.runners_alive().await.unwrap();
    assert_eq!(alive.iter().map(|runner| runner.name.as_str()).collect::<Vec<_>>(), ["host"]);
    let nothing = stage.once().expect(75);
    assert!(nothing.said("no job waits"), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_repository_do_not_loosen_this_machine() {
    let stage = Stage::new().await;
    let job = stage.queue_with("j-1", |config| config.sandbox = SandboxMode::None).await;
    stage.once().expect(0);
    assert!(!stage.end(&job).await.unwrap().layers.is_empty(), "it was confined");
    let job = stage.queue("j-2", "true").await;
    let ended = Ended::of(&stage.command(&["--once", "--sandbox", "none"]).output().unwrap()).expect(0);
    assert!(ended.said("runs unconfined") && stage.end(&job).await.unwrap().layers.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_measured_says_why() {
    let stage = Stage::new().await;
    let setup = CommandSpec { name: "fetch".into(), command: "echo no such registry; exit 3".into() };
    let job = stage.queue_with("j-1", |config| config.setup = vec![setup]).await;
    assert!(stage.once().expect(1).said("no such registry"));
    let (name, message) = stage.end(&job).await.unwrap_err();
    assert!(name == "NotMeasurable" && message.contains("no such registry"), "{name}: {message}");
}

/// A job whose addresses hold no more ends as an outage of the store, which machines answer with a new job.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_has_expired_ends_the_job_for_another_try() {
    let stage = Stage::at(SystemClock.now_ms() - 3 * 3_600_000).await;
    let job = stage.queue("j-1", "true").await;
    assert!(stage.once().expect(1).said("403"));
    let (name, message) = stage.end(&job).await.unwrap_err();
    assert!(name == "StoreUnavailable" && message.contains("cannot be read at its address"), "{name}: {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost_and_outages_are_outlived() {
    let stage = Stage::new().await;
    let job = stage.queue("j-1", "true").await;
    stage.gateway.meets("/claim", Trouble::Cut);
    stage.gateway.meets("/evidence", Trouble::Deaf);
    let mut runner = stage.start(&["--once"]);
    runner.until("the stage does not answer");
    stage.gateway.recovers();
    stage.gateway.meets("/evidence", Trouble::Outage);
    assert_eq!(stage.gateway.until("/evidence"), 503);
    stage.gateway.recovers();
    stage.gateway.meets("/evidence", Trouble::Deaf);
    assert_eq!(stage.gateway.until("/evidence"), 204);
    stage.gateway.recovers();
    runner.end().expect(0);
    assert!(stage.end(&job).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_another_runner_took_over_is_let_go_of() {
    let stage = Stage::new().await;
    let job = stage.queue("j-1", "true").await;
    stage.gateway.meets("/evidence", Trouble::Outage);
    let runner = stage.start(&["--once"]);
    assert_eq!(stage.gateway.until("/evidence"), 503);
    stage.taken_over().await;
    stage.gateway.recovers();
    assert!(runner.end().expect(1).said("lost to another runner"));
    assert!(stage.store.answer_for(OutboxKind::Job, job.as_str()).await.is_err(), "it is the other's to end");
}

/// The runner in this process, with a clock of its own, at work on a job that does not end by itself.
async fn at_work(stage: &Stage, clock: &VirtualClock) -> tokio::task::JoinHandle<Option<End>> {
    stage.queue("j-1", ENDLESS).await;
    let address = ApiAddress::parse(&stage.gateway.url()).unwrap();
    let access = Access { address, bearer: stage.bearer.clone(), instance: "i-1".into() };
    let jobs = ApiJobs::new(access, Arc::new(clock.clone()), Arc::new(OsRandomness)).unwrap();
    let sandbox = Sandbox::with_child(&program("gatewright"));
    let runner = Runner::over(jobs, sandbox, stage.world.path("runner"), Arc::new(clock.clone()));
    let (sender, stop) = watch::channel(Stop::No);
    let work = tokio::spawn(async move {
        // Nobody tells it to stop as long as this is kept.
        let _sender = sender;
        runner.serve_once(stop, |_| {}).await.unwrap()
    });
    tokio::task::block_in_place(|| assert_eq!(stage.gateway.until("/claim"), 200));
    work
}

/// Moves its clock until the runner has ended its job, which it does in time or not at all: then the suite ends the test.
async fn ended(work: tokio::task::JoinHandle<Option<End>>, clock: &VirtualClock) -> Option<End> {
    while !work.is_finished() {
        clock.advance(1_000);
        tokio::task::yield_now().await;
    }
    work.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_comes_too_late_ends_the_work() {
    let (stage, clock) = (Stage::new().await, VirtualClock::at(0));
    let work = at_work(&stage, &clock).await;
    stage.taken_over().await;
    assert_eq!(ended(work, &clock).await, Some(End::Lost));
    assert!(!stage.world.path("runner/work/j-1").exists(), "nothing of it stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_reaches_nobody_gives_up_with_its_lease() {
    let (stage, clock) = (Stage::new().await, VirtualClock::at(0));
    stage.gateway.meets("/heartbeat", Trouble::Cut);
    let work = at_work(&stage, &clock).await;
    assert_eq!(ended(work, &clock).await, Some(End::Lost));
    assert!(clock.now_ms() >= 120_000, "not before another one could have it: {}", clock.now_ms());
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_finishes_what_was_begun() {
    let stage = Stage::new().await;
    let job = stage.queue("j-1", "true").await;
    stage.gateway.meets("/evidence", Trouble::Outage);
    let mut runner = stage.start(&[]);
    runner.until("j-1: claimed");
    assert_eq!(stage.gateway.until("/evidence"), 503);
    runner.interrupt();
    runner.until("claiming nothing more");
    let second = stage.queue("j-2", "true").await;
    stage.gateway.recovers();
    assert!(runner.end().expect(0).said("j-1: measured"));
    assert!(stage.end(&job).await.is_ok());
    assert!(stage.store.answer_for(OutboxKind::Job, second.as_str()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ctrl_c_gives_the_job_back_at_once() {
    let stage = Stage::new().await;
    stage.queue("j-1", ENDLESS).await;
    let mut runner = stage.start(&["--once"]);
    runner.until("j-1: claimed");
    runner.interrupt();
    runner.until("claiming nothing more");
    runner.interrupt();
    assert!(runner.end().expect(130).said("j-1: given back"));
    assert!(stage.store.lease_job("other/1", stage.clock.now_ms()).await.unwrap().is_some(), "before the lease ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_that_was_revoked_ends_the_runner() {
    let stage = Stage::new().await;
    let mut runner = stage.start(&[]);
    runner.until("the stage answers");
    stage.store.revoke_grant(&stage.grant).await.unwrap();
    let ended = runner.end().expect(69);
    assert!(ended.said("revoked, expired or mistyped") && ended.said("gatewright aws tokens add"), "{ended:?}");
    let ann = NewGrant { name: "ann".into(), roles: BTreeSet::new(), lifetime_seconds: 60 };
    let (persons, _) = stage.store.add_bearer(GrantKind::Person, ann).await.unwrap();
    let persons = Ended::of(&stage.command(&["--once"]).env(BEARER, persons).output().unwrap()).expect(69);
    assert!(persons.said("not a runner's"), "{persons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runners_do_not_share_a_folder() {
    let stage = Stage::new().await;
    let mut runner = stage.start(&[]);
    runner.until("the stage answers");
    assert!(stage.once().expect(69).said("choose another --state"));
}

/// A CloudFormation whose every stack has this output `ApiUrl`.
fn cloud_formation(api: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let output = format!("<member><OutputKey>ApiUrl</OutputKey><OutputValue>{api}</OutputValue></member>");
    let stack = format!(
        "<StackName>gatewright-dev</StackName><StackStatus>CREATE_COMPLETE</StackStatus><Outputs>{output}</Outputs>"
    );
    let result = format!("<DescribeStacksResult><Stacks><member>{stack}</member></Stacks></DescribeStacksResult>");
    let body = format!("<DescribeStacksResponse>{result}</DescribeStacksResponse>");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // One packet holds such a request.
            assert!(connection.read(&mut [0; 16 * 1024]).unwrap() > 0);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\nconnection: close";
            write!(connection, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_stage_is_looked_up() {
    let stage = Stage::new().await;
    let job = stage.queue("j-1", "true").await;
    let command = |name: &str| {
        let mut command = stage.world.command(&["runner", "--once", "--stage", name]);
        command.env(BEARER, &stage.bearer).env("AWS_REGION", "eu-north-1");
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env_remove("AWS_SESSION_TOKEN");
        command.env("AWS_ENDPOINT_URL_CLOUDFORMATION", cloud_formation(&stage.gateway.url()));
        command
    };
    Ended::of(&command("dev").output().unwrap()).expect(0);
    assert!(stage.end(&job).await.is_ok());
    assert!(Ended::of(&command("local").output().unwrap()).expect(65).said("that is this machine"));
    let nobody = Ended::of(&command("dev").env_remove("AWS_ACCESS_KEY_ID").output().unwrap()).expect(69);
    assert!(nobody.said("AWS_ACCESS_KEY_ID"), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_wrong_is_named_with_its_cure() {
    let stage = Stage::new().await;
    let nobody = Ended::of(&stage.command(&["--once"]).env_remove(BEARER).output().unwrap()).expect(69);
    assert!(nobody.said("gatewright aws tokens add --stage STAGE --runner NAME"), "{nobody:?}");
    let at = |address: &str| {
        let mut command = stage.world.command(&["runner", "--once", "--api", address]);
        Ended::of(&command.env(BEARER, &stage.bearer).output().unwrap())
    };
    assert!(at("http://stage.example").expect(65).said("in the clear"));
    assert!(at("not an address").expect(65).said("ApiUrl"));
    let elsewhere = at(&format!("{}/elsewhere", stage.gateway.url())).expect(65);
    assert!(elsewhere.said("is not the API of a stage"), "{elsewhere:?}");
    let without = Ended::of(&stage.world.command(&["runner", "--once"]).env_remove("GATEWRIGHT_API").output().unwrap());
    assert!(without.expect(64).said("--api"));
}
