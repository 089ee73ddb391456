//! Which names an expression uses: what has to be bound before it runs, and what keeps it from running at all.

use std::collections::BTreeSet;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};
use jsonata_core::evaluator::Evaluator;
use jsonata_core::value::{JValue, with_stack};

use super::functions;
use super::{Place, Template};

/// The names in one expression.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Variables and functions that the expression does not bind itself, without `$`.
    free: BTreeSet<String>,
    /// Names that it binds: `:=`, parameters, `@` and `#`.
    bound: BTreeSet<String>,
    /// What it reads of `$states`: dotted paths without the `states`; the empty path is all of it.
    states: BTreeSet<String>,
    /// Fields read at the top, where there is no context item.
    top: BTreeSet<String>,
    /// Reads `$$`.
    root: bool,
}

impl Names {
    pub(super) fn of(ast: &AstNode) -> Self {
        let mut names = Self::default();
        names.visit(ast, true);
        names
    }

    /// Names that neither the expression nor JSONata nor Step Functions knows: they must be assigned variables.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        let unbound = self.free.iter().filter(|name| !self.bound.contains(*name) && !is_function(name));
        unbound.map(String::as_str)
    }

    /// Why the expression cannot stand where it does; the rules are those of AWS, that refuses it at creation too.
    pub(super) fn refused(&self, place: Place) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.free.contains("eval") {
            wrong.push("`$eval` is not available in Step Functions: use `$parse` to read JSON text".to_owned());
        }
        if self.root {
            wrong.push("`$$` has no meaning in Step Functions: use `$states.input`".to_owned());
        }
        for name in &self.top {
            wrong.push(format!(
                "`{name}` at the top level reads nothing: write `$states.input.{name}` or, for a variable, `${name}`"
            ));
        }
        let named = |part: &str| self.states.iter().any(|path| path == part || path.starts_with(&format!("{part}.")));
        if place != Place::Result && named("result") {
            wrong.push("`$states.result` exists only in Assign and Output of a Task, Map or Parallel".to_owned());
        }
        if place != Place::Catch && named("errorOutput") {
            wrong.push("`$states.errorOutput` exists only in Assign and Output of a catcher".to_owned());
        }
        wrong
    }

    /// `top`: there is no context item yet, so that a bare field name reads nothing.
    fn visit(&mut self, node: &AstNode, top: bool) {
        with_stack(|| match node {
            AstNode::Name(name) if top => {
                self.top.insert(name.clone());
            }
            AstNode::Variable(name) => self.reference(name),
            AstNode::ParentVariable(_) => self.root = true,
            AstNode::Path { steps } => self.visit_path(steps, top),
            AstNode::Binary { op, lhs, rhs } => self.visit_binary(*op, lhs, rhs, top),
            AstNode::Function { name, args, .. } => {
                self.reference(name);
                self.visit_all(args, top);
            }
            AstNode::Call { procedure, args } => {
                self.visit(procedure, top);
                self.visit_all(args, top);
            }
            AstNode::Lambda { params, body, .. } => {
                self.bound.extend(params.iter().cloned());
                self.visit(body, top);
            }
            AstNode::Array(items) | AstNode::Block(items) | AstNode::ArrayGroup(items) => self.visit_all(items, top),
            AstNode::Object(pairs) => self.visit_pairs(pairs, top),
            AstNode::ObjectTransform { input, pattern } => {
                self.visit(input, top);
                self.visit_pairs(pattern, false);
            }
            AstNode::Unary { operand, .. } | AstNode::FunctionApplication(operand) => self.visit(operand, top),
            AstNode::Conditional { condition, then_branch, else_branch } => {
                self.visit(condition, top);
                self.visit(then_branch, top);
                else_branch.iter().for_each(|branch| self.visit(branch, top));
            }
            AstNode::Sort { input, terms } => {
                self.visit(input, top);
                terms.iter().for_each(|(term, _)| self.visit(term, false));
            }
            AstNode::Transform { location, update, delete } => {
                self.visit(location, false);
                self.visit(update, false);
                delete.iter().for_each(|fields| self.visit(fields, false));
            }
            _ => {}
        });
    }

    fn visit_all(&mut self, nodes: &[AstNode], top: bool) {
        nodes.iter().for_each(|node| self.visit(node, top));
    }

    fn visit_pairs(&mut self, pairs: &[(AstNode, AstNode)], top: bool) {
        for (key, value) in pairs {
            self.visit(key, top);
            self.visit(value, top);
        }
    }

    fn visit_binary(&mut self, op: BinaryOp, lhs: &AstNode, rhs: &AstNode, top: bool) {
        match (op, lhs) {
            (BinaryOp::ColonEqual, AstNode::Variable(name)) => {
                self.bound.insert(name.clone());
            }
            _ => self.visit(lhs, top),
        }
        self.visit(rhs, top);
    }

    fn visit_path(&mut self, steps: &[PathStep], top: bool) {
        let mut rest = steps;
        if let Some((PathStep { node: AstNode::Variable(name), .. }, after)) = steps.split_first()
            && name == "states"
        {
            let members = after.iter().map_while(|step| match &step.node {
                AstNode::Name(member) => Some(member.as_str()),
                _ => None,
            });
            self.states.insert(members.collect::<Vec<_>>().join("."));
            self.visit_stages(&steps[0]);
            rest = after;
        }
        for (i, step) in rest.iter().enumerate() {
            self.visit(&step.node, top && i == 0 && rest.len() == steps.len());
            self.visit_stages(step);
        }
    }

    fn visit_stages(&mut self, step: &PathStep) {
        self.bound.extend(step.focus.iter().chain(&step.index_var).cloned());
        for stage in &step.stages {
            match stage {
                Stage::Filter(predicate) => self.visit(predicate, false),
                Stage::Index(name) => {
                    self.bound.insert(name.clone());
                }
                Stage::KeepArray => {}
            }
        }
    }

    fn reference(&mut self, name: &str) {
        match name {
            "" => {}
            "states" => {
                self.states.insert(String::new());
            }
            _ => {
                self.free.insert(name.to_owned());
            }
        }
    }
}

/// The names in the expressions of a template, or of several.
#[derive(Default)]
pub(crate) struct AllNames<'a>(Vec<&'a Names>);

impl<'a> AllNames<'a> {
    pub(super) fn add(&mut self, template: &'a Template) {
        template.each_query(&mut |query| self.0.push(query.names()));
    }

    /// The variables and functions that come from outside; some of them twice.
    pub(super) fn free(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().flat_map(|names| names.free.iter().map(String::as_str))
    }

    pub(super) fn calls(&self, function: &str) -> bool {
        self.0.iter().any(|names| names.free.contains(function))
    }

    /// Whether the part of `$states` at this dotted path is read, or something within it, or something around it.
    pub(crate) fn reads(&self, part: &str) -> bool {
        let within = |path: &str, outer: &str| {
            outer.is_empty() || path == outer || path.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'))
        };
        self.0.iter().flat_map(|names| &names.states).any(|path| within(path, part) || within(part, path))
    }
}

/// Whether JSONata or Step Functions brings a function of this name.
fn is_function(name: &str) -> bool {
    let known = || Evaluator::new().evaluate(&AstNode::Variable(name.to_owned()), &JValue::Undefined);
    functions::NAMES.contains(&name) || known().is_ok_and(|value| value.is_function())
}
