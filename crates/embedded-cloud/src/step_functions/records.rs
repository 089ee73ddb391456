//! The tables of the log and the statements on them.
//!
//! `machines` keeps every version of a definition, because an execution goes on with the one it started with.
//! `executions` holds one row each with the whole durable state, `origins` what no transition changes of it. `history` gets one row per transition, holding the
//! events of that transition as a JSON array. The rows lie in the order they were written in, whosever they are: a
//! commit of many transitions fills pages from end to end, and only their small index is written here and there.

use rusqlite::{Connection, OptionalExtension, Row, params};
use states_language::{Status, TaskId};

/// The format of the file, kept in SQLite's `user_version`.
pub(super) const FORMAT: i64 = 2;

const TABLES: &str = "
    CREATE TABLE machines (
        name TEXT NOT NULL, version INTEGER NOT NULL, definition TEXT NOT NULL, created_ms INTEGER NOT NULL,
        UNIQUE (name, version));
    CREATE TABLE executions (
        id INTEGER PRIMARY KEY, machine TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
        status TEXT NOT NULL, started_ms INTEGER NOT NULL, stopped_ms INTEGER,
        parent INTEGER, parent_task INTEGER, state BLOB NOT NULL,
        UNIQUE (machine, name));
    CREATE INDEX executions_by_machine ON executions (machine);
    CREATE INDEX executions_by_status ON executions (machine, status);
    CREATE INDEX executions_running ON executions (id) WHERE status = 'RUNNING';
    CREATE TABLE origins (execution INTEGER PRIMARY KEY, origin BLOB NOT NULL);
    CREATE TABLE history (execution INTEGER NOT NULL, first INTEGER NOT NULL, events BLOB NOT NULL);
    CREATE UNIQUE INDEX history_by_execution ON history (execution, first);
";

/// The format of an existing file; 0 for a new one.
pub(super) fn format(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Creates what a new file lacks, all of it or nothing.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    if format(connection)? == FORMAT {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

/// One version of a machine's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) version: i64,
    pub(super) text: String,
    /// When the first version was created.
    pub(super) created_ms: i64,
    /// When this version was created.
    pub(super) updated_ms: i64,
}

const DEFINITION: &str = "SELECT m.name, m.version, m.definition, f.created_ms, m.created_ms
    FROM machines m JOIN machines f ON f.name = m.name AND f.version = 1";

fn definition(row: &Row<'_>) -> rusqlite::Result<Definition> {
    Ok(Definition {
        name: row.get(0)?,
        version: row.get(1)?,
        text: row.get(2)?,
        created_ms: row.get(3)?,
        updated_ms: row.get(4)?,
    })
}

/// A machine that was deleted has this definition as its newest, so that executions keep the ones they run with.
const DELETED: &str = "";

/// The newest definition of a machine.
pub(super) fn latest(connection: &Connection, name: &str) -> rusqlite::Result<Option<Definition>> {
    Ok(newest(connection, name)?.filter(|found| found.text != DELETED))
}

/// The newest version of a machine.
pub(super) fn latest_version(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT version, definition = ?2 FROM machines WHERE name = ?1 ORDER BY version DESC LIMIT 1";
    let newest = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, bool>(1)?));
    let found = connection.prepare_cached(sql)?.query_row([name, DELETED], newest).optional()?;
    Ok(found.filter(|(_, deleted)| !deleted).map(|(version, _)| version))
}

/// Deletes a machine, if it is there.
pub(super) fn delete_machine(connection: &Connection, name: &str, now_ms: i64) -> rusqlite::Result<()> {
    match latest(connection, name)? {
        Some(_) => define(connection, name, DELETED, now_ms).map(drop),
        None => Ok(()),
    }
}

fn newest(connection: &Connection, name: &str) -> rusqlite::Result<Option<Definition>> {
    let sql = format!("{DEFINITION} WHERE m.name = ?1 ORDER BY m.version DESC LIMIT 1");
    connection.prepare_cached(&sql)?.query_row([name], definition).optional()
}

/// One version's text.
pub(super) fn definition_text(connection: &Connection, name: &str, version: i64) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT definition FROM machines WHERE name = ?1 AND version = ?2";
    connection.prepare_cached(sql)?.query_row(params![name, version], |row| row.get(0)).optional()
}

/// The newest definition of every machine with a name greater than `after`, by name.
pub(super) fn machines(connection: &Connection, after: &str, limit: usize) -> rusqlite::Result<Vec<Definition>> {
    let sql = format!(
        "{DEFINITION} WHERE m.name > ?1 AND m.version = (SELECT max(version) FROM machines WHERE name = m.name)
        AND m.definition <> '{DELETED}' ORDER BY m.name LIMIT ?2"
    );
    connection.prepare_cached(&sql)?.query_map(params![after, limit as i64], definition)?.collect()
}

/// Makes `text` the newest definition of a machine, as a new version unless it already is; answers the version.
pub(super) fn define(connection: &Connection, name: &str, text: &str, now_ms: i64) -> rusqlite::Result<i64> {
    let found = newest(connection, name)?;
    if let Some(same) = found.as_ref().filter(|found| found.text == text) {
        return Ok(same.version);
    }
    let version = found.map_or(1, |found| found.version + 1);
    let sql = "INSERT INTO machines (name, version, definition, created_ms) VALUES (?1, ?2, ?3, ?4)";
    connection.prepare_cached(sql)?.execute(params![name, version, text, now_ms])?;
    Ok(version)
}

/// The task of another execution that an execution was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) execution: i64,
    pub(super) task: TaskId,
}

/// An execution as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) id: i64,
    pub(super) machine: String,
    pub(super) name: String,
    pub(super) version: i64,
    /// As AWS spells it.
    pub(super) status: String,
    pub(super) started_ms: i64,
    pub(super) stopped_ms: Option<i64>,
    pub(super) parent: Option<Parent>,
    /// The serialised [`states_language::Execution`]; empty in listings.
    pub(super) state: Vec<u8>,
    /// The serialised [`states_language::Origin`], which no transition rewrites; empty in listings.
    pub(super) origin: Vec<u8>,
}

impl Recorded {
    pub(super) fn runs(&self) -> bool {
        self.status == Status::Running.as_str()
    }
}

const RECORDED: &str =
    "SELECT id, machine, name, version, status, started_ms, stopped_ms, parent, parent_task, state, origin
    FROM executions JOIN origins ON execution = id";
const LISTED: &str =
    "SELECT id, machine, name, version, status, started_ms, stopped_ms, parent, parent_task, x'', x'' FROM executions";

fn recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let parent: Option<i64> = row.get(7)?;
    let task: Option<i64> = row.get(8)?;
    Ok(Recorded {
        id: row.get(0)?,
        machine: row.get(1)?,
        name: row.get(2)?,
        version: row.get(3)?,
        status: row.get(4)?,
        started_ms: row.get(5)?,
        stopped_ms: row.get(6)?,
        parent: parent.zip(task).map(|(execution, task)| Parent { execution, task: TaskId(task as u64) }),
        state: row.get(9)?,
        origin: row.get(10)?,
    })
}

/// The execution with this id.
pub(super) fn execution(connection: &Connection, id: i64) -> rusqlite::Result<Option<Recorded>> {
    connection.prepare_cached(&format!("{RECORDED} WHERE id = ?1"))?.query_row([id], recorded).optional()
}

/// Whether there is or was an execution with this id.
pub(super) fn execution_exists(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM executions WHERE id = ?1")?.exists([id])
}

/// The execution of this machine and name.
pub(super) fn named(connection: &Connection, machine: &str, name: &str) -> rusqlite::Result<Option<Recorded>> {
    let sql = format!("{RECORDED} WHERE machine = ?1 AND name = ?2");
    connection.prepare_cached(&sql)?.query_row([machine, name], recorded).optional()
}

/// Every execution that runs, in the order of their starts.
pub(super) fn running(connection: &Connection) -> rusqlite::Result<Vec<Recorded>> {
    let sql = format!("{RECORDED} WHERE status = 'RUNNING' ORDER BY id");
    connection.prepare_cached(&sql)?.query_map([], recorded)?.collect()
}

/// Executions of a machine with ids below `before`, newest first, without their states.
pub(super) fn listed(
    connection: &Connection,
    machine: &str,
    status: Option<&str>,
    before: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Recorded>> {
    let limit = limit as i64;
    match status {
        Some(status) => {
            let sql = format!("{LISTED} WHERE machine = ?1 AND status = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4");
            connection.prepare_cached(&sql)?.query_map(params![machine, status, before, limit], recorded)?.collect()
        }
        None => {
            let sql = format!("{LISTED} WHERE machine = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");
            connection.prepare_cached(&sql)?.query_map(params![machine, before, limit], recorded)?.collect()
        }
    }
}

/// The greatest id given to an execution so far.
pub(super) fn last_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(id), 0) FROM executions", [], |row| row.get(0))
}

/// What one transition adds to the log.
pub(super) struct Transition {
    pub(super) execution: i64,
    pub(super) state: Vec<u8>,
    /// When it ended and how, if this transition ended it.
    pub(super) end: Option<(Status, i64)>,
    /// The id of the first event and the JSON array of them all, if there are any.
    pub(super) events: Option<(u64, Vec<u8>)>,
}

/// Records an execution's first transition, unless its machine has had one of that name: then answers that one.
pub(super) fn begin(
    connection: &Connection,
    new: &Recorded,
    transition: &Transition,
) -> rusqlite::Result<Option<Recorded>> {
    if let Some(old) = named(connection, &new.machine, &new.name)? {
        return Ok(Some(old));
    }
    let sql = "INSERT INTO executions
        (id, machine, name, version, status, started_ms, stopped_ms, parent, parent_task, state)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let stopped_ms = transition.end.map(|(_, stopped_ms)| stopped_ms);
    let status = transition.end.map_or(Status::Running, |(status, _)| status).as_str();
    let (parent, task) = (new.parent.map(|p| p.execution), new.parent.map(|p| p.task.0 as i64));
    connection.prepare_cached(sql)?.execute(params![
        new.id,
        new.machine,
        new.name,
        new.version,
        status,
        new.started_ms,
        stopped_ms,
        parent,
        task,
        transition.state
    ])?;
    let sql = "INSERT INTO origins (execution, origin) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![new.id, new.origin])?;
    append(connection, transition)?;
    Ok(None)
}

/// Records a further transition.
pub(super) fn advance(connection: &Connection, transition: &Transition) -> rusqlite::Result<()> {
    match transition.end {
        // Only an end touches the indexed status.
        None => {
            let sql = "UPDATE executions SET state = ?2 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute(params![transition.execution, transition.state])?;
        }
        Some((status, stopped_ms)) => {
            let sql = "UPDATE executions SET state = ?2, status = ?3, stopped_ms = ?4 WHERE id = ?1";
            let row = params![transition.execution, transition.state, status.as_str(), stopped_ms];
            connection.prepare_cached(sql)?.execute(row)?;
        }
    }
    append(connection, transition)
}

fn append(connection: &Connection, transition: &Transition) -> rusqlite::Result<()> {
    if let Some((first, events)) = &transition.events {
        let sql = "INSERT INTO history (execution, first, events) VALUES (?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute(params![transition.execution, *first as i64, events])?;
    }
    Ok(())
}

/// Rows of history from the one that holds event `from`, in the asked order, until `enough` says so.
pub(super) fn history(
    connection: &Connection,
    execution: i64,
    from: u64,
    reverse: bool,
    mut enough: impl FnMut(&[u8]) -> bool,
) -> rusqlite::Result<()> {
    let sql = if reverse {
        "SELECT events FROM history WHERE execution = ?1 AND first <= ?2 ORDER BY first DESC"
    } else {
        "SELECT events FROM history WHERE execution = ?1 AND first >=
            (SELECT coalesce(max(first), 0) FROM history WHERE execution = ?1 AND first <= ?2) ORDER BY first"
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![execution, i64::try_from(from).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        if enough(row.get_ref(0)?.as_blob()?) {
            break;
        }
    }
    Ok(())
}
