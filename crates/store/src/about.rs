//! Which run a request to the table or the bucket is about.

use run_model::RunId;

use crate::table::WORK;

/// How a key begins that names a run, and how many parts follow the run's id, each after a dash.
const KEYS: [(&str, usize); 7] =
    [("RUN#", 0), ("GATES#", 0), ("START#", 0), ("JOB#", 1), ("GATE#", 2), ("OUTBOX#job-", 2), ("OUTBOX#gate-", 3)];
/// Under which folders an object's path names its run.
const FOLDERS: [&str; 2] = ["/runs/", "/held-out/"];

/// The run that a request is about, by the first key in its body that names one, or by the path of its object.
///
/// Only keys count that stand as values of their own: what a person or a model wrote names no run.
pub fn run_of_request(text: &str) -> Option<RunId> {
    let keys = text.match_indices(r#""S":""#).map(|(at, opening)| &text[at + opening.len()..]);
    let mut named = keys.filter_map(|rest| rest.split('"').next()).filter_map(run_of_key);
    named.next().or_else(|| of_path(text))
}

/// The run that a row belongs to, by its partition key.
pub(crate) fn run_of_key(key: &str) -> Option<RunId> {
    let (name, more) = KEYS.iter().find_map(|(start, more)| Some((key.strip_prefix(start)?, *more)))?;
    let mut run = name.strip_suffix(WORK).unwrap_or(name);
    for _ in 0..more {
        run = run.rsplit_once('-')?.0;
    }
    RunId::new(run).ok()
}

fn of_path(path: &str) -> Option<RunId> {
    let path = path.strip_prefix('/').map(|_| path)?;
    let rest = FOLDERS.iter().find_map(|folder| path.split_once(folder))?.1;
    RunId::new(rest.split('/').next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Option<String> {
        run_of_request(text).map(|run| run.to_string())
    }

    #[test]
    fn every_key_of_a_run_names_it() {
        for key in [
            "RUN#r-1",
            "RUN#r-1#work",
            "GATES#r-1",
            "START#r-1",
            "JOB#r-1-0123456789ab",
            "GATE#r-1-2-0123456789ab",
            "OUTBOX#job-r-1-0123456789ab-3",
            "OUTBOX#gate-r-1-2-0123456789ab-1",
        ] {
            let body = format!(r#"{{"TableName":"t","Key":{{"sk":{{"S":"-"}},"pk":{{"S":"{key}"}}}}}}"#);
            assert_eq!(run(&body).as_deref(), Some("r-1"), "{key}");
        }
        assert_eq!(run("/gatewright-local/runs/r-1/artefacts/0123.json?x-id=GetObject").as_deref(), Some("r-1"));
        assert_eq!(run("/gatewright-local/held-out/r-1/0123.json").as_deref(), Some("r-1"));
    }

    #[test]
    fn what_somebody_wrote_names_no_run() {
        assert_eq!(run(r#"{"Item":{"text":{"S":"see {\"S\":\"RUN#r-9\"} and /runs/r-9/"},"pk":{"S":"RUNS"}}}"#), None);
        assert_eq!(run(r#"{"Key":{"pk":{"S":"BEARER#0123"}}}"#), None);
    }
}
