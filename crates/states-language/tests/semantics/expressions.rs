//! What Step Functions adds to JSONata, and what it forbids.

use serde_json::{Value, json};

use crate::world::{World, machine};

fn evaluate(expression: &str, input: Value) -> Result<Value, String> {
    let state = json!({ "Type": "Pass", "Output": format!("{{% {expression} %}}"), "End": true });
    let world = World::start(&machine("Only", json!({ "Only": state })), input);
    match world.outcome.as_ref().and_then(|outcome| outcome.output.clone()) {
        Some(output) => Ok(output),
        None => {
            assert_eq!(world.error(), "States.QueryEvaluationError");
            Err(world.cause().split("). ").skip(1).collect())
        }
    }
}

fn value(expression: &str) -> Value {
    evaluate(expression, json!({})).unwrap_or_else(|cause| panic!("{expression}: {cause}"))
}

#[test]
fn added_functions_work() {
    for (expression, expected) in [
        ("$partition([1..5], 2)", json!([[1, 2], [3, 4], [5]])),
        ("$partition([1..4], 2.9)", json!([[1, 2], [3, 4]])),
        ("$range(0, 10, 5)", json!([0, 5, 10])),
        ("$range(5, 0, -2)", json!([5, 3, 1])),
        ("$range(-1.7, 1, 1)", json!([-1, 0, 1])),
        ("$range(3, 3, 1)", json!(3)),
        ("$hash('', 'MD5')", json!("d41d8cd98f00b204e9800998ecf8427e")),
        ("$hash('', 'SHA-1')", json!("da39a3ee5e6b4b0d3255bfef95601890afd80709")),
        ("$hash('abc', 'SHA-256')", json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
        ("$length($hash('a', 'SHA-384'))", json!(96)),
        ("$length($hash('a', 'SHA-512'))", json!(128)),
        ("$parse('{\"a\": [1, null]}').a[0]", json!(1)),
        ("$uuid()", json!("00000000-0000-4000-8000-000000000005")),
        ("$random()", json!(0.125)),
        ("$random(7) = $random(7)", json!(true)),
        ("$random(7) = $random(8)", json!(false)),
        ("$millis()", json!(1_767_225_600_000_i64)),
        ("$now()", json!("2026-01-01T00:00:00.000Z")),
        ("$now('[Y]-[D]')", json!("2026-1")),
        ("$fromMillis(0)", json!("1970-01-01T00:00:00.000Z")),
    ] {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn chance_comes_from_outside_however_much_is_drawn() {
    let drawn = value("[1..100].$uuid()");
    let ids = drawn.as_array().expect("ids");
    let distinct: std::collections::BTreeSet<_> = ids.iter().map(Value::to_string).collect();
    assert_eq!((ids.len(), distinct.len()), (100, 100));
    assert_eq!(value("[1..100].$random()"), value("[1..100].$random()"), "the same answers give the same values");
}

#[test]
fn a_shuffle_is_chance_from_outside_too() {
    let shuffled = value("$shuffle([1..30])");
    assert_eq!(shuffled, value("$shuffle([1..30])"));
    assert_ne!(shuffled, value("[1..30]"));
    assert_eq!(value("$sort($shuffle([1..30]))"), value("[1..30]"));
}

#[test]
fn what_comes_to_nothing_or_breaks_is_an_error() {
    for (expression, expected) in [
        ("$partition([1..4], 0)", "returned nothing (undefined)."),
        ("$partition([], 2)", "returned nothing (undefined)."),
        ("$range(0, 3)", "returned nothing (undefined)."),
        ("$range(0, 3, -1)", "returned nothing (undefined)."),
        ("$hash('a')", "returned nothing (undefined)."),
        ("$range(0, 1000000, 1)", "threw an error during evaluation. $range would make 1000001 elements"),
        ("$hash('a', 'SHA-3')", "threw an error during evaluation. T0410: $hash takes MD5, SHA-1"),
        ("$parse('{')", "threw an error during evaluation. $parse: not JSON"),
        ("'a' + 1", "threw an error during evaluation. T2001"),
        ("function($x) { $x }", "returned a function, which is not JSON."),
        ("$error('no')", "threw an error during evaluation. D3137: no"),
        ("($f := function($n) { 1 + $f($n + 1) }; $f(0))", "threw an error during evaluation. D1011"),
        ("$map([1..200000], function($x) { $x })", "threw an error during evaluation. D"),
    ] {
        let cause = evaluate(expression, json!({})).expect_err(expression);
        assert!(cause.starts_with("The JSONata expression") && cause.contains(expected), "{expression}: {cause}");
    }
}

#[test]
fn null_is_a_value() {
    for (expression, expected) in [
        ("$states.input.bar", json!(null)),
        ("[$states.input.bar]", json!([null])),
        ("$exists($states.input.bar)", json!(true)),
        ("$type($states.input.bar)", json!("null")),
    ] {
        assert_eq!(evaluate(expression, json!({ "bar": null })), Ok(expected), "{expression}");
    }
}

#[test]
fn whole_states_and_single_members_read_the_same() {
    let input = json!({ "a": { "b": 1 } });
    for expression in ["$states.input.a.b", "($s := $states; $s.input.a.b)", "$lookup($states, 'input').a.b"] {
        assert_eq!(evaluate(expression, input.clone()), Ok(json!(1)), "{expression}");
    }
}

#[test]
fn members_that_are_nothing_are_left_out_inside_an_expression() {
    assert_eq!(evaluate("{ 'a': $states.input.absent, 'b': 1 }", json!({})), Ok(json!({ "b": 1 })));
}
