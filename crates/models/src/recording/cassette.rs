//! The file that recordings and scripts are kept in: a header line, then a line of JSON per answer.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use agent::ports::{ModelRequest, ModelResponse};
use run_model::SessionId;
use serde::{Deserialize, Serialize};

use super::Fingerprint;

/// Why a cassette or a script cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CassetteError {
    /// The file cannot be opened, read or written.
    #[error("{path}: the cassette cannot be used", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("{path}, line {line}: {problem}", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// The version of the format that this code writes.
pub const CASSETTE_FORMAT: u32 = 1;

/// The first line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`CASSETTE_FORMAT`] when written.
    pub gatewright_cassette: u32,
    /// Who answered, for people.
    pub answered_by: String,
    /// The day the recording began, `YYYY-MM-DD`.
    pub recorded: String,
    /// Anything else a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One answer. Who replays looks for the fingerprint's key; who plays a script, for session and turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The session that asked.
    pub session: SessionId,
    /// Its turn, counted from 1.
    pub turn: u32,
    /// What was asked; empty in a script that was written by hand.
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
    /// The answer.
    pub response: ModelResponse,
}

impl Entry {
    /// The recorded answer to this request.
    pub fn recorded(request: &ModelRequest, response: ModelResponse) -> Self {
        let fingerprint = Fingerprint::of(request);
        Self { session: request.session.clone(), turn: request.turn, fingerprint, response }
    }

    /// An answer for a script: whatever this session asks in this turn.
    pub fn scripted(session: SessionId, turn: u32, response: ModelResponse) -> Self {
        Self { session, turn, fingerprint: Fingerprint::default(), response }
    }

    pub(crate) fn line(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// A cassette in memory.
#[derive(Clone, Debug)]
pub struct Cassette {
    path: PathBuf,
    header: Header,
    entries: Vec<Entry>,
    by_key: HashMap<String, usize>,
    by_turn: HashMap<(SessionId, u32), usize>,
}

impl Cassette {
    /// Reads the file. A last line without its line break was cut off by a crash and does not count.
    ///
    /// # Errors
    /// [`CassetteError`] if the file cannot be read or is no cassette of this format.
    pub fn read(path: &Path) -> Result<Self, CassetteError> {
        let file = |source| CassetteError::File { path: path.into(), source };
        let bytes = std::fs::read(path).map_err(file)?;
        let text = std::str::from_utf8(whole_lines(&bytes));
        let text = text.map_err(|error| file(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))?;
        Self::parse(path, text)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, CassetteError> {
        let mut lines = text.lines();
        let header = lines.next().and_then(|line| serde_json::from_str::<Header>(line).ok());
        let bad_header = |problem: &str| CassetteError::Line { path: path.into(), line: 1, problem: problem.into() };
        let header = header
            .ok_or_else(|| bad_header("this is no cassette: it should begin with {\"gatewright_cassette\":1,...}"))?;
        if header.gatewright_cassette != CASSETTE_FORMAT {
            return Err(bad_header("this cassette was written by a newer Gatewright: update this one"));
        }
        let mut cassette =
            Self { path: path.into(), header, entries: Vec::new(), by_key: HashMap::new(), by_turn: HashMap::new() };
        lines.enumerate().try_for_each(|(at, line)| cassette.take_line(at + 2, line))?;
        Ok(cassette)
    }

    pub(crate) fn take_line(&mut self, number: usize, line: &str) -> Result<(), CassetteError> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let entry = serde_json::from_str(line).map_err(|error| CassetteError::Line {
            path: self.path.clone(),
            line: number,
            problem: format!("this is no recorded answer ({error}): take the line out and record it again"),
        })?;
        self.add(entry);
        Ok(())
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        let at = self.entries.len();
        if !entry.fingerprint.key.is_empty() {
            self.by_key.entry(entry.fingerprint.key.clone()).or_insert(at);
        }
        // A turn that was recorded anew, after an edit of a prompt, counts as it is now.
        self.by_turn.insert((entry.session.clone(), entry.turn), at);
        self.entries.push(entry);
    }

    /// Writes a whole cassette or script, in place of what is there.
    ///
    /// # Errors
    /// [`CassetteError::File`] if it cannot be written.
    pub fn write(path: &Path, header: &Header, entries: &[Entry]) -> Result<(), CassetteError> {
        let write = || -> std::io::Result<()> {
            let mut text = serde_json::to_string(header)? + "\n";
            for entry in entries {
                text.push_str(&entry.line()?);
            }
            let mut file = std::fs::File::create(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| CassetteError::File { path: path.into(), source })
    }

    /// Who answered, and when.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The answers, in the order they were recorded.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn by_key(&self, key: &str) -> Option<&Entry> {
        self.by_key.get(key).map(|at| &self.entries[*at])
    }

    pub(crate) fn by_turn(&self, session: &SessionId, turn: u32) -> Option<&Entry> {
        self.by_turn.get(&(session.clone(), turn)).map(|at| &self.entries[*at])
    }

    /// What to say when nothing fits: the nearest recording, and what differs first.
    pub(crate) fn miss(&self, request: &ModelRequest, asked: &Fingerprint) -> String {
        let name = format!("{} turn {}", request.session, request.turn);
        let file = self.path.display();
        let nearness = |entry: &&Entry| {
            let same_session = entry.session == request.session;
            (entry.fingerprint.common(asked), same_session, std::cmp::Reverse(entry.turn.abs_diff(request.turn)))
        };
        match self.entries.iter().rev().filter(|entry| !entry.fingerprint.key.is_empty()).max_by_key(nearness) {
            None => format!("no recorded answer for {name}: {file} holds none at all"),
            Some(nearest) => format!(
                "no recorded answer for {name} in {file}, and none is made up. The nearest recording is {} turn {}: {}. Bring \
                 back what the recording saw, or record again",
                nearest.session,
                nearest.turn,
                nearest.fingerprint.first_difference(asked)
            ),
        }
    }
}

/// What comes up to the last line break: the rest is a line that a crash cut off.
pub(crate) fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    &bytes[..end]
}
