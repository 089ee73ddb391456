//! The durable engine beside the disk that it writes to; `--json` prints the figures for a program.
//!
//! A durable time says nothing without the disk's own, so each round measures the floor first, and what does not move
//! with a busy machine (commits and processor time) is counted too. The median of the rounds is what is shown.
#![allow(clippy::print_stdout, reason = "a benchmark talks to the terminal")]

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use embedded_cloud::FunctionRegistry;
use embedded_cloud::step_functions::{Options, StepFunctions};
use lambda_host::{OsRandomness, SystemClock};
use rusqlite::Connection;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

/// A state entered and left is a transition: the tasks and the Succeed after them.
const TASKS: usize = 10;
const TRANSITIONS: usize = TASKS + 1;
const ROUNDS: usize = 5;

/// What one way of running came to, per transition.
#[derive(Serialize)]
struct Figures {
    /// Executions under way at a time.
    at_once: usize,
    /// Executions measured, over all rounds.
    executions: usize,
    /// Appending 400 bytes and syncing them, in the same minute and folder, p50.
    floor_us: f64,
    /// The processor time of that, of which no `fsync` takes less.
    floor_cpu_us: f64,
    /// The processor time of one row of 400 bytes committed by SQLite as the log sets it up, in the same minute.
    sqlite_cpu_us: f64,
    wall_us: f64,
    /// Commits, each one `fsync`.
    commits: f64,
    /// Processor time of the whole process, in user and kernel mode.
    cpu_us: f64,
    /// The machine's load average over the last minute.
    load: f64,
}

fn main() -> Result<()> {
    let as_json = std::env::args().any(|argument| argument == "--json");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (at_once, executions) in [(1, 100), (100, 1_000)] {
        let rounds = (0..ROUNDS).map(|_| round(&runtime, at_once, executions)).collect::<Result<Vec<_>>>()?;
        let figures = median(&rounds);
        if as_json {
            println!("{}", serde_json::to_string(&figures)?);
        } else {
            show(&figures);
        }
    }
    Ok(())
}

fn show(figures: &Figures) {
    let Figures { at_once, executions, floor_us, floor_cpu_us, sqlite_cpu_us, wall_us, commits, cpu_us, load } =
        figures;
    println!("{at_once} at once, {executions} executions of {TRANSITIONS} transitions, load {load:.1}");
    println!("  {floor_us:>9.1} us  floor: append 400 B and fdatasync, {floor_cpu_us:.1} us of it processor");
    println!("  {wall_us:>9.1} us  wall per transition, {:.2} times the floor", wall_us / floor_us);
    println!("  {commits:>9.3}     commits per transition");
    println!("  {cpu_us:>9.1} us  processor per transition; a row committed by SQLite {sqlite_cpu_us:.1} us");
}

/// Each figure's median over the rounds.
fn median(rounds: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures {
        at_once: rounds[0].at_once,
        executions: rounds.iter().map(|round| round.executions).sum(),
        floor_us: of(|round| round.floor_us),
        floor_cpu_us: of(|round| round.floor_cpu_us),
        sqlite_cpu_us: of(|round| round.sqlite_cpu_us),
        wall_us: of(|round| round.wall_us),
        commits: of(|round| round.commits),
        cpu_us: of(|round| round.cpu_us),
        load: of(|round| round.load),
    }
}

/// A new log, the floor of its folder, and then so many executions.
fn round(runtime: &tokio::runtime::Runtime, at_once: usize, executions: usize) -> Result<Figures> {
    // Beside the build, not in `/tmp`: that may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (floor_us, floor_cpu_us) = floor(folder.path())?;
    let sqlite_cpu_us = sqlite(folder.path())?;
    runtime.block_on(async {
        let engine = open(folder.path()).await?;
        run(&engine, at_once, at_once).await?;
        let (commits, cpu, begun) = (engine.log_stats().commits, processor_time(), Instant::now());
        run(&engine, at_once, executions).await?;
        let (wall, cpu) = (begun.elapsed(), processor_time() - cpu);
        let commits = engine.log_stats().commits - commits;
        engine.close().await;
        let transitions = (executions * TRANSITIONS) as f64;
        Ok(Figures {
            at_once,
            executions,
            floor_us,
            floor_cpu_us,
            sqlite_cpu_us,
            wall_us: microseconds(wall) / transitions,
            commits: commits as f64 / transitions,
            cpu_us: microseconds(cpu) / transitions,
            load: load()?,
        })
    })
}

/// Commits in a floor.
const TIMES: usize = 200;

/// What the disk itself needs to make 400 bytes durable: wall time, p50, and processor time, in microseconds.
fn floor(folder: &Path) -> io::Result<(f64, f64)> {
    let mut file = File::create(folder.join("floor"))?;
    let (mut times, cpu) = (Vec::with_capacity(TIMES), processor_time());
    for _ in 0..TIMES {
        let begun = Instant::now();
        file.write_all(&[b'x'; 400])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    let cpu = processor_time() - cpu;
    times.sort();
    Ok((microseconds(times[TIMES / 2]), microseconds(cpu) / TIMES as f64))
}

/// The processor time, in microseconds, that SQLite takes to commit one row, with nothing around it.
fn sqlite(folder: &Path) -> Result<f64> {
    let connection = Connection::open(folder.join("sqlite"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute("CREATE TABLE rows (row BLOB)", [])?;
    let cpu = processor_time();
    for _ in 0..TIMES {
        connection.prepare_cached("INSERT INTO rows VALUES (?1)")?.execute([[b'x'; 400]])?;
    }
    Ok(microseconds(processor_time() - cpu) / TIMES as f64)
}

async fn open(folder: &Path) -> Result<StepFunctions> {
    let mut options = Options::new(folder.join("log"), Arc::new(SystemClock), Arc::new(OsRandomness));
    options.machines = vec![("chain".into(), chain().to_string())];
    let engine = StepFunctions::open(options).await?;
    engine.start(FunctionRegistry::new().with("work", |event, _| async { Ok(event) }))?;
    Ok(engine)
}

/// Tasks in the shape of those of `state-machines/`, one after the other, and a Succeed.
fn chain() -> Value {
    let task = |step: usize| {
        let next = if step + 1 < TASKS { format!("Task {}", step + 1) } else { "Done".to_owned() };
        json!({
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": { "FunctionName": "work", "Payload": { "run_id": "{% $states.input.run_id %}", "step": step } },
            "TimeoutSeconds": 900,
            "Retry": [{ "ErrorEquals": ["StoreUnavailable"], "IntervalSeconds": 2, "MaxAttempts": 6 }],
            "Assign": { "answer": "{% $states.result.Payload %}" },
            "Output": "{% $states.input %}",
            "Next": next,
        })
    };
    let mut states: Map<String, Value> = (0..TASKS).map(|step| (format!("Task {step}"), task(step))).collect();
    states.insert("Done".into(), json!({ "Type": "Succeed" }));
    json!({ "QueryLanguage": "JSONata", "StartAt": "Task 0", "States": states })
}

/// Runs so many executions, keeping `at_once` of them under way: each that ends starts another.
async fn run(engine: &StepFunctions, at_once: usize, executions: usize) -> Result<()> {
    let mut changes = engine.subscribe();
    let input = json!({ "run_id": "run-0123456789", "note": "x".repeat(300) }).to_string();
    let start = json!({ "stateMachineArn": engine.place().machine_arn("chain"), "input": input });
    let mut starts = JoinSet::new();
    let mut start = || {
        let (engine, start) = (engine.clone(), start.clone());
        starts.spawn(async move { engine.handle("StartExecution", start).await });
    };
    (0..at_once).for_each(|_| start());
    let mut ended = 0;
    while ended < executions {
        let change = changes.recv().await?;
        if change.stop_ms.is_some() {
            ensure!(change.status == "SUCCEEDED", "an execution ended as {}: {:?}", change.status, change.cause);
            ended += 1;
            if ended + at_once <= executions {
                start();
            }
        }
    }
    starts.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(())
}

/// What this process has used so far, all its threads together.
fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), used.tv_nsec.unsigned_abs() as u32)
}

fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    text.split(' ').next().and_then(|first| first.parse().ok()).context("/proc/loadavg says no load")
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
