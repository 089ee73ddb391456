//! `gatewright cassettes`: whether a recording still answers what the roles ask.

use std::collections::BTreeMap;

use models::cassette::{Cassette, Entry};
use role_host::Definition;

use crate::agents::AGENTS;
use crate::arguments::CassettesCommand;
use crate::problem::{self, Problem, causes};
use crate::screen;

pub(crate) fn run(command: &CassettesCommand) -> Result<u8, Problem> {
    let CassettesCommand::Stale { file } = command;
    let cassette = Cassette::read(file).map_err(|error| Problem::input(causes(&error)))?;
    let stale = stale(cassette.entries());
    for (session, (turns, parts)) in &stale {
        screen::print(format!("{session}: {turns} turns were asked with another {}", parts.join(" and ")));
    }
    if !stale.is_empty() {
        screen::print("record these sessions again: `gatewright run --provider record:FILE`");
        return Ok(problem::FAILED);
    }
    screen::print(format!("no prompt and no tool has changed since these {} turns", cassette.entries().len()));
    screen::print("whether the texts that a role is shown are the same, only a replay says");
    Ok(0)
}

/// By session: how many turns no longer fit, and which parts of a request differ.
fn stale(entries: &[Entry]) -> BTreeMap<String, (usize, Vec<&str>)> {
    let mut stale: BTreeMap<String, (usize, Vec<&str>)> = BTreeMap::new();
    for entry in entries {
        let session = entry.session.to_string();
        let parts = match asked(&session) {
            Some(agent) => entry.fingerprint.stale(agent.role.prompt, &agent.role.tool_specs()),
            None => vec!["role than any of today"],
        };
        if !parts.is_empty() {
            stale.entry(session).or_insert((0, parts)).0 += 1;
        }
    }
    stale
}

/// Who was asked in a session.
fn asked(session: &str) -> Option<&'static Definition> {
    let (name, about) = session.split_once('/')?;
    let at_gate = (name == reviewer::QUESTION.role.name && about.starts_with("gate:")).then_some(&reviewer::QUESTION);
    at_gate.or_else(|| AGENTS.into_iter().find(|agent| agent.role.name == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_model::SessionId;
    use run_model::gate::GateKind;
    use std::path::Path;

    #[test]
    fn a_question_at_a_gate_was_asked_with_a_prompt_of_its_own() {
        let prompt = |session: SessionId| asked(session.as_str()).map(|agent| agent.role.prompt);
        let at_gate = prompt(SessionId::at_gate("reviewer", GateKind::Change, 1));
        assert_eq!(at_gate, Some(reviewer::QUESTION.role.prompt));
        assert_eq!(prompt(SessionId::new("reviewer", None, 1)), Some(reviewer::DEFINITION.role.prompt));
        assert_eq!(prompt(SessionId::new("nobody", None, 1)), None);
    }

    fn demo() -> Vec<Entry> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cassette.jsonl");
        Cassette::read(&file).unwrap().entries().to_vec()
    }

    #[test]
    fn the_demo_s_recording_is_not_stale() {
        assert_eq!(stale(&demo()), BTreeMap::new());
    }

    #[test]
    fn what_was_asked_with_another_prompt_is_named_by_session() {
        let mut entries = demo();
        let tester: Vec<&mut Entry> =
            entries.iter_mut().filter(|entry| entry.session.as_str().starts_with("tester")).collect();
        let (turns, session) = (tester.len(), tester[0].session.to_string());
        tester.into_iter().for_each(|entry| entry.fingerprint.prefix[1] = "0".repeat(12));
        assert_eq!(stale(&entries), [(session, (turns, vec!["system prompt"]))].into());
    }
}
