//! `cargo xtask bench`: measures, and rewrites `docs/benchmarks.md`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use serde_json::Value;

use crate::artefacts::{self, FIRST_POLL, LARGEST_BYTES, RESIDENT_KIB};
use crate::world;

const PAGE: &str = "docs/benchmarks.md";
const PEER: &str = "crates/xtask/peers/langgraph_sqlite.py";

/// One line of the table.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    what: String,
    measured: String,
    target: String,
    /// Whether the target was met; nothing where there is none.
    met: Option<bool>,
}

impl Row {
    fn new(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Row { what: what.into(), measured: measured.into(), target: String::new(), met: None }
    }

    fn target(mut self, target: &str, met: bool) -> Self {
        self.target = target.into();
        self.met = Some(met);
        self
    }
}

/// Something that is measured.
pub(crate) type Bench = fn(&Path) -> Result<Vec<Row>>;

/// Measures, and rewrites the page. What is not measured this time keeps its line.
pub(crate) fn run(root: &Path, benches: &[Bench]) -> Result<()> {
    let mut rows = Vec::new();
    for bench in benches {
        rows.extend(bench(root)?);
    }
    let page = root.join(PAGE);
    let old = std::fs::read_to_string(&page).unwrap_or_default();
    let date = crate::output(root, "date", &["-u", "+%F"])?;
    std::fs::write(&page, written(&machine(root)?, date.trim(), &rows, &old))?;
    println!("{PAGE} is written");
    let missed: Vec<&str> = rows.iter().filter(|row| row.met == Some(false)).map(|row| row.what.as_str()).collect();
    ensure!(missed.is_empty(), "missed its target: {}", missed.join(", "));
    Ok(())
}

/// The engine's benchmark prints one object for each way of running; LangGraph is measured right after it.
pub(crate) fn engine(root: &Path) -> Result<Vec<Row>> {
    let python = world::langgraph(root)?;
    let bench = ["bench", "--locked", "--package", "embedded-cloud", "--bench", "engine", "--", "--json"];
    println!("$ cargo {}", bench.join(" "));
    let printed = crate::output(root, "cargo", &bench)?;
    let figures: Vec<Value> = printed
        .lines()
        .filter(|line| line.starts_with('{'))
        .inspect(|line| println!("{line}"))
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for figures in &figures {
        rows.extend(engine_rows(figures)?);
    }
    let one =
        figures.iter().find(|figures| figures["at_once"] == 1).context("the engine's benchmark printed no figures")?;
    // Beside the build, as the engine's log is.
    let place = root.join("target/tmp");
    std::fs::create_dir_all(&place)?;
    let peer = [PEER, &place.to_string_lossy()].map(str::to_owned);
    let printed = crate::output(root, &python.to_string_lossy(), &peer.each_ref().map(String::as_str))?;
    println!("{printed}");
    rows.extend(peer_rows(&serde_json::from_str(&printed)?, one)?);
    Ok(rows)
}

/// LangGraph's node beside the engine's transition.
fn peer_rows(peer: &Value, engine: &Value) -> Result<[Row; 2]> {
    let number = |of: &Value, name: &str| of[name].as_f64().with_context(|| format!("a benchmark says no {name}"));
    let (cpu_us, wall_us, floor_us) = (number(peer, "cpu_us")?, number(peer, "wall_us")?, number(peer, "floor_us")?);
    let times = |name: &str| Ok::<_, anyhow::Error>(number(peer, name)? / number(engine, name)?);
    let what = |what: &str| format!("LangGraph with SQLite, one run at a time: {what} a node");
    let cpu = format!("{cpu_us:.0} µs, {:.1} times the engine's transition", times("cpu_us")?);
    let wall = format!(
        "{wall_us:.0} µs, {:.2} times the disk's own {floor_us:.0} µs, {:.1} times the engine's transition",
        wall_us / floor_us,
        times("wall_us")?
    );
    Ok([Row::new(what("processor"), cpu), Row::new(what("wall time"), wall)])
}

fn engine_rows(figures: &Value) -> Result<[Row; 3]> {
    let number = |name: &str| figures[name].as_f64().with_context(|| format!("the benchmark says no {name}"));
    let (floor_us, wall_us, load) = (number("floor_us")?, number("wall_us")?, number("load")?);
    let (commits, cpu_us, floor_cpu_us) = (number("commits")?, number("cpu_us")?, number("floor_cpu_us")?);
    let what = |what: &str| match figures["at_once"].as_u64() {
        Some(1) => format!("engine, one execution at a time: {what}"),
        at_once => format!("engine, {} executions at once: {what}", at_once.unwrap_or_default()),
    };
    let wall =
        format!("{wall_us:.0} µs, {:.2} times the disk's own {floor_us:.0} µs (load {load:.1})", wall_us / floor_us);
    let sqlite_cpu_us = number("sqlite_cpu_us")?;
    let cpu = format!(
        "{cpu_us:.1} µs; by themselves a row committed by SQLite {sqlite_cpu_us:.1} µs, an append and `fdatasync` {floor_cpu_us:.1} µs"
    );
    let processor = Row::new(what("processor a transition"), cpu);
    // One execution by itself pays for a whole commit each time, of which SQLite alone may take more than the target.
    let shares_commits = figures["at_once"].as_u64() > Some(1);
    let processor = if shares_commits || sqlite_cpu_us < 50.0 {
        processor.target("at most 50 µs", cpu_us <= 50.0)
    } else {
        processor
    };
    Ok([
        Row::new(what("fsyncs a transition"), format!("{commits:.3}")).target("at most 1.0", commits <= 1.0),
        processor,
        Row::new(what("wall time a transition"), wall),
    ])
}

/// The demo, without the time of the commands that are the target project's own, and what AWS would charge for it.
pub(crate) fn demo(root: &Path) -> Result<Vec<Row>> {
    crate::run(root, "cargo", &["build", "--release", "--locked", "--package", "gatewright"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let state = tempfile::tempdir()?;
    let begun = Instant::now();
    let demo = Command::new(target.join("release/gatewright"))
        .args(["demo", "--yes", "--json", "--state"])
        .arg(state.path().join("state"))
        .env("GATEWRIGHT_LOG", "runner=debug")
        .current_dir(root)
        .output()
        .context("gatewright cannot be started")?;
    let (whole, log) = (begun.elapsed(), String::from_utf8_lossy(&demo.stderr));
    ensure!(demo.status.success(), "the demo failed ({}): {log}", demo.status);
    let commands = project_time(&log)?;
    let own = whole.saturating_sub(commands);
    let measured = format!("{:.1} s, and {:.1} s the project's own", own.as_secs_f64(), commands.as_secs_f64());
    let time = Row::new("demo, without the commands of its project", measured)
        .target("under 3 s", own < Duration::from_secs(3));
    let run: Value = serde_json::from_slice(&demo.stdout).context("the demo printed no JSON")?;
    let run = run["run_id"].as_str().context("the demo names no run")?;
    let folder = state.path().join("state");
    let cost = ["runs", "cost", run, "--json", "--state", &folder.to_string_lossy()];
    let cost = crate::output(root, &target.join("release/gatewright").to_string_lossy(), &cost)?;
    Ok(vec![time, bill(&serde_json::from_str(&cost)?)?])
}

/// What the models are asked in one run on a small and on a large repository: a test counts it.
pub(crate) fn prompts(root: &Path) -> Result<Vec<Row>> {
    crate::run(root, "cargo", &["build", "--locked", "--package", "gatewright", "--package", "programs", "--bins"])?;
    let count = ["test", "--locked", "--package", "tests", "--test", "prompts", "--", "--nocapture"];
    let printed = crate::output(root, "cargo", &count)?;
    let figures = printed.lines().find_map(|line| serde_json::from_str(line.get(line.find('{')?..)?).ok());
    Ok(vec![prompts_row(&figures.context("the test of the prompts printed no figures")?)?])
}

fn prompts_row(figures: &Value) -> Result<Row> {
    let tokens =
        |files: &str| figures[files].as_f64().with_context(|| format!("the benchmark says nothing of {files} files"));
    let (small, large) = (tokens("100")?, tokens("10000")?);
    let times = large / small;
    let measured = format!("{times:.2} times the {small:.0} at 100 files");
    Ok(Row::new("prompt tokens of a run on 10,000 files", measured).target("at most 1.1 times", times <= 1.1))
}

/// C1, with the item that dominates it.
fn bill(cost: &Value) -> Result<Row> {
    let microusd = |of: &Value| of["microusd"].as_f64().context("the bill names no amount");
    let whole = microusd(&cost["aws"])?;
    let items = cost["aws"]["items"].as_object().context("the bill has no items")?;
    let mut dearest = ("", 0.0);
    for (item, line) in items {
        if microusd(line)? > dearest.1 {
            dearest = (item, microusd(line)?);
        }
    }
    let share = dearest.1 / whole * 100.0;
    let measured = format!("${:.5}, {share:.0} % of it {}", whole / 1e6, dearest.0);
    Ok(Row::new("what AWS would charge for the demo's run", measured).target("at most $0.0025", whole <= 2_500.0))
}

/// What the runner's log says of the project's commands, added up.
fn project_time(log: &str) -> Result<Duration> {
    let ended = Regex::new(r"a command of the project ended.* duration_ms=(\d+)")?;
    let each = ended.captures_iter(log).map(|found| found[1].parse::<u64>()).collect::<Result<Vec<_>, _>>()?;
    if each.is_empty() {
        bail!("the demo's log names no command of the project");
    }
    Ok(Duration::from_millis(each.into_iter().sum()))
}

/// From `git clone` to the demo's last line; the registry's packages may be there already.
pub(crate) fn from_clone(root: &Path) -> Result<Vec<Row>> {
    let place = tempfile::tempdir()?;
    let begun = Instant::now();
    let clone = place.path().join("gatewright");
    crate::run(root, "git", &["clone", "--quiet", &root.to_string_lossy(), &clone.to_string_lossy()])?;
    let status = Command::new("cargo")
        .args(["run", "--release", "--", "demo", "--yes"])
        .current_dir(&clone)
        .env("CARGO_TARGET_DIR", place.path().join("target"))
        .env("XDG_STATE_HOME", place.path().join("state"))
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the demo of a fresh clone failed ({status})");
    let whole = begun.elapsed();
    let measured = format!("{} min {} s", whole.as_secs() / 60, whole.as_secs() % 60);
    let row = Row::new("from `git clone` to the demo's last line", measured);
    Ok(vec![row.target("within 8 min on two cores", whole <= Duration::from_secs(480))])
}

/// L1: how long the programs are built from clean, how large each function's archive is, how fast it asks for its first event,
/// what it then occupies.
pub(crate) fn lambdas(root: &Path) -> Result<Vec<Row>> {
    world::builders(root)?;
    let clean = tempfile::tempdir_in(root.join("target"))?;
    let begun = Instant::now();
    let artefacts = artefacts::build(root, clean.path())?;
    let whole = begun.elapsed();
    let measured = format!("{} min {} s", whole.as_secs() / 60, whole.as_secs() % 60);
    let build = Row::new("`sam build` of all programs, from clean", measured);
    let mut rows = vec![build.target("within 10 min on two cores", whole <= Duration::from_secs(600))];
    for artefact in artefacts {
        let (bytes, (first_poll, resident_kib)) = (artefact.zip_bytes()?, artefact.start()?);
        let measured = format!(
            "first poll {:.1} ms, resident {:.1} MiB, zip {:.2} MB",
            first_poll.as_secs_f64() * 1e3,
            resident_kib as f64 / 1024.0,
            bytes as f64 / 1e6
        );
        println!("{}: {measured}", artefact.function);
        let met = first_poll <= FIRST_POLL && resident_kib <= RESIDENT_KIB && bytes <= LARGEST_BYTES;
        let what = format!("Lambda `{}`, in `{}`", artefact.function, artefact.program);
        rows.push(Row::new(what, measured).target("10 ms, 15 MiB, 4 MB", met));
    }
    Ok(rows)
}

/// Processor, memory and kernel, as Linux tells them.
fn machine(root: &Path) -> Result<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let memory = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    Ok(format!(
        "{} cores of {}, {} GiB of memory, Linux {}, {}",
        std::thread::available_parallelism()?,
        model.unwrap_or("an unnamed processor"),
        memory.unwrap_or_default().div_ceil(1 << 20),
        crate::output(root, "uname", &["--kernel-release"])?.trim(),
        crate::output(root, "rustc", &["--version"])?.trim(),
    ))
}

/// The whole page: this time's rows, then what the old page says of everything else.
fn written(machine: &str, date: &str, rows: &[Row], old: &str) -> String {
    let mut page =
        format!("{HEAD}\nMachine of {date}: {machine}.\n\n| what | measured | target | on |\n|---|---|---|---|\n");
    for Row { what, measured, target, met } in rows {
        let verdict = if *met == Some(false) { ": **missed**" } else { "" };
        page.push_str(&format!("| {what} | {measured} | {target}{verdict} | {date} |\n"));
    }
    let table = old.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what |"));
    let is_new = |line: &&str| rows.iter().any(|row| line.starts_with(&format!("| {} |", row.what)));
    table.filter(|line| !is_new(line)).for_each(|line| page.push_str(&format!("{line}\n")));
    page + TAIL
}

const HEAD: &str = "# Benchmarks

Written by `cargo xtask bench`, which measures again and rewrites this page; with `--clone` also the way from a fresh clone, with
`--lambdas` what `sam build` makes instead. It fails if a target is missed. Measure on a machine that does nothing else.
";

const TAIL: &str = "
## What is measured

**Engine** (`crates/embedded-cloud/benches/engine.rs`, by itself: `cargo bench -p embedded-cloud --bench engine`). The machine is ten Tasks and a
Succeed, the Tasks in the shape of those of the pipeline: JSONata arguments, Retry, Assign, Output, 300 bytes of data, and a function that answers
at once. A transition is one state entered and left, eleven an execution. Every one is in the real log, with `fsync`, before the next
begins: an execution commits its start and ten answers. Many executions share commits. Processor time is that of the whole process,
user and kernel, with starting the executions and hearing of their ends.
Figures are the median of five rounds. A row committed by SQLite is one INSERT of 400 bytes, with the log's settings: less than that no transition
that commits by itself can take. So the 50 µs are held where executions share commits, and of one by itself only where SQLite leaves room for them.
The disk's own time is appending 400 bytes and `fdatasync`, measured in the same folder just before each round: a durable wall time means nothing
without it. The load of the machine moves wall time a lot, processor time some, commits hardly.
Checkpoints of the log (two more `fsync`s in some thousand commits) are not counted.

**LangGraph** (`crates/xtask/peers/langgraph_sqlite.py`) right after it, beside the same build: ten nodes that add one, 300 bytes of data, its own SQLite
checkpointer, every step durable before the next (durability `sync`, `synchronous=FULL`). Medians of five rounds of fifty runs; the disk's own time
is measured in each round.

**Prompt tokens** (`tests/tests/prompts.rs`): one scripted run, in which every role searches, lists a folder and reads, on a crate among 100 and among
10,000 files in folders of ten: the bytes of all requests, three to a token.

**Demo**: `gatewright demo --yes` by the wall clock, less the time of the commands that belong to its project (setup, build, checks, held-out tests).

**What AWS would charge** for that run: `gatewright runs cost`, by the prices of `infra/prices.toml`. What the run uses is counted; how long its
functions wait for a model, and its way over the HTTP API, are assumed, since a recording answers at once and one machine has no such API.
`cargo xtask test` holds that it does not grow.

**Lambdas**: each function's program as `sam build` makes it with nothing compiled before, started nine times with an empty environment
but for Lambda's; from the start of the process to its request for the first event, and what the process then occupies; the medians. The zip is the
archive that is uploaded.
";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_missed_target_is_seen() {
        let figures = json!({
            "at_once": 100, "floor_us": 100.0, "floor_cpu_us": 40.0, "sqlite_cpu_us": 60.0, "wall_us": 150.0, "commits": 1.001, "cpu_us": 50.0, "load": 0.5,
        });
        let [fsyncs, cpu, wall] = engine_rows(&figures).unwrap();
        assert_eq!((fsyncs.met, cpu.met, wall.met), (Some(false), Some(true), None));
        let of_one = |sqlite_cpu_us: f64| {
            let mut figures = figures.clone();
            figures["at_once"] = 1.into();
            figures["sqlite_cpu_us"] = sqlite_cpu_us.into();
            engine_rows(&figures).unwrap()[1].met
        };
        assert_eq!((of_one(49.0), of_one(51.0)), (Some(true), None));
        assert_eq!(wall.measured, "150 µs, 1.50 times the disk's own 100 µs (load 0.5)");
        assert!(written("m", "2026-01-01", &[fsyncs], "").contains("at most 1.0: **missed** | 2026-01-01 |"));
        assert!(engine_rows(&json!({})).is_err());
    }

    #[test]
    fn a_peer_is_shown_by_ratios() {
        let peer = json!({ "floor_us": 100.0, "wall_us": 500.0, "cpu_us": 1_000.0 });
        let [cpu, wall] = peer_rows(&peer, &json!({ "wall_us": 125.0, "cpu_us": 50.0 })).unwrap();
        assert_eq!(cpu.measured, "1000 µs, 20.0 times the engine's transition");
        assert_eq!(wall.measured, "500 µs, 5.00 times the disk's own 100 µs, 4.0 times the engine's transition");
        assert!(peer_rows(&json!({}), &json!({})).is_err());
    }

    #[test]
    fn prompts_that_grow_with_the_repository_are_seen() {
        let row = |large: f64| prompts_row(&json!({ "100": 1_000.0, "10000": large })).unwrap();
        assert_eq!(row(1_100.0).measured, "1.10 times the 1000 at 100 files");
        assert_eq!((row(1_100.0).met, row(1_101.0).met), (Some(true), Some(false)));
    }

    #[test]
    fn a_bill_beyond_its_bound_is_seen() {
        let cost = |transitions: f64| {
            let items = json!({ "states.transition": { "microusd": transitions }, "s3.read": { "microusd": 1.0 } });
            json!({ "aws": { "microusd": transitions + 1.0, "items": items } })
        };
        let row = bill(&cost(1_999.0)).unwrap();
        assert_eq!((row.measured.as_str(), row.met), ("$0.00200, 100 % of it states.transition", Some(true)));
        assert_eq!(bill(&cost(2_500.0)).unwrap().met, Some(false));
        assert!(bill(&json!({})).is_err());
    }

    #[test]
    fn what_was_not_measured_again_keeps_its_line() {
        let row = |what: &str, measured: &str| Row::new(what, measured);
        let first = written("m", "2026-01-01", &[row("a", "1"), row("b", "2")], "");
        let second = written("m", "2026-02-02", &[row("a", "3")], &first);
        let table: Vec<&str> = second.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert_eq!(table, ["| a | 3 |  | 2026-02-02 |", "| b | 2 |  | 2026-01-01 |"]);
    }

    #[test]
    fn the_projects_time_is_added_up_from_the_log() {
        let log = "DEBUG runner::environment: a command of the project ended command=\"cargo test\" duration_ms=1200\nplan\n\
            DEBUG runner::environment: a command of the project ended command=\"x\" duration_ms=34\n";
        assert_eq!(project_time(log).unwrap(), Duration::from_millis(1_234));
        assert!(project_time("nothing").is_err());
    }
}
