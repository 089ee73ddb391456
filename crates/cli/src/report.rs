//! `gatewright runs report`: a run as one page for a browser, without scripts and without anything that is loaded.
//!
//! What models, repositories and people wrote comes in by [`Page::text`] alone, which hides secrets, writes out what does
//! not show, and escapes what HTML would read as its own. Every part is bounded.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use run_model::diff;
use run_model::run::RunEvent;
use run_model::scan::mask;

use crate::logs::{Measured, state};
use crate::problem::Problem;
use crate::render::{self, Facts, moment, usd, words};
use crate::screen::visible;
use crate::story::{Past, lasted, story};

/// The most bytes of each text: a page is read by people.
const LONGEST_DIFF: usize = 1_000_000;
const LONGEST_TEXT: usize = 64 * 1024;
const LONGEST_OUTPUT: usize = 16 * 1024;
const LONGEST_MESSAGE: usize = 500;
/// The most rows of a table, and the most outputs.
const ROWS: usize = 2_000;
const OUTPUTS: usize = 100;

/// Nothing is loaded, nothing runs, nothing is sent; styles stand in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const STYLE: &str = include_str!("report.css");

/// Writes the page to a file of the user's own, or gives it for standard output.
pub(crate) fn write(output: Option<&Path>, page: String) -> Result<String, Problem> {
    let Some(file) = output else { return Ok(page) };
    let open = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    open.and_then(|mut open| open.write_all(page.as_bytes()))
        .map_err(|error| Problem::input(format!("--output {}: {error}", file.display())))?;
    Ok(format!("wrote {}", file.display()))
}

/// The whole page.
pub(crate) fn page(past: &Past, facts: &Facts, measured: &[Measured]) -> String {
    let run = &facts.run;
    let mut page = Page::default();
    let title = format!("Run {}: {}", run.run_id, words(run.status));
    page.html("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.html(&format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n"));
    page.html("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.element("title", &title);
    page.html(&format!("<style>\n{STYLE}</style>\n</head>\n<body>\n"));
    page.element("h1", &title);
    page.block(&story(past, facts), LONGEST_TEXT);
    page.folded("The whole requirement", &past.requirement, LONGEST_TEXT);
    page.element("h2", "Timeline");
    timeline(&mut page, &past.events);
    page.element("h2", "Evidence");
    for found in measured.iter().take(OUTPUTS) {
        for command in &found.evidence.commands {
            let said = format!("{}: {}", found.title, state(command));
            page.folded(&said, &command.output_tail, LONGEST_OUTPUT);
        }
    }
    page.element("h2", "Change");
    change(&mut page, facts);
    page.element("h2", "Turns");
    turns(&mut page, facts);
    page.element("h2", "Cost");
    page.block(render::cost(facts).trim_start_matches("\nCost:\n"), LONGEST_TEXT);
    page.element("h2", "Everything that was told");
    told(&mut page, &past.events);
    page.html("</body>\n</html>\n");
    page.0
}

/// The stages with how long each lasted.
fn timeline(page: &mut Page, events: &[RunEvent]) {
    let last_ms = events.last().map_or(0, |event| event.at_ms);
    let entered: Vec<&RunEvent> = events.iter().filter(|event| event.kind == "stage.entered").take(ROWS).collect();
    let first_ms = entered.first().map_or(last_ms, |event| event.at_ms);
    let whole = (last_ms - first_ms).max(1);
    page.table(&["stage", "since (UTC)", "for", ""]);
    for (index, event) in entered.iter().enumerate() {
        let until = entered.get(index + 1).map_or(last_ms, |next| next.at_ms);
        let percent = ((until - event.at_ms).max(0) * 100 / whole).clamp(0, 100);
        page.row(&[&event.message, &moment(event.at_ms), &lasted(until - event.at_ms)]);
        page.html(&format!(
            "<td style=\"width:40%\"><span class=\"bar\" style=\"width:{percent}%\"></span></td></tr>\n"
        ));
    }
    page.html("</tbody></table>\n");
}

/// The files, and the diff with its lines marked.
fn change(page: &mut Page, facts: &Facts) {
    if facts.files.is_empty() {
        return page.element("p", "There is none, or it was not put together yet.");
    }
    let files: Vec<String> = facts.files.iter().map(render::changed).collect();
    page.block(&files.join("\n"), LONGEST_TEXT);
    let text = clean(&diff::unified(&facts.files), LONGEST_DIFF);
    page.html("<details open><summary>Diff</summary><pre>");
    for line in text.lines() {
        let class = match line.as_bytes().first() {
            Some(b'+') => "added",
            Some(b'-') => "removed",
            Some(b'@') => "place",
            _ => "same",
        };
        page.html(&format!("<span class=\"{class}\">"));
        page.escaped(line);
        page.html("</span>\n");
    }
    page.html("</pre></details>\n");
}

/// Every call of a model.
fn turns(page: &mut Page, facts: &Facts) {
    page.table(&["turn", "model", "state", "tokens in", "cached", "out", "cost"]);
    for call in facts.usage.iter().take(ROWS) {
        let usage = &call.usage;
        let state = format!("{:?}", call.state).to_lowercase();
        page.row(&[&call.call_id, &call.model, &state]);
        let input = usage.input_tokens + usage.cache_write_tokens;
        for number in [
            input.to_string(),
            usage.cache_read_tokens.to_string(),
            usage.output_tokens.to_string(),
            usd(call.cost_microusd),
        ] {
            page.html("<td class=\"number\">");
            page.escaped(&number);
            page.html("</td>");
        }
        page.html("</tr>\n");
    }
    page.html("</tbody></table>\n");
}

/// The run's events, the newest of them if they are too many.
fn told(page: &mut Page, events: &[RunEvent]) {
    page.table(&["at (UTC)", "what", "who", "task", "told"]);
    for event in events.iter().skip(events.len().saturating_sub(ROWS)) {
        let (who, task) = (event.role.as_deref().unwrap_or(""), event.task.as_ref().map_or("", |task| task.as_str()));
        page.row(&[&moment(event.at_ms), &event.kind, who, task]);
        page.html("<td>");
        page.text(&event.message, LONGEST_MESSAGE);
        page.html("</td></tr>\n");
    }
    page.html("</tbody></table>\n");
}

/// HTML as it grows.
#[derive(Default)]
struct Page(String);

impl Page {
    /// Markup of ours, as it is.
    fn html(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// What anybody wrote.
    fn text(&mut self, text: &str, most: usize) {
        self.escaped(&clean(text, most));
    }

    /// Text that is clean already.
    fn escaped(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
    }

    fn element(&mut self, name: &str, text: &str) {
        self.html(&format!("<{name}>"));
        self.text(text, LONGEST_TEXT);
        self.html(&format!("</{name}>\n"));
    }

    fn block(&mut self, text: &str, most: usize) {
        self.html("<pre>");
        self.text(text, most);
        self.html("</pre>\n");
    }

    fn folded(&mut self, summary: &str, text: &str, most: usize) {
        self.html("<details>");
        self.element("summary", summary);
        self.block(text, most);
        self.html("</details>\n");
    }

    fn table(&mut self, heads: &[&str]) {
        self.html("<table><thead><tr>");
        for head in heads {
            self.html("<th scope=\"col\">");
            self.escaped(head);
            self.html("</th>");
        }
        self.html("</tr></thead><tbody>\n");
    }

    /// A row that is still open.
    fn row(&mut self, cells: &[&str]) {
        self.html("<tr>");
        for cell in cells {
            self.html("<td>");
            self.text(cell, LONGEST_MESSAGE);
            self.html("</td>");
        }
    }
}

/// At most so many bytes of the text, without secrets and with all that would not show written out.
fn clean(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let mut cleaned = visible(&mask(&text[..end]));
    if end < text.len() {
        // Writing to a string cannot fail.
        let _ = write!(cleaned, "\n({} bytes more are left out)", text.len() - end);
    }
    cleaned
}

#[cfg(test)]
mod tests;
