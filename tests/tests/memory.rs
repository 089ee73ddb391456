//! What a repository's size takes: the deployed programs that hold its archive, measured against what the template gives them.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]
#![allow(clippy::print_stdout, reason = "the figures are what it is run for by hand, with --nocapture")]

use std::collections::BTreeMap;
use std::sync::Arc;

use config::RunConfig;
use embedded_cloud::{Attachment, Cloud, CloudOptions};
use forge::testing::FakeGitHub;
use lambda_host::testing::Answer;
use lambda_host::{OsRandomness, SystemClock};
use run_model::budget::Budget;
use run_model::run::{NewRun, Requester, RunRecord};
use run_model::{Clock, RunId};
use serde_json::json;
use store::{Names, Store};
use tests::{World, programs};

const MIB: u64 = 1 << 20;
/// A Lambda is ended at its bound. So much of it stays free, in percent.
const FREE: u64 = 10;

/// Bytes that do not compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..MIB / 8).flat_map(|_| next().to_le_bytes()).collect()
}

/// A stage whose one repository has so many megabytes of noise, and a run that was admitted on it.
struct Stage {
    store: Store,
    address: String,
    run: RunId,
    _cloud: Cloud,
    _github: FakeGitHub,
    _world: World,
}

impl Stage {
    async fn with_noise(megabytes: u64) -> Self {
        let world = World::quick();
        std::fs::create_dir(world.repository().join("noise")).unwrap();
        for number in 0..megabytes {
            std::fs::write(world.repository().join(format!("noise/{number:03}.bin")), noise(number)).unwrap();
        }
        world.commit(&[("last.txt", "and a text\n")]);
        let github = FakeGitHub::start().await;
        world.git(&["push", "--quiet", github.git_dir().to_str().unwrap(), "main"]);
        let names = Names::for_stage(programs::STAGE);
        let secrets = BTreeMap::from([(names.forge_secret.clone(), github.app_secret())]);
        let options = CloudOptions { environment_secrets: secrets, ..tests::state::options(&world.state()) };
        let Attachment::Driver(mut cloud) = Cloud::open(options).await.unwrap() else { panic!("somebody drives") };
        let store = Store::new(&cloud.sdk_config(), names, Arc::new(SystemClock), Arc::new(OsRandomness));
        store.create_table_and_bucket().await.unwrap();
        let address = format!("http://{}", cloud.serve_loopback().await.unwrap());
        let run = RunId::new("r-1").unwrap();
        let record = RunRecord::admitted(NewRun {
            run_id: run.clone(),
            execution_arn: "arn:1".into(),
            repository: "acme/app".into(),
            base_ref: "HEAD".into(),
            requirement: store.put_artefact(&run, b"less noise".to_vec()).await.unwrap(),
            config: store.put_json(&run, &RunConfig::default()).await.unwrap(),
            requester: Requester::local("ann"),
            now_ms: SystemClock.now_ms(),
        });
        let budget = Budget { limit_microusd: 1, limit_tokens: 1, committed_microusd: 0, committed_tokens: 0 };
        store.admit(record, budget).await.unwrap();
        Self { store, address, run, _cloud: cloud, _github: github, _world: world }
    }

    /// What a function's program answers to an action, and the most memory that it took, in bytes.
    async fn peak(&self, function: &str, action: &str) -> (Answer, u64) {
        let mut program = programs::start(function, &self.address, "acme/app").await;
        let event = json!({ "action": action, "run_id": self.run });
        let answer = program.invoke(&event, SystemClock.now_ms() + 300_000).await.unwrap();
        (answer, program.peak_memory_bytes().unwrap())
    }

    /// The same for an action that is done, within the function's memory.
    async fn fits(&self, function: &str, action: &str) {
        let (answer, peak) = self.peak(function, action).await;
        answer.unwrap_or_else(|error| panic!("{function}: {}", error.error_message));
        let given = programs::memory_mb_of(function) * MIB;
        println!("{function} {action}: {} MiB of {}", peak.div_ceil(MIB), given / MIB);
        assert!(peak <= given * (100 - FREE) / 100, "{function} took {} MiB of {}", peak / MIB, given / MIB);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_snapshot_that_is_let_in_fits_into_what_holds_it() {
    let largest = Names::largest_object(u32::try_from(programs::memory_mb_of("run-control")).unwrap());
    let stage = Stage::with_noise(largest / MIB - 1).await;
    stage.fits("code-host", "snapshot").await;
    let taken = stage.store.run(&stage.run).await.unwrap().snapshot.unwrap();
    let bytes = stage.store.get_object(&taken.archive_key).await.unwrap().len() as u64;
    assert!(bytes > largest - 2 * MIB && bytes <= largest, "{bytes} is nearly {largest}");
    stage.fits("run-control", "read-settings").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_too_large_ends_in_a_name_with_the_cure() {
    let largest = Names::largest_object(u32::try_from(programs::memory_mb_of("run-control")).unwrap());
    let stage = Stage::with_noise(largest / MIB + 10).await;
    let (answer, peak) = stage.peak("code-host", "snapshot").await;
    let refused = answer.unwrap_err();
    assert_eq!(refused.error_type, "InvalidInput");
    let said = "more than 40 MiB, which is all that functions of 128 MB can hold";
    assert!(refused.error_message.contains(said), "{}", refused.error_message);
    let cure = "`gatewright aws deploy --stage STAGE --memory 256`";
    assert!(refused.error_message.contains(cure), "{}", refused.error_message);
    assert!(peak <= programs::memory_mb_of("code-host") * MIB * (100 - FREE) / 100);
    assert!(stage.store.run(&stage.run).await.unwrap().snapshot.is_none());
}
