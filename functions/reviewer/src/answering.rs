//! The reviewer as whoever answers a person at a gate: it reads, and its answer decides nothing.

use agent::{Role, ToolKind, Writes};
use role_host::{Definition, Material, Section};
use run_model::RepoPath;
use run_model::change_set::Overlay;
use run_model::gate::{Answer, LONGEST_ANSWER, MOST_PLACES};
use serde_json::Value;

/// The role at a gate: reads, and hands in an [`Answer`].
pub const QUESTION: Definition = Definition {
    role: Role {
        name: "reviewer",
        prompt: include_str!("../question.md"),
        tools: ToolKind::READING,
        writes: Writes::Nothing,
        output_schema: agent::schema_of::<Answer>,
    },
    sections: &[
        Section::Requirement,
        Section::Project,
        Section::Plan,
        Section::Design,
        Section::Diff,
        Section::BaseEvidence,
        Section::Evidence,
        Section::Question,
    ],
    accept,
};

fn accept(output: &Value, material: &Material, _: &Overlay) -> Result<(), String> {
    sensible(&role_host::typed(output)?, &|path| material.has(path))
}

/// Whether it says something, within bounds, and points to files that are there.
fn sensible(answer: &Answer, is_there: &dyn Fn(&RepoPath) -> bool) -> Result<(), String> {
    if answer.text.trim().is_empty() {
        return Err("text: is empty; answer the question, or say why you cannot".into());
    }
    if answer.text.len() > LONGEST_ANSWER {
        return Err(format!("text: is {} bytes long; say it in {LONGEST_ANSWER}", answer.text.len()));
    }
    if answer.places.len() > MOST_PLACES {
        return Err(format!("places: name the {MOST_PLACES} that matter most"));
    }
    answer.places.iter().try_for_each(|place| check_place(place, is_there))
}

fn check_place(place: &str, is_there: &dyn Fn(&RepoPath) -> bool) -> Result<(), String> {
    let unclear = || format!("places: {place:?} is not path:line, with a line counted from 1");
    let (path, line) = place.rsplit_once(':').ok_or_else(unclear)?;
    line.parse::<u32>().ok().filter(|line| *line > 0).ok_or_else(unclear)?;
    let path = RepoPath::new(path).map_err(|problem| format!("places: {problem}"))?;
    if is_there(&path) { Ok(()) } else { Err(format!("places: there is no file {path} in the changed tree")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_names_every_field_of_the_result() {
        let schema = (QUESTION.role.output_schema)();
        for field in schema["properties"].as_object().unwrap().keys() {
            assert!(QUESTION.role.prompt.contains(&format!("`{field}`")), "question.md does not say what {field} is");
        }
    }

    #[test]
    fn whoever_answers_writes_nothing() {
        assert_eq!((QUESTION.role.tools, QUESTION.role.writes), (ToolKind::READING, Writes::Nothing));
        assert_eq!(QUESTION.role.name, crate::DEFINITION.role.name, "its model is the reviewer's");
    }

    #[test]
    fn an_answer_says_something_and_points_to_what_is_there() {
        let answer = |text: &str, places: &[&str]| {
            let places = places.iter().map(|place| (*place).to_owned()).collect();
            sensible(&Answer { text: text.into(), places }, &|path| path.as_str() == "src/lib.rs")
        };
        assert_eq!(answer("It is.", &[]), Ok(()));
        assert_eq!(answer("It is.", &["src/lib.rs:7", "src/lib.rs:1"]), Ok(()));
        assert!(answer(" \n", &[]).unwrap_err().contains("empty"));
        assert!(answer(&"x".repeat(LONGEST_ANSWER + 1), &[]).unwrap_err().contains("say it in"));
        assert!(answer("It is.", &["src/lib.rs:1"; MOST_PLACES + 1]).unwrap_err().contains("matter most"));
        for unclear in ["src/lib.rs", "src/lib.rs:0", "src/lib.rs:x", ""] {
            assert!(answer("It is.", &[unclear]).unwrap_err().contains("is not path:line"), "{unclear}");
        }
        assert!(answer("It is.", &["../etc/passwd:1"]).is_err());
        assert!(answer("It is.", &["src/gone.rs:1"]).unwrap_err().contains("no file src/gone.rs"));
    }
}
