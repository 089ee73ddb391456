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
}

impl Progress {
    /// A living line if standard error is a terminal.
    pub(crate) fn new() -> Self {
        let line = std::io::stderr().is_terminal().then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // The template is a constant and known to be good; without it the default style is still readable.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
                line.set_style(style);
            }
            line.enable_steady_tick(Duration::from_millis(120));
            line
        });
        Self { line }
    }

    /// An event of the run.
    pub(crate) fn event(&self, event: &RunEvent) {
        if event.kind == "stage.entered" {
            return self.say(&format!("-- {}", screen::hanging(&event.message, MARGIN)));
        }
        let who = event.role.as_deref().unwrap_or("gatewright");
        let task = event.task.as_ref().map(|task| format!(" {task}")).unwrap_or_default();
        self.say(&format!("{who:<12}{task} {}", screen::hanging(&event.message, MARGIN)));
    }

    /// Where the run stands now: stage, turns, tokens, money.
    pub(crate) fn state(&self, run: &RunRecord, usage: &[UsageEntry]) {
        if let Some(line) = &self.line {
            let tokens: u64 = usage.iter().map(|entry| entry.usage.total()).sum();
            let cost: u64 = usage.iter().map(|entry| entry.cost_microusd).sum();
            line.set_message(format!(
                "{} | {} | {} calls | {tokens} tokens | {}",
                run.run_id,
                run.stage.as_str(),
                usage.len(),
                usd(cost)
            ));
        }
    }

    /// A line of text.
    pub(crate) fn say(&self, text: &str) {
        match &self.line {
            Some(line) => line.suspend(|| screen::tell(text)),
            None => screen::tell(text),
        }
    }

    /// Takes the living line away.
    pub(crate) fn done(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}
