//! EventBridge Scheduler's one-shots: a moment, a function, an input; fired at least once, also after a restart.

mod book;
mod request;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use run_model::{Clock, Randomness};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::durable::DurableWriter;
use crate::error::AwsError;
use crate::http::{error_response, json_response};
use crate::lambda::Invoker;
use crate::step_functions::uuid;
use crate::{ACCOUNT, REGION};
use book::{Book, Schedule, ScheduleId};
use request::{Call, ListPage, Wanted};

/// The name requests are signed for.
pub(crate) const SERVICE: &str = "scheduler";

/// The schedules of one state folder.
pub(crate) struct Scheduler {
    path: PathBuf,
    writer: Arc<DurableWriter>,
    sources: SchedulerSources,
    book: Mutex<Book>,
    changed: Notify,
}

/// What [`Scheduler`] takes besides the file: time and chance.
pub(crate) struct SchedulerSources {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) randomness: Arc<dyn Randomness>,
}

impl Scheduler {
    /// Reads the file, if there is one.
    pub(crate) fn open(path: PathBuf, writer: Arc<DurableWriter>, sources: SchedulerSources) -> io::Result<Self> {
        let book = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Book::default(),
            Err(error) => return Err(error),
        };
        Ok(Scheduler { path, writer, sources, book: Mutex::new(book), changed: Notify::new() })
    }

    /// Answers one request of the REST protocol; blocks on the disk.
    pub(crate) fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        match self.answer(request) {
            Ok(answer) => json_response(200, &answer),
            Err(error) => {
                // This service spells the member with a capital.
                let mut response = error_response(&error);
                *response.body_mut() = json!({ "Message": error.message }).to_string().into();
                response
            }
        }
    }

    fn answer(&self, request: &Request<Bytes>) -> Result<Value, AwsError> {
        match Call::of(request)? {
            Call::CreateSchedule(name) => self.create(Wanted::of(name, request.body())?),
            Call::GetSchedule { group, name } => self.look(|book| book.schedule(&group, &name).map(description)),
            Call::DeleteSchedule { group, name } => self.change(|book| book.delete(&group, &name).map(|()| json!({}))),
            Call::ListSchedules(page) => self.look(|book| list(book, &page)),
            Call::CreateGroup(name) => {
                let now_ms = self.sources.clock.now_ms();
                self.change(|book| book.create_group(&name, now_ms))?;
                Ok(json!({ "ScheduleGroupArn": group_arn(&name) }))
            }
            Call::GetGroup(name) => self.look(|book| {
                let created = seconds(book.group(&name)?);
                Ok(json!({
                    "Arn": group_arn(&name),
                    "Name": name,
                    "State": "ACTIVE",
                    "CreationDate": created,
                    "LastModificationDate": created,
                }))
            }),
        }
    }

    /// Writes a schedule down; the very same request again, by its client token, is answered as the first time.
    fn create(&self, wanted: Wanted) -> Result<Value, AwsError> {
        let id = ScheduleId(uuid(&*self.sources.randomness));
        let schedule = Schedule { id, created_ms: self.sources.clock.now_ms(), completed: false, wanted };
        let arn = arn(&schedule);
        self.change(|book| book.add(schedule))?;
        self.changed.notify_one();
        Ok(json!({ "ScheduleArn": arn }))
    }

    fn look<T>(&self, look: impl FnOnce(&Book) -> Result<T, AwsError>) -> Result<T, AwsError> {
        look(&self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the book on the disk, then in memory.
    fn change<T>(&self, change: impl FnOnce(&mut Book) -> Result<T, AwsError>) -> Result<T, AwsError> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = book.clone();
        let answer = change(&mut changed)?;
        if changed != *book {
            let internal = |error: io::Error| AwsError::internal(format!("the schedules cannot be written: {error}"));
            let bytes = serde_json::to_vec(&changed).map_err(|error| internal(error.into()))?;
            self.writer.replace(&self.path, &[&bytes]).map_err(internal)?;
            *book = changed;
        }
        Ok(answer)
    }

    /// Fires what comes due, until dropped. What fires is written off after its function took it, or had its tries.
    pub(crate) async fn run(self: Arc<Self>, invoker: Invoker) {
        let mut under_way = BTreeSet::new();
        let mut fired = JoinSet::new();
        loop {
            let now_ms = invoker.clock.now_ms();
            let (due, next_ms) = self.due(now_ms, &under_way);
            for schedule in due {
                under_way.insert(schedule.id.clone());
                fired.spawn(fire(schedule, invoker.clone()));
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = invoker.clock.sleep_until(next_ms.unwrap_or_default()), if next_ms.is_some() => {}
                Some(Ok(id)) = fired.join_next() => self.write_off(&id, &mut under_way),
            }
        }
    }

    /// What is due and not under way, and when the next one is.
    fn due(&self, now_ms: i64, under_way: &BTreeSet<ScheduleId>) -> (Vec<Schedule>, Option<i64>) {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = || book.waiting().filter(|schedule| !under_way.contains(&schedule.id));
        let due = waiting().filter(|schedule| schedule.wanted.due_ms <= now_ms).cloned().collect();
        let next_ms = waiting().map(|schedule| schedule.wanted.due_ms).filter(|due_ms| *due_ms > now_ms).min();
        (due, next_ms)
    }

    /// Blocks for a sync, so that a shutdown finds it done or not begun. What cannot be written stays under way: the
    /// next process fires it again.
    fn write_off(&self, id: &ScheduleId, under_way: &mut BTreeSet<ScheduleId>) {
        let completed = self.change(|book| {
            book.complete(id);
            Ok(())
        });
        match completed {
            Ok(()) => drop(under_way.remove(id)),
            Err(error) => tracing::error!(%error, "a schedule that fired is still in the book"),
        }
    }
}

async fn fire(schedule: Schedule, invoker: Invoker) -> ScheduleId {
    let Schedule { id, wanted, .. } = schedule;
    // Read when it was written down; text that is no JSON travels as a string.
    let event = serde_json::from_str(&wanted.input).unwrap_or(Value::String(wanted.input));
    invoker.hand_over(&wanted.target_arn, &event, &id.0).await;
    id
}

fn arn(schedule: &Schedule) -> String {
    format!("arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/{}/{}", schedule.wanted.group, schedule.wanted.name)
}

fn group_arn(name: &str) -> String {
    format!("arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/{name}")
}

fn seconds(moment_ms: i64) -> Value {
    json!(moment_ms as f64 / 1_000.0)
}

fn description(schedule: &Schedule) -> Value {
    let Schedule { wanted, .. } = schedule;
    let mut description = summary(schedule);
    let more = json!({
        "ActionAfterCompletion": wanted.after.as_str(),
        "Description": wanted.description,
        "FlexibleTimeWindow": { "Mode": "OFF" },
        "ScheduleExpression": wanted.expression,
        "ScheduleExpressionTimezone": "UTC",
        "Target": wanted.target(),
    });
    if let (Some(description), Value::Object(more)) = (description.as_object_mut(), more) {
        description.extend(more);
    }
    description
}

fn summary(schedule: &Schedule) -> Value {
    let Schedule { wanted, created_ms, .. } = schedule;
    json!({
        "Arn": arn(schedule),
        "GroupName": wanted.group,
        "Name": wanted.name,
        "State": "ENABLED",
        "CreationDate": seconds(*created_ms),
        "LastModificationDate": seconds(*created_ms),
        "Target": { "Arn": wanted.target_arn },
    })
}

fn list(book: &Book, page: &ListPage) -> Result<Value, AwsError> {
    if let Some(group) = &page.group {
        book.group(group)?;
    }
    let mut found: Vec<&Schedule> = book.all().filter(|schedule| page.shows(&schedule.wanted)).collect();
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    let mut answer = json!({ "Schedules": found.iter().map(|schedule| summary(schedule)).collect::<Vec<_>>() });
    if let Some(last) = found.last().filter(|_| more) {
        answer["NextToken"] = json!(last.wanted.place());
    }
    Ok(answer)
}
