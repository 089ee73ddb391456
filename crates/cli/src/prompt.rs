//! The question at a gate, to the person at this terminal.

use std::io::{BufRead, IsTerminal};

use run_model::GateId;
use run_model::gate::{GateDecision, Question};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use crate::screen;

const WANTED: &str = "Write approve or deny, or q and your question in one line: ";

/// Asks about one gate at a time.
#[derive(Default)]
pub(crate) struct Prompt {
    /// What is typed, line by line, by the one thread that reads; begun with the first question.
    lines: Option<mpsc::UnboundedReceiver<String>>,
    asked: Option<GateId>,
}

/// What became of a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Decided(GateDecision),
    /// Something has to be known first.
    Asks(Question),
    /// Nobody is at this terminal.
    Nobody,
}

impl Prompt {
    /// Asks about a gate, if there is somebody to ask.
    pub(crate) fn ask(&mut self, gate: &GateId) {
        if !std::io::stdin().is_terminal() {
            return;
        }
        let lines = self.lines.get_or_insert_with(read);
        // What was typed before the question was meant for another one.
        while lines.try_recv().is_ok() {}
        screen::ask("Your decision [approve/deny, or q QUESTION] ");
        self.asked = Some(gate.clone());
    }

    /// Whether a question waits for its answer.
    pub(crate) fn is_open(&self) -> bool {
        self.asked.is_some()
    }

    /// The answer to the question about this gate, once there is one. What is not clear is asked again.
    pub(crate) fn answer(&mut self, gate: &GateId) -> Option<Answer> {
        let lines = self.lines.as_mut().filter(|_| self.asked.as_ref() == Some(gate))?;
        let answer = match lines.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Answer::Nobody,
            Ok(line) => match understand(&line) {
                Ok(answer) => answer,
                Err(why) => {
                    screen::ask(why);
                    return None;
                }
            },
        };
        self.asked = None;
        Some(answer)
    }

    /// Takes an open question back: it was decided elsewhere.
    pub(crate) fn withdraw(&mut self) {
        if self.asked.take().is_some() {
            // The cursor stands behind the question.
            screen::tell("");
        }
    }
}

/// Reads standard input in a thread of its own, to its end.
fn read() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut typed = std::io::stdin().lock().lines().map_while(Result::ok);
        // Until nobody listens any more.
        while typed.next().is_some_and(|line| sender.send(line).is_ok()) {}
    });
    lines
}

/// What a line says, or how it is asked for again.
fn understand(line: &str) -> Result<Answer, String> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let answer = match (word.to_ascii_lowercase().as_str(), rest) {
        ("approve" | "a" | "yes" | "y", "") => Answer::Decided(GateDecision::Approved),
        ("deny" | "d" | "no" | "n", "") => Answer::Decided(GateDecision::Denied),
        ("q" | "question", asked) => {
            Answer::Asks(Question::new(asked).map_err(|problem| format!("{problem}\n{WANTED}"))?)
        }
        _ => return Err(WANTED.to_owned()),
    };
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clear_words_decide() {
        assert_eq!(understand("approve\n"), Ok(Answer::Decided(GateDecision::Approved)));
        assert_eq!(understand(" Deny "), Ok(Answer::Decided(GateDecision::Denied)));
        let asked = |text| Ok(Answer::Asks(Question::new(text).unwrap()));
        assert_eq!(understand("q why not approve?\n"), asked("why not approve?"));
        assert_eq!(understand("Question yes"), asked("yes"));
        for unclear in ["", "ok", "maybe", "approve deny", "yes, but why?", "why?"] {
            assert_eq!(understand(unclear), Err(WANTED.to_owned()), "{unclear}");
        }
    }

    #[test]
    fn whoever_asks_what_is_no_question_is_told_why() {
        let long = format!("q {}", "x".repeat(4_001));
        for (line, why) in
            [("q", "the question is empty: say"), ("q  ", "is empty"), (long.as_str(), "shorten it to 4000")]
        {
            let told = understand(line).unwrap_err();
            assert!(told.contains(why) && told.ends_with(WANTED), "{told}");
        }
    }

    #[test]
    fn an_answer_counts_for_the_gate_that_was_asked_about() {
        let [first, second] = ["g-1", "g-2"].map(|id| GateId::new(id).unwrap());
        let (sender, lines) = mpsc::unbounded_channel();
        let mut prompt = Prompt { lines: Some(lines), asked: Some(first.clone()) };
        sender.send("approve".into()).unwrap();
        assert_eq!(prompt.answer(&second), None);
        assert_eq!(prompt.answer(&first), Some(Answer::Decided(GateDecision::Approved)));
        assert!(!prompt.is_open());
        sender.send("deny".into()).unwrap();
        assert_eq!(prompt.answer(&first), None, "nothing was asked");
        prompt.asked = Some(second.clone());
        assert_eq!(prompt.answer(&second), Some(Answer::Decided(GateDecision::Denied)));
        prompt.asked = Some(second.clone());
        drop(sender);
        assert_eq!(prompt.answer(&second), Some(Answer::Nobody));
    }
}
