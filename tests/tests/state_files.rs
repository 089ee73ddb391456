//! Every file of a state folder: damaged, empty, or written by a newer program. Whoever needs it says which file it is and what to
//! do; it stays as it is; and once it is put right the run goes on.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Ended, Script, World};

/// What a file is to those who find it damaged.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// What it holds is nowhere else: it is named, with the cure.
    Kept,
    /// It holds nothing, or nothing after a clean end.
    Empty,
    /// A copy of what objects and registries hold: whoever doubts it removes its folder, and it is made again.
    Copy,
}

/// Every file by how its path in the folder begins.
const KINDS: [(&str, Kind); 14] = [
    ("executions.sqlite-shm", Kind::Copy),
    ("executions.sqlite-wal", Kind::Empty),
    ("executions.sqlite", Kind::Kept),
    ("tables.sqlite-shm", Kind::Copy),
    ("tables.sqlite-wal", Kind::Empty),
    ("tables.sqlite", Kind::Kept),
    ("secrets.json", Kind::Kept),
    ("schedules.json", Kind::Kept),
    ("streams/", Kind::Kept),
    ("objects/", Kind::Kept),
    ("meter.jsonl", Kind::Kept),
    ("lock", Kind::Empty),
    ("cache/", Kind::Copy),
    ("scratch/", Kind::Copy),
];

fn good() -> Script {
    Script::default()
        .planned()
        .develops(1, "sum.sh", "echo $(($1 + $2))\n")
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1)
}

/// Every regular file below a folder, by its path in it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn kind_of(file: &str) -> Option<Kind> {
    KINDS.iter().find(|(begin, _)| file.starts_with(begin)).map(|(_, kind)| *kind)
}

/// A run that waits at its gate, and nobody drives.
struct Parked {
    world: World,
    run: String,
    gate: String,
}

impl Parked {
    fn new() -> Self {
        let world = World::quick();
        let run = world.run(&good(), &["--no-wait", "--json"]).expect(4).json();
        let id = |name: &str| run[name].as_str().unwrap().to_owned();
        Self { run: id("run_id"), gate: id("gate"), world }
    }

    fn place(&self, file: &str) -> PathBuf {
        self.world.state().join(file)
    }

    /// All that may be asked of it without deciding anything.
    fn asked(&self) -> Vec<(String, Ended)> {
        let (run, gate) = (self.run.as_str(), self.gate.as_str());
        let asked: [&[&str]; 6] = [
            &["runs", "list"],
            &["runs", "show", run],
            &["runs", "logs", run],
            &["runs", "cost", run],
            &["gates", "show", gate],
            &["runs", "resume", run, "--no-wait"],
        ];
        asked.iter().map(|arguments| (arguments.join(" "), self.world.gatewright(arguments))).collect()
    }

    /// Somebody notices that this file is damaged and says it with these words, nobody says anything else, and it stays as it is.
    fn is_named(&self, file: &str, words: &[&str]) {
        let before = fs::read(self.place(file)).unwrap();
        let mut named = 0;
        for (asked, ended) in self.asked() {
            assert!(!ended.said("panicked"), "{asked}: {}", ended.stderr);
            // What was in an empty table is not there for whoever asks for it by name.
            let is_absent = ended.code == 65 && ended.said("there is no");
            if ![0, 4].contains(&ended.code) && !is_absent {
                assert_eq!(ended.code, 69, "{file}, {asked}: {}", ended.stderr);
                assert!(words.iter().all(|word| ended.said(word)), "{file}, {asked}: {words:?}: {}", ended.stderr);
                named += 1;
            }
        }
        assert!(named > 0, "nobody noticed that {file} is damaged");
        // An empty database is a new one.
        let is_kept = before.is_empty() || fs::read(self.place(file)).unwrap() == before;
        assert!(is_kept, "{file} is not as it was found");
    }

    /// The same after each way of damaging this file; in between it is put right.
    fn survives(&self, file: &str, damages: &[Damage], words: &[&str]) {
        let right = fs::read(self.place(file)).unwrap();
        for damage in damages {
            fs::write(self.place(file), damage(&right)).unwrap();
            self.is_named(file, words);
            fs::write(self.place(file), &right).unwrap();
            for beside in ["-wal", "-shm"] {
                let _ = fs::remove_file(self.place(&format!("{file}{beside}")));
            }
        }
    }

    /// Nothing was lost: the gate is approved and the change lands.
    fn lands(&self) {
        self.world.gatewright(&["gates", "approve", &self.gate]).expect(0);
        let ended = self.world.gatewright(&["runs", "resume", &self.run, "--json"]);
        assert!(ended.code == 0 || ended.said("has landed already"), "{}", ended.stderr);
        assert_eq!(self.world.branches(), [format!("gatewright/{}", self.run)]);
    }
}

type Damage = fn(&[u8]) -> Vec<u8>;

fn halved(right: &[u8]) -> Vec<u8> {
    right[..right.len() / 2].to_vec()
}

fn written_over(right: &[u8]) -> Vec<u8> {
    let third = right.len() / 3;
    [&right[..third], &vec![0xff; third], &right[2 * third..]].concat()
}

fn emptied(_: &[u8]) -> Vec<u8> {
    Vec::new()
}

/// JSON with a field more than this program knows.
fn newer(right: &[u8]) -> Vec<u8> {
    [b"{\"format\":2,", &right[1..]].concat()
}

#[test]
fn every_file_of_a_state_folder_is_of_a_kind_that_is_tested_here() {
    let parked = Parked::new();
    let waiting = files(&parked.world.state());
    for file in waiting.iter().filter(|file| kind_of(file) == Some(Kind::Empty)) {
        assert_eq!(fs::metadata(parked.place(file)).unwrap().len(), 0, "{file} holds something after a clean end");
    }
    parked.lands();
    for file in waiting.iter().chain(&files(&parked.world.state())) {
        assert!(kind_of(file).is_some(), "{file} is new: what if it is damaged?");
    }
    for (begin, kind) in KINDS {
        assert!(kind != Kind::Kept || waiting.iter().any(|file| file.starts_with(begin)), "there is no {begin}");
    }
}

#[test]
fn a_damaged_file_is_named_with_the_cure_and_nothing_is_lost() {
    let parked = Parked::new();
    for file in ["secrets.json", "schedules.json", "streams/gatewright-local.task-callback.json"] {
        let words = [
            &format!("{file} is damaged"),
            "put a copy of it back",
            "a newer gatewright wrote it (then update this one)",
        ];
        parked.survives(file, &[halved, written_over, emptied, newer], &words);
    }
    parked.survives("tables.sqlite", &[halved, written_over, emptied], &["tables.sqlite", "put a copy of"]);
    parked.survives("executions.sqlite", &[halved, written_over], &["executions.sqlite is damaged", "put a copy of"]);
    let newer_database = |right: &[u8]| {
        // SQLite's `user_version`.
        [&right[..60], &9_999_u32.to_be_bytes(), &right[64..]].concat()
    };
    parked.survives("executions.sqlite", &[newer_database], &["executions.sqlite", "a newer gatewright wrote it"]);
    let half_a_line = |right: &[u8]| [&right[..40], &right[80..]].concat();
    parked.survives("meter.jsonl", &[written_over, half_a_line], &["meter.jsonl is damaged", "put a copy of it back"]);
    parked.lands();
}

#[test]
fn damaged_objects_are_named_with_the_cure_and_nothing_is_lost() {
    let parked = Parked::new();
    let objects: Vec<String> =
        files(&parked.world.state()).into_iter().filter(|file| file.starts_with("objects/")).collect();
    assert!(objects.len() > 10, "{objects:?}");
    let right: Vec<Vec<u8>> = objects.iter().map(|object| fs::read(parked.place(object)).unwrap()).collect();
    // What stands behind the first line is the object's own.
    let changed = |right: &[u8]| {
        let mut changed = right.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        changed
    };
    let damages: [Damage; 4] = [halved, written_over, emptied, changed];
    for damage in damages {
        for (object, right) in objects.iter().zip(&right) {
            fs::write(parked.place(object), damage(right)).unwrap();
        }
        parked.is_named(&objects[0], &["is damaged", "put a copy of"]);
        for (object, right) in objects.iter().zip(&right) {
            fs::write(parked.place(object), right).unwrap();
        }
    }
    parked.lands();
}

#[test]
fn executions_that_are_gone_are_no_loss_since_a_run_is_its_record() {
    let parked = Parked::new();
    fs::write(parked.place("executions.sqlite"), "").unwrap();
    let again = parked.world.gatewright(&["runs", "resume", &parked.run, "--no-wait", "--json"]).expect(4).json();
    let gate = again["gate"].as_str().unwrap();
    parked.world.gatewright(&["gates", "approve", gate]).expect(0);
    let _ = parked.world.gatewright(&["runs", "resume", &parked.run, "--json"]);
    assert_eq!(parked.world.branches(), [format!("gatewright/{}", parked.run)]);
}

#[test]
fn half_a_last_line_that_a_crash_left_is_taken_out_with_a_notice() {
    let parked = Parked::new();
    let right = fs::read_to_string(parked.place("meter.jsonl")).unwrap();
    fs::write(parked.place("meter.jsonl"), format!("{right}{{\"subject\":\"{}", parked.run)).unwrap();
    let cost = |parked: &Parked| parked.world.gatewright(&["runs", "cost", &parked.run, "--json"]).expect(0).json();
    let before = cost(&parked);
    let resumed = parked.world.gatewright(&["runs", "resume", &parked.run, "--no-wait"]).expect(4);
    assert!(resumed.said("a crash cut the last line off"), "{}", resumed.stderr);
    let now = fs::read_to_string(parked.place("meter.jsonl")).unwrap();
    assert!(now.starts_with(&right) && now.ends_with('\n'), "what was whole is kept");
    assert!(before["aws"]["microusd"].as_f64().unwrap() > 0.0);
    assert!(cost(&parked)["aws"]["microusd"].as_f64() >= before["aws"]["microusd"].as_f64());
    parked.lands();
}

#[test]
fn copies_that_are_gone_are_made_again() {
    let parked = Parked::new();
    for folder in ["cache", "scratch"] {
        let removed = Command::new("rm").args(["-rf", "--"]).arg(parked.place(folder)).status().unwrap();
        assert!(removed.success());
    }
    parked.world.gatewright(&["runs", "stop", &parked.run]).expect(0);
    let again =
        parked.world.gatewright(&["runs", "resume", &parked.run, "--from", "verify", "--yes", "--json"]).expect(0);
    assert_eq!(again.json()["status"], "succeeded");
}
