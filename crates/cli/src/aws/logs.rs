//! `gatewright aws logs`: what every function logged about a run, in order of time.

use std::collections::HashSet;

use lambda_host::logs::Mask;
use lambda_host::{Environment, SystemClock};
use run_model::{Clock, RunId};
use serde_json::{Map, Value, json};

use crate::aws::account::Account;
use crate::aws::arguments::LogsOptions;
use crate::aws::stack;
use crate::problem::Problem;
use crate::registry::FUNCTIONS;
use crate::signed::Service;
use crate::stage::Stage;
use crate::{render, screen};

const LOGS: Service = Service { name: "CloudWatch Logs", signing: "logs", host: "logs", version: "", global: false };
const FILTER: &str = "Logs_20140328.FilterLogEvents";
/// What every line says anyway; the rest is fields.
/// A line cannot be older than its run, but for clocks that differ.
const CLOCKS_DIFFER_MS: i64 = 60_000;
/// How long a line takes to arrive, at most; a run that has ended is followed for so long.
const LATE_MS: i64 = 15_000;
/// Every function is asked so often: an account may ask five times a second.
const PAUSE_MS: i64 = 5_000;
const SAID_ALREADY: [&str; 5] = ["time_ms", "function", "level", "message", "run"];

pub(crate) async fn run(options: LogsOptions) -> Result<u8, Problem> {
    let run = RunId::new(&options.run).map_err(|_| Problem::input(format!("{:?} names no run", options.run)))?;
    let account = Account::of_environment()?;
    stack::require(&account.signed, &options.stage).await?;
    let stage = Stage::of_environment(&options.stage)?;
    let record = stage.store.run(&run).await.map_err(|error| stage.problem(error))?;
    let groups = Groups { account, stage, run, absent: HashSet::new() };
    let mask = Mask::of(&Environment::of_process());
    let show = |line: &Line| match options.json {
        true => screen::print_json(&line.json(&mask)),
        false => screen::print(line.words(&mask)),
    };
    let reading = Reading { log: groups, since_ms: record.created_ms - CLOCKS_DIFFER_MS, seen: HashSet::new() };
    let shown = reading.show(options.follow, &SystemClock, show).await?;
    if shown == 0 {
        let run = &options.run;
        screen::tell(format!("no function has logged anything about {run} yet; a line takes some seconds to arrive"));
    }
    Ok(0)
}

/// Where lines about a run come from.
trait Log {
    /// Every line since this moment, in no order.
    async fn lines(&mut self, since_ms: i64) -> Result<Vec<Line>, Problem>;
    /// When the run ended, if it has.
    async fn ended_ms(&self) -> Result<Option<i64>, Problem>;
}

/// A log that is read, once or again and again.
struct Reading<L> {
    log: L,
    since_ms: i64,
    /// The lines that were shown and may come again.
    seen: HashSet<String>,
}

impl<L: Log> Reading<L> {
    /// Shows what is there and, if it is followed, what comes until the run has ended and its last lines have had the time to
    /// arrive. How many lines were shown.
    async fn show(mut self, follow: bool, clock: &dyn Clock, show: impl Fn(&Line)) -> Result<usize, Problem> {
        let mut shown = 0;
        loop {
            // Asked before the lines are read, so that whatever was logged before the end is among them.
            let (now_ms, ended_ms) = (clock.now_ms(), self.log.ended_ms().await?);
            let lines = self.log.lines(self.since_ms).await?;
            for line in in_order(lines) {
                if self.seen.insert(line.id.clone()) {
                    show(&line);
                    shown += 1;
                }
            }
            if !follow || ended_ms.is_some_and(|ended_ms| now_ms - ended_ms >= LATE_MS) {
                return Ok(shown);
            }
            // Lines come late and not in order: those of the last moments are read again.
            self.since_ms = self.since_ms.max(now_ms - LATE_MS - CLOCKS_DIFFER_MS);
            clock.sleep_for(PAUSE_MS).await;
        }
    }
}

/// The log groups of a stage's functions, as far as they are about a run.
struct Groups {
    account: Account,
    stage: Stage,
    run: RunId,
    /// Said once, however often they are looked for.
    absent: HashSet<&'static str>,
}

impl Log for Groups {
    async fn lines(&mut self, since_ms: i64) -> Result<Vec<Line>, Problem> {
        let mut lines = Vec::new();
        for function in FUNCTIONS {
            match self.logged(function, since_ms).await? {
                Some(logged) => lines.extend(logged),
                None if self.absent.insert(function) => {
                    screen::tell(format!(
                        "note: there is no log group {}: a deploy makes it anew",
                        self.group(function)
                    ));
                }
                None => {}
            }
        }
        Ok(lines)
    }

    async fn ended_ms(&self) -> Result<Option<i64>, Problem> {
        let run = self.stage.store.run(&self.run).await.map_err(|error| self.stage.problem(error))?;
        Ok(run.status.is_final().then_some(run.updated_ms))
    }
}

impl Groups {
    fn group(&self, function: &str) -> String {
        format!("/aws/lambda/gatewright-{}-{function}", self.stage.store.names().stage)
    }

    /// What one function logged about the run; `None` without a log group.
    async fn logged(&self, function: &'static str, since_ms: i64) -> Result<Option<Vec<Line>>, Problem> {
        let mut asked = json!({
            "logGroupName": self.group(function),
            "filterPattern": format!("\"{}\"", self.run),
            "startTime": since_ms,
        });
        let mut lines = Vec::new();
        loop {
            let page = match self.account.signed.json(&LOGS, FILTER, &asked).await {
                Err(error) if error.code() == Some("ResourceNotFoundException") => return Ok(None),
                page => page?,
            };
            let events = page["events"].as_array().map(Vec::as_slice).unwrap_or_default();
            lines.extend(events.iter().map(|event| Line::of(function, event)).filter(|line| line.is_about(&self.run)));
            match page["nextToken"].as_str() {
                Some(token) => asked["nextToken"] = token.into(),
                None => return Ok(Some(lines)),
            }
        }
    }
}

/// By time; what happened in one millisecond stays as its function logged it.
fn in_order(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by_key(|line| line.moment_ms);
    lines
}

/// One event of a function's log.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    /// Names the event within its function's log, whenever it is read.
    id: String,
    moment_ms: i64,
    function: &'static str,
    fields: Map<String, Value>,
}

impl Line {
    fn of(function: &'static str, event: &Value) -> Self {
        let text = event["message"].as_str().unwrap_or_default().trim_end();
        // A function that was killed may have left half a line, which is no JSON and still worth a look.
        let bare = || [("message".to_owned(), Value::from(text))].into_iter().collect();
        let fields = serde_json::from_str(text).unwrap_or_else(|_| bare());
        let id = format!("{function}/{}", event["eventId"].as_str().unwrap_or_default());
        Self { id, moment_ms: event["timestamp"].as_i64().unwrap_or_default(), function, fields }
    }

    /// CloudWatch looks for a text, so a run whose id begins like this one's is found too.
    fn is_about(&self, run: &RunId) -> bool {
        self.fields.get("run").is_none_or(|said| said == run.as_str())
    }

    fn json(&self, mask: &Mask) -> Value {
        let mut line = json!({ "time_ms": self.moment_ms, "function": self.function });
        for (name, value) in self.fields.iter().filter(|(name, _)| !matches!(name.as_str(), "timestamp" | "target")) {
            line[name] = value.clone();
        }
        // Masked as text, so that what stands deep inside is masked too; a mask leaves JSON what it is.
        serde_json::from_str(&mask.apply(&line.to_string())).unwrap_or(Value::Null)
    }

    fn words(&self, mask: &Mask) -> String {
        let line = self.json(mask);
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        let mut words =
            format!("{} {:<13} {:<5} {}", clock(self.moment_ms), self.function, text("level"), text("message"));
        let fields = line.as_object().into_iter().flatten();
        for (name, value) in fields.filter(|(name, _)| !SAID_ALREADY.contains(&name.as_str())) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words.push_str(&format!(" {name}={value}"));
        }
        words.replace('\n', "\\n")
    }
}

/// `2026-11-25 23:10:02.123`.
fn clock(ms: i64) -> String {
    let (seconds, millis) = (ms.div_euclid(1000) % 60, ms.rem_euclid(1000));
    format!("{}:{seconds:02}.{millis:03}", render::moment(ms))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use run_model::time::Sleep;

    use super::*;

    fn line(function: &'static str, moment_ms: i64, message: &str) -> Line {
        Line::of(function, &json!({ "timestamp": moment_ms, "message": message }))
    }

    /// A log into which a line comes at each of these moments, and which tells it so much later.
    struct Script {
        clock: Skipping,
        lines_ms: Vec<i64>,
        late_ms: i64,
        ended_ms: i64,
    }

    impl Log for Script {
        async fn lines(&mut self, since_ms: i64) -> Result<Vec<Line>, Problem> {
            let now_ms = self.clock.now_ms();
            let arrived = |moment: &i64| *moment >= since_ms && *moment + self.late_ms <= now_ms;
            let there = (0..).zip(&self.lines_ms).filter(|(_, moment)| arrived(moment));
            let event = |id: i64, at: i64| json!({ "timestamp": at, "message": "said", "eventId": id.to_string() });
            Ok(there.map(|(id, moment)| Line::of("api", &event(id, *moment))).collect())
        }

        async fn ended_ms(&self) -> Result<Option<i64>, Problem> {
            Ok((self.ended_ms <= self.clock.now_ms()).then_some(self.ended_ms))
        }
    }

    /// Time goes by as soon as somebody waits for it.
    #[derive(Clone, Default)]
    struct Skipping(Arc<AtomicI64>);

    impl Clock for Skipping {
        fn now_ms(&self) -> i64 {
            self.0.load(Ordering::Relaxed)
        }

        fn sleep_until(&self, moment_ms: i64) -> Sleep {
            self.0.fetch_max(moment_ms, Ordering::Relaxed);
            Box::pin(std::future::ready(()))
        }
    }

    /// When which lines were shown: the moment of each, and by how much later.
    async fn shown(follow: bool, ended_ms: i64) -> (Vec<i64>, i64) {
        let clock = Skipping::default();
        let lines_ms = vec![0, 4_000, 21_000, 20_000, 39_000];
        let log = Script { clock: clock.clone(), lines_ms, late_ms: 8_000, ended_ms };
        let seen = RefCell::new(Vec::new());
        let reading = Reading { log, since_ms: -CLOCKS_DIFFER_MS, seen: HashSet::new() };
        let count = reading.show(follow, &clock, |line| seen.borrow_mut().push(line.moment_ms)).await.unwrap();
        let seen = seen.into_inner();
        assert_eq!(count, seen.len());
        (seen, clock.now_ms())
    }

    #[tokio::test]
    async fn a_log_is_followed_until_the_last_line_of_a_run_that_ended_has_arrived() {
        let (seen, until_ms) = shown(true, 40_000).await;
        assert_eq!(seen, [0, 4_000, 20_000, 21_000, 39_000], "each once, in order");
        assert!((40_000 + LATE_MS..40_000 + LATE_MS + PAUSE_MS).contains(&until_ms), "{until_ms}");
    }

    #[tokio::test]
    async fn a_log_that_is_not_followed_is_read_once() {
        assert_eq!(shown(false, 40_000).await, (Vec::new(), 0));
    }

    #[test]
    fn functions_are_interleaved_by_time_and_keep_their_own_order() {
        let lines = vec![line("api", 2, "a2"), line("api", 2, "a2b"), line("tester", 1, "t1"), line("tester", 2, "t2")];
        let order: Vec<String> =
            in_order(lines).iter().map(|line| line.fields["message"].as_str().unwrap().to_owned()).collect();
        assert_eq!(order, ["t1", "a2", "a2b", "t2"]);
    }

    #[test]
    fn a_line_shows_its_fields_and_no_secret() {
        let logged = r#"{"timestamp":"2026-11-25T23:10:02.123Z","level":"INFO","run":"r-1","task":"t-1","kind":"turn","tokens":12,"message":"asked\nand got","key":"sk-ant-api03-abcdefghijkl","target":"role_host"}"#;
        let line = line("developer", 1_764_112_202_123, logged);
        let words = line.words(&Mask::default());
        assert_eq!(
            words,
            "2025-11-25 23:10:02.123 developer     INFO  asked\\nand got task=t-1 kind=turn tokens=12 key=***"
        );
        let json = line.json(&Mask::default());
        assert_eq!(json["time_ms"], 1_764_112_202_123_i64);
        assert_eq!(
            (&json["task"], &json["key"], &json["function"]),
            (&json!("t-1"), &json!("***"), &json!("developer"))
        );
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is() {
        let line = line("api", 0, "RequestId: 1 Error: Runtime exited with error: signal: killed\n");
        let words = line.words(&Mask::default());
        assert!(words.ends_with("Error: Runtime exited with error: signal: killed"), "{words}");
        assert_eq!(line.json(&Mask::default())["function"], "api");
    }

    #[test]
    fn a_run_whose_id_begins_alike_is_another_one() {
        let run = RunId::new("r-12").unwrap();
        assert!(line("api", 0, r#"{"run":"r-12","message":"a"}"#).is_about(&run));
        assert!(!line("api", 0, r#"{"run":"r-123","message":"a"}"#).is_about(&run));
        assert!(line("events", 0, r#"{"execution":"r-12-2","message":"a"}"#).is_about(&run));
    }
}
