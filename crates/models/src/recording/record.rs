//! Answers from a cassette what it holds, asks upstream for the rest, and keeps every answer at once.

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use agent::ports::{Model, ModelError, ModelRequest, ModelResponse};
use async_trait::async_trait;
use run_model::{Clock, SessionId};

use super::Fingerprint;
use super::cassette::{CASSETTE_FORMAT, Cassette, CassetteError, Entry, Header, whole_lines};
use crate::error::with_sources;

/// Records. An answer is on the disk before anybody sees it, so that a crash never pays for the same request twice; several
/// recorders, in one process or many, may share the file.
pub struct Record {
    tape: Arc<Mutex<Tape>>,
    upstream: Arc<dyn Model>,
}

impl Record {
    /// Opens the cassette, or begins one that says `answered_by`.
    ///
    /// # Errors
    /// [`CassetteError`] if the file cannot be read or written, or is no cassette.
    pub fn open(
        path: &Path,
        answered_by: String,
        upstream: Arc<dyn Model>,
        clock: &dyn Clock,
    ) -> Result<Self, CassetteError> {
        let recorded = chrono::DateTime::from_timestamp_millis(clock.now_ms()).unwrap_or_default();
        let recorded = recorded.format("%Y-%m-%d").to_string();
        let header = Header { gatewright_cassette: CASSETTE_FORMAT, answered_by, recorded, note: None };
        Ok(Self { tape: Arc::new(Mutex::new(Tape::open(path, &header)?)), upstream })
    }

    /// Files are read and synced away from the threads that serve the others.
    async fn on_tape<T: Send + 'static>(
        &self,
        may_be_charged: bool,
        work: impl FnOnce(&mut Tape) -> Result<T, CassetteError> + Send + 'static,
    ) -> Result<T, ModelError> {
        let failed = |error: &dyn std::error::Error| {
            let message = format!("the recording failed: {}", with_sources(error));
            ModelError::Unavailable { message, may_be_charged }
        };
        let tape = self.tape.clone();
        let done = tokio::task::spawn_blocking(move || work(&mut tape.lock().unwrap_or_else(PoisonError::into_inner)));
        done.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }
}

#[async_trait]
impl Model for Record {
    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        let (session, turn, asked) = (request.session.clone(), request.turn, Fingerprint::of(request));
        if let Some(response) = self.on_tape(false, move |tape| tape.look(session, turn, &asked)).await? {
            return Ok(ModelResponse { estimated: true, ..response });
        }
        let response = self.upstream.complete(request).await?;
        let entry = Entry::recorded(request, response.clone());
        self.on_tape(true, move |tape| tape.locked(|tape| tape.append(entry))).await?;
        Ok(response)
    }
}

/// The file, and what has been read of it. The file's lock is held for every look and every write, so that a line without
/// its end is a crash's and not somebody's who is about to finish it.
struct Tape {
    path: PathBuf,
    file: File,
    read_to: u64,
    lines: usize,
    cassette: Cassette,
}

impl Tape {
    fn open(path: &Path, header: &Header) -> Result<Self, CassetteError> {
        let failed = |source| CassetteError::File { path: path.into(), source };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        file.lock().map_err(failed)?;
        let mut text = read_whole_lines(&mut file, 0).map_err(failed)?;
        if text.is_empty() {
            text = serde_json::to_string(header).map_err(|error| failed(error.into()))? + "\n";
            write_synced(&mut file, &text).map_err(failed)?;
        }
        file.unlock().map_err(failed)?;
        let cassette = Cassette::parse(path, &text)?;
        Ok(Self { path: path.into(), file, read_to: text.len() as u64, lines: text.lines().count(), cassette })
    }

    fn failed(&self) -> impl Fn(io::Error) -> CassetteError + use<> {
        let path = self.path.clone();
        move |source| CassetteError::File { path: path.clone(), source }
    }

    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, CassetteError>) -> Result<T, CassetteError> {
        self.file.lock().map_err(self.failed())?;
        let done = work(self);
        self.file.unlock().map_err(self.failed())?;
        done
    }

    /// The recorded answer, if there is one. If it was recorded for another session or turn, it is written down for this
    /// one too, so that the cassette makes a complete script.
    fn look(
        &mut self,
        session: SessionId,
        turn: u32,
        asked: &Fingerprint,
    ) -> Result<Option<ModelResponse>, CassetteError> {
        self.locked(|tape| {
            tape.catch_up()?;
            let Some(known) = tape.cassette.by_key(&asked.key) else { return Ok(None) };
            let response = known.response.clone();
            if tape.cassette.by_turn(&session, turn).is_none_or(|entry| entry.fingerprint.key != asked.key) {
                let entry = Entry { session, turn, fingerprint: asked.clone(), response: response.clone() };
                tape.append(entry)?;
            }
            Ok(Some(response))
        })
    }

    /// Reads what others have added.
    fn catch_up(&mut self) -> Result<(), CassetteError> {
        let text = read_whole_lines(&mut self.file, self.read_to).map_err(self.failed())?;
        self.read_to += text.len() as u64;
        for line in text.lines() {
            self.lines += 1;
            self.cassette.take_line(self.lines, line)?;
        }
        Ok(())
    }

    fn append(&mut self, entry: Entry) -> Result<(), CassetteError> {
        self.catch_up()?;
        let line = entry.line().map_err(|error| self.failed()(error.into()))?;
        write_synced(&mut self.file, &line).map_err(self.failed())?;
        self.read_to += line.len() as u64;
        self.lines += 1;
        self.cassette.add(entry);
        Ok(())
    }
}

/// Everything after `from` up to the last line break; what a crash has left after it is cut off.
fn read_whole_lines(file: &mut File, from: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut bytes)?;
    let whole = whole_lines(&bytes).len();
    if whole < bytes.len() {
        file.set_len(from + whole as u64)?;
        bytes.truncate(whole);
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn write_synced(file: &mut File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
