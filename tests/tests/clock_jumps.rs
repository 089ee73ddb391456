//! The machine's clock is set, or stands still while the machine sleeps: nothing is approved by it, paid twice or lost.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tests::provider::pass;
use tests::{Ended, Provider, Running, Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Within this time whoever sleeps until a moment has looked at the clock again.
const NOTICED: Duration = Duration::from_millis(1_200);

fn good() -> Script {
    Script::default()
        .planned()
        .develops(1, "sum.sh", RIGHT)
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1)
}

/// A world whose programs all go by one clock, which is set by hand.
struct Clock {
    world: World,
}

impl Clock {
    fn over(world: World) -> Self {
        set(&world.path("shift"), 0);
        Self { world }
    }

    fn file(&self) -> PathBuf {
        self.world.path("shift")
    }

    /// From now on the clock is so far from the real one.
    fn set(&self, shift_ms: i64) {
        set(&self.file(), shift_ms);
    }

    fn ticks_for(&self, mut command: Command) -> Command {
        command.env("GATEWRIGHT_CLOCK_SHIFT", self.file()).env("ANTHROPIC_API_KEY", "a-key-of-no-known-shape");
        command
    }

    fn gatewright(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.ticks_for(self.world.command(arguments)).output().unwrap())
    }

    /// A run that waits at its gate, followed by its program: the program, the run, and the gate.
    fn waiting(&self) -> (Running, String, String) {
        let mut running = Running::of(self.ticks_for(self.world.run_command(&good(), &[])).spawn().unwrap());
        let (run, gate) = (running.until_run(), running.until_gate());
        (running, run, gate)
    }

    fn gate(&self) -> Value {
        let listed = self.gatewright(&["gates", "list", "--json"]).expect(0).json();
        listed[0].clone()
    }

    fn landed(&self, run: &str) {
        let branch = format!("gatewright/{run}");
        assert_eq!(self.world.branches(), [branch.as_str()]);
        assert_eq!(self.world.on_branch(&branch, "sum.sh").as_deref(), Some(RIGHT));
    }
}

/// Whole or not at all: nobody reads half a number.
fn set(file: &Path, shift_ms: i64) {
    let new = file.with_extension("new");
    fs::write(&new, shift_ms.to_string()).unwrap();
    fs::rename(&new, file).unwrap();
}

fn shifted(file: &Path) -> i64 {
    fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

/// A run's calls and what became of each.
fn calls(run: &Value) -> Vec<(&str, &str)> {
    let entries = run["usage"].as_array().unwrap();
    entries.iter().map(|call| (call["call_id"].as_str().unwrap(), call["state"].as_str().unwrap())).collect()
}

#[test]
fn a_gate_is_decided_after_the_clock_went_back_by_a_day() {
    let clock = Clock::over(World::quick());
    let (running, run, gate) = clock.waiting();
    clock.set(-DAY_MS);
    clock.gatewright(&["gates", "approve", &gate]).expect(0);
    running.end().expect(0);
    clock.landed(&run);
}

#[test]
fn a_gate_whose_deadline_the_clock_jumps_over_is_closed_and_a_fresh_one_opens_over_the_same_change() {
    let clock = Clock::over(World::quick());
    let (running, run, gate) = clock.waiting();
    let pending = clock.gate();
    let wait_ms = pending["deadline_ms"].as_i64().unwrap() - pending["opened_ms"].as_i64().unwrap();
    clock.set(wait_ms + HOUR_MS);
    let late = clock.gatewright(&["gates", "approve", &gate]).expect(65);
    assert!(late.said("the deadline of gate") || late.said("no longer waits"), "{}", late.stderr);

    // It waits for nothing else: the machine's clock says that nobody came.
    let ended = running.end().expect(3);
    assert!(ended.said("silence means no") && ended.said(&format!("gatewright runs resume {run}")), "{ended:#?}");
    let timed_out = clock.gatewright(&["runs", "show", &run, "--json"]).expect(0).json();
    assert_eq!(timed_out["status"], "timed_out");
    assert_eq!(clock.world.branches(), Vec::<String>::new());

    let again = clock.gatewright(&["runs", "resume", &run, "--no-wait", "--json"]).expect(4).json();
    assert_ne!(again["gate"], json!(gate));
    assert_eq!((&again["commit"], calls(&again)), (&timed_out["commit"], calls(&timed_out)));
    clock.gatewright(&["gates", "approve", again["gate"].as_str().unwrap()]).expect(0);
    clock.landed(&run);
}

/// A run in which the clock jumps by so much in every check and in every call of the model, and goes on so long afterwards that
/// everybody has seen it: nothing is asked twice, and the change lands.
fn lands_while_the_clock_jumps(jump_ms: i64) {
    let world = World::quick();
    let file = world.path("shift");
    // Whoever waits too long because the clock went back does so afterwards.
    let until_noticed = if jump_ms > 0 { NOTICED } else { Duration::ZERO };
    let jump = format!(
        "echo $(($(cat '{0}') + {jump_ms})) > '{0}'.check && mv '{0}'.check '{0}'\nsleep {1}\n",
        file.display(),
        until_noticed.as_secs_f32()
    );
    let at = file.clone();
    let provider = Provider::amid(&good(), move |_| {
        set(&at, shifted(&at) + jump_ms);
        pass(until_noticed);
        false
    });
    world.commit(&[
        ("gatewright.toml", &format!("{}{}", tests::world::QUICK, provider.settings())),
        ("check.sh", &format!("{jump}set -e\nfor test in tests/*.sh; do sh \"$test\"; done\n")),
    ]);
    let clock = Clock::over(world);
    let line = ["run", "--requirements", "make it right", "--sandbox", "none", "--yes", "--json"];
    let run = clock.gatewright(&line).expect(0).json();
    let settled: Vec<&str> = calls(&run).into_iter().map(|(_, state)| state).collect();
    assert_eq!(settled, ["settled"; 7], "{run:#}");
    assert_eq!(provider.requests().len(), 7);
    // On the base, on the task, of the new test on the base, and on the whole change.
    let checks = 4;
    assert_eq!(shifted(&clock.file()) / jump_ms, 7 + checks, "every call and every check moved the clock, once");
    clock.landed(run["run_id"].as_str().unwrap());
}

#[test]
fn nothing_is_asked_twice_while_the_clock_goes_forward_by_hours() {
    lands_while_the_clock_jumps(HOUR_MS);
}

#[test]
fn nothing_is_asked_twice_while_the_clock_goes_back_by_hours() {
    lands_while_the_clock_jumps(-HOUR_MS);
}

/// A pause of two seconds takes two seconds: whoever paused by the clock would sit there for an hour more.
#[test]
fn a_pause_ends_though_the_clock_goes_back_meanwhile() {
    let world = World::quick();
    let file = world.path("shift");
    let provider = Provider::amid(&good(), move |number| {
        if number == 1 {
            let file = file.clone();
            thread::spawn(move || {
                pass(Duration::from_millis(700));
                set(&file, -HOUR_MS);
            });
        }
        number == 1
    });
    world.commit(&[("gatewright.toml", &format!("{}{}", tests::world::QUICK, provider.settings()))]);
    let clock = Clock::over(world);
    let run = clock.gatewright(&["run", "--requirements", "make it right", "--yes", "--json"]).expect(0).json();
    assert_eq!(provider.requests().len(), 8);
    clock.landed(run["run_id"].as_str().unwrap());
}

#[test]
fn a_run_that_was_interrupted_at_work_goes_on_an_hour_later() {
    let clock = Clock::over(World::quick());
    let mut running = Running::of(clock.ticks_for(clock.world.run_command(&good(), &[])).spawn().unwrap());
    let run = running.until_run();
    running.until("turn 1");
    running.interrupt();
    running.end().expect(130);
    clock.set(HOUR_MS);
    let ended = clock.gatewright(&["runs", "resume", &run, "--yes", "--json"]).expect(0).json();
    let states: Vec<&str> = calls(&ended).into_iter().map(|(_, state)| state).collect();
    assert_eq!(states.iter().filter(|state| **state == "settled").count(), 7, "{states:?}");
    clock.landed(&run);
}
