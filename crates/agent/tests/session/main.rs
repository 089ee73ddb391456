//! The loop against a world with a state: every rule of a session, and its death at every port call.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use agent::ports::{ModelError, Part, StopReason};
use agent::{Role, SessionEnd, ToolKind, Writes};
use run_model::ErrorName;
use run_model::budget::UsageState;
use serde_json::json;

use world::{Act, PRICE, ROLE, World, calling, calls, response, says, submit, usage};

fn edit(old: &str, new: &str) -> (&'static str, serde_json::Value) {
    ("edit_file", json!({"path": "src/lib.rs", "old": old, "new": new}))
}

fn read(path: &str) -> (&'static str, serde_json::Value) {
    ("read_file", json!({ "path": path }))
}

#[test]
fn a_session_reads_edits_checks_and_submits() {
    let world = World::new(vec![
        calls(&[read("src/lib.rs"), ("list_files", json!({}))]),
        calls(&[("run_checks", json!({})), edit("fn a", "fn b")]),
        submit(),
    ]);
    let SessionEnd::Done { output, edits } = world.walk().unwrap() else { panic!("not done") };
    assert_eq!(output, json!({"summary": "done"}));
    assert_eq!(serde_json::to_value(&edits).unwrap(), json!({"src/lib.rs": {"write": "fn b() {}\n"}}));
    let first = world.results(1);
    assert_eq!(first[0], ("call-1-1".into(), "src/lib.rs, lines 1 to 1 of 1\n1|fn a() {}".into(), false));
    assert_eq!(first[1], ("call-1-2".into(), "Cargo.toml\nsrc/lib.rs\n".into(), false));
    let second = world.results(2);
    assert_eq!(second[0], ("call-2-1".into(), "all green over 1 edit(s)".into(), false), "checks run over all edits");
    assert_eq!(second[1].0, "call-2-2");
    let notes = world.state().notes.clone();
    assert_eq!(notes[0].1, "turn 1: read_file src/lib.rs, list_files; 120 tokens, $0.0006");
}

#[test]
fn a_finished_session_gives_its_result_again_without_a_call() {
    let world = World::new(vec![submit()]);
    let first = world.invoke().unwrap();
    assert_eq!(world.invoke().unwrap(), first);
    assert_eq!(world.state().requests.len(), 1);
}

#[test]
fn a_request_holds_ids_of_our_own_and_nothing_of_the_provider() {
    let world = World::new(vec![calls(&[read("src/lib.rs")]), submit()]);
    world.walk().unwrap();
    let state = world.state();
    let last = serde_json::to_string(&state.requests[1]).unwrap();
    assert!(last.contains("call-1-1") && !last.contains("toolu_x"), "{last}");
    let names: Vec<&str> = state.requests[1].tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names.last(), Some(&"submit"));
    assert_eq!(state.requests[1].messages.len(), 3);
}

#[test]
fn at_most_one_suspending_call_is_carried_out_and_submit_waits_for_it() {
    let world = World::new(vec![
        calls(&[("run_checks", json!({})), ("run_checks", json!({})), ("submit", json!({"summary": "s"}))]),
        submit(),
    ]);
    assert!(matches!(world.invoke().unwrap(), SessionEnd::NeedsChecks { .. }));
    world.walk().unwrap();
    let results = world.results(1);
    assert_eq!(
        results.iter().map(|r| (r.0.as_str(), r.2)).collect::<Vec<_>>(),
        [("call-1-1", false), ("call-1-2", true), ("call-1-3", true)]
    );
    assert!(results[1].1.contains("only one run_checks per turn") && results[2].1.contains("wait for the results"));
}

#[test]
fn results_of_checks_on_another_state_are_not_taken() {
    let world = World::new(vec![calls(&[edit("fn a", "fn b"), ("run_checks", json!({}))]), submit()]);
    world.state().checks = Some((Default::default(), "old".into()));
    assert!(matches!(world.invoke().unwrap(), SessionEnd::NeedsChecks { .. }));
    assert!(matches!(world.invoke().unwrap(), SessionEnd::NeedsChecks { .. }), "and asks again when called again");
    world.walk().unwrap();
    assert_eq!(world.results(1)[1].1, "all green over 1 edit(s)");
}

#[test]
fn prose_and_silence_are_sent_back_and_then_given_up() {
    let nothing = Act::Answer(response(vec![], StopReason::EndTurn));
    let world = World::new(vec![says("Here is my plan."), nothing, says("Sorry."), submit()]);
    let error = world.walk().unwrap_err();
    assert_eq!(error.name, ErrorName::AgentStuck);
    assert!(error.message.contains("unusable answer 3 times"), "{}", error.message);
    assert_eq!(world.state().requests.len(), 3);
    assert_eq!(world.walk().unwrap_err(), error, "it stays so, without another call");
    assert_eq!(world.state().requests.len(), 3);
    let messages = world.checkpoint().messages;
    assert_eq!(messages[3].parts, vec![Part::Text { text: "(no answer)".into() }]);
    assert!(format!("{:?}", messages[2].parts).contains("call `submit`"));
}

#[test]
fn an_output_of_the_wrong_shape_or_sense_is_sent_back_with_what_is_wrong() {
    let world = World::new(vec![
        calls(&[("submit", json!({"summry": "typo"}))]),
        calls(&[("submit", json!({"summary": ""}))]),
        submit(),
    ]);
    world.walk().unwrap();
    let (shape, sense) = (world.results(1), world.results(2));
    assert!(shape[0].1.contains("summry") && shape[0].1.contains("summary") && shape[0].2, "{shape:?}");
    assert!(sense[0].1.contains("summary: say what was changed"), "{sense:?}");
    assert_eq!(world.checkpoint().repairs, 2);
}

#[test]
fn submit_is_not_taken_beside_a_call_that_failed_or_twice() {
    let done = || ("submit", json!({"summary": "done"}));
    let world = World::new(vec![calls(&[read("nowhere.rs"), done()]), calls(&[done(), done()]), submit()]);
    world.walk().unwrap();
    assert!(world.results(1)[1].1.contains("another call of this turn failed"));
    assert!(world.results(2).iter().all(|result| result.2), "{:?}", world.results(2));
}

#[test]
fn mistakes_get_an_error_that_names_the_cure() {
    let world = World::new(vec![
        calls(&[
            ("bash", json!({"command": "ls"})),
            ("read_file", json!({"file": "src/lib.rs"})),
            ("read_file", json!("src/lib.rs")),
            ("write_file", json!({"path": "../../etc/passwd", "content": ""})),
            ("write_file", json!({"path": ".github/workflows/ci.yml", "content": ""})),
            ("write_file", json!({"path": "link/x", "content": ""})),
            ("write_file", json!({"path": "src/lib.rs/x", "content": ""})),
            ("write_file", json!({"path": "src", "content": ""})),
            read("lib.rs"),
        ]),
        submit(),
    ]);
    world.walk().unwrap();
    let results = world.results(1);
    let cures = [
        "use one of list_files, read_file",
        "unknown field `file`, expected one of `path`",
        "was no JSON object",
        "use a relative path inside the repository",
        "is protected",
        "link is a symbolic link; choose another path",
        "src/lib.rs is a file, not a folder",
        "src is a folder (it holds src/lib.rs)",
        "did you mean src/lib.rs?",
    ];
    assert_eq!(results.len(), cures.len());
    for ((id, content, is_error), cure) in results.iter().zip(cures) {
        assert!(*is_error && content.contains(cure), "{id}: {content}");
    }
    assert!(world.checkpoint().overlay.is_empty());
}

#[test]
fn a_role_has_its_own_tools_and_writes_only_what_it_may() {
    let tester = Role { writes: Writes::Tests, ..ROLE };
    let write = |path: &str| ("write_file", json!({"path": path, "content": "x"}));
    let world = World::new(vec![calls(&[write("src/a.rs"), write("tests/a.rs")]), submit()]);
    world.invoke_as(&tester).unwrap().unwrap();
    let results = world.results(1);
    assert!(results[0].2 && results[0].1.contains("writes tests only"));
    assert!(!results[1].2);
    let reviewer = Role { tools: ToolKind::READING, writes: Writes::Nothing, ..ROLE };
    let world = World::new(vec![calls(&[write("tests/a.rs")]), submit()]);
    world.invoke_as(&reviewer).unwrap().unwrap();
    assert!(world.results(1)[0].1.contains("there is no tool \"write_file\""));
    assert_eq!(world.state().requests[0].tools.len(), 4);
}

#[test]
fn an_input_that_is_no_json_object_is_given_back_as_such() {
    let broken = json!("{\"path\": \"src/lib.rs");
    let world =
        World::new(vec![calls(&[("read_file", broken.clone())]), calls(&[("submit", broken.clone())]), submit()]);
    world.walk().unwrap();
    for turn in [1, 2] {
        let results = world.results(turn);
        assert!(results[0].2 && results[0].1.contains("was no JSON object"), "{results:?}");
    }
    assert_eq!(world.checkpoint().repairs, 1, "an output that cannot be read is one of the wrong shape");
    assert!(format!("{:?}", world.checkpoint().messages[1]).contains("unreadable"), "the model sees what it wrote");
}

#[test]
fn a_call_cut_off_at_the_output_limit_is_not_carried_out() {
    let mut cut = calling(&[read("src/lib.rs"), ("write_file", json!({"path": "src/lib.rs", "content": "half"}))]);
    cut.stop_reason = StopReason::MaxTokens;
    let prose = response(vec![Part::Text { text: "And so".into() }], StopReason::MaxTokens);
    let world = World::new(vec![Act::Answer(cut), Act::Answer(prose), submit()]);
    world.walk().unwrap();
    let results = world.results(1);
    assert!(!results[0].2 && results[1].2 && results[1].1.contains("cut off at the output limit"), "{results:?}");
    assert!(world.checkpoint().overlay.is_empty());
    assert!(format!("{:?}", world.checkpoint().messages[4]).contains("cut off at the output limit"));
}

#[test]
fn the_same_error_again_and_again_brings_a_hint_and_then_the_end() {
    let world = World::new((0..6).map(|n| calls(&[edit("nothing like it", &n.to_string())])).collect());
    let error = world.walk().unwrap_err();
    assert_eq!(error.name, ErrorName::AgentStuck);
    assert!(error.message.contains("round in circles"), "{}", error.message);
    assert_eq!(world.state().requests.len(), 5);
    assert!(!world.results(2)[0].1.contains("time number"));
    assert!(world.results(3)[0].1.contains("time number 3"));
    assert_eq!(world.state().notes.last().unwrap().0, "session.stuck");
}

#[test]
fn the_same_call_with_the_same_answer_is_no_progress_but_an_edit_is() {
    let idle = World::new((0..6).map(|_| calls(&[read("src/lib.rs")])).collect());
    assert_eq!(idle.walk().unwrap_err().name, ErrorName::AgentStuck);
    assert_eq!(idle.state().requests.len(), 5);
    let mut script: Vec<Act> =
        (0..6).map(|n| calls(&[read("Cargo.toml"), edit("fn a", &format!("fn b{n}() {{}} fn a"))])).collect();
    script.push(submit());
    World::new(script).walk().unwrap();
}

#[test]
fn turns_are_limited_and_the_model_is_told_before() {
    let look = |n: usize| calls(&[("search", json!({"pattern": format!("x{n}")}))]);
    let world = World::new((0..13).map(look).collect());
    let error = world.walk().unwrap_err();
    assert!(error.message.contains("used all its 12 turns"), "{}", error.message);
    assert_eq!(world.state().requests.len(), 12);
    let last = format!("{:?}", world.state().requests[11].messages.last().unwrap());
    assert!(last.contains("Turns left in this session: 1."), "{last}");
}

#[test]
fn near_its_deadline_a_session_returns_and_goes_on_in_the_next_invocation() {
    let slow = Act::Slow(840_000, calling(&[read("src/lib.rs")]));
    let mut world = World::new(vec![slow, submit()]);
    assert_eq!(world.invoke().unwrap(), SessionEnd::Continue);
    let error = world.invoke().unwrap_err();
    assert_eq!(error.name, ErrorName::InvalidInput);
    assert!(error.message.contains("60 s are left, but a model call may take 70 s"), "{}", error.message);
    world.request.deadline_ms = 1_740_000;
    assert!(matches!(world.invoke().unwrap(), SessionEnd::Done { .. }));
    assert_eq!(world.state().requests.len(), 2);
}

#[test]
fn every_call_is_reserved_at_its_worst_and_settled_as_it_was() {
    let world = World::new(vec![calls(&[read("src/lib.rs")]), submit()]);
    world.walk().unwrap();
    let cost = PRICE.cost_microusd(&usage());
    let expected = BTreeMap::from([
        ("developer/run/1#1#1".to_owned(), (UsageState::Settled, cost)),
        ("developer/run/1#2#1".to_owned(), (UsageState::Settled, cost)),
    ]);
    assert_eq!(world.state().ledger, expected);
}

#[test]
fn a_budget_that_cannot_carry_the_worst_case_refuses_the_call() {
    let world = World::new(vec![submit()]);
    // 1000 output tokens alone may cost 15000 micro-dollars.
    world.state().budget_microusd = 15_000;
    assert_eq!(world.invoke().unwrap_err().name, ErrorName::BudgetExceeded);
    assert!(world.state().requests.is_empty());
    world.state().budget_microusd = 60_000;
    world.invoke().unwrap();
}

#[test]
fn a_failing_model_has_the_name_the_machine_knows_and_charges_what_it_may_have_charged() {
    let unavailable = |may_be_charged| ModelError::Unavailable { message: "gone".into(), may_be_charged };
    let throttled = ModelError::Throttled { message: "slow down".into(), retry_after_ms: None };
    for (failure, name, state) in [
        (throttled, ErrorName::ModelThrottled, UsageState::Released),
        (unavailable(false), ErrorName::ModelUnavailable, UsageState::Released),
        (unavailable(true), ErrorName::ModelUnavailable, UsageState::Unknown),
        (ModelError::Refused("key".into()), ErrorName::ModelRefused, UsageState::Released),
        (ModelError::CassetteMiss("miss".into()), ErrorName::CassetteMiss, UsageState::Released),
    ] {
        let world = World::new(vec![Act::Fail(failure), submit()]);
        assert_eq!(world.invoke().unwrap_err().name, name);
        let told: Vec<String> = world.state().notes.iter().map(|(kind, _)| kind.clone()).collect();
        let waited_for = match name {
            ErrorName::ModelThrottled => vec!["model.throttled"],
            ErrorName::ModelUnavailable => vec!["model.unavailable"],
            _ => vec![],
        };
        assert_eq!(told, waited_for);
        assert_eq!(world.state().ledger["developer/run/1#1#1"].0, state, "{name:?}");
        assert!(matches!(world.invoke().unwrap(), SessionEnd::Done { .. }));
    }
    let refusal = World::new(vec![Act::Answer(response(vec![], StopReason::Refusal))]);
    assert_eq!(refusal.invoke().unwrap_err().name, ErrorName::ModelRefused);
    assert_eq!(refusal.state().ledger["developer/run/1#1#1"].0, UsageState::Settled);
}

#[test]
fn an_invocation_whose_session_was_taken_writes_nothing_more() {
    let world = World::new(vec![Act::Overtaken(calling(&[edit("fn a", "fn stale")])), submit()]);
    assert_eq!(world.invoke().unwrap_err().name, ErrorName::Conflict);
    assert_eq!(world.state().kept, None);
    assert!(world.state().notes.is_empty());
}

#[test]
fn a_full_context_loses_its_oldest_results_first_and_says_so() {
    let mut world = World::new(vec![
        calls(&[read("big.txt")]),
        calls(&[("search", json!({"pattern": "line"}))]),
        calls(&[read("src/lib.rs")]),
        submit(),
    ]);
    world.tree.put("big.txt", "a line of the big file\n".repeat(700).as_bytes());
    world.request.model.context_tokens = 9_000;
    world.walk().unwrap();
    let state = world.state();
    let trimmed: Vec<&String> =
        state.notes.iter().filter(|(kind, _)| kind == "context.trimmed").map(|(_, message)| message).collect();
    assert!(trimmed[0].contains("bytes of read_file big.txt"), "{trimmed:?}");
    let last = serde_json::to_string(&state.requests[3]).unwrap();
    assert!(last.contains("fix it") && last.contains("left out to save space") && last.contains("1|fn a"), "{last}");
}

#[test]
fn a_task_larger_than_the_context_is_refused_with_the_cure() {
    let mut world = World::new(vec![submit()]);
    world.request.opening.push("x".repeat(30_000));
    world.request.model.context_tokens = 10_000;
    let error = world.invoke().unwrap_err();
    assert!(error.name == ErrorName::InvalidInput && error.message.contains("raise context_tokens"), "{error}");
    assert!(world.state().ledger.is_empty());
}

/// The walk that dies everywhere: reading, editing, a mistake, prose, checks twice, the end.
fn long_script() -> Vec<Act> {
    vec![
        calls(&[read("src/lib.rs"), read("nowhere")]),
        says("hm"),
        calls(&[edit("fn a", "fn b"), ("run_checks", json!({}))]),
        calls(&[edit("fn b", "fn c"), ("run_checks", json!({})), read("src/lib.rs")]),
        submit(),
    ]
}

#[test]
fn dying_at_any_port_call_changes_nothing_about_the_end() {
    let whole = World::new(long_script());
    let end = whole.walk().unwrap();
    let (transcript, calls_made) = (whole.checkpoint(), whole.state().requests.len());
    let mut unknown = 0;
    let mut port_call = 0;
    loop {
        port_call += 1;
        let world = World::new(long_script());
        world.die_at(port_call);
        assert_eq!(world.walk().unwrap(), end, "after dying at port call {port_call}");
        assert_eq!(world.checkpoint(), transcript, "after dying at port call {port_call}");
        let state = world.state();
        let count = |wanted| state.ledger.values().filter(|(state, _)| *state == wanted).count();
        assert_eq!(count(UsageState::Reserved), 0, "nothing stays in flight");
        assert_eq!(state.ledger.len(), count(UsageState::Settled) + count(UsageState::Unknown));
        assert!(state.requests.len() <= calls_made + 1, "at most the turn that was lost is asked again");
        assert!(count(UsageState::Unknown) <= 1);
        let settled = state.ledger.iter().filter(|(_, (state, _))| *state == UsageState::Settled);
        let turns: BTreeSet<&str> =
            settled.clone().filter_map(|(call, _)| call.rsplit_once('#')).map(|(turn, _)| turn).collect();
        assert_eq!(turns.len(), settled.count(), "no turn is settled twice, after dying at port call {port_call}");
        unknown += count(UsageState::Unknown);
        if port_call > 100 {
            break;
        }
    }
    assert!(unknown >= 5, "each turn's call was once in flight: {unknown}");
}
