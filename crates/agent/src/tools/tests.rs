use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;
use run_model::RepoPath;
use run_model::change_set::Overlay;
use serde_json::json;

use super::*;
use crate::ports::Tree;
use crate::role::{PathKind, Writes};

struct Files(BTreeMap<RepoPath, Vec<u8>>);

impl Tree for Files {
    fn paths(&self) -> Vec<RepoPath> {
        self.0.keys().cloned().collect()
    }

    fn obstacle(&self, _: &RepoPath) -> Option<String> {
        None
    }

    fn read(&self, path: &RepoPath) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(path).cloned())
    }
}

/// A tree of these files, and the edits made to it.
struct Desk {
    tree: Files,
    edits: Overlay,
}

fn desk(files: &[(&str, &[u8])]) -> Desk {
    let files = files.iter().map(|(path, content)| (RepoPath::new(*path).unwrap(), content.to_vec()));
    Desk { tree: Files(files.collect()), edits: Overlay::default() }
}

impl Desk {
    /// What the tool answers: `Ok` a result, `Err` a refusal.
    fn call(&mut self, kind: ToolKind, input: Value) -> Result<String, String> {
        let kind_of = |_: &RepoPath| PathKind::Source;
        let (tree, edits) = (&self.tree, &mut self.edits);
        let mut workspace = Workspace { tree, edits, writes: Writes::Source, kind_of: &kind_of };
        run(kind, &input, &mut workspace).map_err(|failure| failure.to_string())
    }

    fn text(&mut self, path: &str) -> String {
        let path = RepoPath::new(path).unwrap();
        let kind_of = |_: &RepoPath| PathKind::Source;
        let workspace =
            Workspace { tree: &self.tree, edits: &mut self.edits, writes: Writes::Source, kind_of: &kind_of };
        workspace.text(&path).unwrap()
    }

    fn edit(&mut self, old: &str, new: &str) -> Result<String, String> {
        self.call(ToolKind::EditFile, json!({"path": "f", "old": old, "new": new}))
    }
}

#[test]
fn listing_is_by_glob_and_bounded() {
    let many: Vec<String> = (0..500).map(|n| format!("gen/f{n:03}.txt")).collect();
    let mut files: Vec<(&str, &[u8])> = many.iter().map(|path| (path.as_str(), b"" as &[u8])).collect();
    files.extend([("src/lib.rs", b"" as &[u8]), ("src/deep/x.rs", b""), ("README.md", b"")]);
    let mut desk = desk(&files);
    let mut list = |glob: &str| desk.call(ToolKind::ListFiles, json!({"glob": glob})).unwrap();
    assert_eq!(list("src/*.rs"), "src/lib.rs\n");
    assert_eq!(list("src/**/*.rs"), "src/deep/x.rs\nsrc/lib.rs\n");
    assert_eq!(list("./src/"), "src/deep/x.rs\nsrc/lib.rs\n");
    assert_eq!(list("none/**"), "no file matches");
    let all = list(".");
    assert_eq!(all.lines().count(), 401);
    assert!(all.ends_with("... and 103 more: narrow the glob\n"), "{all}");
    assert!(desk.call(ToolKind::ListFiles, json!({"glob": "a["})).unwrap_err().contains("write one like"));
}

#[test]
fn listing_and_reading_see_the_sessions_own_edits() {
    let mut desk = desk(&[("a", b"old\n"), ("b", b"b\n")]);
    desk.call(ToolKind::WriteFile, json!({"path": "c", "content": "new\n"})).unwrap();
    desk.call(ToolKind::DeleteFile, json!({"path": "b"})).unwrap();
    assert_eq!(desk.call(ToolKind::ListFiles, json!({})).unwrap(), "a\nc\n");
    assert_eq!(desk.call(ToolKind::ReadFile, json!({"path": "c"})).unwrap(), "c, lines 1 to 1 of 1\n1|new");
    assert!(desk.call(ToolKind::ReadFile, json!({"path": "b"})).unwrap_err().contains("there is no file b"));
    assert!(desk.call(ToolKind::DeleteFile, json!({"path": "b"})).unwrap_err().contains("there is no file b"));
}

#[test]
fn reading_gives_ranges_and_says_how_to_go_on() {
    let long: String = (1..=2_000).map(|n| format!("line {n}\n")).collect();
    let mut desk = desk(&[("long", long.as_bytes()), ("open", b"x\n\ny"), ("empty", b"")]);
    let mut read = |input| desk.call(ToolKind::ReadFile, input);
    let first = read(json!({"path": "long"})).unwrap();
    assert!(first.starts_with("long, lines 1 to 800 of 2000\n1|line 1\n"), "{}", &first[..60]);
    assert!(first.ends_with("800|line 800\n... go on with from_line 801"));
    let range = read(json!({"path": "long", "from_line": 5, "to_line": 6})).unwrap();
    assert_eq!(range, "long, lines 5 to 6 of 2000\n5|line 5\n6|line 6");
    let end = read(json!({"path": "long", "from_line": 1_999, "to_line": 9_999})).unwrap();
    assert_eq!(end, "long, lines 1999 to 2000 of 2000\n1999|line 1999\n2000|line 2000");
    assert!(read(json!({"path": "long", "from_line": 2_001})).unwrap_err().contains("within 1 to 2000"));
    assert_eq!(
        read(json!({"path": "open"})).unwrap(),
        "open, lines 1 to 3 of 3\n1|x\n2|\n3|y\n(no newline at the end of the file)"
    );
    assert_eq!(read(json!({"path": "empty"})).unwrap(), "empty is empty");
}

#[test]
fn a_line_without_end_is_cut_and_a_wide_file_comes_in_pieces() {
    let wide = format!("{}\n", "ä".repeat(30_000)).repeat(40);
    let mut desk = desk(&[("wide", &wide.as_bytes()[..wide.len() / 3])]);
    let answer = desk.call(ToolKind::ReadFile, json!({"path": "wide"})).unwrap();
    assert!(answer.contains("[... 58000 bytes of this line left out]"), "{}", answer.len());
    assert!(answer.len() < 40 * 1024 && answer.lines().nth(1).unwrap().starts_with("1|ä"));
}

#[test]
fn what_is_not_text_is_refused_by_every_tool() {
    let huge = vec![b'x'; (1 << 20) + 1];
    let mut desk = desk(&[("image", b"\x89PNG\0\xff"), ("nul", b"a\0b"), ("huge", &huge)]);
    for (path, cure) in [("image", "not UTF-8 text"), ("nul", "not UTF-8 text"), ("huge", "too many")] {
        for (kind, input) in [
            (ToolKind::ReadFile, json!({"path": path})),
            (ToolKind::EditFile, json!({"path": path, "old": "a", "new": "b"})),
            (ToolKind::WriteFile, json!({"path": path, "content": "b"})),
        ] {
            let refusal = desk.call(kind, input).unwrap_err();
            assert!(refusal.contains(cure) && refusal.contains("leave it alone"), "{refusal}");
        }
    }
    assert!(desk.edits.is_empty());
    let found = desk.call(ToolKind::Search, json!({"pattern": "a"})).unwrap();
    assert_eq!(found, "no match\n(files that are not UTF-8 text or are too large were not searched: 3)\n");
}

#[test]
fn search_shows_matches_with_their_surroundings() {
    let text = "a\nb\nhit one\nc\nd\ne\nf\ng\nhit two\nhit three\n";
    let mut desk = desk(&[("x", text.as_bytes()), ("y", b"HIT\n"), ("z", b"f(1)\n")]);
    let mut search = |input| desk.call(ToolKind::Search, input);
    assert_eq!(
        search(json!({"pattern": "hit"})).unwrap(),
        "x\n1-a\n2-b\n3:hit one\n4-c\n5-d\n--\n7-f\n8-g\n9:hit two\n10:hit three\n"
    );
    assert_eq!(
        search(json!({"pattern": "hit", "context_lines": 0, "ignore_case": true})).unwrap(),
        "x\n3:hit one\n9:hit two\n10:hit three\ny\n1:HIT\n"
    );
    assert_eq!(search(json!({"pattern": "f(1)", "glob": "z"})).unwrap(), "z\n1:f(1)\n", "plain text by default");
    assert_eq!(search(json!({"pattern": r"f\(\d\)", "regex": true})).unwrap(), "z\n1:f(1)\n");
    assert!(search(json!({"pattern": "f(", "regex": true})).unwrap_err().contains("leave regex out"));
    assert_eq!(search(json!({"pattern": "nothing"})).unwrap(), "no match\n");
    let meant = search(json!({"pattern": "hit|miss"})).unwrap();
    assert_eq!(meant, "no match for this plain text; an expression needs regex: true\n");
    assert!(search(json!({"pattern": ""})).unwrap_err().contains("say what to look for"));
}

#[test]
fn what_a_tool_says_of_its_bounds_is_so() {
    let said = ToolKind::ReadFile.description();
    let bounds = format!("{} lines or {} KiB", read::MAX_LINES, read::MAX_ANSWER_BYTES / 1024);
    assert!(said.contains(&bounds), "{said}");
}

#[test]
fn search_is_bounded() {
    let text = "hit\n".repeat(5_000);
    let mut desk = desk(&[("a", text.as_bytes()), ("b", text.as_bytes())]);
    let answer = desk.call(ToolKind::Search, json!({"pattern": "hit"})).unwrap();
    let more = "... and 9900 more matching lines in 2 files: narrow the pattern or the glob\n";
    assert!(answer.ends_with(more) && answer.len() < 4_096, "{answer}");
}

#[test]
fn an_edit_must_hit_exactly_one_place_unless_all_are_meant() {
    let mut desk = desk(&[("f", b"one\n  two\n  two\nthree\n")]);
    assert!(desk.edit("  two\n", "2\n").unwrap_err().contains("occurs 2 times in f (lines 2, 3)"));
    assert_eq!(desk.edit("one\n  two\n", "one\n  2\n").unwrap(), "edited f, 1 place(s), line 1");
    let all = json!({"path": "f", "old": "t", "new": "T", "replace_all": true});
    assert_eq!(desk.call(ToolKind::EditFile, all).unwrap(), "edited f, 2 place(s), line 3, 4");
    assert_eq!(desk.text("f"), "one\n  2\n  Two\nThree\n");
}

#[test]
fn an_edit_that_misses_says_why() {
    let mut desk = desk(&[("f", b"fn a() {\n    let x = 1;\n    x\n}\n")]);
    let mut miss = |old: &str| desk.edit(old, "new").unwrap_err();
    assert!(miss("2|    let x = 1;\n3|    x").contains("leave out the line numbers"));
    assert!(miss("fn a() {\n  let x = 1;\n").contains("at line 1 with other white space"));
    assert!(miss("    let x = 1;\n    y\n").contains("its first line stands at line 2, but what follows differs"));
    assert!(miss("nowhere").contains("read the file again"));
    assert!(miss("").contains("use write_file"));
    assert!(desk.edit("x", "x").unwrap_err().contains("nothing would change"));
}

#[test]
fn line_ends_stay_as_the_file_has_them() {
    let mut desk = desk(&[("f", b"one\r\ntwo\r\nthree\r\n")]);
    desk.edit("two\nthree\n", "2\n3\n4\n").unwrap();
    assert_eq!(desk.text("f"), "one\r\n2\r\n3\r\n4\r\n");
    desk.edit("2\r\n3", "23").unwrap();
    assert_eq!(desk.text("f"), "one\r\n23\r\n4\r\n");
    desk.call(ToolKind::WriteFile, json!({"path": "f", "content": "new\nfile\n"})).unwrap();
    assert_eq!(desk.text("f"), "new\r\nfile\r\n");
    assert_eq!(
        desk.call(ToolKind::ReadFile, json!({"path": "f"})).unwrap(),
        "f, lines 1 to 2 of 2\n1|new\n2|file",
        "a carriage return is not shown"
    );
}

proptest! {
    /// An edit replaces its piece and leaves every other byte alone, whatever line ends the file mixes.
    #[test]
    fn an_edit_touches_nothing_but_its_piece(
        before in "([a-c]{0,3}(\n|\r\n)){0,6}",
        piece in "X[a-c]{0,2}((\n|\r\n)[a-c]{0,2}){0,3}Y",
        after in "([a-c]{0,3}(\n|\r\n)){0,6}",
        new in "[d-f]{1,4}",
    ) {
        let original = format!("{before}{piece}{after}");
        let mut desk = desk(&[("f", original.as_bytes())]);
        desk.edit(&piece.replace("\r\n", "\n"), &new).unwrap();
        prop_assert_eq!(desk.text("f"), format!("{before}{new}{after}"));
    }

    /// No input whatever breaks a tool: it answers or refuses.
    #[test]
    fn any_input_is_answered_or_refused(path in ".{0,12}", text in ".{0,12}", line in any::<i64>(), which in 0..7_usize) {
        let mut desk = desk(&[("f", b"one\r\ntwo"), ("d/g", b"x")]);
        for path in [path.as_str(), "f", "d/g"] {
            let inputs = [
                json!({"path": path, "content": text}),
                json!({"path": path, "old": text, "new": "n", "replace_all": true}),
                json!({"path": path, "from_line": line, "to_line": line}),
                json!({"pattern": text, "regex": true, "context_lines": line}),
                json!({"pattern": text, "glob": path}),
                json!({"glob": text}),
                json!([text, line]),
            ];
            for input in inputs {
                if let Err(refusal) = desk.call(ToolKind::ALL[which], input) {
                    prop_assert!(!refusal.is_empty());
                }
            }
        }
    }
}
