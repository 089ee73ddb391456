//! Map and Parallel: branches of their own, and how they come together again.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::Run;
use super::enter::unfit;
use super::record::Events;
use crate::HistoryEventType;
use crate::context::View;
use crate::data::Data;
use crate::definition::{Kind, MapState};
use crate::error::Failure;
use crate::execution::{Activity, BranchId, Join, Parent};
use crate::history::Details;
use crate::query::{Scene, Template};

/// The most iterations of an inline Map that run at once, whatever `MaxConcurrency` says.
const MAX_CONCURRENCY: usize = 40;

impl Run<'_> {
    pub(super) fn begin_parallel(
        &mut self,
        id: BranchId,
        arguments: Option<&Template>,
        starts: &[usize],
    ) -> Result<(), Failure> {
        let input = match arguments {
            Some(template) => Data::within_limit("The arguments of the state", self.value(id, template)?)?,
            None => self.branch(id).input.clone(),
        };
        self.record(id, HistoryEventType::ParallelStateStarted, Details::default());
        let total = starts.len();
        self.branch_mut(id).activity = Activity::Join(Join {
            waiting: VecDeque::new(),
            total,
            limit: total,
            running: total,
            results: BTreeMap::new(),
        });
        let last_event = self.branch(id).last_event;
        for (index, start) in starts.iter().enumerate() {
            let parent = Parent { branch: id, index, iteration: false, item: None };
            let branch = self.new_branch(*start, input.clone(), Some(parent));
            self.branch_mut(branch).last_event = last_event;
        }
        Ok(())
    }

    pub(super) fn begin_map(&mut self, id: BranchId, map: &MapState) -> Result<(), Failure> {
        let items = match &map.items {
            Some(template) => match self.value(id, template)? {
                Value::Array(items) => items,
                other => return Err(unfit(template, &other, "an array of items")),
            },
            None => match self.branch(id).input.value() {
                Value::Array(items) => items.clone(),
                _ => return Err(Failure::query_at("Items", "The input of the Map is not an array: give it Items.")),
            },
        };
        let asked = match &map.concurrency {
            Some(template) => usize::try_from(self.seconds(id, template, 0)?).unwrap_or(0),
            None => 0,
        };
        let limit = if asked == 0 { MAX_CONCURRENCY } else { asked.min(MAX_CONCURRENCY) };
        let total = items.len();
        self.record(id, HistoryEventType::MapStateStarted, Details { length: Some(total), ..Details::default() });
        self.branch_mut(id).activity =
            Activity::Join(Join { waiting: items.into(), total, limit, running: 0, results: BTreeMap::new() });
        self.go_on_joining(id);
        Ok(())
    }

    /// Begins iterations as far as the limit allows, or ends the state when nothing is left to do.
    fn go_on_joining(&mut self, id: BranchId) {
        while let Some((index, item)) = self.next_item(id) {
            if let Err(failure) = self.iterate(id, index, item) {
                return self.fail_working(id, failure);
            }
        }
        let Activity::Join(join) = &mut self.branch_mut(id).activity else { return };
        if join.results.len() < join.total {
            return;
        }
        let result = Value::Array(std::mem::take(&mut join.results).into_values().collect());
        let done = match &self.state(id).kind {
            Kind::Map(_) => HistoryEventType::MapStateSucceeded,
            _ => HistoryEventType::ParallelStateSucceeded,
        };
        let result = match Data::within_limit("The result of the state", result) {
            Ok(result) => result,
            Err(failure) => return self.fail_working(id, failure),
        };
        self.release(id);
        self.record(id, done, Details::default());
        self.complete(id, Some(result));
    }

    fn next_item(&mut self, id: BranchId) -> Option<(usize, Value)> {
        let Activity::Join(join) = &mut self.branch_mut(id).activity else { return None };
        if join.running >= join.limit {
            return None;
        }
        let index = join.total - join.waiting.len();
        let item = join.waiting.pop_front()?;
        join.running += 1;
        Some((index, item))
    }

    fn iterate(&mut self, id: BranchId, index: usize, item: Value) -> Result<(), Failure> {
        let Kind::Map(map) = &self.state(id).kind else { return Ok(()) };
        let selected = match &map.selector {
            Some(template) => {
                let mut view = View::new(self.machine, self.execution, id);
                view.item = Some((index, &item));
                Some(Scene::new(&[template], &view, self.env)?.value(template)?)
            }
            None => None,
        };
        let kept = map.keeps_item.then(|| item.clone());
        let input = match selected {
            Some(selected) => Data::within_limit("The selected item", selected)?,
            None => Data::new(item),
        };
        let parent = Parent { branch: id, index, iteration: true, item: kept };
        let branch = self.new_branch(map.start, input, Some(parent));
        self.branch_mut(branch).last_event = self.branch(id).last_event;
        self.record(branch, HistoryEventType::MapIterationStarted, self.iteration_details(id, index));
        Ok(())
    }

    /// A branch came to its end.
    pub(super) fn join(&mut self, id: BranchId, output: Value) {
        let Some(parent) = self.branch(id).parent.clone() else { return };
        if parent.iteration {
            let details = self.iteration_details(parent.branch, parent.index);
            self.record(id, HistoryEventType::MapIterationSucceeded, details);
        }
        let last_event = self.branch(id).last_event;
        self.execution.branches.remove(&id);
        let outer = self.branch_mut(parent.branch);
        outer.last_event = last_event;
        if let Activity::Join(join) = &mut outer.activity {
            join.running -= 1;
            join.results.insert(parent.index, output);
        }
        self.go_on_joining(parent.branch);
    }

    /// A branch failed, and with it the Map or Parallel.
    pub(super) fn fail_join(&mut self, id: BranchId, failure: Failure) {
        let Some(parent) = self.branch(id).parent.clone() else { return };
        if let (Kind::Task(_), Some(aborted)) = (&self.state(id).kind, Events::of(self.state(id)).aborted) {
            self.record(id, aborted, Details::default());
        }
        if parent.iteration {
            let details = self.iteration_details(parent.branch, parent.index);
            self.record(id, HistoryEventType::MapIterationFailed, details);
        }
        let last_event = self.branch(id).last_event;
        self.execution.branches.remove(&id);
        self.branch_mut(parent.branch).last_event = last_event;
        self.fail_working(parent.branch, failure);
    }

    /// Fails a Map or Parallel whose branches may still run.
    fn fail_working(&mut self, id: BranchId, failure: Failure) {
        self.cancel_inner(id);
        self.release(id);
        let failed = match &self.state(id).kind {
            Kind::Map(_) => HistoryEventType::MapStateFailed,
            _ => HistoryEventType::ParallelStateFailed,
        };
        self.record(id, failed, Details::default());
        self.fail(id, failure);
    }

    /// Cancels every branch of a Map or Parallel at once; what they still hear is too late.
    fn cancel_inner(&mut self, id: BranchId) {
        let inner =
            self.execution.branches.iter().filter(|(_, branch)| branch.parent.as_ref().is_some_and(|p| p.branch == id));
        let inner: Vec<BranchId> = inner.map(|(inner, _)| *inner).collect();
        for branch in inner {
            self.cancel(branch);
        }
    }

    fn cancel(&mut self, id: BranchId) {
        self.cancel_inner(id);
        let begun = !matches!(self.branch(id).activity, Activity::Ready);
        self.settle(id);
        // A branch that was about to enter a state has none to abort.
        if let Some(aborted) = Events::of(self.state(id)).aborted.filter(|_| begun) {
            self.record(id, aborted, Details::default());
        }
        if let Some(parent) = self.branch(id).parent.clone().filter(|parent| parent.iteration) {
            let details = self.iteration_details(parent.branch, parent.index);
            self.record(id, HistoryEventType::MapIterationAborted, details);
        }
        self.execution.branches.remove(&id);
    }

    fn iteration_details(&self, map: BranchId, index: usize) -> Details {
        Details { name: Some(self.state(map).name.clone()), index: Some(index), ..Details::default() }
    }
}
