//! Which schedules and groups there are: data, written down as one file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request::{AfterCompletion, Wanted};
use crate::error::AwsError;

/// The group that is always there.
pub(super) const DEFAULT_GROUP: &str = "default";

/// Tells a schedule from a later one of the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ScheduleId(pub(super) String);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schedule {
    pub(super) id: ScheduleId,
    pub(super) created_ms: i64,
    /// It has fired and stays until it is deleted.
    pub(super) completed: bool,
    pub(super) wanted: Wanted,
}

/// Groups with the moment of their creation, and schedules by `group/name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Book {
    groups: BTreeMap<String, i64>,
    schedules: BTreeMap<String, Schedule>,
}

impl Book {
    pub(super) fn add(&mut self, schedule: Schedule) -> Result<(), AwsError> {
        let Wanted { group, name, .. } = &schedule.wanted;
        self.group(group)?;
        match self.schedules.get(&key(group, name)) {
            Some(there) if there.wanted == schedule.wanted && there.wanted.client_token.is_some() => Ok(()),
            Some(_) => Err(conflict(&format!("Schedule {name} already exists."))),
            None => {
                self.schedules.insert(key(group, name), schedule);
                Ok(())
            }
        }
    }

    pub(super) fn schedule(&self, group: &str, name: &str) -> Result<&Schedule, AwsError> {
        self.schedules.get(&key(group, name)).ok_or_else(|| no_schedule(name))
    }

    pub(super) fn delete(&mut self, group: &str, name: &str) -> Result<(), AwsError> {
        self.schedules.remove(&key(group, name)).map(drop).ok_or_else(|| no_schedule(name))
    }

    /// Every schedule, by group and name.
    pub(super) fn all(&self) -> impl Iterator<Item = &Schedule> {
        self.schedules.values()
    }

    /// Those that have not fired.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Schedule> {
        self.all().filter(|schedule| !schedule.completed)
    }

    /// Notes that a schedule fired; one that was deleted meanwhile stays deleted.
    pub(super) fn complete(&mut self, id: &ScheduleId) {
        let Some(schedule) = self.schedules.values_mut().find(|schedule| schedule.id == *id) else { return };
        schedule.completed = true;
        if schedule.wanted.after == AfterCompletion::Delete {
            let gone = key(&schedule.wanted.group, &schedule.wanted.name);
            self.schedules.remove(&gone);
        }
    }

    pub(super) fn create_group(&mut self, name: &str, now_ms: i64) -> Result<(), AwsError> {
        if self.group(name).is_ok() {
            return Err(conflict(&format!("Schedule group {name} already exists.")));
        }
        self.groups.insert(name.to_owned(), now_ms);
        Ok(())
    }

    /// When a group was created.
    pub(super) fn group(&self, name: &str) -> Result<i64, AwsError> {
        match self.groups.get(name) {
            Some(created_ms) => Ok(*created_ms),
            None if name == DEFAULT_GROUP => Ok(0),
            None => Err(AwsError::not_found(format!("Schedule group {name} does not exist."))),
        }
    }
}

fn key(group: &str, name: &str) -> String {
    format!("{group}/{name}")
}

fn no_schedule(name: &str) -> AwsError {
    AwsError::not_found(format!("Schedule {name} does not exist."))
}

fn conflict(message: &str) -> AwsError {
    AwsError { status: 409, code: "ConflictException".into(), message: message.into() }
}
