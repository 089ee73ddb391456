//! What AWS would charge for, counted where requests and invocations pass by.
//!
//! An invocation gathers what it uses and writes it down when it ends: a line of a file for each subject, in one write that
//! nobody waits on the disk for. A killed process loses what it had under way, which the next process does again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::FutureExt;
use serde::{Deserialize, Serialize};

use crate::durable::damaged;
use crate::registry::Handler;

/// Whom a request is for, told by its body or its path; `None` if it names nobody.
pub type SubjectOf = fn(&str) -> Option<String>;

/// How much of each item was used; its items are those of [`item`].
pub type Used = BTreeMap<String, f64>;

/// The items that are counted.
pub mod item {
    /// An invocation of a function.
    pub const LAMBDA_REQUEST: &str = "lambda.request";
    /// A millisecond that an invocation lasted, begun ones whole.
    pub const LAMBDA_MS: &str = "lambda.ms";
    /// An event that came by an HTTP API.
    pub const HTTP_CALL: &str = "http_api.call";
    /// A byte that a function logged.
    pub const LOG_BYTE: &str = "logs.byte";
    /// A write request unit: 1 KB of an item, twice in a transaction, and again for each index that changes.
    pub const DYNAMODB_WRITE: &str = "dynamodb.write_unit";
    /// A read request unit: 4 KB read consistently, or 8 KB otherwise.
    pub const DYNAMODB_READ: &str = "dynamodb.read_unit";
    /// A PUT, POST or LIST of objects.
    pub const S3_WRITE: &str = "s3.write";
    /// A GET or HEAD of an object.
    pub const S3_READ: &str = "s3.read";
    /// A byte put into an object.
    pub const S3_STORED_BYTE: &str = "s3.stored_byte";
    /// A call of Secrets Manager.
    pub const SECRETS_CALL: &str = "secretsmanager.call";
    /// A one-shot that fired.
    pub const SCHEDULE: &str = "scheduler.invocation";
}

const FILE: &str = "meter.jsonl";
const LINE_END: u8 = b'\n';

/// What a function used for a subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Whom it was for.
    pub subject: String,
    /// The function's name, or that of a part that runs outside of functions.
    pub function: String,
    /// How much of what.
    pub used: Used,
}

/// What was used for a subject so far, by function, whoever drove the folder.
///
/// # Errors
/// The file cannot be read, or holds a line that nobody wrote there: the error names the file and the cure. That there is none means
/// that nothing was counted.
pub fn used_for(state_dir: &Path, subject: &str) -> io::Result<BTreeMap<String, Used>> {
    let path = state_dir.join(FILE);
    let lines = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let mut functions: BTreeMap<String, Used> = BTreeMap::new();
    for (number, line) in (1..).zip(lines.split_inclusive(|byte| *byte == LINE_END)) {
        // It is being written, or a crash cut it off: whoever counts next takes it out.
        let Some(line) = line.strip_suffix(&[LINE_END]) else { break };
        let entry: Entry = serde_json::from_slice(line).map_err(|problem| {
            io::Error::new(io::ErrorKind::InvalidData, damaged(&path, &format!("line {number}: {problem}")))
        })?;
        if entry.subject != subject {
            continue;
        }
        let function = functions.entry(entry.function).or_default();
        entry.used.into_iter().for_each(|(item, amount)| *function.entry(item).or_default() += amount);
    }
    Ok(functions)
}

/// Counts bytes that the function logs that this is called in; elsewhere nobody counts them.
pub fn logged(bytes: usize) {
    note(None, &[(item::LOG_BYTE, bytes as f64)]);
}

/// Whether this is called in an invocation that is counted.
pub fn is_counted() -> bool {
    ACCOUNT.try_with(|_| ()).is_ok()
}

tokio::task_local! {
    static ACCOUNT: Arc<Account>;
}

/// The meter of one state folder.
pub(crate) struct Meter {
    file: Mutex<File>,
    subject_of: SubjectOf,
}

/// What one invocation uses, for each subject. Written down when it is dropped, however the invocation ends.
struct Account {
    meter: Arc<Meter>,
    function: String,
    /// When it began, if it is an invocation.
    began: Option<Instant>,
    page: Mutex<Page>,
}

#[derive(Default)]
struct Page {
    /// The first subject that was named: what names none is for that one.
    first: Option<String>,
    used: BTreeMap<Option<String>, BTreeMap<&'static str, f64>>,
}

impl Page {
    fn add(&mut self, subject: Option<String>, used: &[(&'static str, f64)]) {
        self.first = self.first.take().or_else(|| subject.clone());
        let page = self.used.entry(subject).or_default();
        used.iter().for_each(|(item, amount)| *page.entry(item).or_default() += amount);
    }
}

impl Meter {
    /// Goes on with the folder's count; the beginning of a line that a crash left at its end is taken out.
    pub(crate) fn open(state_dir: &Path, subject_of: SubjectOf) -> io::Result<Self> {
        let path = state_dir.join(FILE);
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&path)?;
        let lost = take_out_half_a_line(&mut file)?;
        if lost > 0 {
            let file = path.display();
            tracing::error!(%file, bytes = lost, "a crash cut the last line off, and it was taken out: costs on AWS are told without it");
        }
        Ok(Meter { file: Mutex::new(file), subject_of })
    }

    /// The handler, counted from now on.
    pub(crate) fn watch(self: &Arc<Self>, name: &str, handler: Handler) -> Handler {
        let (meter, name) = (Arc::clone(self), name.to_owned());
        Arc::new(move |event, context| {
            let http = event.pointer("/requestContext/http").is_some();
            let account = meter.account(&name, Some(Instant::now()));
            account.add(None, &[(item::LAMBDA_REQUEST, 1.0), (item::HTTP_CALL, f64::from(u8::from(http)))]);
            let handler = Arc::clone(&handler);
            ACCOUNT.scope(account, async move { handler(event, context).await }).boxed()
        })
    }

    /// Counts what a part asks for that runs outside of functions.
    pub(crate) async fn within<T>(self: &Arc<Self>, part: &str, request: impl Future<Output = T>) -> T {
        ACCOUNT.scope(self.account(part, None), request).await
    }

    fn account(self: &Arc<Self>, function: &str, began: Option<Instant>) -> Arc<Account> {
        let meter = Arc::clone(self);
        Arc::new(Account { meter, function: function.to_owned(), began, page: Mutex::default() })
    }
}

/// Cuts the file after its last line end; how many bytes there were behind it.
fn take_out_half_a_line(file: &mut File) -> io::Result<u64> {
    let bytes = file.metadata()?.len();
    let mut last = [LINE_END];
    if bytes > 0 {
        file.seek(SeekFrom::Start(bytes - 1))?;
        file.read_exact(&mut last)?;
    }
    if last == [LINE_END] {
        return Ok(0);
    }
    let mut all = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut all)?;
    let whole = all.iter().rposition(|byte| *byte == LINE_END).map_or(0, |at| at as u64 + 1);
    file.set_len(whole)?;
    Ok(bytes - whole)
}

/// Counts for a request that this is called in, if anybody counts; `text` may name its subject.
pub(crate) fn note(text: Option<&str>, used: &[(&'static str, f64)]) {
    // Outside of what is counted nobody pays: a person's own looking, for one.
    let _ = ACCOUNT.try_with(|account| {
        let subject = text.and_then(account.meter.subject_of);
        account.add(subject, used);
    });
}

impl Account {
    fn add(&self, subject: Option<String>, used: &[(&'static str, f64)]) {
        self.page.lock().unwrap_or_else(PoisonError::into_inner).add(subject, used);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            let ms = began.elapsed().as_micros().div_ceil(1000).max(1);
            self.add(None, &[(item::LAMBDA_MS, ms as f64)]);
        }
        let page = std::mem::take(&mut *self.page.lock().unwrap_or_else(PoisonError::into_inner));
        let mut entries: BTreeMap<String, Used> = BTreeMap::new();
        for (subject, used) in page.used {
            // What is for nobody is nobody's bill.
            let Some(subject) = subject.or_else(|| page.first.clone()) else { continue };
            let entry = entries.entry(subject).or_default();
            let used = used.into_iter().filter(|(_, amount)| *amount > 0.0);
            used.for_each(|(item, amount)| *entry.entry(item.to_owned()).or_default() += amount);
        }
        let lines = entries.into_iter().filter(|(_, used)| !used.is_empty()).filter_map(|(subject, used)| {
            serde_json::to_string(&Entry { subject, function: self.function.clone(), used }).ok()
        });
        let lines: String = lines.map(|line| line + "\n").collect();
        let mut file = self.meter.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk may have cut the last write off: nothing is written behind half a line.
        let written = take_out_half_a_line(&mut file).and_then(|_| file.write_all(lines.as_bytes()));
        if let Err(error) = written {
            tracing::warn!(function = self.function, %error, "what a function used was not counted");
        }
    }
}
