//! The program at work: its words are read as they come, and it can be killed or interrupted.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr};

use rustix::process::{Pid, Signal, kill_process};

use crate::Ended;

/// A process that was not waited for yet; it is killed if the test ends before it does.
pub struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Running {
    pub fn of(mut child: Child) -> Self {
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr, said: String::new() }
    }

    /// Waits until it says a line with these words, and returns the line; fails if it ends without them.
    pub fn until(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).unwrap();
            assert!(read > 0, "it ended without saying {words:?}:\n{}", self.said);
            self.said.push_str(&line);
            if line.contains(words) {
                return line.trim().to_owned();
            }
        }
    }

    /// Waits until it stands at a gate, and returns the gate.
    pub fn until_gate(&mut self) -> String {
        self.until("gatewright gates approve ").rsplit(' ').next().unwrap().to_owned()
    }

    /// Waits until it has a run, and returns its id.
    pub fn until_run(&mut self) -> String {
        self.until("run r-").rsplit(' ').next().unwrap().to_owned()
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Waits until it has said so many lines, or has ended.
    pub fn lines(&mut self, count: usize) {
        for _ in 0..count {
            self.stderr.read_line(&mut self.said).unwrap();
        }
    }

    /// `kill -9`; what it had said by then.
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.end()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let mut stdout = String::new();
        self.stderr.read_to_string(&mut self.said).unwrap();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Ended { code, stdout, stderr: std::mem::take(&mut self.said) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or nobody waits for it any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
