//! A change is scanned before any ref is written: secrets, dangerous calls, characters that hide what a line does.

mod secrets;

use std::sync::LazyLock;

use regex::Regex;
pub use secrets::mask;
use serde::{Deserialize, Serialize};

use crate::RepoPath;
use crate::change_set::Overlay;
use crate::diff::{BaseContent, diff};

/// Something that a scan found in an added line. The line's text is not repeated: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanFinding {
    /// The file.
    pub path: RepoPath,
    /// The line in the changed file, counted from 1.
    pub line: u32,
    /// The rule's name, stable.
    pub rule: String,
    /// What it means and what to do.
    pub message: String,
    /// Whether the change may not be published with it.
    pub blocking: bool,
}

/// Scans the lines that an overlay adds; what stood in the base before is nobody's doing here.
pub fn scan(overlay: &Overlay, base_content: BaseContent<'_>) -> Vec<ScanFinding> {
    let mut findings = Vec::new();
    for file in diff(overlay, base_content) {
        for line in &file.added {
            findings.extend(rules(&line.text).map(|(rule, message, blocking)| ScanFinding {
                path: file.path.clone(),
                line: line.number,
                rule: rule.to_owned(),
                message: message.to_owned(),
                blocking,
            }));
        }
    }
    findings
}

/// A rule's name, what it tells, and whether it blocks.
type Told = (&'static str, &'static str, bool);

fn rules(line: &str) -> impl Iterator<Item = Told> {
    let secret = secrets::kind(line)
        .map(|kind| (kind, "looks like a secret: read it from the environment or a secret store", true));
    let hidden = line.chars().any(is_hiding).then_some((
        "hidden characters",
        "holds characters that do not show or that reverse the order of others: write them as escapes",
        true,
    ));
    let dangers = DANGERS
        .iter()
        .filter(|(pattern, ..)| pattern.is_match(line))
        .map(|(_, rule, message, blocking)| (*rule, *message, *blocking));
    secret.into_iter().chain(hidden).chain(dangers.collect::<Vec<_>>())
}

/// Bidirectional controls, zero-width characters, tag characters and raw control characters.
pub fn is_hiding(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
    );
    invisible || (c.is_control() && !matches!(c, '\t' | '\u{c}'))
}

static DANGERS: LazyLock<Vec<(Regex, &str, &str, bool)>> = LazyLock::new(|| {
    [
        (
            r"\b(?:curl|wget)\b[^|;&]*\|\s*(?:sudo\s+)?(?:env\s+)?(?:ba|z|da|k)?sh\b",
            "download piped to a shell",
            "runs whatever a server sends: fetch, verify, then run",
            true,
        ),
        (
            r#"(?i)\b(?:Command::new|spawn|exec\w*|popen|system)\s*\(\s*['"](?:/bin/)?(?:ba|z)?sh['"]"#,
            "shell started",
            "starts a shell: call the program itself with separate arguments",
            false,
        ),
        (
            r"\bos\.system\s*\(|\bshell\s*=\s*True\b|\bchild_process\b",
            "shell started",
            "starts a shell: call the program itself with separate arguments",
            false,
        ),
        (
            r#"(?:^|[^\w.])eval\s*\(|\bnew\s+Function\s*\("#,
            "text run as code",
            "runs text as code: parse it instead",
            false,
        ),
        (
            r"\btransmute(?:_copy)?\s*(?:::\s*<|\()",
            "transmute",
            "reinterprets memory: a reviewer has to see why it is sound",
            false,
        ),
        (
            r"\bget_unchecked(?:_mut)?\s*\(|\bfrom_utf8_unchecked\s*\(",
            "unchecked access",
            "skips a check: a reviewer has to see why it is sound",
            false,
        ),
        (
            r"\bpickle\.loads?\s*\(|\byaml\.load\s*\(",
            "unsafe deserialisation",
            "can run code from data: use a safe loader",
            false,
        ),
        (
            r"(?i)danger_accept_invalid_certs\s*\(\s*true|\bverify\s*=\s*False\b|rejectUnauthorized\s*:\s*false",
            "certificate check off",
            "lets anybody answer for the server: leave the check on",
            false,
        ),
        (
            r"\bchmod\s+(?:-R\s+)?0?777\b|\brm\s+-rf\s+/(?:\s|$)",
            "careless shell command",
            "opens or deletes too much: name exactly what is meant",
            false,
        ),
    ]
    .map(|(pattern, rule, message, blocking)| {
        (Regex::new(pattern).expect("a literal pattern"), rule, message, blocking)
    })
    .into()
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::tests::overlay;

    fn found(line: &str) -> Vec<(String, bool)> {
        let findings = scan(&overlay(&[("src/a.rs", Some(&format!("{line}\n")))]), &|_| None);
        findings.into_iter().map(|finding| (finding.rule, finding.blocking)).collect()
    }

    #[test]
    fn a_dangerous_call_is_found() {
        for (line, rule, blocking) in [
            ("curl -s https://example.com/x | sudo bash", "download piped to a shell", true),
            ("    Command::new(\"sh\").arg(\"-c\").arg(format!(\"ls {x}\"))", "shell started", false),
            ("subprocess.run(cmd, shell=True)", "shell started", false),
            ("let y = eval(input);", "text run as code", false),
            ("let z: u32 = unsafe { std::mem::transmute::<f32, u32>(x) };", "transmute", false),
            ("unsafe { v.get_unchecked(0) }", "unchecked access", false),
            ("data = pickle.loads(raw)", "unsafe deserialisation", false),
            (".danger_accept_invalid_certs(true)", "certificate check off", false),
            ("chmod -R 777 .", "careless shell command", false),
        ] {
            assert_eq!(found(line), [(rule.to_owned(), blocking)], "{line}");
        }
    }

    #[test]
    fn plain_code_is_not_accused() {
        for line in [
            "let evaluated = evaluate(x);",
            "self.eval(x)",
            "Command::new(\"git\").arg(\"status\")",
            "// curl is a program, sh is another",
            "let s = \"ä → ö\";",
            "\tindented\u{c}",
        ] {
            assert_eq!(found(line), [], "{line}");
        }
    }

    #[test]
    fn hidden_characters_block() {
        assert_eq!(found("let a = 1;\r\n"), [], "the end of a line on Windows");
        assert_eq!(found("rm(x);\r// harmless"), [("hidden characters".to_owned(), true)]);
        for hidden in ['\u{202e}', '\u{200b}', '\u{2066}', '\u{feff}', '\u{e0041}', '\u{1b}'] {
            assert_eq!(found(&format!("let a = 1; {hidden}")), [("hidden characters".to_owned(), true)]);
        }
    }

    #[test]
    fn only_added_lines_count_and_are_named_by_their_place() {
        let base = |_: &RepoPath| Some("let a = eval(x);\nlet b = 1;\n".to_owned());
        let edits = overlay(&[("src/a.rs", Some("let a = eval(x);\nlet b = 1;\nlet c = eval(y);\n"))]);
        let findings = scan(&edits, &base);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].path.as_str(), findings[0].line), ("src/a.rs", 3));
    }
}
