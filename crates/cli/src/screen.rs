//! The one place that writes to the terminal: nothing that a model or a repository wrote can steer it.
//!
//! A summary with an escape sequence could clear the screen and show a person another gate than the one they decide on.
//! So every text for people passes through here, and what would not show is written out.
use std::fmt::{Display, Write as _};
use std::io::Write as _;

use run_model::scan::is_hiding;
use serde_json::Value;

use crate::problem;

/// A line on standard output: a result.
pub(crate) fn print(text: impl Display) {
    put(&visible(&text.to_string()));
}

/// JSON on standard output, for programs.
pub(crate) fn print_json(value: &Value) {
    put(&json_line(value));
}

/// JSON as a line that [`print`] leaves as it is.
pub(crate) fn json_line(value: &Value) -> String {
    escaped(&value.to_string())
}

/// A line on standard error: what happens.
pub(crate) fn tell(text: impl Display) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{}", visible(&text.to_string()));
}

/// A question on standard error, answered on the same line.
pub(crate) fn ask(text: impl Display) {
    let _ = write!(std::io::stderr(), "{}", visible(&text.to_string()));
}

/// A line on standard output. Whoever stops reading has read enough; what cannot be written for another reason is lost, so
/// the program ends with that.
fn put(line: &str) {
    if let Err(error) = line_to(&mut std::io::stdout(), line) {
        tell(format!("gatewright: standard output cannot be written: {error}"));
        std::process::exit(problem::MISSING.into());
    }
}

fn line_to(output: &mut impl std::io::Write, line: &str) -> std::io::Result<()> {
    match writeln!(output, "{line}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A text of several lines that cannot pass for lines of ours: every line but the first begins with `margin`.
pub(crate) fn hanging(text: &str, margin: &str) -> String {
    text.replace('\n', &format!("\n{margin}"))
}

/// The text with every character that does not show, moves the cursor or reverses others written as `\u{1b}`. Only line
/// ends and tabs stay.
pub(crate) fn visible(text: &str) -> String {
    written_out(text, |c, out| write!(out, "{}", c.escape_default()))
}

/// JSON in which such characters, which stand only in its strings, are escapes.
fn escaped(json: &str) -> String {
    written_out(json, |c, out| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
    })
}

fn written_out(text: &str, write: impl Fn(char, &mut String) -> std::fmt::Result) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !matches!(c, '\n' | '\t') && (c.is_control() || is_hiding(c)) {
            // Writing to a string cannot fail.
            let _ = write(c, &mut out);
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_would_steer_the_terminal_is_written_out() {
        for (raw, shown) in [
            ("harmless\x1b[2J\x1b[HRisk: low\x1b[8m", "harmless\\u{1b}[2J\\u{1b}[HRisk: low\\u{1b}[8m"),
            ("Risk: high\rRisk: low ", "Risk: high\\rRisk: low "),
            ("\u{9b}2J \u{7f}\u{8}", "\\u{9b}2J \\u{7f}\\u{8}"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("\ttab\nand grüße 漢字", "\ttab\nand grüße 漢字"),
        ] {
            assert_eq!(visible(raw), shown);
        }
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_end_and_a_full_disk_is_not() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        line_to(&mut writer, "nobody reads this").unwrap();
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert!(line_to(&mut full, "there is no room for this").is_err());
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = json!({ "summary": "\u{1b}[2J\u{202e}\u{9b}\u{e0041}\n" });
        let text = escaped(&value.to_string());
        assert!(text.is_ascii(), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_second_line_is_no_line_of_ours() {
        assert_eq!(hanging("a fix\nRisk: low", "  "), "a fix\n  Risk: low");
    }
}
