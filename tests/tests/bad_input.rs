//! What cannot work is refused with a clear message, and nothing is lost.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener};
use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use tests::{Ended, Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";

fn good() -> Script {
    good_after(Script::default())
}

fn good_after(script: Script) -> Script {
    script
        .planned()
        .develops(1, "sum.sh", RIGHT)
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1)
}

/// A refusal before anything was started: the code, the words, and no run.
fn refused(world: &World, ended: Ended, code: i32, words: &[&str]) {
    let ended = ended.expect(code);
    for words in words {
        assert!(ended.said(words), "{words:?} was not said:\n{}", ended.stderr);
    }
    assert!(!ended.said("panicked"), "{}", ended.stderr);
    assert!(world.gatewright(&["runs", "list"]).expect(0).said("no runs yet"));
}

/// The calls that a run made, as `role state`.
fn calls(run: &Value) -> Vec<String> {
    let entries = run["usage"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| format!("{} {}", entry["role"].as_str().unwrap(), entry["state"].as_str().unwrap()))
        .collect()
}

fn reason(run: &Value) -> &str {
    run["outcome"]["reason"].as_str().unwrap()
}

#[test]
fn a_provider_without_its_key_is_refused() {
    let world = World::quick();
    let ended = world.gatewright(&["run", "--requirements", "make it right"]);
    refused(&world, ended, 69, &["there is no key", "`export ANTHROPIC_API_KEY=...`"]);
}

#[test]
fn prose_is_sent_back_and_a_call_after_it_counts() {
    let world = World::quick();
    let script = good_after(Script::default().says("orchestrator", 1, "I would say there is one thing to do."));
    let run = world.run(&script, &["--yes", "--json"]).expect(0).json();
    assert_eq!(run["status"], "succeeded");
    assert_eq!(calls(&run).iter().filter(|call| *call == "orchestrator settled").count(), 2);
}

#[test]
fn a_model_that_only_talks_is_stopped_after_its_repairs() {
    let world = World::quick_with("[limits]\nrepairs = 2\n");
    let talk = |script: Script, _| script.says("orchestrator", 1, "Let us think about it first.");
    let script = (0..9).fold(Script::default(), talk);
    let run = world.run(&script, &["--yes", "--json"]).expect(1).json();
    assert!(reason(&run).contains("gave an unusable answer 3 times (limits.repairs)"), "{run:#}");
    assert_eq!(calls(&run), ["orchestrator settled"; 3]);
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_model_that_says_nothing_is_stopped_after_its_repairs() {
    let world = World::quick_with("[limits]\nrepairs = 1\n");
    let script = (0..9).fold(Script::default(), |script, _| script.is_silent("orchestrator", 1));
    let run = world.run(&script, &["--yes", "--json"]).expect(1).json();
    assert!(reason(&run).contains("gave an unusable answer 2 times"), "{run:#}");
    assert_eq!(calls(&run), ["orchestrator settled"; 2]);
}

#[test]
fn an_output_of_the_wrong_shape_is_sent_back_and_bounded() {
    let world = World::quick_with("[limits]\nrepairs = 1\n");
    let script = (0..9).fold(Script::default(), |script, number| {
        script.submits("orchestrator", 1, json!({"summary": number, "tasks": []}))
    });
    let run = world.run(&script, &["--yes", "--json"]).expect(1).json();
    assert!(reason(&run).contains("gave an unusable answer 2 times"), "{run:#}");
    assert!(world.events(run["run_id"].as_str().unwrap()).contains("submit (refused)"));
}

#[test]
fn an_unknown_tool_is_refused_by_name_and_not_for_ever() {
    let world = World::quick();
    let script = (0..9).fold(Script::default(), |script, _| script.calls("orchestrator", 1, &[("launch", json!({}))]));
    let run = world.run(&script, &["--yes", "--json"]).expect(1).json();
    assert!(reason(&run).contains("went round in circles"), "{run:#}");
    assert_eq!(calls(&run).len(), 5);
    assert!(world.events(run["run_id"].as_str().unwrap()).contains("launch (refused)"));
}

#[test]
fn a_folder_that_is_no_repository_is_refused() {
    let world = World::quick();
    let folder = world.outside("plain", &[("gatewright.toml", tests::world::QUICK)]);
    let ended = world.run(&good(), &["--repo", folder.to_str().unwrap()]);
    refused(&world, ended, 65, &["is not a git repository", "git init"]);
    let ended = world.run(&good(), &["--repo", "/no/such/folder"]);
    refused(&world, ended, 65, &["--repo /no/such/folder"]);
}

#[test]
fn a_folder_inside_a_repository_names_its_root() {
    let world = World::quick();
    world.commit(&[("part/gatewright.toml", tests::world::QUICK)]);
    let ended = world.run(&good(), &["--repo", "part"]);
    refused(&world, ended, 65, &["lies inside the repository"]);
}

#[test]
fn a_repository_without_a_commit_is_refused() {
    let world = World::quick();
    let folder = world.outside("fresh", &[("gatewright.toml", tests::world::QUICK)]);
    let made = Command::new("git").args(["init", "--quiet"]).arg(&folder).status().unwrap();
    assert!(made.success());
    let ended = world.run(&good(), &["--repo", folder.to_str().unwrap()]);
    refused(&world, ended, 65, &["has no commits", "commit something first"]);
}

#[test]
fn a_dirty_tree_is_said_left_alone_and_not_part_of_the_run() {
    let world = World::quick();
    let (sum, note) = (world.repository().join("sum.sh"), world.repository().join("note.txt"));
    fs::write(&sum, "exit 3\n").unwrap();
    fs::write(&note, "mine\n").unwrap();
    let run = world.run(&good(), &["--yes", "--json"]).expect(0).json();
    let notices = run["notices"].to_string();
    assert!(notices.contains("uncommitted changes are not part of this run: sum.sh, note.txt"), "{notices}");
    let branch = run["branch"].as_str().unwrap();
    assert_eq!(world.on_branch(branch, "sum.sh").as_deref(), Some(RIGHT));
    assert_eq!(world.on_branch(branch, "note.txt"), None);
    assert_eq!(
        (fs::read_to_string(sum).unwrap(), fs::read_to_string(note).unwrap()),
        ("exit 3\n".into(), "mine\n".into())
    );
    assert_eq!(world.git(&["status", "--porcelain"]), "M sum.sh\n?? note.txt");
}

#[test]
fn a_project_without_checks_is_shown_the_way_to_init() {
    let world = World::with(&[("notes.txt", "no project that is known here\n")]);
    let repository = world.repository().display().to_string();
    let ended = world.run(&good(), &[]);
    refused(&world, ended, 65, &[&format!("gatewright init --repo {repository}")]);
    let world = World::with(&[("gatewright.toml", "[project]\nlanguage = \"shell\"\n")]);
    let ended = world.run(&good(), &[]);
    refused(&world, ended, 65, &["no checks", "gatewright init", "[[checks]]"]);
}

#[test]
fn settings_that_are_no_text_or_no_file_are_refused_and_not_skipped() {
    let world = World::rust();
    fs::write(world.repository().join("gatewright.toml"), b"# caf\xe9\n[limits]\nbudget_usd = 0.01\n").unwrap();
    let words = ["gatewright.toml is no UTF-8 text (byte 5)", "save it as UTF-8"];
    refused(&world, world.run(&good(), &[]), 65, &words);
    world.git(&["add", "--all"]);
    world.git(&["commit", "--quiet", "--message", "settings"]);
    refused(&world, world.run(&good(), &[]), 65, &words);
    let folder = World::rust();
    folder.commit(&[("gatewright.toml/limits", "budget_usd = 0.01\n")]);
    refused(&folder, folder.run(&good(), &[]), 65, &["gatewright.toml is no file"]);
}

#[test]
fn what_a_repository_asks_of_the_machine_is_not_granted() {
    let world = World::quick();
    let private = world.outside("private", &[("key", "mine\n")]);
    let asks = format!("[sandbox]\nmode = \"none\"\nread_only = [\"{}\"]\n", private.display());
    world.commit(&[
        ("gatewright.toml", &format!("{}{asks}", tests::world::QUICK)),
        ("tests/key.sh", &format!("! cat {}/key\n", private.display())),
    ]);
    let ended = world.run(&good(), &["--yes", "--json"]).expect(0);
    assert!(ended.said("takes effect only with --sandbox none") && ended.said("--read-only"), "{}", ended.stderr);
    let layers = &ended.json()["evidence"][0]["layers"];
    assert!(!layers.as_array().unwrap().is_empty(), "{layers}");
    // The same folder by the user's own word: the test that cannot see it fails on the base already.
    let shown = world.run(&good(), &["--yes", "--json", "--read-only", private.to_str().unwrap()]);
    assert!(shown.json()["notices"].to_string().contains("the checks fail on the base already"), "{}", shown.stdout);
    let state = world.state();
    let refused = world.run(&good(), &["--read-only", state.to_str().unwrap()]).expect(65);
    assert!(refused.said("no command sees the state folder"), "{}", refused.stderr);
}

#[test]
fn a_ref_in_the_way_is_told_before_anything_is_paid() {
    let world = World::quick();
    world.git(&["branch", "gatewright"]);
    let ended = world.run(&good(), &["--yes"]);
    refused(&world, ended, 65, &["refs/heads/gatewright stands in the way", "git branch -m gatewright OTHER"]);
}

#[test]
fn a_base_whose_check_cannot_run_costs_nothing() {
    let world = World::quick();
    world.commit(&[("gatewright.toml", "[[checks]]\nname = \"test\"\ncommand = \"no-such-program --all\"\n")]);
    let run = world.run(&good(), &["--yes", "--json"]).expect(1).json();
    let why =
        "check `test` cannot run on the base (exit code 127; missing there: no-such-program): install what it calls";
    assert!(reason(&run).starts_with(why), "{run:#}");
    assert!(run["outcome"]["next_step"].as_str().unwrap().starts_with("Mend [[setup]] or [[checks]]"), "{run:#}");
    assert_eq!(calls(&run), Vec::<String>::new());
}

/// A server on this machine that gives everybody the same answer.
fn answering(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut lines = BufReader::new(&connection).lines().map_while(Result::ok);
            let length = lines.by_ref().take_while(|line| !line.is_empty()).find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:").map(|length| length.trim().to_owned())
            });
            // Read whole, or closing the connection would look like a loss.
            assert!(length.is_some());
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            connection.write_all(answer.as_bytes()).unwrap();
            let _ = connection.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut connection, &mut std::io::sink());
        }
    });
    url
}

#[test]
fn a_provider_that_refuses_or_is_none_is_asked_once_and_charges_nothing() {
    let refused = r#"{"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}"#;
    let poor = r#"{"error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API"}}"#;
    for (status, body, said) in [
        ("401 Unauthorized", refused, "401, authentication_error: invalid x-api-key"),
        ("400 Bad Request", poor, "add credit at the provider"),
        ("200 OK", "<!doctype html>welcome", "it is no such server: check base_url"),
    ] {
        let world = World::quick_with(&format!("[provider]\nbase_url = {:?}\n", answering(status, body)));
        let mut command = world.command(&["run", "--requirements", "make it right", "--yes", "--json"]);
        let ended = Ended::of(&command.env("ANTHROPIC_API_KEY", "a-key-that-opens-nothing").output().unwrap());
        let run = ended.expect(1).json();
        assert!(reason(&run).contains(said), "{run:#}");
        assert!(run["outcome"]["next_step"].as_str().unwrap().starts_with("Put right what was refused"), "{run:#}");
        assert_eq!(calls(&run), ["orchestrator released"], "{status}");
    }
}

#[test]
fn tables_that_lost_their_runs_are_not_taken_for_new_ones() {
    let world = World::quick();
    world.run(&good(), &["--yes"]).expect(0);
    for name in ["tables.sqlite", "tables.sqlite-wal", "tables.sqlite-shm"] {
        let _ = fs::remove_file(world.state().join(name));
    }
    let ended = world.gatewright(&["runs", "list"]).expect(69);
    assert!(ended.said("has lost what it held"), "{}", ended.stderr);
}

#[test]
fn a_repository_of_another_user_is_worked_on_and_that_is_said() {
    let world = World::quick();
    // Only root can give a folder away; anybody else has no repository of another user to try it on.
    if std::os::unix::fs::chown(world.repository().join(".git"), Some(65_534), None).is_err() {
        return;
    }
    let run = world.run(&good(), &["--no-wait", "--json"]).expect(4).json();
    let notices = run["notices"].to_string();
    assert!(notices.contains("belongs to another user (65534)"), "{notices}");
}

#[test]
fn whoever_stops_reading_has_read_enough() {
    let world = World::quick();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Ended::of(&world.command(&["runs", "list"]).stdout(writer).output().unwrap()).expect(0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn an_empty_requirement_is_refused() {
    let world = World::quick();
    let empty = world.outside("texts", &[("empty.md", " \n\t\n")]).join("empty.md");
    let script = format!("scripted:{}", world.path("script.jsonl").display());
    for requirement in ["", "   ", &format!("@{}", empty.display()), "-"] {
        let ended = world.gatewright(&["run", "--requirements", requirement, "--provider", &script]);
        refused(&world, ended, 65, &["the requirement is empty"]);
    }
    let ended = world.gatewright(&["run", "--requirements", "@/no/such/file", "--provider", &script]);
    refused(&world, ended, 65, &["--requirements @/no/such/file"]);
}

#[test]
fn held_out_tests_that_are_not_there_are_refused() {
    let world = World::quick();
    let ended = world.run(&good(), &["--acceptance", "/no/such/folder"]);
    refused(&world, ended, 65, &["--acceptance /no/such/folder"]);
    let empty = world.path("empty");
    fs::create_dir(&empty).unwrap();
    let ended = world.run(&good(), &["--acceptance", empty.to_str().unwrap()]);
    refused(&world, ended, 65, &["holds no file"]);
}

#[test]
fn wrong_arguments_are_told_with_value_and_cure() {
    let world = World::quick();
    let run = |more: &[&str]| {
        let mut arguments = vec!["run", "--requirements", "make it right"];
        arguments.extend(more);
        world.gatewright(&arguments)
    };
    refused(&world, run(&["--provider", "nobody"]), 65, &["--provider = nobody: write anthropic"]);
    refused(&world, run(&["--provider", "scripted:/no/such/script"]), 69, &["/no/such/script"]);
    refused(&world, run(&["--sandbox", "off"]), 65, &["--sandbox = off: write auto or none"]);
    refused(&world, run(&["--budget", "0"]), 65, &["--budget = 0: write US dollars"]);
    refused(&world, run(&["--budget", "much"]), 64, &["--budget"]);
    refused(&world, run(&["--no-wait", "--yes"]), 64, &["cannot be used with"]);
    refused(&world, world.gatewright(&["run"]), 64, &["--requirements"]);
    refused(&world, world.gatewright(&["fly"]), 64, &["fly"]);
    refused(&world, world.gatewright(&["runs", "show", "r-none"]), 65, &["there is no run r-none"]);
    refused(&world, world.gatewright(&["runs", "events", "r-none"]), 65, &["there is no run r-none"]);
    refused(&world, world.gatewright(&["runs", "resume", "r-none"]), 65, &["there is no run r-none"]);
    refused(&world, world.gatewright(&["runs", "stop"]), 64, &["<RUN|--all>"]);
    refused(&world, world.gatewright(&["runs", "stop", "r-1", "--all"]), 64, &["cannot be used with"]);
    refused(&world, world.gatewright(&["runs", "show", "../x"]), 65, &["../x"]);
    refused(&world, world.gatewright(&["gates", "approve", "g-none"]), 65, &["there is no gate g-none"]);
}

#[test]
fn a_base_that_names_no_commit_is_refused() {
    let world = World::quick();
    let ended = world.run(&good(), &["--base", "no-such-branch"]);
    refused(&world, ended, 65, &["\"no-such-branch\" names no commit"]);
}

#[test]
fn another_base_than_head_is_worked_on() {
    let world = World::quick();
    let base = world.git(&["rev-parse", "HEAD"]);
    world.git(&["tag", "before"]);
    world.commit(&[("later.txt", "later\n")]);
    let run = world.run(&good(), &["--base", "before", "--yes", "--json"]).expect(0).json();
    let branch = run["branch"].as_str().unwrap();
    assert_eq!(world.git(&["rev-parse", &format!("{branch}^")]), base);
    assert_eq!(world.on_branch(branch, "later.txt"), None);
}

#[test]
fn settings_that_nobody_reads_are_told_with_the_nearest_name() {
    let world = World::quick_with("[limits]\niteration = 3\n");
    refused(
        &world,
        world.run(&good(), &[]),
        65,
        &["gatewright.toml", "limits.iteration: unknown key", "did you mean iterations?"],
    );
}

#[test]
fn a_key_in_the_settings_is_refused_and_not_repeated() {
    let secret = "0a1b2c3d".repeat(5);
    let world = World::quick_with(&format!("# sk-{secret}\n"));
    let ended = world.run(&good(), &[]);
    assert!(!ended.said(&secret));
    refused(&world, ended, 65, &["holds what looks like a key (sk-...)", "environment or the secret store"]);
}

#[test]
fn a_budget_that_cannot_carry_the_next_call_ends_the_run_and_keeps_what_was_done() {
    // The first two roles' worst case fits, the developer's does not.
    let world = World::quick_with("[limits]\nbudget_usd = 0.5\n[roles.developer]\nmax_output_tokens = 64000\n");
    let run = world.run(&good(), &["--yes", "--json"]).expect(1).json();
    assert_eq!(run["status"], "failed");
    assert!(reason(&run).contains("the budget cannot carry the call"), "{run:#}");
    let id = run["run_id"].as_str().unwrap();
    let cure = format!("gatewright runs resume {id}");
    assert!(run["outcome"]["next_step"].as_str().unwrap().contains(&cure), "{run:#}");
    assert_eq!(calls(&run), ["orchestrator settled", "architect settled"], "nothing was called beyond the budget");
    assert_eq!(world.branches(), Vec::<String>::new());

    let refused = world.gatewright(&["runs", "resume", id, "--budget", "0.5"]).expect(65);
    assert!(refused.said("has $0.5000 already"), "{}", refused.stderr);
    let ended = world.gatewright(&["runs", "resume", id, "--budget", "2", "--yes", "--json"]).expect(0).json();
    assert_eq!(ended["status"], "succeeded");
    assert_eq!(calls(&ended)[..2], ["orchestrator settled", "architect settled"]);
    assert_eq!(
        calls(&ended).iter().filter(|call| call.starts_with("architect")).count(),
        1,
        "what was planned is kept"
    );
}
