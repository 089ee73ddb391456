//! What makes a plan and a design acceptable, and in which order the tasks are done.

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, PlannedTask, Refusal};
use crate::design::Design;
use crate::{ErrorName, FunctionError, TaskId};

/// The longest title, in characters.
pub const MAX_TITLE_CHARS: usize = 200;
/// The longest description, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 8_000;
/// The longest reason of a refusal, in characters.
const MAX_REFUSAL_CHARS: usize = 1_000;

/// A plan that can be done: what waits for what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedPlan {
    /// Tasks that may run at once, wave after wave; in a wave the most urgent stands first.
    pub waves: Vec<Vec<TaskId>>,
}

/// Why a plan or a design is sent back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanProblem {
    /// There is nothing to do.
    #[error("the plan has no task: give it at least one, or a refusal")]
    NoTask,
    /// It refuses and plans at once.
    #[error("the plan has a refusal and tasks: leave out one of them")]
    RefusalWithTasks,
    /// The refusal does not say why, or what would do.
    #[error("a refusal needs a reason and an instead of 1 to {MAX_REFUSAL_CHARS} characters each")]
    RefusalText,
    /// There is too much to do.
    #[error("the plan has {tasks} tasks, at most {limit} are allowed: join some, or raise `limits.tasks`")]
    TooManyTasks {
        /// How many it has.
        tasks: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Two tasks or design items have one id.
    #[error("two entries are called `{0}`: give each its own id")]
    RepeatedId(TaskId),
    /// A text is missing or too long.
    #[error("the {field} of `{id}` must have 1 to {limit} characters")]
    Text {
        /// Which entry.
        id: TaskId,
        /// Which of its fields.
        field: &'static str,
        /// How many characters it may have.
        limit: usize,
    },
    /// Something refers to a task that the plan does not have.
    #[error("`{from}` refers to task `{task}`, which the plan does not have")]
    UnknownTask {
        /// Who refers.
        from: TaskId,
        /// To what.
        task: TaskId,
    },
    /// Tasks wait for each other.
    #[error("tasks wait for each other: {}", .0.iter().map(TaskId::as_str).collect::<Vec<_>>().join(" -> "))]
    Cycle(Vec<TaskId>),
    /// A design item serves nothing.
    #[error("design item `{0}` serves no task: name at least one")]
    ServesNothing(TaskId),
    /// A task has no design.
    #[error("no design item serves task `{0}`: add one")]
    NotServed(TaskId),
}

impl From<PlanProblem> for FunctionError {
    fn from(problem: PlanProblem) -> Self {
        Self::new(ErrorName::PolicyRefused, problem.to_string())
    }
}

impl Plan {
    /// Checks the plan against the rules and puts its tasks in waves.
    ///
    /// A task starts in the wave after the last one it depends on. Tasks whose `paths` overlap are done one after the other,
    /// in the order of the plan; a task that names no paths overlaps with every other. Patterns overlap if the part before
    /// the first wildcard of one leads to the other, which errs on the side of waiting. A plan that refuses has no waves.
    ///
    /// # Errors
    /// The first [`PlanProblem`].
    pub fn accept(&self, max_tasks: usize) -> Result<AcceptedPlan, PlanProblem> {
        let tasks = &self.tasks;
        if let Some(Refusal { reason, instead }) = &self.refusal {
            let fits = |text: &str| !text.trim().is_empty() && text.chars().count() <= MAX_REFUSAL_CHARS;
            return match (tasks.is_empty(), fits(reason) && fits(instead)) {
                (false, _) => Err(PlanProblem::RefusalWithTasks),
                (true, false) => Err(PlanProblem::RefusalText),
                (true, true) => Ok(AcceptedPlan { waves: Vec::new() }),
            };
        }
        if tasks.is_empty() {
            return Err(PlanProblem::NoTask);
        }
        if tasks.len() > max_tasks {
            return Err(PlanProblem::TooManyTasks { tasks: tasks.len(), limit: max_tasks });
        }
        unique(tasks.iter().map(|task| &task.id))?;
        tasks.iter().try_for_each(check_texts)?;
        let mut graph = Graph::declared(tasks)?;
        graph.refuse_cycles(tasks)?;
        graph.serialise_overlaps(tasks);
        Ok(AcceptedPlan { waves: graph.waves(tasks) })
    }
}

impl Design {
    /// Checks that every task of the plan is served by at least one item, and every item serves a known task.
    ///
    /// # Errors
    /// The first [`PlanProblem`].
    pub fn accept(&self, plan: &Plan) -> Result<(), PlanProblem> {
        unique(self.items.iter().map(|item| &item.id))?;
        let known: BTreeSet<&TaskId> = plan.tasks.iter().map(|task| &task.id).collect();
        for item in &self.items {
            check_text(&item.id, "title", &item.title, MAX_TITLE_CHARS)?;
            check_text(&item.id, "detail", &item.detail, MAX_DESCRIPTION_CHARS)?;
            if item.tasks.is_empty() {
                return Err(PlanProblem::ServesNothing(item.id.clone()));
            }
            if let Some(task) = item.tasks.iter().find(|task| !known.contains(task)) {
                return Err(PlanProblem::UnknownTask { from: item.id.clone(), task: task.clone() });
            }
        }
        let served: BTreeSet<&TaskId> = self.items.iter().flat_map(|item| &item.tasks).collect();
        let unserved = plan.tasks.iter().find(|task| !served.contains(&task.id));
        unserved.map_or(Ok(()), |task| Err(PlanProblem::NotServed(task.id.clone())))
    }
}

fn unique<'a>(ids: impl Iterator<Item = &'a TaskId>) -> Result<(), PlanProblem> {
    let mut seen = BTreeSet::new();
    let mut repeated = ids.filter(|id| !seen.insert(*id));
    repeated.next().map_or(Ok(()), |id| Err(PlanProblem::RepeatedId(id.clone())))
}

fn check_texts(task: &PlannedTask) -> Result<(), PlanProblem> {
    check_text(&task.id, "title", &task.title, MAX_TITLE_CHARS)?;
    check_text(&task.id, "description", &task.description, MAX_DESCRIPTION_CHARS)
}

fn check_text(id: &TaskId, field: &'static str, text: &str, limit: usize) -> Result<(), PlanProblem> {
    let fits = !text.trim().is_empty() && text.chars().count() <= limit;
    if fits { Ok(()) } else { Err(PlanProblem::Text { id: id.clone(), field, limit }) }
}

/// What each task (by its place in the plan) waits for.
struct Graph(Vec<BTreeSet<usize>>);

impl Graph {
    fn declared(tasks: &[PlannedTask]) -> Result<Self, PlanProblem> {
        let places: BTreeMap<&TaskId, usize> =
            tasks.iter().enumerate().map(|(place, task)| (&task.id, place)).collect();
        let place = |from: &PlannedTask, task: &TaskId| {
            let unknown = || PlanProblem::UnknownTask { from: from.id.clone(), task: task.clone() };
            places.get(task).copied().ok_or_else(unknown)
        };
        let waits = |task: &PlannedTask| task.depends_on.iter().map(|on| place(task, on)).collect();
        tasks.iter().map(waits).collect::<Result<_, _>>().map(Self)
    }

    /// The way from `from` to `to` along what waits for what, both included.
    fn way(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut ways = vec![vec![from]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            for next in way.last().map(|last| &self.0[*last]).into_iter().flatten() {
                let longer = [way.as_slice(), &[*next]].concat();
                if *next == to {
                    return Some(longer);
                }
                if seen.insert(*next) {
                    ways.push(longer);
                }
            }
        }
        None
    }

    fn refuse_cycles(&self, tasks: &[PlannedTask]) -> Result<(), PlanProblem> {
        let cycle = (0..tasks.len()).find_map(|place| self.way(place, place));
        let named = |cycle: Vec<usize>| cycle.into_iter().map(|place| tasks[place].id.clone()).collect();
        cycle.map_or(Ok(()), |cycle| Err(PlanProblem::Cycle(named(cycle))))
    }

    fn serialise_overlaps(&mut self, tasks: &[PlannedTask]) {
        for later in 0..tasks.len() {
            for earlier in 0..later {
                if overlap(&tasks[earlier], &tasks[later]) && self.way(earlier, later).is_none() {
                    self.0[later].insert(earlier);
                }
            }
        }
    }

    /// Needs a graph without cycles.
    fn waves(&self, tasks: &[PlannedTask]) -> Vec<Vec<TaskId>> {
        let mut waves = Vec::new();
        let mut done: BTreeSet<usize> = BTreeSet::new();
        while done.len() < tasks.len() {
            let ready = |place: &usize| !done.contains(place) && self.0[*place].is_subset(&done);
            let mut wave: Vec<usize> = (0..tasks.len()).filter(ready).collect();
            wave.sort_by_key(|place| (std::cmp::Reverse(tasks[*place].priority), *place));
            done.extend(&wave);
            waves.push(wave.into_iter().map(|place| tasks[place].id.clone()).collect());
        }
        waves
    }
}

fn overlap(one: &PlannedTask, other: &PlannedTask) -> bool {
    let unknown = one.paths.is_empty() || other.paths.is_empty();
    unknown || one.paths.iter().any(|path| other.paths.iter().any(|other| patterns_overlap(path, other)))
}

fn patterns_overlap(one: &str, other: &str) -> bool {
    let fixed = |pattern: &str| {
        let pattern = pattern.trim().trim_start_matches("./").trim_end_matches('/').to_owned();
        pattern.find(['*', '?', '[', '{']).map_or((pattern.clone(), false), |end| (pattern[..end].to_owned(), true))
    };
    let leads_to = |(prefix, open): &(String, bool), (path, _): &(String, bool)| {
        let rest = path.strip_prefix(prefix.as_str());
        rest.is_some_and(|rest| *open || prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    };
    let (one, other) = (fixed(one), fixed(other));
    leads_to(&one, &other) || leads_to(&other, &one)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::design::DesignItem;
    use crate::plan::{Priority, TaskRole};

    fn id(text: &str) -> TaskId {
        TaskId::new(text).unwrap()
    }

    fn task(name: &str, depends_on: &[&str], paths: &[&str]) -> PlannedTask {
        PlannedTask {
            id: id(name),
            title: "a title".into(),
            description: "a description".into(),
            role: TaskRole::Developer,
            depends_on: depends_on.iter().map(|name| id(name)).collect(),
            priority: Priority::Medium,
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }
    }

    fn plan(tasks: Vec<PlannedTask>) -> Plan {
        Plan { summary: "s".into(), tasks, acceptance_criteria: vec![], risk_hint: None, refusal: None }
    }

    fn waves(tasks: Vec<PlannedTask>) -> Vec<Vec<String>> {
        let accepted = plan(tasks).accept(12).unwrap();
        accepted.waves.iter().map(|wave| wave.iter().map(TaskId::to_string).collect()).collect()
    }

    fn problem(tasks: Vec<PlannedTask>) -> String {
        plan(tasks).accept(3).unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_stands_alone_and_says_why() {
        let refusing = |reason: &str, tasks| {
            let refusal = Some(Refusal { reason: reason.into(), instead: "ask for this".into() });
            Plan { refusal, ..plan(tasks) }.accept(9)
        };
        assert_eq!(refusing("it would delete the tests", vec![]), Ok(AcceptedPlan { waves: vec![] }));
        assert_eq!(refusing(" ", vec![]), Err(PlanProblem::RefusalText));
        assert_eq!(refusing("x", vec![task("a", &[], &[])]), Err(PlanProblem::RefusalWithTasks));
    }

    #[test]
    fn a_plan_out_of_bounds_is_sent_back_with_the_reason() {
        let named = |name: &str| task(name, &[], &[name]);
        assert_eq!(problem(vec![]), "the plan has no task: give it at least one, or a refusal");
        assert!(problem(["a", "b", "c", "d"].map(named).into()).contains("has 4 tasks, at most 3"));
        assert!(problem(vec![named("a"), named("a")]).contains("two entries are called `a`"));
        assert!(problem(vec![task("a", &["x"], &[])]).contains("`a` refers to task `x`"));
        let untitled = PlannedTask { title: " ".into(), ..named("a") };
        assert_eq!(problem(vec![untitled]), "the title of `a` must have 1 to 200 characters");
    }

    #[test]
    fn a_cycle_is_named() {
        let tasks = vec![task("a", &["c"], &["a"]), task("b", &["a"], &["b"]), task("c", &["b"], &["c"])];
        assert_eq!(problem(tasks), "tasks wait for each other: a -> c -> b -> a");
        assert_eq!(problem(vec![task("a", &["a"], &[])]), "tasks wait for each other: a -> a");
    }

    #[test]
    fn waves_follow_dependencies_and_priority() {
        let urgent = PlannedTask { priority: Priority::Critical, ..task("c", &[], &["c"]) };
        let tasks = vec![task("a", &[], &["a"]), task("b", &["a"], &["b"]), urgent];
        assert_eq!(waves(tasks), [vec!["c", "a"], vec!["b"]]);
    }

    #[test]
    fn tasks_that_overlap_are_done_in_the_order_of_the_plan() {
        assert_eq!(waves(vec![task("a", &[], &["src/x.rs"]), task("b", &[], &["src/y.rs"])]), [["a", "b"]]);
        assert_eq!(waves(vec![task("a", &[], &["src/**"]), task("b", &[], &["src/y.rs"])]), [["a"], ["b"]]);
        assert_eq!(waves(vec![task("a", &[], &[]), task("b", &[], &["src/y.rs"])]), [["a"], ["b"]]);
        let declared = vec![task("a", &["b"], &["src"]), task("b", &[], &["src"])];
        assert_eq!(waves(declared), [["b"], ["a"]], "what the plan declares is not turned round");
    }

    #[test]
    fn patterns_overlap_where_they_can_meet() {
        for (one, other, expected) in [
            ("src/lib.rs", "src/lib.rs", true),
            ("src", "src/lib.rs", true),
            ("src/", "./src/lib.rs", true),
            ("src/lib", "src/lib.rs", false),
            ("src/*.rs", "src/lib.rs", true),
            ("**/*.rs", "docs/a.md", true),
            ("src/a*", "src/b.rs", false),
            ("src/a/**", "src/b/**", false),
        ] {
            assert_eq!(patterns_overlap(one, other), expected, "{one} {other}");
            assert_eq!(patterns_overlap(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_design_serves_every_task() {
        let plan = plan(vec![task("a", &[], &["a"]), task("b", &[], &["b"])]);
        let item = |name: &str, tasks: &[&str]| DesignItem {
            id: id(name),
            title: "t".into(),
            detail: "d".into(),
            tasks: tasks.iter().map(|name| id(name)).collect(),
        };
        let accept = |items: Vec<DesignItem>| {
            Design { summary: "s".into(), items, test_strategy: "t".into(), corrections: vec![] }
                .accept(&plan)
                .map_err(|e| e.to_string())
        };
        assert_eq!(accept(vec![item("one", &["a", "b"])]), Ok(()));
        assert_eq!(accept(vec![item("one", &["a"])]).unwrap_err(), "no design item serves task `b`: add one");
        assert!(accept(vec![item("one", &["a", "x"])]).unwrap_err().contains("`one` refers to task `x`"));
        assert!(accept(vec![item("one", &["a", "b"]), item("two", &[])]).unwrap_err().contains("`two` serves no task"));
        assert!(accept(vec![item("one", &["a", "b"]), item("one", &["a"])]).unwrap_err().contains("called `one`"));
    }

    proptest! {
        #[test]
        fn every_task_stands_in_one_wave_after_all_it_waits_for(
            edges in proptest::collection::vec((0_usize..8, 0_usize..8), 0..12),
            paths in proptest::collection::vec(0_usize..4, 8),
        ) {
            let name = |place: usize| format!("t{place}");
            let mut tasks: Vec<PlannedTask> = (0..8).map(|n| task(&name(n), &[], &[&format!("p{}", paths[n])])).collect();
            for (one, other) in edges.iter().filter(|(one, other)| one != other) {
                tasks[*one.max(other)].depends_on.push(id(&name(*one.min(other))));
            }
            let waves = plan(tasks.clone()).accept(8).unwrap().waves;
            prop_assert_eq!(waves.iter().map(Vec::len).sum::<usize>(), 8);
            let wave_of = |task: &TaskId| waves.iter().position(|wave| wave.contains(task)).unwrap();
            for (place, task) in tasks.iter().enumerate() {
                prop_assert!(task.depends_on.iter().all(|on| wave_of(on) < wave_of(&task.id)));
                prop_assert!(tasks[..place].iter().all(|other| !overlap(task, other) || wave_of(&other.id) != wave_of(&task.id)));
            }
        }
    }
}
