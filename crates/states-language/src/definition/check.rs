//! What no state can see by itself: what is reached, what ends, and which variables exist where.

use std::collections::{BTreeMap, BTreeSet};

use super::Kind;
use super::parse::{Builder, Graph};

pub(super) fn graphs(builder: &mut Builder) {
    // A graph that could not be read completely would be blamed for what is missing.
    if !builder.report.0.is_empty() {
        return;
    }
    let mut found = Vec::new();
    for graph in &builder.graphs {
        reached(builder, graph, &mut found);
        variables(builder, graph, &mut found);
    }
    for (path, message) in found {
        builder.report.add(&path, message);
    }
}

type Found = Vec<(String, String)>;

/// Every state can be reached from the start, and some state ends the graph.
fn reached(builder: &Builder, graph: &Graph, found: &mut Found) {
    let mut seen = BTreeSet::new();
    let mut next = vec![graph.start];
    while let Some(position) = next.pop() {
        if seen.insert(position) {
            next.extend(builder.states[position].successors());
        }
    }
    for position in graph.members.iter().filter(|position| !seen.contains(position)) {
        found.push((
            builder.paths[*position].clone(),
            "no state leads here: remove it, or name it in a Next".to_owned(),
        ));
    }
    let ends = |position: &usize| {
        let state = &builder.states[*position];
        state.after.next.is_none() && !matches!(state.kind, Kind::Choice(_))
    };
    if !seen.iter().any(ends) {
        found.push((
            graph.path.clone(),
            "no state ends it: give one `\"End\": true`, or add a Succeed or Fail".to_owned(),
        ));
    }
}

/// A variable that is read is assigned in its own or an outer scope; none is assigned in both.
fn variables(builder: &Builder, graph: &Graph, found: &mut Found) {
    let own = assigned(builder, graph);
    let mut outer = BTreeMap::new();
    let mut around = graph.outer;
    while let Some(graph) = around.map(|position| &builder.graphs[position]) {
        outer.extend(assigned(builder, graph));
        around = graph.outer;
    }
    for (name, path) in &own {
        if let Some(taken) = outer.get(name) {
            let message =
                format!("`Assign` sets `${name}`, which {taken} assigns in an outer scope: take another name");
            found.push(((*path).to_owned(), message));
        }
    }
    for position in &graph.members {
        for template in builder.states[*position].templates() {
            template.each_query(&mut |query| {
                for name in
                    query.names().variables().filter(|name| !own.contains_key(name) && !outer.contains_key(name))
                {
                    let message = format!(
                        "`{}` reads `${name}`, which no state of this scope or an outer one assigns",
                        query.field()
                    );
                    found.push((builder.paths[*position].clone(), message));
                }
            });
        }
    }
}

/// The variables that the states of a graph assign, each with the first place.
fn assigned<'a>(builder: &'a Builder, graph: &Graph) -> BTreeMap<&'a str, &'a str> {
    let mut all = BTreeMap::new();
    for position in &graph.members {
        for name in builder.states[*position].assigned() {
            all.entry(name).or_insert(builder.paths[*position].as_str());
        }
    }
    all
}
