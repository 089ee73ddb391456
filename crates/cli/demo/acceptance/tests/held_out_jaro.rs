// The regression tests that came with the fix in strsim 0.11.0 (MIT, see LICENSE), moved from its unit tests into a file of
// their own. No agent ever sees them.
extern crate strsim;

use strsim::{jaro, jaro_winkler};

macro_rules! assert_delta {
    ($x:expr, $y:expr, $d:expr) => {
        if ($x - $y).abs() > $d {
            panic!("assertion failed: actual: `{}`, expected: `{}`: actual not within < {} of expected", $x, $y, $d);
        }
    };
}

#[test]
fn jaro_diff_with_transposition() {
    assert_delta!(0.944, jaro("martha", "marhta"), 0.001);
    assert_delta!(0.6, jaro("a jke", "jane a k"), 0.001);
}

#[test]
fn jaro_winkler_diff_with_transposition() {
    assert_delta!(0.961, jaro_winkler("martha", "marhta"), 0.001);
    assert_delta!(0.6, jaro_winkler("a jke", "jane a k"), 0.001);
}
