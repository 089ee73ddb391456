//! Reads each type of state.

use serde_json::Value;

use super::fields::{Fields, Report, shown};
use super::parse::{Builder, Targets};
use super::{After, Catcher, Choice, Kind, MapState, Resource, Retrier, Task, refused};
use crate::error;
use crate::query::{Place, Template};

const MAX_SECONDS: i64 = 99_999_999;

/// Reads one state into its reserved position.
pub(super) fn read(builder: &mut Builder, graph: usize, position: usize, value: &Value, targets: &Targets<'_>) {
    let path = builder.paths[position].clone();
    let Some(mut fields) = Fields::new(value, path, &mut builder.report) else { return };
    fields.text("Comment", &mut builder.report);
    if let Some(language) = fields.text("QueryLanguage", &mut builder.report).filter(|language| *language != "JSONata")
    {
        builder.report.add(&fields.path, refused::query_language(Some(language)));
    }
    let Some(kind) = fields.text("Type", &mut builder.report) else {
        return fields.missing("Type", "Task, Choice, Map, Parallel, Pass, Wait, Succeed or Fail", &mut builder.report);
    };
    let reading = Reading { builder, fields, graph, targets };
    match kind {
        "Task" => reading.task(position),
        "Choice" => reading.choice(position),
        "Map" => reading.map(position),
        "Parallel" => reading.parallel(position),
        "Wait" => reading.wait(position),
        "Pass" => reading.pass(position),
        "Succeed" => reading.succeed(position),
        "Fail" => reading.fail(position),
        other => {
            let known = "Task, Choice, Map, Parallel, Pass, Wait, Succeed and Fail";
            reading
                .builder
                .report
                .add(&reading.fields.path, format!("`Type` {other:?} is not known: there are {known}"));
        }
    }
}

/// One state being read.
struct Reading<'a, 'b> {
    builder: &'b mut Builder,
    fields: Fields<'a>,
    graph: usize,
    targets: &'b Targets<'b>,
}

impl Reading<'_, '_> {
    fn task(mut self, position: usize) {
        let resource = self.resource();
        let arguments = self.fields.template("Arguments", Place::Entry, &mut self.builder.report);
        let timeout_seconds = self.fields.seconds("TimeoutSeconds", 1..=MAX_SECONDS, &mut self.builder.report);
        let heartbeat_seconds = self.fields.seconds("HeartbeatSeconds", 1..=MAX_SECONDS, &mut self.builder.report);
        if resource == Some(Resource::FunctionCallback) && timeout_seconds.is_none() {
            let why = "a callback that never comes would wait for a year; say how long";
            self.fields.missing("TimeoutSeconds", why, &mut self.builder.report);
        }
        if let (Some(Template::Literal(timeout)), Some(Template::Literal(heartbeat))) =
            (&timeout_seconds, &heartbeat_seconds)
            && heartbeat.as_i64() >= timeout.as_i64()
        {
            let message = format!("`HeartbeatSeconds` {heartbeat} must be less than `TimeoutSeconds` {timeout}");
            self.builder.report.add(&self.fields.path, message);
        }
        if let Some(resource) = resource {
            self.check_arguments(resource, arguments.as_ref());
        }
        let task = resource
            .zip(arguments)
            .map(|(resource, arguments)| Kind::Task(Task { resource, arguments, timeout_seconds, heartbeat_seconds }));
        self.finish_working(position, task, "a Task");
    }

    fn resource(&mut self) -> Option<Resource> {
        let Some(arn) = self.fields.text("Resource", &mut self.builder.report) else {
            self.fields.missing("Resource", "the ARN of an integration", &mut self.builder.report);
            return None;
        };
        let found = Resource::ALL.iter().find(|(known, _)| *known == arn).map(|(_, resource)| *resource);
        if found.is_none() {
            let known = Resource::ALL.map(|(known, _)| known).join(", ");
            self.builder
                .report
                .add(&self.fields.path, format!("`Resource` {arn:?} is not run here: there are {known}"));
        }
        found
    }

    /// Where `Arguments` is written out, its members are known before anything runs.
    fn check_arguments(&mut self, resource: Resource, arguments: Option<&Template>) {
        let (needed, known) = resource.arguments();
        let report = &mut self.builder.report;
        let Some(arguments) = arguments else {
            return self.fields.missing("Arguments", &format!("it must give {needed}"), report);
        };
        let Some(members) = arguments.members() else {
            if !matches!(arguments, Template::Query(_)) {
                report.add(&self.fields.path, format!("`Arguments` must be an object with {}", known.join(", ")));
            }
            return;
        };
        if !members.contains(&needed) {
            report.add(&self.fields.path, format!("`Arguments` lacks `{needed}`"));
        }
        for name in members.iter().filter(|name| !known.contains(name)) {
            let message = format!("`Arguments/{name}` is not run here: there are {}", known.join(", "));
            report.add(&self.fields.path, message);
        }
    }

    fn choice(mut self, position: usize) {
        let rules: Vec<_> = self.fields.list("Choices", &mut self.builder.report).iter().enumerate().collect();
        if rules.is_empty() {
            self.fields.missing("Choices", "at least one rule", &mut self.builder.report);
        }
        let rules = rules.into_iter().filter_map(|(i, rule)| self.rule(i, rule)).collect();
        let mut after = self.fields.after(Place::Entry, &mut self.builder.report);
        after.next = self.builder.target(&mut self.fields, "Default", self.targets);
        let default = after.next.is_some();
        self.put(position, Some(Kind::Choice(Choice { rules, default })), after);
        self.fields.finish("a Choice", &mut self.builder.report);
    }

    fn rule(&mut self, i: usize, rule: &Value) -> Option<(Template, After)> {
        let path = format!("{}.Choices[{i}]", self.fields.path);
        let report = &mut self.builder.report;
        let mut fields = Fields::new(rule, path, report)?.within(format!("Choices[{i}]/"));
        fields.text("Comment", report);
        let condition = fields.expression("Condition", Value::is_boolean, "true, false", report);
        if condition.is_none() {
            fields.missing("Condition", "a JSONata expression `{% ... %}`", report);
        }
        let mut after = fields.after(Place::Entry, report);
        after.next = self.builder.target(&mut fields, "Next", self.targets);
        if fields.take("Next").is_none() {
            fields.missing("Next", "the state to go to", &mut self.builder.report);
        }
        fields.finish("a choice rule", &mut self.builder.report);
        Some((condition?, after))
    }

    fn map(mut self, position: usize) {
        let report = &mut self.builder.report;
        let items = self.fields.expression("Items", Value::is_array, "an array", report);
        let selector = self.fields.template("ItemSelector", Place::Entry, report);
        let concurrency = self.fields.seconds("MaxConcurrency", 0..=MAX_SECONDS, report);
        let first = self.builder.states.len();
        let start = match self.fields.take("ItemProcessor") {
            Some(value) => self.processor(value),
            None => {
                self.fields.missing("ItemProcessor", "the states of one iteration", &mut self.builder.report);
                None
            }
        };
        let iterations = self.builder.states[first..].iter().flat_map(|state| state.templates());
        let keeps_item = iterations.chain(&selector).any(|template| template.names().reads("context.Map.Item.Value"));
        let map = start.map(|start| Kind::Map(MapState { items, selector, concurrency, start, keeps_item }));
        self.finish_working(position, map, "an inline Map");
    }

    fn processor(&mut self, value: &Value) -> Option<usize> {
        let path = format!("{}.ItemProcessor", self.fields.path);
        let mut fields = Fields::new(value, path, &mut self.builder.report)?;
        if let Some(config) = fields.take("ProcessorConfig") {
            let mut config = Fields::new(config, format!("{}.ProcessorConfig", fields.path), &mut self.builder.report)?;
            if let Some(mode) = config.text("Mode", &mut self.builder.report).filter(|mode| *mode != "INLINE") {
                let message =
                    format!("`Mode` {mode:?} is not run here: the Map is inline, write \"INLINE\" or nothing");
                self.builder.report.add(&config.path, message);
            }
            config.finish("ProcessorConfig of an inline Map", &mut self.builder.report);
        }
        fields.text("Comment", &mut self.builder.report);
        let start = self.builder.graph(&mut fields, Some(self.graph));
        fields.finish("an ItemProcessor", &mut self.builder.report);
        Some(start)
    }

    fn parallel(mut self, position: usize) {
        let arguments = self.fields.template("Arguments", Place::Entry, &mut self.builder.report);
        let branches = self.fields.list("Branches", &mut self.builder.report);
        if branches.is_empty() {
            self.fields.missing("Branches", "at least one", &mut self.builder.report);
        }
        let mut starts = Vec::with_capacity(branches.len());
        for (i, branch) in branches.iter().enumerate() {
            let path = format!("{}.Branches[{i}]", self.fields.path);
            let Some(mut fields) = Fields::new(branch, path, &mut self.builder.report) else { continue };
            fields.text("Comment", &mut self.builder.report);
            starts.push(self.builder.graph(&mut fields, Some(self.graph)));
            fields.finish("a branch", &mut self.builder.report);
        }
        self.finish_working(position, Some(Kind::Parallel { arguments, starts }), "a Parallel");
    }

    fn wait(mut self, position: usize) {
        let report = &mut self.builder.report;
        let seconds = self.fields.seconds("Seconds", 0..=MAX_SECONDS, report).map(Kind::WaitSeconds);
        let is_instant = |value: &Value| value.as_str().is_some_and(|text| crate::time::parse(text).is_some());
        let wanted = "an RFC 3339 instant such as \"2026-01-31T12:00:00Z\"";
        let until = self.fields.expression("Timestamp", is_instant, wanted, report).map(Kind::WaitUntil);
        if seconds.is_some() == until.is_some() {
            report.add(&self.fields.path, "a Wait takes either `Seconds` or `Timestamp`");
        }
        let after = self.after(Place::Entry);
        self.put(position, seconds.or(until), after);
        self.fields.finish("a Wait", &mut self.builder.report);
    }

    fn pass(mut self, position: usize) {
        let after = self.after(Place::Entry);
        self.put(position, Some(Kind::Pass), after);
        self.fields.finish("a Pass", &mut self.builder.report);
    }

    fn succeed(mut self, position: usize) {
        let output = self.fields.template("Output", Place::Entry, &mut self.builder.report);
        self.put(position, Some(Kind::Succeed), After { output, ..After::END });
        self.fields.finish("a Succeed", &mut self.builder.report);
    }

    fn fail(mut self, position: usize) {
        let report = &mut self.builder.report;
        let error = self.fields.expression("Error", Value::is_string, "a string", report);
        let cause = self.fields.expression("Cause", Value::is_string, "a string", report);
        self.put(position, Some(Kind::Fail { error, cause }), After::END);
        self.fields.finish("a Fail", &mut self.builder.report);
    }

    /// What Task, Map and Parallel share.
    fn finish_working(mut self, position: usize, kind: Option<Kind>, what: &str) {
        let retry = self.fields.list("Retry", &mut self.builder.report);
        let retry: Vec<_> = retry.iter().enumerate().filter_map(|(i, value)| self.retrier(i, value)).collect();
        let catch = self.fields.list("Catch", &mut self.builder.report);
        let catch: Vec<_> = catch.iter().enumerate().filter_map(|(i, value)| self.catcher(i, value)).collect();
        let path = &self.fields.path;
        let lists = retry.iter().map(|retrier| &retrier.errors).collect::<Vec<_>>();
        check_wildcards(path, "Retry", &lists, &mut self.builder.report);
        let lists = catch.iter().map(|catcher| &catcher.errors).collect::<Vec<_>>();
        check_wildcards(path, "Catch", &lists, &mut self.builder.report);
        let after = self.after(Place::Result);
        self.put(position, kind, after);
        let state = &mut self.builder.states[position];
        (state.retry, state.catch) = (retry, catch);
        self.fields.finish(what, &mut self.builder.report);
    }

    fn retrier(&mut self, i: usize, value: &Value) -> Option<Retrier> {
        let report = &mut self.builder.report;
        let mut fields = Fields::new(value, format!("{}.Retry[{i}]", self.fields.path), report)?;
        fields.text("Comment", report);
        let errors = error_names(&mut fields, report);
        let interval = fields.whole("IntervalSeconds", 1..=MAX_SECONDS, report).unwrap_or(1);
        let max_delay = fields.whole("MaxDelaySeconds", 1..=31_622_400, report);
        if let Some(max_delay) = max_delay.filter(|max_delay| *max_delay <= interval) {
            let message = format!("`MaxDelaySeconds` {max_delay} must be more than `IntervalSeconds` {interval}");
            report.add(&fields.path, message);
        }
        let jitter = fields.text("JitterStrategy", report).unwrap_or("NONE");
        if !matches!(jitter, "FULL" | "NONE") {
            report.add(&fields.path, format!("`JitterStrategy` {jitter:?} is not known: FULL or NONE"));
        }
        let max_attempts = fields.whole("MaxAttempts", 0..=MAX_SECONDS, report).unwrap_or(3);
        let retrier = Retrier {
            errors,
            interval_seconds: interval as f64,
            backoff_rate: fields.number("BackoffRate", 1.0, report).unwrap_or(2.0),
            max_attempts: u32::try_from(max_attempts).unwrap_or(u32::MAX),
            max_delay_seconds: max_delay.map(|seconds| seconds as f64),
            full_jitter: jitter == "FULL",
        };
        fields.finish("a retrier", report);
        Some(retrier)
    }

    fn catcher(&mut self, i: usize, value: &Value) -> Option<Catcher> {
        let report = &mut self.builder.report;
        let path = format!("{}.Catch[{i}]", self.fields.path);
        let mut fields = Fields::new(value, path, report)?.within(format!("Catch[{i}]/"));
        fields.text("Comment", report);
        let errors = error_names(&mut fields, report);
        let mut after = fields.after(Place::Catch, report);
        after.next = self.builder.target(&mut fields, "Next", self.targets);
        if fields.take("Next").is_none() {
            fields.missing("Next", "the state to go to", &mut self.builder.report);
        }
        fields.finish("a catcher", &mut self.builder.report);
        Some(Catcher { errors, after })
    }

    /// `Assign`, `Output` and either `Next` or `End`.
    fn after(&mut self, place: Place) -> After {
        let mut after = self.fields.after(place, &mut self.builder.report);
        after.next = self.builder.target(&mut self.fields, "Next", self.targets);
        let end = self.fields.flag("End", &mut self.builder.report) == Some(true);
        if self.fields.take("Next").is_some() == end {
            self.builder.report.add(&self.fields.path, "a state has either `Next` or `\"End\": true`");
        }
        after
    }

    fn put(&mut self, position: usize, kind: Option<Kind>, after: After) {
        let state = &mut self.builder.states[position];
        state.after = after;
        // Without a kind something was reported, and no machine comes of it.
        if let Some(kind) = kind {
            state.kind = kind;
        }
    }
}

fn error_names(fields: &mut Fields<'_>, report: &mut Report) -> Vec<String> {
    let names = fields.list("ErrorEquals", report);
    if names.is_empty() {
        fields.missing("ErrorEquals", "the names of the errors, or [\"States.ALL\"]", report);
    }
    let mut errors = Vec::with_capacity(names.len());
    for name in names {
        match name.as_str() {
            Some(name) if name.starts_with("States.") && !error::RESERVED.contains(&name) => {
                report.add(&fields.path, format!("`ErrorEquals` names {name:?}, which Step Functions does not know"));
            }
            Some(name) => errors.push(name.to_owned()),
            None => report.add(&fields.path, format!("`ErrorEquals` holds {}: names are strings", shown(name))),
        }
    }
    errors
}

/// `States.ALL` stands alone, and last.
fn check_wildcards(path: &str, field: &str, lists: &[&Vec<String>], report: &mut Report) {
    for (i, errors) in lists.iter().enumerate() {
        if !errors.iter().any(|name| name == error::ALL) {
            continue;
        }
        let path = format!("{path}.{field}[{i}]");
        if errors.len() > 1 {
            report.add(&path, "`ErrorEquals` names States.ALL beside others: it must stand alone");
        }
        if i + 1 < lists.len() {
            report.add(&path, format!("`ErrorEquals` names States.ALL before the end of {field}: it must come last"));
        }
    }
}
