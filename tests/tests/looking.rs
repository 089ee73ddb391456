//! What a person sees of a run afterwards: its story, its diff, what its checks printed.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs::File;
use std::io::Read;
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tests::{Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";
const WRONG: &str = "echo $(($1 * $2))\n";

/// Red in the first round, objected to in the second, good in the third.
fn winding() -> Script {
    Script::default()
        .planned()
        .develops(1, "sum.sh", WRONG)
        .tests(1, "tests/two.sh", "echo one and two make $(sh sum.sh 1 2)\ntest \"$(sh sum.sh 1 2)\" = 3\n")
        .develops(2, "sum.sh", RIGHT)
        .tests(2, "tests/five.sh", "test \"$(sh sum.sh 2 3)\" = 5\n")
        .objects(2, "sum.sh")
        .develops(3, "sum.sh", "echo \"$(($1 + $2))\"\n")
        .tests(3, "tests/six.sh", "test \"$(sh sum.sh 3 3)\" = 6\n")
        .approves(3)
}

/// A run that is over, after three rounds.
fn done(world: &World) -> String {
    let ended = world.run(&winding(), &["--yes", "--json"]).expect(0).json();
    ended["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_that_has_ended_is_told_as_a_story() {
    let world = World::quick();
    let run = done(&world);
    let told = world.gatewright(&["runs", "show", &run]).expect(0).stdout;
    let (story, report) = told.split_once(&format!("\nRun {run}: ")).unwrap();
    assert!(story.lines().all(|line| line.chars().count() <= 100), "{story}");
    let mut rest = story;
    for words in [
        "for ",
        "Asked",
        "make it right",
        "Base",
        "HEAD at",
        "Plan",
        "fix: make it right",
        "Design",
        "Round 1",
        "fix: red",
        "unexplained: check `test` exited with 1",
        "Round 2",
        "fix: green",
        "Review",
        "asks for changes: not yet",
        "sum.sh (medium): not yet",
        "Round 3",
        "fix: green",
        "Review",
        "approved: good",
        "medium risk",
        "Gate",
        "approved by ",
        "flag, nobody looked",
        "Landed",
        "Took",
        "16 calls",
    ] {
        let Some((_, after)) = rest.split_once(words) else {
            panic!("{words:?} is missing, or not in its place:\n{told}")
        };
        rest = after;
    }
    assert!(report.contains(&format!("git merge gatewright/{run}")) && !story.contains("nobody is at work"), "{told}");
}

#[test]
fn a_run_whose_process_was_killed_says_that_nobody_is_at_work_on_it() {
    let world = World::quick();
    let mut first = world.spawn(&winding(), &[]);
    let run = first.until_run();
    first.until("turn 1");
    first.kill();
    let cure = format!("nobody is at work on it: `gatewright runs resume {run}`");
    let looks: [&[&str]; 2] = [&["runs", "show", &run], &["runs", "list"]];
    for look in looks {
        assert!(world.gatewright(look).expect(0).said(&cure), "{look:?}");
    }
    assert_eq!(world.shown(&run)["is_orphaned"], true);
    // Another run has a driver; this one still has none.
    let mut other = world.spawn(&winding(), &[]);
    let another = other.until_run();
    other.until_gate();
    for look in looks {
        let seen = world.gatewright(look).expect(0);
        assert!(seen.said(&cure) && !seen.said(&format!("resume {another}")), "{look:?}: {}", seen.stdout);
    }
    drop(other);
    world.gatewright(&["runs", "resume", &run, "--yes"]).expect(0);
    for look in looks {
        assert!(!world.gatewright(look).expect(0).said(&cure), "{look:?}");
    }
    assert_eq!(world.shown(&run)["is_orphaned"], false);
}

#[test]
fn the_diff_and_what_every_check_printed_can_be_read_again() {
    let world = World::quick();
    let run = done(&world);
    let diff = world.gatewright(&["runs", "diff", &run]).expect(0).stdout;
    assert!(diff.contains("-echo $(($1 - $2))") && diff.contains("diff --git a/sum.sh b/sum.sh"), "{diff}");
    let stat = world.gatewright(&["runs", "diff", &run, "--stat"]).expect(0).stdout;
    assert!(stat.contains("sum.sh (+1 -1)") && stat.contains("4 files, 5 lines added, 1 removed"), "{stat}");

    let logs = world.gatewright(&["runs", "logs", &run]).expect(0).stdout;
    let mut rest = logs.as_str();
    for words in [
        "== base: test: `sh check.sh`: exit code 0",
        "== task fix, round 1: test: `sh check.sh`: exit code 1",
        "one and two make 2",
        "== task fix, round 2",
        "exit code 0",
        "one and two make 3",
        "== task fix, round 3",
        "== task fix, its new tests on the base",
        "== whole change",
    ] {
        let Some((_, after)) = rest.split_once(words) else {
            panic!("{words:?} is missing, or not in its place:\n{logs}")
        };
        rest = after;
    }
    let of_task = world.gatewright(&["runs", "logs", &run, "--task", "fix"]).expect(0).stdout;
    assert!(of_task.contains("round 1") && !of_task.contains("== base"), "{of_task}");
    assert!(world.gatewright(&["runs", "logs", &run, "--task", "none"]).expect(65).said("has the tasks fix"));
}

#[test]
fn lists_are_for_programs_too() {
    let world = World::quick();
    let run = done(&world);
    let listed = world.gatewright(&["runs", "list", "--json"]).expect(0).json();
    assert_eq!((&listed[0]["run_id"], &listed[0]["status"]), (&run.clone().into(), &"succeeded".into()));
    let events = world.gatewright(&["runs", "events", &run, "--json"]).expect(0).json();
    let stages = events.as_array().unwrap().iter().filter(|event| event["kind"] == "stage.entered");
    let stages: Vec<&str> = stages.map(|event| event["message"].as_str().unwrap()).collect();
    assert_eq!(stages[..5], ["snapshot", "baseline", "plan", "design", "build"]);
}

#[test]
fn a_report_is_one_page_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::quick();
    let run = done(&world);
    let file = world.path("report.html");
    let told = world.gatewright(&["runs", "report", &run, "--output", file.to_str().unwrap()]).expect(0);
    assert!(told.said("wrote "), "{}", told.stdout);
    let page = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for words in
        ["<!DOCTYPE html>", "make it right", "one and two make 2", "class=\"added\">+echo", "reviewer/fix/3", "design"]
    {
        assert!(page.contains(words), "{words}");
    }
    assert_eq!(world.gatewright(&["runs", "report", &run]).expect(0).stdout.trim_end(), page.trim_end());
}

#[test]
fn cleaning_keeps_what_waits_and_the_record_of_what_has_ended() {
    let world = World::quick();
    let run = done(&world);
    let waiting = world.run(&winding(), &["--no-wait", "--json"]).expect(4).json();
    let scratch = world.state().join("scratch/snapshots");
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 1);
    let dry = world.gatewright(&["clean", "--older-than", "0h", "--runs", "--dry-run"]).expect(0);
    assert!(dry.said(&format!("would go objects of {run}")) && dry.said("waits at a gate"), "{}", dry.stdout);
    assert!(world.gatewright(&["runs", "diff", &run]).expect(0).said("echo"), "a dry run removes nothing");

    let cleaned = world.gatewright(&["clean", "--older-than", "0h", "--runs"]).expect(0);
    assert!(cleaned.said(&format!("objects of {run}")) && cleaned.said("freed"), "{}", cleaned.stdout);
    assert!(world.gatewright(&["runs", "resume", &run]).expect(65).said("was cleaned away"));
    let told = world.gatewright(&["runs", "show", &run]).expect(0);
    assert!(told.said("(it was cleaned away)") && told.said("Landed") && told.said("Cleaned"), "{}", told.stdout);
    let gate = waiting["gate"].as_str().unwrap();
    world.gatewright(&["gates", "approve", gate]).expect(0);
    assert_eq!(world.branches().len(), 2);
}

#[test]
fn nothing_is_cleaned_while_somebody_drives() {
    let world = World::quick();
    let mut driver = world.spawn(&winding(), &[]);
    driver.until_gate();
    assert!(world.gatewright(&["clean"]).expect(75).said("a process drives the state folder"));
}

#[test]
fn a_requirement_may_stand_alone_and_no_line_passes_the_terminal() {
    let world = World::quick();
    let script = world.path("script.jsonl");
    winding().write(&script);
    let provider = format!("scripted:{}", script.display());
    world.gatewright(&["run", "make it right", "--provider", &provider, "--yes"]).expect(0);
    let both = world.gatewright(&["run", "make it right", "--requirements", "make it right"]).expect(64);
    assert!(both.said("cannot be used with"), "{}", both.stderr);

    let run = world.gatewright(&["runs", "list", "--json"]).expect(0).json()[0]["run_id"].as_str().unwrap().to_owned();
    let looks: [&[&str]; 3] = [&["runs", "list"], &["runs", "show", &run], &["runs", "events", &run]];
    for look in looks {
        let shown = at_terminal(world.command(look), 60);
        let widest = shown.lines().map(|line| line.trim_end().chars().count()).max();
        assert!(widest.is_some_and(|widest| widest > 30 && widest <= 60), "{look:?}: {widest:?}\n{shown}");
    }
}

#[test]
fn colours_are_off_when_that_is_asked_for() {
    let world = World::quick();
    let help = |no_color: Option<&str>| {
        let mut command = world.command(&["runs", "--help"]);
        command.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("CLICOLOR");
        command.envs(no_color.map(|value| ("NO_COLOR", value)));
        at_terminal(command, 80)
    };
    assert!(help(None).contains('\u{1b}'), "a terminal has colours");
    let plain = help(Some("1"));
    assert!(!plain.contains('\u{1b}') && plain.contains("Usage:"), "{plain}");
    assert!(plain.lines().all(|line| line.trim_end().chars().count() <= 80), "{plain}");
}

/// What the program shows on a terminal of so many columns.
fn at_terminal(mut program: Command, columns: u16) -> String {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
    let line = File::options().read(true).write(true).open(name).unwrap();
    tcsetwinsize(&line, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let mut child = program.stdout(line).spawn().unwrap();
    // It holds the terminal too.
    drop(program);
    let (mut screen, mut shown, mut bytes) = (File::from(screen), Vec::new(), [0; 4096]);
    // A terminal that nobody holds any more answers with an error.
    while let Ok(read) = screen.read(&mut bytes) {
        shown.extend_from_slice(&bytes[..read]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(shown).unwrap()
}
