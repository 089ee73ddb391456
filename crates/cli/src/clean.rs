//! `gatewright clean`: makes room in the state folder. What a run needs that is at work, waits or can be resumed stays, and
//! so does every run's record with its events.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use lambda_host::SystemClock;
use run_model::Clock;
use run_model::run::{RunRecord, RunStatus};
use runner::Leftover;
use store::NewEvent;

use crate::arguments::CleanOptions;
use crate::local::Local;
use crate::problem::{DRIVER_GONE, Problem, causes};
use crate::screen;

const HOUR_MS: i64 = 3_600_000;

/// What is done with one thing.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It goes; why nobody needs it.
    Goes(&'static str),
    /// It stays; for what.
    Stays(String),
}

/// Something that takes room.
struct Piece {
    path: PathBuf,
    fate: Fate,
}

pub(crate) async fn run(state: &Path, options: CleanOptions) -> Result<u8, Problem> {
    let local = Local::read(state).await?;
    if !local.is_still() {
        let message = "a process drives the state folder: end it, or clean when its run has ended".to_owned();
        return Err(Problem { message, exit: DRIVER_GONE });
    }
    let cleaned = clean(&local, state, options).await;
    local.close().await;
    cleaned.map(|()| 0)
}

async fn clean(local: &Local, state: &Path, options: CleanOptions) -> Result<(), Problem> {
    let oldest_ms = SystemClock.now_ms() - options.older_than;
    let runs = local.store.list_runs(usize::MAX).await?;
    let mut freed = 0;
    for piece in pieces(state, &runs, oldest_ms) {
        let (name, bytes) = (piece.path.strip_prefix(state).unwrap_or(&piece.path).display(), size(&piece.path));
        match &piece.fate {
            Fate::Stays(why) => screen::print(format!("stays    {name}  {}  ({why})", amount(bytes))),
            Fate::Goes(why) => {
                screen::print(format!("{} {name}  {}  ({why})", verb(options.dry_run), amount(bytes)));
                freed += bytes;
                if !options.dry_run {
                    let gone = Leftover { path: piece.path.clone(), used_ms: None }.remove();
                    gone.map_err(|error| Problem::missing(causes(&error)))?;
                }
            }
        }
    }
    if options.runs {
        for run in runs.iter().filter(|run| run.status.is_final() && run.updated_ms < oldest_ms) {
            forget(local, run, options.dry_run).await?;
        }
    }
    let word = if options.dry_run { "would be freed" } else { "freed" };
    screen::print(format!("{} {word}; records and events of {} runs stay", amount(freed), runs.len()));
    Ok(())
}

fn verb(is_dry: bool) -> &'static str {
    if is_dry { "would go" } else { "removed " }
}

/// Takes away what a run kept in objects, and tells it in its events.
async fn forget(local: &Local, run: &RunRecord, is_dry: bool) -> Result<(), Problem> {
    if is_dry {
        screen::print(format!("would go objects of {}", run.run_id));
    } else {
        let count = local.store.delete_objects_of(&run.run_id).await?;
        if count == 0 {
            return Ok(());
        }
        let event = NewEvent::new("run.cleaned", format!("{count} objects were removed by `gatewright clean`"));
        local.store.append_event(&run.run_id, event).await?;
        screen::print(format!("removed  {count} objects of {}", run.run_id));
    }
    if run.commit.is_some() && run.branch.is_none() {
        let (run_id, repository) = (&run.run_id, &run.repository);
        screen::print(format!(
            "stays    refs/gatewright/{run_id} in {repository}  (git has it: `git update-ref -d` removes it)"
        ));
    }
    Ok(())
}

/// Whether somebody may still want what the run needs.
fn is_wanted(run: &RunRecord, oldest_ms: i64) -> bool {
    !run.status.is_final() || (run.status != RunStatus::Succeeded && run.updated_ms >= oldest_ms)
}

/// All that lies in the folder and can be made again, or is nobody's, with what becomes of it.
fn pieces(state: &Path, runs: &[RunRecord], oldest_ms: i64) -> Vec<Piece> {
    let wanted: Vec<&RunRecord> = runs.iter().filter(|run| is_wanted(run, oldest_ms)).collect();
    let mut pieces: Vec<Piece> = runner::leftovers(state)
        .into_iter()
        .map(|left| {
            let fate = match left.used_ms {
                None => Fate::Goes("left by a process that is gone"),
                Some(used_ms) if used_ms < oldest_ms => Fate::Goes("not used for so long"),
                Some(_) => Fate::Stays("used lately".to_owned()),
            };
            Piece { path: left.path, fate }
        })
        .collect();
    pieces.extend(listed(&state.join("scratch/snapshots")).map(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let of =
            |run: &&&RunRecord| run.snapshot.as_ref().is_some_and(|snapshot| snapshot.archive_sha256.as_str() == name);
        let fate = match wanted.iter().find(of) {
            Some(run) => Fate::Stays(why(run)),
            None => Fate::Goes("no run needs it"),
        };
        Piece { path, fate }
    }));
    let repositories: BTreeSet<&Path> = wanted.iter().map(|run| Path::new(run.repository.as_str())).collect();
    pieces.extend(listed(&state.join("demo")).map(|path| {
        let fate = if repositories.iter().any(|repository| repository.starts_with(&path)) {
            Fate::Stays("its run can go on".to_owned())
        } else if modified_ms(&path) >= oldest_ms {
            Fate::Stays("the demo made it lately".to_owned())
        } else {
            Fate::Goes("the demo made it long ago")
        };
        Piece { path, fate }
    }));
    pieces
}

fn why(run: &RunRecord) -> String {
    let (run_id, status) = (&run.run_id, run.status);
    match status {
        RunStatus::Running => format!("{run_id} is under way"),
        RunStatus::ApprovalPending => format!("{run_id} waits at a gate"),
        _ => format!("{run_id} can be resumed"),
    }
}

fn listed(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter()
}

/// When a folder last changed; one that cannot be looked at is taken for new.
fn modified_ms(path: &Path) -> i64 {
    let modified = fs::metadata(path).and_then(|found| found.modified()).ok();
    let since = modified.and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(i64::MAX)
}

/// The bytes of all files below, without following links.
fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => listed(path).map(|below| size(&below)).sum(),
        Ok(found) => found.len(),
        Err(_) => 0,
    }
}

fn amount(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// `30d` or `12h` in milliseconds.
pub(crate) fn age_ms(text: &str) -> Result<i64, String> {
    let unit = match text.chars().last() {
        Some('d') => 24 * HOUR_MS,
        Some('h') => HOUR_MS,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u32>().ok());
    match number {
        Some(number) if unit > 0 => Ok(i64::from(number) * unit),
        _ => Err("say days or hours: 30d, 12h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::facts;
    use serde_json::{Value, json};

    fn run_of(status: &str, updated_ms: i64, more: Value) -> RunRecord {
        let mut fields = json!({ "updated_ms": updated_ms });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        facts(status, fields).run
    }

    #[test]
    fn an_age_is_a_number_of_days_or_hours() {
        assert_eq!(age_ms("30d"), Ok(30 * 24 * HOUR_MS));
        assert_eq!(age_ms("12h"), Ok(12 * HOUR_MS));
        for wrong in ["", "d", "30", "-1d", "3w", "d30", "é"] {
            assert!(age_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_waits_or_can_be_resumed_is_wanted() {
        for (status, updated_ms, wanted) in [
            ("running", 0, true),
            ("approval_pending", 0, true),
            ("failed", 100, true),
            ("failed", 99, false),
            ("denied", 100, true),
            ("succeeded", 1_000, false),
        ] {
            assert_eq!(is_wanted(&run_of(status, updated_ms, json!({})), 100), wanted, "{status} {updated_ms}");
        }
    }

    #[test]
    fn only_what_nobody_needs_goes() {
        let state = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(state.path().join(path)).unwrap();
        let used = |path: &str, ms: i64| {
            make(path);
            fs::write(state.path().join(path).join("used"), ms.to_string()).unwrap();
        };
        let (needed, old) = ("a".repeat(64), "b".repeat(64));
        ["work/w-1", "cache/builds/half", "scratch/snapshots/new-1"].iter().for_each(|path| make(path));
        [&needed, &old].iter().for_each(|name| make(&format!("scratch/snapshots/{name}")));
        used("cache/builds/new", 200);
        used("cache/dependencies/old", 99);
        make("demo/1/repository");
        make("demo/2/repository");
        let snapshot = json!({ "commit": "c", "archive_key": "k", "archive_sha256": needed, "manifest_key": "m" });
        let repository = state.path().join("demo/1/repository");
        let waits = run_of("approval_pending", 0, json!({ "snapshot": snapshot, "repository": repository }));
        let gone = |oldest_ms: i64| -> Vec<String> {
            let pieces = pieces(state.path(), std::slice::from_ref(&waits), oldest_ms);
            let gone = pieces.iter().filter(|piece| matches!(piece.fate, Fate::Goes(_)));
            gone.map(|piece| piece.path.strip_prefix(state.path()).unwrap().display().to_string()).collect()
        };
        let always = ["cache/builds/half", "cache/dependencies/old", "work/w-1"].map(str::to_owned);
        let snapshots = [format!("scratch/snapshots/{old}"), "scratch/snapshots/new-1".to_owned()];
        assert_eq!(gone(100), [&always[..], &snapshots].concat());
        assert!(gone(i64::MAX - 1).contains(&"demo/2".to_owned()));
        assert!(!gone(i64::MAX - 1).contains(&"demo/1".to_owned()));
    }
}
