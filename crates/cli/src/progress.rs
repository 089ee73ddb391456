//! Progress: one living line on a terminal, plain lines without one.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use run_model::budget::UsageEntry;
use run_model::run::{RunEvent, RunRecord};

use crate::render::usd;
use crate::screen;

/// What further lines of an event's message begin with, so that none passes for an event of its own.
const MARGIN: &str = "             ";

/// Says what happens, on standard error, so that standard output stays for results.
pub(crate) struct Progress {
    line: Option<ProgressBar>,
    /// How long it had lived when it made room for a question.
    paused: Option<Duration>,
    /// What the living line says.
    message: String,
}

impl Progress {
    /// A living line if standard error is a terminal.
    pub(crate) fn new() -> Self {
        let paused = std::io::stderr().is_terminal().then_some(Duration::ZERO);
        let mut progress = Self { line: None, paused, message: String::new() };
        progress.go_on();
        progress
    }

    /// An event of the run.
    pub(crate) fn event(&self, event: &RunEvent) {
        let message = screen::hanging(&event.message, MARGIN);
        if event.kind == "stage.entered" {
            return self.say(&format!("-- {message}"));
        }
        let who = event.role.as_deref().unwrap_or("gatewright");
        let task = event.task.as_ref().map(|task| format!(" {task}")).unwrap_or_default();
        self.say(&format!("{who:<12}{task} {message}"));
    }

    /// Where the run stands now: stage, role and turn, tokens, money.
    pub(crate) fn state(&mut self, run: &RunRecord, usage: &[UsageEntry]) {
        self.message = standing(run, usage);
        if let Some(line) = &self.line {
            line.set_message(self.message.clone());
        }
    }

    /// A line of text.
    pub(crate) fn say(&self, text: &str) {
        match &self.line {
            Some(line) => line.suspend(|| screen::tell(text)),
            None => screen::tell(text),
        }
    }

    /// Makes room for a question.
    pub(crate) fn pause(&mut self) {
        if let Some(line) = self.line.take() {
            self.paused = Some(line.elapsed());
            line.finish_and_clear();
        }
    }

    /// Comes back after a question.
    pub(crate) fn go_on(&mut self) {
        let Some(elapsed) = self.paused.take() else { return };
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_elapsed(elapsed);
        // The template is a constant and known to be good; without it the default style is still readable.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
            line.set_style(style);
        }
        line.set_message(self.message.clone());
        line.tick();
        line.enable_steady_tick(Duration::from_millis(120));
        self.line = Some(line);
    }

    /// Takes the living line away for good.
    pub(crate) fn done(&mut self) {
        self.pause();
        self.paused = None;
    }
}

fn standing(run: &RunRecord, usage: &[UsageEntry]) -> String {
    let tokens: u64 = usage.iter().map(|entry| entry.usage.total()).sum();
    let cost: u64 = usage.iter().map(|entry| entry.cost_microusd).sum();
    let mut parts = vec![run.run_id.to_string(), run.stage.as_str().to_owned()];
    parts.extend(usage.iter().max_by_key(|entry| entry.at_ms).map(turn));
    parts.extend([format!("{} calls", usage.len()), format!("{tokens} tokens"), usd(cost)]);
    screen::visible(&parts.join(" | "))
}

/// `developer turn 3`: a call's id is session, turn and attempt.
fn turn(call: &UsageEntry) -> String {
    call.call_id.split('#').nth(1).map_or_else(|| call.role.clone(), |turn| format!("{} turn {turn}", call.role))
}
