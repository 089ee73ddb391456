//! From the text to a [`Machine`]: the graphs of states and how they hang together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fields::{Fields, Report};
use super::{After, Kind, Machine, Problem, State, check, refused, states};

/// A list of states of its own: the machine's, a branch's or an item processor's.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) path: String,
    /// The graph that its Parallel or Map stands in.
    pub(super) outer: Option<usize>,
    pub(super) start: usize,
    pub(super) members: Vec<usize>,
}

/// The machine while it is read.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) states: Vec<State>,
    /// Where each state stands in the definition, by its position.
    pub(super) paths: Vec<String>,
    pub(super) graphs: Vec<Graph>,
    pub(super) report: Report,
    names: BTreeSet<String>,
}

/// The states that a transition may name.
pub(super) type Targets<'a> = BTreeMap<&'a str, usize>;

pub(super) fn machine(definition: &str) -> Result<Machine, Vec<Problem>> {
    let text = |message: String| vec![Problem { path: "definition".to_owned(), message }];
    let value: Value = serde_json::from_str(definition).map_err(|e| text(format!("not JSON: {e}")))?;
    let mut builder = Builder::default();
    let Some(mut fields) = Fields::new(&value, "definition", &mut builder.report) else {
        return Err(builder.report.0);
    };
    let report = &mut builder.report;
    fields.text("Comment", report);
    match fields.text("QueryLanguage", report) {
        Some("JSONata") => {}
        language => report.add("definition", refused::query_language(language)),
    }
    if let Some(version) = fields.text("Version", report).filter(|version| *version != "1.0") {
        report.add("definition", format!("`Version` {version:?} is not known: the only one is \"1.0\""));
    }
    let timeout_seconds = fields.whole("TimeoutSeconds", 1..=99_999_999, report);
    builder.graph(&mut fields, None);
    fields.finish("a state machine", &mut builder.report);
    check::graphs(&mut builder);
    match builder.graphs.first() {
        Some(root) if builder.report.0.is_empty() => {
            Ok(Machine { timeout_seconds, start: root.start, states: builder.states })
        }
        _ => Err(builder.report.0),
    }
}

impl Builder {
    /// Reads `StartAt` and `States`; says where the graph begins. The caller finishes the fields.
    pub(super) fn graph(&mut self, fields: &mut Fields<'_>, outer: Option<usize>) -> usize {
        let start_at = fields.text("StartAt", &mut self.report);
        let states = fields.take("States");
        let (Some(start_at), Some(Value::Object(states))) = (start_at, states) else {
            if start_at.is_none() {
                fields.missing("StartAt", "name the state to begin with", &mut self.report);
            }
            if !matches!(states, Some(Value::Object(_))) {
                fields.missing("States", "it must be an object of states", &mut self.report);
            }
            return 0;
        };
        let first = self.states.len();
        let targets: Targets<'_> = states.keys().enumerate().map(|(i, name)| (name.as_str(), first + i)).collect();
        // Positions first, so that transitions and nested graphs can refer to them.
        for name in states.keys() {
            self.reserve(name, fields.at(&format!("States.{name}")));
        }
        let start = targets.get(start_at).copied().unwrap_or_else(|| {
            self.report.add(&fields.path, format!("`StartAt` names {start_at:?}, which is no state here"));
            first
        });
        let members = targets.values().copied().collect();
        self.graphs.push(Graph { path: fields.path.clone(), outer, start, members });
        let graph = self.graphs.len() - 1;
        for (name, value) in states {
            states::read(self, graph, targets[name.as_str()], value, &targets);
        }
        start
    }

    fn reserve(&mut self, name: &str, path: String) {
        if !self.names.insert(name.to_owned()) {
            self.report.add(&path, format!("the name {name:?} is taken: names are unique in the whole machine"));
        }
        if name.chars().count() > 80 {
            self.report.add(&path, format!("the name {name:?} is too long: 80 characters are the limit"));
        }
        self.paths.push(path);
        let (kind, retry, catch) = (Kind::Pass, Vec::new(), Vec::new());
        self.states.push(State { name: name.to_owned(), kind, after: After::END, retry, catch });
    }

    /// The position of the state that a field names.
    pub(super) fn target(
        &mut self,
        fields: &mut Fields<'_>,
        field: &'static str,
        targets: &Targets<'_>,
    ) -> Option<usize> {
        let name = fields.text(field, &mut self.report)?;
        let target = targets.get(name).copied();
        if target.is_none() {
            let known = targets.keys().copied().collect::<Vec<_>>().join(", ");
            self.report.add(&fields.path, format!("`{field}` names {name:?}, which is no state beside it ({known})"));
        }
        target
    }
}
