//! What a fake GitHub knows besides its git repository.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a call meets.
pub enum Fault {
    /// It is refused, with these headers, and nothing is done.
    Refuse(u16, &'static str, &'static [(&'static str, &'static str)]),
    /// It is done, and the answer is lost: 502.
    Lost,
    /// It is never answered, and nothing is done.
    Silence,
    /// Something else happens first, then it is done.
    After(Box<dyn FnOnce() + Send>),
}

/// One call.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    /// The body, if it was JSON.
    pub body: Value,
    /// Whether it came with a key.
    pub with_key: bool,
}

/// A pull request.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Its number, counted from 1.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Its text.
    pub body: String,
    /// The branch it brings.
    pub branch: String,
    /// The branch it goes into.
    pub base: String,
    /// Whether it waits.
    pub open: bool,
    /// Whether it is a draft.
    pub draft: bool,
    /// The commit that merged it.
    pub merged: Option<String>,
    /// Where the branch was when it was closed.
    pub(super) last_head: Option<String>,
}

/// What a token opens.
#[derive(Clone, Debug)]
pub(super) enum Rights {
    All,
    These(BTreeSet<String>),
}

impl Rights {
    pub(super) fn has(&self, right: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => {
                let read = right.strip_suffix(":read").map(|what| format!("{what}:write"));
                these.contains(right) || read.is_some_and(|write| these.contains(&write))
            }
        }
    }
}

pub(super) struct State {
    pub(super) pulls: Vec<Pull>,
    pub(super) faults: Vec<(String, String, Fault)>,
    /// So many calls more, then this.
    pub(super) countdown: Option<(usize, Fault)>,
    pub(super) asked: Vec<Asked>,
    pub(super) tokens: BTreeMap<String, Rights>,
    pub(super) granted: BTreeSet<String>,
    pub(super) missing: Option<String>,
    pub(super) allow_merge: bool,
    pub(super) allow_squash: bool,
    pub(super) archived: bool,
    pub(super) drafts: bool,
    pub(super) truncated: bool,
    /// Moves with every commit, so that no two commits are alike: whoever writes twice is seen.
    pub(super) seconds: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            pulls: Vec::new(),
            faults: Vec::new(),
            countdown: None,
            asked: Vec::new(),
            tokens: BTreeMap::new(),
            granted: ["contents:write", "pull_requests:write", "workflows:write"].map(str::to_owned).into(),
            missing: None,
            allow_merge: true,
            allow_squash: true,
            archived: false,
            drafts: true,
            truncated: false,
            seconds: 1_800_000_000,
        }
    }
}

impl State {
    pub(super) fn pull(&self, number: u64) -> Option<&Pull> {
        self.pulls.iter().find(|pull| pull.number == number)
    }

    pub(super) fn pull_mut(&mut self, number: u64) -> Option<&mut Pull> {
        self.pulls.iter_mut().find(|pull| pull.number == number)
    }

    /// The fault that a call meets, taken off the queue.
    pub(super) fn fault(&mut self, method: &str, path: &str) -> Option<Fault> {
        match self.countdown.take() {
            Some((0, fault)) => return Some(fault),
            Some((calls, fault)) => self.countdown = Some((calls - 1, fault)),
            None => {}
        }
        let met = |(on, words, _): &(String, String, Fault)| on == method && path.contains(words.as_str());
        let at = self.faults.iter().position(met)?;
        Some(self.faults.remove(at).2)
    }

    pub(super) fn tick(&mut self) -> u64 {
        self.seconds += 1;
        self.seconds
    }
}
