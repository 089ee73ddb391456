//! Tool calls that a server left standing in the text: small models write them as text, and not every server takes them out.

use agent::ports::{Part, ToolSpec};
use serde_json::Value;

use super::wire::input;

/// The calls, if the text is nothing but calls of tools on offer: each an object with `name` and `arguments` (or
/// `parameters`) and no more, bare, in a fence, or between `<tool_call>` and its end. Any prose beside them makes them
/// something that is talked about.
pub(super) fn calls(text: &str, tools: &[ToolSpec]) -> Option<Vec<Part>> {
    let mut rest = text.trim();
    let mut calls = Vec::new();
    while !rest.is_empty() {
        let (one, after) = first(rest)?;
        calls.push(call(one, tools)?);
        rest = after.trim();
    }
    (!calls.is_empty()).then_some(calls)
}

/// What may be a call, and what follows it.
fn first(text: &str) -> Option<(&str, &str)> {
    if let Some(inside) = text.strip_prefix("<tool_call>") {
        // The end is often a token that stops the model, and then it is not there.
        return Some(inside.split_once("</tool_call>").unwrap_or((inside, "")));
    }
    if let Some(inside) = text.strip_prefix("```") {
        let (_language, inside) = inside.split_once('\n')?;
        return inside.split_once("```");
    }
    Some((text, ""))
}

fn call(text: &str, tools: &[ToolSpec]) -> Option<Part> {
    let Value::Object(mut fields) = serde_json::from_str(text.trim()).ok()? else { return None };
    let arguments = fields.remove("arguments").or_else(|| fields.remove("parameters"))?;
    let Value::String(name) = fields.remove("name")? else { return None };
    let input = input(arguments);
    let is_call = fields.is_empty() && input.is_object() && tools.iter().any(|tool| tool.name == name);
    is_call.then(|| Part::ToolCall { id: String::new(), name, input })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(text: &str) -> Option<Vec<String>> {
        let tool = |name: &str| ToolSpec { name: name.into(), description: String::new(), input_schema: json!({}) };
        let calls = calls(text, &[tool("read_file"), tool("submit")])?;
        let name = |part| match part {
            Part::ToolCall { name, input, .. } => format!("{name} {input}"),
            other => panic!("{other:?}"),
        };
        Some(calls.into_iter().map(name).collect())
    }

    #[test]
    fn a_text_that_is_nothing_but_calls_is_calls() {
        let read = r#"{"name": "read_file", "arguments": {"path": "a"}}"#;
        let expected = r#"read_file {"path":"a"}"#.to_owned();
        for text in [
            read.to_owned(),
            format!("\n```json\n{read}\n```\n"),
            format!("```\n{read}```"),
            format!("<tool_call>\n{read}\n</tool_call>"),
            format!("<tool_call>{read}"),
            read.replace("arguments", "parameters"),
            r#"{"name": "read_file", "arguments": "{\"path\": \"a\"}"}"#.to_owned(),
        ] {
            assert_eq!(names(&text), Some(vec![expected.clone()]), "{text}");
        }
        let two =
            format!("<tool_call>{read}</tool_call>\n<tool_call>{}</tool_call>", read.replace("read_file", "submit"));
        assert_eq!(names(&two).unwrap().len(), 2);
    }

    #[test]
    fn a_call_that_is_talked_about_or_is_none_stays_text() {
        let read = r#"{"name": "read_file", "arguments": {"path": "a"}}"#;
        for text in [
            format!("I would call {read}"),
            format!("```json\n{read}\n```\nThis is what the README asks for."),
            format!("{read}\n{read}"),
            r#"{"name": "rm", "arguments": {}}"#.to_owned(),
            r#"{"name": "read_file", "arguments": "a"}"#.to_owned(),
            r#"{"name": "read_file", "arguments": {"path": "a"}, "version": "1.0"}"#.to_owned(),
            r#"{"name": "read_file", "arguments": {"path": "#.to_owned(),
            r#"["read_file"]"#.to_owned(),
            "```json".to_owned(),
            String::new(),
        ] {
            assert_eq!(names(&text), None, "{text}");
        }
    }
}
