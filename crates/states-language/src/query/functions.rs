//! What Step Functions adds to JSONata, and what it takes in hand: the clock and chance.

use std::cell::RefCell;
use std::rc::Rc;

use jsonata_core::evaluator::{Context, Evaluator, EvaluatorError, HostFnResult};
use jsonata_core::parser;
use jsonata_core::value::JValue;
use md5::Digest as _;
use sha2::Digest as _;

use super::AllNames;
use crate::Env;

/// The functions that Step Functions adds to JSONata.
pub(super) const NAMES: [&str; 6] = ["partition", "range", "hash", "random", "uuid", "parse"];

/// The most elements `$range` makes; AWS allows 360,145.
const MAX_RANGE: f64 = 100_000.0;

/// The most numbers or ids one expression may draw.
const MAX_DRAWS: usize = 1 << 16;

/// Numbers and ids drawn for one expression. The evaluator's functions cannot borrow the world outside, so they take
/// what was drawn before; when that runs out, more is drawn and the expression, being pure, runs again from the start.
#[derive(Default)]
pub(super) struct Draws {
    numbers: Vec<f64>,
    uuids: Vec<String>,
    numbers_used: usize,
    uuids_used: usize,
    short: bool,
}

impl Draws {
    /// Forgets what an earlier expression drew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the last run wanted more than there was; then there is more now.
    pub(super) fn refill(&mut self, env: &mut dyn Env) -> bool {
        let short = std::mem::take(&mut self.short) && self.numbers.len() < MAX_DRAWS;
        if short {
            let want = (self.numbers.len() * 2).max(4);
            self.numbers.resize_with(want, || env.random());
            self.uuids.resize_with(want, || env.uuid());
        }
        self.numbers_used = 0;
        self.uuids_used = 0;
        short
    }

    fn number(&mut self) -> Result<f64, EvaluatorError> {
        self.numbers_used += 1;
        self.numbers.get(self.numbers_used - 1).copied().ok_or_else(|| self.starved())
    }

    fn uuid(&mut self) -> Result<String, EvaluatorError> {
        self.uuids_used += 1;
        self.uuids.get(self.uuids_used - 1).cloned().ok_or_else(|| self.starved())
    }

    fn starved(&mut self) -> EvaluatorError {
        self.short = true;
        EvaluatorError::EvaluationError(format!("more than {MAX_DRAWS} random numbers or ids in one expression"))
    }
}

/// A function of its arguments alone.
type Plain = fn(&[JValue]) -> HostFnResult;

/// Registers those functions that the expressions name.
pub(super) fn register(
    evaluator: &mut Evaluator,
    names: &AllNames<'_>,
    now_ms: i64,
    draws: &Rc<RefCell<Draws>>,
) -> Result<(), EvaluatorError> {
    let plain: [(&str, Plain); 4] = [("partition", partition), ("range", range), ("hash", hash), ("parse", parse)];
    for (name, function) in plain.into_iter().filter(|(name, _)| names.calls(name)) {
        evaluator.register_fn(name, function)?;
    }
    if names.calls("uuid") {
        let draws = Rc::clone(draws);
        evaluator.register_fn("uuid", move |_: &[JValue]| draws.borrow_mut().uuid().map(JValue::from))?;
    }
    if names.calls("random") {
        let draws = Rc::clone(draws);
        evaluator.register_fn_override("random", move |args: &[JValue]| {
            match args.first().and_then(JValue::as_f64) {
                Some(seed) => Ok(JValue::from(seeded(seed))),
                None => draws.borrow_mut().number().map(JValue::from),
            }
        })?;
    }
    if names.calls("shuffle") {
        let draws = Rc::clone(draws);
        evaluator.register_fn_override("shuffle", move |args: &[JValue]| shuffle(&mut draws.borrow_mut(), args))?;
    }
    if names.calls("millis") {
        evaluator.register_fn_override("millis", move |_: &[JValue]| Ok(JValue::from(now_ms)))?;
    }
    if names.calls("now") {
        evaluator.register_fn_override("now", move |args: &[JValue]| now(now_ms, args))?;
    }
    Ok(())
}

/// `$shuffle(array)`, by Fisher and Yates.
fn shuffle(draws: &mut Draws, args: &[JValue]) -> HostFnResult {
    let Some(JValue::Array(items)) = args.first() else { return Err(wrong("shuffle", "an array")) };
    let mut items = items.to_vec();
    for last in (1..items.len()).rev() {
        let chosen = (draws.number()? * (last + 1) as f64) as usize;
        items.swap(last, chosen.min(last));
    }
    Ok(JValue::array(items))
}

/// `$now(picture?, timezone?)` is `$fromMillis` of the step's one instant.
fn now(now_ms: i64, args: &[JValue]) -> HostFnResult {
    let mut context = Context::new();
    context.bind("millis".to_owned(), JValue::from(now_ms));
    let mut expression = String::from("$fromMillis($millis");
    for (name, arg) in ["picture", "timezone"].into_iter().zip(args) {
        context.bind(name.to_owned(), arg.clone());
        expression.push_str(", $");
        expression.push_str(name);
    }
    expression.push(')');
    let ast = parser::parse(&expression).map_err(|e| EvaluatorError::EvaluationError(e.to_string()))?;
    Evaluator::with_context(context).evaluate(&ast, &JValue::Undefined)
}

/// The same number of `[0, 1)` for the same seed (splitmix64).
fn seeded(seed: f64) -> f64 {
    let mut z = (seed.trunc() as i64 as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// `$partition(array, size)`: chunks of `size`, the last one holding the rest. Nothing to cut is undefined, as on AWS.
fn partition(args: &[JValue]) -> HostFnResult {
    let (Some(JValue::Array(items)), Some(size)) = (args.first(), args.get(1).and_then(JValue::as_f64)) else {
        return Err(wrong("partition", "an array and the size of a chunk"));
    };
    let size = size.trunc();
    if items.is_empty() || size < 1.0 {
        return Ok(JValue::Undefined);
    }
    Ok(JValue::array(items.chunks(size as usize).map(|chunk| JValue::array(chunk.to_vec())).collect()))
}

/// `$range(first, last, step)`: inclusive. A lone element is itself, not an array of it, and no element is undefined,
/// as on AWS; fractions are cut off.
fn range(args: &[JValue]) -> HostFnResult {
    let number = |i: usize| args.get(i).and_then(JValue::as_f64).map(f64::trunc);
    let (Some(first), Some(last)) = (number(0), number(1)) else {
        return Err(wrong("range", "first, last and step, all numbers"));
    };
    let Some(step) = number(2).filter(|step| *step != 0.0) else { return Ok(JValue::Undefined) };
    let length = ((last - first) / step).floor() + 1.0;
    if length > MAX_RANGE {
        return Err(EvaluatorError::EvaluationError(format!(
            "$range would make {length} elements: {MAX_RANGE} is the limit"
        )));
    }
    match length.max(0.0) as usize {
        0 => Ok(JValue::Undefined),
        1 => Ok(JValue::from(first)),
        n => Ok(JValue::array((0..n).map(|i| JValue::from(first + i as f64 * step)).collect())),
    }
}

/// `$hash(text, algorithm)`: the digest in hex. No algorithm is undefined, as on AWS.
fn hash(args: &[JValue]) -> HostFnResult {
    let Some(text) = args.first().and_then(JValue::as_str) else {
        return Err(wrong("hash", "a string and the name of an algorithm"));
    };
    let Some(algorithm) = args.get(1).and_then(JValue::as_str) else { return Ok(JValue::Undefined) };
    let digest = match algorithm {
        "MD5" => hex::encode(md5::Md5::digest(text)),
        "SHA-1" => hex::encode(sha1::Sha1::digest(text)),
        "SHA-256" => hex::encode(sha2::Sha256::digest(text)),
        "SHA-384" => hex::encode(sha2::Sha384::digest(text)),
        "SHA-512" => hex::encode(sha2::Sha512::digest(text)),
        _ => return Err(wrong("hash", "MD5, SHA-1, SHA-256, SHA-384 or SHA-512 as algorithm")),
    };
    Ok(JValue::from(digest))
}

/// `$parse(text)`: the value that the JSON text says.
fn parse(args: &[JValue]) -> HostFnResult {
    let Some(text) = args.first().and_then(JValue::as_str) else { return Err(wrong("parse", "a string")) };
    JValue::from_json_str(text).map_err(|e| EvaluatorError::EvaluationError(format!("$parse: not JSON: {e}")))
}

fn wrong(function: &str, wanted: &str) -> EvaluatorError {
    EvaluatorError::TypeError(format!("T0410: ${function} takes {wanted}"))
}
