//! One turn: what the model said becomes calls, calls become results, and every call gets exactly one.

use run_model::FunctionError;
use run_model::change_set::Overlay;
use serde_json::{Value, json};

use crate::circles;
use crate::ports::{Checkpoint, Message, ModelResponse, Part, Speaker, StopReason, Suspended, Tree};
use crate::role::{Role, ToolKind};
use crate::schema;
use crate::session::Assignment;
use crate::tools::{self, SUBMIT};
use crate::workspace::{ToolFailure, Workspace};

const NO_CALL: &str = "You answered without calling a tool, so nothing happened. Work with the tools; when everything is done, \
                       call `submit` with your result.";
const CUT_OFF: &str = "Your answer was cut off at the output limit. Say less, or do it in several smaller steps.";
const CUT_CALL: &str = "this call was cut off at the output limit and not carried out: make it shorter, for instance with \
                        edit_file instead of write_file, or split it into several calls in several turns";

/// The one field of an input that was no JSON object: what stood there.
const UNREADABLE: &str = "unreadable";
const UNREADABLE_CALL: &str = "the input of this call was no JSON object, so it was not carried out: write it again as one, \
                               with all quotes and line breaks in its texts escaped";

/// What a turn works with.
pub(crate) struct Desk<'a> {
    pub(crate) role: &'a Role,
    pub(crate) tree: &'a dyn Tree,
    pub(crate) assignment: &'a dyn Assignment,
    /// Turns that are left after this one.
    pub(crate) turns_left: u32,
}

struct Call {
    id: String,
    name: String,
    input: Value,
    cut: bool,
}

struct Answer {
    content: String,
    is_error: bool,
}

impl Answer {
    fn error(content: impl Into<String>) -> Self {
        Self { content: content.into(), is_error: true }
    }
}

/// Plays an answer into the checkpoint and says in one line what happened.
pub(crate) fn play(desk: &Desk<'_>, at: &mut Checkpoint, response: ModelResponse) -> Result<String, FunctionError> {
    at.turns += 1;
    let cut = response.stop_reason == StopReason::MaxTokens;
    let parts = own_parts(response.parts, at.turns);
    let calls = calls_of(&parts, cut);
    at.messages.push(Message { speaker: Speaker::Assistant, parts });
    if calls.is_empty() {
        at.repairs += 1;
        let reminder = if cut { CUT_OFF } else { NO_CALL };
        push_user(at, Vec::new(), Some(reminder.into()));
        return Ok("no call".into());
    }
    let edits_before = at.overlay.clone();
    let mut answers = immediate(desk, at, &calls)?;
    if at.overlay != edits_before {
        // The tree has moved: what failed before may work now.
        at.fingerprints.clear();
    }
    let suspending = calls.iter().zip(&answers).position(|(call, answer)| answer.is_none() && call.name != SUBMIT);
    let output = submission(desk, at, &calls, &mut answers);
    let said = summary(&calls, &answers);
    let results = calls.iter().zip(answers).filter_map(|(call, answer)| Some(counted(at, call, answer?))).collect();
    match (suspending, output) {
        (Some(index), _) => {
            let Call { id, name, .. } = &calls[index];
            at.suspended = Some(Suspended { call_id: id.clone(), tool: name.clone(), results });
        }
        (None, Some(output)) => at.output = Some(output),
        (None, None) => push_user(at, results, warning(desk.turns_left)),
    }
    Ok(said)
}

/// Ends a suspended turn: the suspending call gets its result, in its place among the others.
pub(crate) fn resume(at: &mut Checkpoint, suspended: Suspended, content: String, turns_left: u32) {
    let calls = at.messages.last().map_or_else(Vec::new, |message| calls_of(&message.parts, false));
    let mut others = suspended.results.into_iter();
    let mut results = Vec::new();
    for call in &calls {
        if call.id == suspended.call_id {
            results.push(counted(at, call, Answer { content: content.clone(), is_error: false }));
        } else {
            results.extend(others.next());
        }
    }
    push_user(at, results, warning(turns_left));
}

/// The model's parts with ids of our own; what a model cannot say is dropped, and nothing becomes a word.
fn own_parts(parts: Vec<Part>, turn: u32) -> Vec<Part> {
    let mut index = 0;
    let mut own: Vec<Part> = Vec::new();
    for part in parts {
        match part {
            Part::Text { text } if !text.trim().is_empty() => own.push(Part::Text { text: text.trim_end().into() }),
            Part::ToolCall { name, input, .. } => {
                index += 1;
                let input = if input.is_object() { input } else { json!({ UNREADABLE: input }) };
                own.push(Part::ToolCall { id: format!("call-{turn}-{index}"), name, input });
            }
            Part::Text { .. } | Part::ToolResult { .. } => {}
        }
    }
    if own.is_empty() {
        own.push(Part::Text { text: "(no answer)".into() });
    }
    own
}

fn calls_of(parts: &[Part], cut: bool) -> Vec<Call> {
    let last = parts.len().saturating_sub(1);
    let call = |(index, part): (usize, &Part)| match part {
        Part::ToolCall { id, name, input } => {
            Some(Call { id: id.clone(), name: name.clone(), input: input.clone(), cut: cut && index == last })
        }
        _ => None,
    };
    parts.iter().enumerate().filter_map(call).collect()
}

/// Runs the calls that answer at once, in order. Left open: the one suspending call, and `submit`.
fn immediate(desk: &Desk<'_>, at: &mut Checkpoint, calls: &[Call]) -> Result<Vec<Option<Answer>>, FunctionError> {
    let kind_of = |path: &_| desk.assignment.path_kind(path);
    let mut workspace =
        Workspace { tree: desk.tree, edits: &mut at.overlay, writes: desk.role.writes, kind_of: &kind_of };
    let mut suspended = false;
    let mut answers = Vec::new();
    for call in calls {
        let known = desk.role.tools.iter().find(|tool| tool.name() == call.name);
        answers.push(match known {
            _ if call.cut => Some(Answer::error(CUT_CALL)),
            None if call.name == SUBMIT => None,
            _ if call.input.get(UNREADABLE).is_some() => Some(Answer::error(UNREADABLE_CALL)),
            None => Some(Answer::error(unknown_tool(desk.role, &call.name))),
            Some(tool) if tool.suspends() && suspended => {
                let name = &call.name;
                Some(Answer::error(format!("only one {name} per turn is carried out; use the result of the first")))
            }
            Some(tool) => {
                let answer = run(*tool, &call.input, &mut workspace)?;
                if tool.suspends() && !answer.is_error {
                    suspended = true;
                    None
                } else {
                    Some(answer)
                }
            }
        });
    }
    Ok(answers)
}

fn run(tool: ToolKind, input: &Value, workspace: &mut Workspace<'_>) -> Result<Answer, FunctionError> {
    match tools::run(tool, input, workspace) {
        Ok(content) => Ok(Answer { content, is_error: false }),
        Err(ToolFailure::Refused(refusal)) => Ok(Answer::error(refusal)),
        Err(ToolFailure::Broken(problem)) => {
            let message = format!("the snapshot in the scratch space cannot be read: {problem}");
            Err(FunctionError::new(run_model::ErrorName::StoreUnavailable, message))
        }
    }
}

/// Answers the `submit` calls that are left open, unless the first one is accepted: then its input is the output.
fn submission(desk: &Desk<'_>, at: &mut Checkpoint, calls: &[Call], answers: &mut [Option<Answer>]) -> Option<Value> {
    let submits: Vec<usize> = (0..calls.len()).filter(|&i| answers[i].is_none() && calls[i].name == SUBMIT).collect();
    let (&first, more) = submits.split_first()?;
    for &index in more {
        answers[index] = Some(Answer::error("submit was called more than once: call it once, alone"));
    }
    let failed = answers.iter().flatten().any(|answer| answer.is_error);
    let waiting = calls.iter().zip(answers.iter()).any(|(call, answer)| answer.is_none() && call.name != SUBMIT);
    let refusal = if waiting {
        "not taken: wait for the results of the checks, then submit".into()
    } else if failed {
        "not taken: another call of this turn failed; deal with it, then submit".into()
    } else {
        match verify(desk, &calls[first].input, &at.overlay) {
            Ok(()) => return Some(calls[first].input.clone()),
            Err(problem) => {
                at.repairs += 1;
                format!("not taken: {problem}\nMend this and call submit again.")
            }
        }
    };
    answers[first] = Some(Answer::error(refusal));
    None
}

fn verify(desk: &Desk<'_>, output: &Value, edits: &Overlay) -> Result<(), String> {
    if output.get(UNREADABLE).is_some() {
        return Err(UNREADABLE_CALL.into());
    }
    let problems = schema::problems(&(desk.role.output_schema)(), output);
    if problems.is_empty() { desk.assignment.accept(output, edits) } else { Err(problems.join("\n")) }
}

fn unknown_tool(role: &Role, name: &str) -> String {
    let known: Vec<&str> = role.tools.iter().map(|tool| tool.name()).chain([SUBMIT]).collect();
    format!("there is no tool {name:?}: use one of {}", known.join(", "))
}

/// The result as a part, counted against going round in circles.
fn counted(at: &mut Checkpoint, call: &Call, answer: Answer) -> Part {
    let Answer { mut content, is_error } = answer;
    if let Some(hint) = circles::count(&mut at.fingerprints, (&call.name, &call.input), &content, is_error) {
        content.push_str(&hint);
    }
    Part::ToolResult { id: call.id.clone(), content, is_error }
}

fn push_user(at: &mut Checkpoint, mut parts: Vec<Part>, note: Option<String>) {
    parts.extend(note.map(|text| Part::Text { text }));
    at.messages.push(Message { speaker: Speaker::User, parts });
}

fn warning(turns_left: u32) -> Option<String> {
    matches!(turns_left, 1 | 3 | 5).then(|| {
        format!("Turns left in this session: {turns_left}. Finish, and call `submit` before they are used up.")
    })
}

fn summary(calls: &[Call], answers: &[Option<Answer>]) -> String {
    let one = |(call, answer): (&Call, &Option<Answer>)| {
        let failed = answer.as_ref().is_some_and(|answer| answer.is_error);
        format!("{}{}", tools::describe(&call.name, &call.input), if failed { " (refused)" } else { "" })
    };
    let mut said: Vec<String> = calls.iter().zip(answers).take(6).map(one).collect();
    if calls.len() > 6 {
        said.push(format!("and {} more", calls.len() - 6));
    }
    said.join(", ")
}
