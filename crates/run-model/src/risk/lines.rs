//! Lines that declare or assert in a test, and lines that declare something public, by language.

use std::sync::LazyLock;

use regex::Regex;

/// What a language's lines look like.
pub(super) struct Lines {
    /// Declares or asserts in a test.
    pub(super) test_line: Regex,
    /// Declares something that others may use.
    pub(super) public_line: Regex,
}

/// What is a test's line in a file of any language: Rust, and what others share.
const ANY_TEST: &str = r"#\[(?:\w+::)*test\b|\bassert\w*\b|^\s*expect\(|^\s*def test_|^\s*it\(|#\[should_panic";
const ANY_PUBLIC: &str = r"^\s*(?:pub\s+(?:\w+\s+)*(?:fn|struct|enum|trait|type|const|static|mod|use)\b|export\s)";

static LANGUAGES: LazyLock<Vec<(&[&str], Lines)>> = LazyLock::new(|| {
    let of = |kinds: &'static [&'static str], test: &str, public: &str| {
        let pattern = |any: &str, own: &str| Regex::new(&format!("{any}|{own}")).expect("a literal pattern");
        (kinds, Lines { test_line: pattern(ANY_TEST, test), public_line: pattern(ANY_PUBLIC, public) })
    };
    vec![
        of(
            &["py", "pyi"],
            r"^\s*(?:async\s+)?def test|^\s*class Test|\bself\.(?:assert|fail)|\bpytest\.(?:raises|warns|mark|fixture|param)\b",
            r"^(?:(?:async\s+)?def|class)\s+[A-Za-z]|^__all__\b",
        ),
        of(
            &["js", "cjs", "mjs", "jsx", "ts", "cts", "mts", "tsx"],
            r"(?:^|[^.\w])(?:it|test|describe|suite)(?:\.\w+)*\s*\(|(?:^|[^.\w])expect\s*\(|\bt\.(?:ok|equal|deepEqual|throws|fail|is|true|false|like)\(",
            r"^\s*(?:module\.)?exports\b",
        ),
        of(
            &["go"],
            r"^func (?:Test|Benchmark|Fuzz|Example)|\b[tbf]\.(?:Error|Fatal|Fail|Run|Skip)\w*\(|\brequire\.\w+\(",
            r"^func\s+(?:\([^)]*\)\s*)?[A-Z]|^(?:type|var|const)\s+[A-Z]",
        ),
        of(&[], "$^", "$^"),
    ]
});

/// The lines of the language that this file is in, by its ending.
pub(super) fn of(path: &str) -> &'static Lines {
    let kind = path.rsplit_once('.').map_or("", |(_, kind)| kind).to_ascii_lowercase();
    let known = LANGUAGES.iter().position(|(kinds, _)| kinds.contains(&kind.as_str()));
    &LANGUAGES[known.unwrap_or(LANGUAGES.len() - 1)].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tests_are_known_in_every_language() {
        for (file, line) in [
            ("a.rs", "    #[tokio::test]"),
            ("a.rs", "    assert_eq!(a, b);"),
            ("a.py", "async def test_adds():"),
            ("a.py", "        self.assertEqual(a, b)"),
            ("a.py", "@pytest.mark.parametrize('a', [1])"),
            ("a.py", "    with pytest.raises(ValueError):"),
            ("a.test.ts", "  it.each([1])('adds', () => {"),
            ("a.test.js", "test('adds', () => {"),
            ("a.mjs", "  await expect(add(1, 2)).resolves.toBe(3)"),
            ("a_test.go", "func TestAdds(t *testing.T) {"),
            ("a_test.go", "\t\tt.Errorf(\"got %d\", got)"),
            ("a_test.go", "\trequire.Equal(t, 1, 2)"),
        ] {
            assert!(of(file).test_line.is_match(line), "{file}: {line}");
        }
        for (file, line) in [
            ("a.rs", "let x = y.expect(1);"),
            ("a.rs", "test(a)"),
            ("a.js", "const found = pattern.test(text)"),
            ("a.py", "def latest():"),
            ("a.go", "func Tested() {}"),
            ("a.go", "log.Fatal(err)"),
        ] {
            let matches = of(file).test_line.is_match(line);
            // Where a name merely begins like a test's, rather one too many.
            assert_eq!(matches, line.starts_with("func Tested"), "{file}: {line}");
        }
    }

    #[test]
    fn lines_that_others_may_use_are_known_in_every_language() {
        for (file, line) in [
            ("a.rs", "pub fn add() {}"),
            ("a.py", "def add(a, b):"),
            ("a.py", "class Sum:"),
            ("a.js", "module.exports = { add }"),
            ("a.ts", "export function add() {}"),
            ("a.go", "func Add(a int) int {"),
            ("a.go", "func (s *Sum) Add(a int) {"),
            ("a.go", "type Sum struct {"),
        ] {
            assert!(of(file).public_line.is_match(line), "{file}: {line}");
        }
        for (file, line) in [
            ("a.rs", "fn add() {}"),
            ("a.py", "    def inner(self):"),
            ("a.py", "def _private():"),
            ("a.js", "const exported = 1"),
            ("a.go", "func add(a int) int {"),
            ("a.go", "\ttype Inner struct {"),
        ] {
            assert!(!of(file).public_line.is_match(line), "{file}: {line}");
        }
    }
}
