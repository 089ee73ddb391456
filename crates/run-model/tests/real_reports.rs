//! What test runners really wrote, and what a hostile test makes of it, read by the rules of evidence.

use run_model::evidence::{
    ParsedTests, TestOutcome, canonical_tail, parse_go_test, parse_jest, parse_junit, parse_unittest,
};

const FOLDER: &str = "/workspace/tree";

/// Each test as `+passed`, `-failed` or `~ignored`.
fn signed(parsed: &ParsedTests) -> Vec<String> {
    let sign = |outcome| match outcome {
        TestOutcome::Passed => '+',
        TestOutcome::Failed => '-',
        TestOutcome::Ignored => '~',
    };
    parsed.tests.iter().map(|test| format!("{}{}", sign(test.outcome), test.name)).collect()
}

#[track_caller]
fn trusted(parsed: &ParsedTests, expected: &[&str]) {
    assert_eq!(parsed.doubt, None);
    assert_eq!(signed(parsed), expected);
}

#[track_caller]
fn doubted(parsed: &ParsedTests, why: &str) {
    let doubt = parsed.doubt.as_deref().unwrap_or_default();
    assert!(doubt.contains(why), "{parsed:?}");
}

#[test]
fn pytest_names_files_classes_and_parameters() {
    let parsed = parse_junit(include_str!("reports/pytest.xml"), FOLDER);
    trusted(
        &parsed,
        &[
            "+tests/sub/test_b.py::T::test_doc",
            "~tests/sub/test_b.py::T::test_ef",
            "-tests/sub/test_b.py::T::test_err",
            "+tests/sub/test_b.py::T::test_ok",
            "~tests/sub/test_b.py::T::test_sk",
            "-tests/sub/test_b.py::T::test_sub",
            "-tests/sub/test_b.py::T::test_us",
            "+tests/test_a.py::TestC::TestInner::test_in",
            "+tests/test_a.py::TestC::test_m",
            "-tests/test_a.py::test_bad",
            "-tests/test_a.py::test_both",
            "+tests/test_a.py::test_ok",
            "+tests/test_a.py::test_param[1.5]",
            "+tests/test_a.py::test_param[\\xfc<&>\\x00]",
            "+tests/test_a.py::test_param[a/b]",
            "-tests/test_a.py::test_setup",
            "~tests/test_a.py::test_skip",
            "-tests/test_a.py::test_teardown",
            "~tests/test_a.py::test_xfail",
            "+tests/test_a.py::test_xpass",
        ],
    );
    let broken = parse_junit(include_str!("reports/pytest_collection.xml"), FOLDER);
    trusted(&broken, &["-tests/test_broken.py"]);
}

#[test]
fn the_runners_of_node_name_suites_and_files() {
    trusted(
        &parse_junit(include_str!("reports/node.xml"), FOLDER),
        &[
            "-bad",
            "+group <&> > deep > d",
            "+group <&> > inner",
            "-group <&> > inner bad",
            "+ok",
            "+ok #2",
            "+parent > child",
            "~skip",
            "-test/c.test.js",
            "~todo",
            "~todo fails",
        ],
    );
    trusted(
        &parse_junit(include_str!("reports/mocha.xml"), FOLDER),
        &[
            "+test/a.js::group <&> deep::d",
            "-test/a.js::group <&>::bad",
            "+test/a.js::group <&>::inner",
            "+test/a.js::ok",
            "~test/a.js::skip",
        ],
    );
    let vitest = parse_junit(include_str!("reports/vitest.xml"), FOLDER);
    assert_eq!(vitest.doubt, None);
    let names = signed(&vitest);
    assert_eq!(names.len(), 13);
    for expected in ["-test/a.test.js::bad", "+test/a.test.js::group <&> > inner #2", "-test/c.test.js"] {
        assert!(names.contains(&expected.to_owned()), "{names:?}");
    }
    trusted(
        &parse_jest(include_str!("reports/jest.json"), FOLDER),
        &[
            "-__tests__/a.test.js::bad",
            "+__tests__/a.test.js::group <&> > inner",
            "+__tests__/a.test.js::group <&> > inner #2",
            "~__tests__/a.test.js::later",
            "+__tests__/a.test.js::ok",
            "~__tests__/a.test.js::skip",
            "-__tests__/c.test.js",
        ],
    );
}

#[test]
fn go_names_packages_and_tests_and_its_printed_lines_are_found_out() {
    let (parsed, text) = parse_go_test(include_str!("reports/go.jsonl"));
    doubted(&parsed, "TestThree of example.com/x ended twice");
    assert_eq!(
        signed(&parsed),
        [
            "-example.com/x/b",
            "-example.com/x/c::TestC",
            "+example.com/x::ExampleDouble",
            "+example.com/x::TestPrints",
            "~example.com/x::TestSkip",
            "-example.com/x::TestTable",
            "+example.com/x::TestTable/a_b",
            "-example.com/x::TestTable/c",
            "-example.com/x::TestThree",
            "+example.com/x::TestTwo",
        ]
    );
    assert!(text.contains("a_test.go:4: got 5\n") && text.contains("FAIL\texample.com/x/b [build failed]"), "{text}");
    let printed = r#"{"Action":"run","Package":"p","Test":"T"}
{"Action":"fail","Package":"p","Test":"T"}
{"Action":"pass","Package":"p"}"#;
    doubted(&parse_go_test(printed).0, "p passed, and tests in it failed");
    doubted(&parse_go_test(r#"{"Action":"pass","Package":"p","Test":"T"}"#).0, "p did not end");
}

#[test]
fn unittest_names_modules_and_classes() {
    trusted(
        &parse_unittest(include_str!("reports/unittest.txt")),
        &[
            "+test_b.T.test_doc",
            "+test_b.T.test_ef",
            "-test_b.T.test_err",
            "+test_b.T.test_ok",
            "~test_b.T.test_sk",
            "-test_b.T.test_sub",
            "-test_b.T.test_us",
        ],
    );
    let rule = "-".repeat(70);
    let green = format!("test_a (m.T.test_a) ... ok\n\n{rule}\nRan 1 test in 0.000s\n\nOK\n");
    trusted(&parse_unittest(&green), &["+m.T.test_a"]);
    // As Python 3.10 writes, with a fixture that fails and a module that cannot be imported.
    let older = "test_a (m.T) ... ok\nsetUpClass (m.U) ... ERROR\nbad (unittest.loader._FailedTest) ... ERROR\n\n\
                 ======================================================================\nERROR: setUpClass (m.U)\n\
                 ======================================================================\n\
                 ERROR: bad (unittest.loader._FailedTest)\n\nRan 2 tests in 0.001s\n\nFAILED (errors=2)\n";
    let names = ["+m.T.test_a", "-m.U.setUpClass", "-unittest.loader._FailedTest.bad"];
    trusted(&parse_unittest(older), &names);
    trusted(&parse_unittest("\n----\nRan 0 tests in 0.000s\n\nNO TESTS RAN\n"), &[]);
}

#[test]
fn what_tests_print_is_found_out_in_unittest() {
    let honest = "test_a (m.T.test_a) ... ok\ntest_b (m.T.test_b) ... FAIL\n\n\
                  ======================================================================\nFAIL: test_b (m.T.test_b)\n\n\
                  Ran 2 tests in 0.001s\n\nFAILED (failures=1)\n";
    trusted(&parse_unittest(honest), &["+m.T.test_a", "-m.T.test_b"]);
    for (printed, why) in [
        ("test_gone (m.T.test_gone) ... ok\n", "3 tests were listed and 2 ran"),
        (
            "======================================================================\nFAIL: x (m.T.x)\n",
            "0 tests were listed",
        ),
    ] {
        doubted(&parse_unittest(&format!("{printed}{honest}")), why);
    }
    // After the summary, when the program ends.
    doubted(
        &parse_unittest(&format!("{honest}Ran 2 tests in 0.001s\n\nOK\n")),
        "0 failures are summed up and 1 explained",
    );
    doubted(&parse_unittest("test_a (m.T.test_a) ... ok\n"), "no summary");
}

#[test]
fn a_report_that_does_not_agree_with_itself_is_doubted() {
    for (report, why) in [
        ("", "no XML"),
        ("<testsuite tests=\"1\"><testcase name=\"a\"/>", "no XML"),
        ("<html/>", "not in JUnit's form"),
        ("<!DOCTYPE t [<!ENTITY a \"b\">]><testsuite/>", "no XML"),
        ("<testsuite name=\"s\" tests=\"3\" failures=\"0\"/>", "counts 3 tests in s and shows 0"),
        ("<testsuite tests=\"1\" failures=\"1\"><testcase name=\"a\"/></testsuite>", "counts 1 failures"),
        (
            "<testsuite tests=\"1\" failures=\"0\"><testcase name=\"a\"><error/></testcase></testsuite>",
            "counts 0 failures in the whole and shows 1",
        ),
    ] {
        doubted(&parse_junit(report, FOLDER), why);
    }
    let jest = include_str!("reports/jest.json");
    doubted(
        &parse_jest(&jest.replace("\"numFailedTests\": 1", "\"numFailedTests\": 0"), FOLDER),
        "counts 6 tests, 0 failed, and shows 6 and 1",
    );
    doubted(&parse_jest(&jest.replace("\"success\": false", "\"success\": true"), FOLDER), "calls a success");
    doubted(&parse_jest("{}", FOLDER), "not jest's");
}

#[test]
fn a_name_cannot_write_on_a_terminal() {
    let event = r#"{"Action":"pass","Package":"p","Test":"T\u001b[2J"}
{"Action":"pass","Package":"p"}"#;
    assert_eq!(parse_go_test(event).0.tests[0].name, "p::T\u{fffd}[2J");
}

#[test]
fn what_runners_say_of_time_is_left_out() {
    for (raw, expected) in [
        ("ℹ duration_ms 452.942436", "ℹ duration_ms <time>"),
        (" ✓ a.test.js (2 tests) 17ms", " ✓ a.test.js (2 tests) <time>"),
        ("✓ adds (12 ms)", "✓ adds (<time>)"),
        ("   Start at  06:31:59\nok\n   Duration  960ms (transform 44ms)", "ok"),
        ("Time:        1 s, estimated 2 s\nok", "ok"),
        ("2 passed in 75.31s (0:01:15)", "2 passed in <time>"),
        ("ok  \texample.com/a\t0.003s", "ok  \texample.com/a\t<time>"),
        ("timeout after 500 ms in a.js", "timeout after 500 ms in a.js"),
    ] {
        assert_eq!(canonical_tail(raw, &[]), expected);
    }
}
