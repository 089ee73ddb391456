//! Output as evidence keeps it: the same on every machine, for every user, on every day.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::scan::mask;

/// The most a canonical tail holds, in bytes.
pub const TAIL_BYTES: usize = 16 * 1024;
/// How much of the end is searched for secrets, in bytes: more than is kept, so that none is cut in its middle, and so little that
/// it takes no time.
const SEARCHED_BYTES: usize = 4 * TAIL_BYTES;

/// What varies between two runs of the same tree, and what stands in its place.
static VARYING: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\d+\.\d+ ?(?:s|ms|us|µs|ns)\b(?: \(\d+:\d\d:\d\d\))?", "<time>"),
        (r"\(\d+ ?m?s\)", "(<time>)"),
        (r"(?m) \d+ms$", " <time>"),
        (r"\bduration_ms \d+(?:\.\d+)?", "duration_ms <time>"),
        (r"-[0-9a-f]{16}\b", "-<hash>"),
        (r"(thread '[^'\n]*') \(\d+\)", "$1"),
        (r"\b0x[0-9a-f]{12}\b", "<address>"),
        (r"/(?:rustdoctest|\.tmp)[0-9A-Za-z]{6}\b", "/<temporary>"),
        (r"(127\.0\.0\.1|localhost|\[::1\]):\d{4,5}\b", "$1:<port>"),
    ]
    .map(|(pattern, instead)| (Regex::new(pattern).expect("a literal pattern"), instead))
    .into()
});

/// Escape sequences of terminals: colours and cursor (CSI), titles and links (OSC), and two-byte ones.
static ESCAPES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])").expect("a literal pattern")
});

/// Lines by which cargo says how it got ready, which depend on what was cached; a hint that the first panic prints, whichever
/// test that is; lines of other runners that say nothing but when and how long.
static NOISE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^ *(?:Adding|Blocking|Building|Checking|Compiling|Dirty|Documenting|Downloaded|Downloading|Finished|Fresh|Locking|Updating|Vendoring) |^ *(?:Start at|Duration)  +\d|^Time: +[\d.]+ m?s|^note: run with `RUST_BACKTRACE=",
    )
    .expect("a literal pattern")
});

/// The end of a command's output without anything that varies between machines, users or days: escape sequences and
/// control characters, cargo's lines about getting ready, durations, hashes of build products, thread ids, addresses
/// and ports are gone, and what tests ran in parallel stands in the order of names. `replacements` are pairs of
/// (text, what stands instead), meant for absolute paths; the longest text is replaced first.
///
/// What looks like a secret is masked before anything is cut. At most [`TAIL_BYTES`]; what is cut off is cut at a line, and a first line says so.
pub fn canonical_tail(text: &str, replacements: &[(String, String)]) -> String {
    let mut text = plain(text);
    let mut replacements: Vec<_> = replacements.iter().filter(|(from, _)| !from.is_empty()).collect();
    replacements.sort_by_key(|(from, _)| (std::cmp::Reverse(from.len()), from));
    for (from, to) in replacements {
        text = text.replace(from.as_str(), to);
    }
    for (pattern, instead) in VARYING.iter() {
        if let Cow::Owned(changed) = pattern.replace_all(&text, *instead) {
            text = changed;
        }
    }
    let lines = text.lines().map(str::trim_end).filter(|line| !NOISE.is_match(line)).collect();
    let text = ordered(lines).join("\n");
    let text = text.trim_matches('\n');
    let before = line_after(text, text.len().saturating_sub(SEARCHED_BYTES));
    tail(before, &mask(&text[before..]))
}

/// Text without escape sequences and control characters other than line ends and tabs.
fn plain(text: &str) -> String {
    let text = ESCAPES.replace_all(text, |_: &Captures<'_>| "");
    text.replace("\r\n", "\n")
        .replace('\r', "\n")
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// Sorts what libtest writes in the order of completion: result lines, and the captured output of failed tests.
fn ordered(lines: Vec<&str>) -> Vec<&str> {
    let mut sorted = Vec::with_capacity(lines.len());
    let mut rest = lines.as_slice();
    while let Some(first) = rest.first() {
        let (group, count) = if is_result(first) {
            let count = rest.iter().take_while(|line| is_result(line)).count();
            (sort_results(&rest[..count]), count)
        } else if is_capture(first) {
            let count = rest.iter().take_while(|line| !ends_captures(line)).count();
            (sort_captures(&rest[..count]), count)
        } else {
            (vec![*first], 1)
        };
        sorted.extend(group);
        rest = &rest[count..];
    }
    sorted
}

fn is_result(line: &str) -> bool {
    line.starts_with("test ") && line.contains(" ... ")
}

fn is_capture(line: &str) -> bool {
    line.starts_with("---- ") && line.ends_with(" ----")
}

fn ends_captures(line: &str) -> bool {
    matches!(line, "failures:" | "successes:") || line.starts_with("test result: ")
}

fn sort_results<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut lines = lines.to_vec();
    lines.sort_unstable();
    lines
}

/// Sorts captures by their heading, each with one blank line at its end.
fn sort_captures<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut captures: Vec<Vec<&str>> = Vec::new();
    for line in lines {
        match captures.last_mut() {
            Some(capture) if !is_capture(line) => capture.push(line),
            _ => captures.push(vec![line]),
        }
    }
    for capture in &mut captures {
        while capture.last().is_some_and(|line| line.is_empty()) {
            capture.pop();
        }
        capture.push("");
    }
    captures.sort();
    captures.concat()
}

/// The end of what is left of a text that had `before` more bytes in front.
fn tail(before: usize, text: &str) -> String {
    if before == 0 && text.len() <= TAIL_BYTES {
        return text.to_owned();
    }
    let marker = |cut: usize| format!("[{cut} bytes of earlier output left out]\n");
    let room = TAIL_BYTES - marker(before + text.len()).len();
    let start = line_after(text, text.len().saturating_sub(room));
    marker(before + start) + &text[start..]
}

/// Where the first line begins at or after this byte; the byte itself where no line ends any more.
fn line_after(text: &str, byte: usize) -> usize {
    if byte == 0 {
        return 0;
    }
    let start = text.ceil_char_boundary(byte);
    text[start..].find('\n').map_or(start, |end| start + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        canonical_tail(text, &[("/home/ann".into(), "<home>".into()), ("/home/ann/work".into(), "<workspace>".into())])
    }

    #[test]
    fn what_varies_is_replaced() {
        for (raw, expected) in [
            ("test result: ok. 1 passed; finished in 0.03s", "test result: ok. 1 passed; finished in <time>"),
            ("all doctests ran in 0.36s; merged 12.5 ms", "all doctests ran in <time>; merged <time>"),
            ("Running x (target/debug/deps/demo-8348ca7a80742723)", "Running x (target/debug/deps/demo-<hash>)"),
            (
                "thread 'tests::fails' (18183) panicked at src/lib.rs:51:9:",
                "thread 'tests::fails' panicked at src/lib.rs:51:9:",
            ),
            ("at /home/ann/work/src in /home/ann/.cargo", "at <workspace>/src in <home>/.cargo"),
            ("left: 0x7f12ab34cd56, right: 0xdeadbeef", "left: <address>, right: 0xdeadbeef"),
            ("/tmp/rustdoctestjUuhsx/bundle.rs /tmp/.tmpAb12cD/x", "/tmp/<temporary>/bundle.rs /tmp/<temporary>/x"),
            ("bound to 127.0.0.1:43211", "bound to 127.0.0.1:<port>"),
            ("\u{1b}[1m\u{1b}[31mred\u{1b}[0m\u{8}\u{0} \u{1b}]8;;http://x\u{7}link", "red link"),
            ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ] {
            assert_eq!(canonical(raw), expected);
        }
    }

    #[test]
    fn what_the_code_says_is_kept() {
        let text = "left: 5 s\nversion 1.2.3\n  left: \"a\"\nerror[E0308]: mismatched types\n --> src/lib.rs:1:22";
        assert_eq!(canonical(text), text);
    }

    #[test]
    fn lines_about_getting_ready_are_dropped() {
        let text =
            "   Compiling a v1 (/x)\n  Downloaded b\n    Finished `test` in 0.3s\nerror: Compiling is no noise here";
        assert_eq!(canonical(text), "error: Compiling is no noise here");
    }

    #[test]
    fn parallel_order_does_not_matter() {
        let one = "running 2 tests\ntest a ... FAILED\ntest b ... FAILED\n\nfailures:\n\n---- a stdout ----\nx\n---- b stdout ----\ny\n\n\nfailures:\n    a\n    b\n";
        let other = "running 2 tests\ntest b ... FAILED\ntest a ... FAILED\n\nfailures:\n\n---- b stdout ----\ny\n\n---- a stdout ----\nx\n\nfailures:\n    a\n    b\n";
        assert_eq!(canonical(one), canonical(other));
        assert!(
            canonical(one).contains("---- a stdout ----\nx\n\n---- b stdout ----\ny\n\nfailures:"),
            "{}",
            canonical(one)
        );
    }

    #[test]
    fn a_long_output_keeps_its_end_from_a_line_on() {
        let text: String = (0..5_000).map(|n| format!("line number {n}\n")).collect();
        let cut = canonical(&text);
        assert!(cut.len() <= TAIL_BYTES && cut.len() > TAIL_BYTES - 100);
        let (marker, rest) = cut.split_once('\n').unwrap();
        assert!(marker.ends_with("bytes of earlier output left out]"), "{marker}");
        assert!(rest.starts_with("line number ") && rest.ends_with("line number 4999"));
        assert!(canonical(&"ä".repeat(20_000)).len() <= TAIL_BYTES);
    }

    #[test]
    fn a_key_is_struck_out_before_anything_is_cut() {
        let key = format!("AK{}{}", "IA", "QWERTYUIOP123456");
        assert_eq!(canonical(&format!("left: {key}\nright: 1")), "left: ***\nright: 1");
        // Wherever the cut falls, no part of it is left.
        for length in 0..40 {
            let text = format!("{key} {}\n", "x".repeat(TAIL_BYTES - 60 + length));
            assert!(!canonical(&text).contains("3456"), "{length}");
        }
    }

    #[test]
    fn what_is_far_from_the_end_is_counted_and_not_kept() {
        let text = format!("{}\nthe end", "a line\n".repeat(200_000));
        let kept = canonical(&text);
        assert!(kept.len() <= TAIL_BYTES && kept.ends_with("\na line\n\nthe end"));
        let (marker, rest) = kept.split_once('\n').unwrap();
        assert_eq!(marker, format!("[{} bytes of earlier output left out]", text.len() - rest.len()));
    }
}
