//! Text that fits into so many columns: a column is a character.

use std::io::IsTerminal;

/// How wide a text for people is at most where no terminal says so.
pub(crate) const READABLE: usize = 100;
/// No terminal is taken to be narrower: less would only cut words.
const NARROWEST: usize = 40;

/// How many columns standard output has; `None` if it is no terminal.
pub(crate) fn of_terminal() -> Option<usize> {
    let output = std::io::stdout();
    let size = output.is_terminal().then(|| rustix::termios::tcgetwinsize(&output).ok()).flatten()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col).max(NARROWEST))
}

/// The text as it is shown on this terminal: its lines broken so that none passes its width. As it is without one.
pub(crate) fn for_terminal(text: &str, margin: usize) -> String {
    match of_terminal() {
        Some(width) => broken(text, width, margin),
        None => text.to_owned(),
    }
}

/// Every line broken so that none is wider; what was broken off is set in by `margin` columns more than its line.
pub(crate) fn broken(text: &str, width: usize, margin: usize) -> String {
    let one = |line: &str| {
        let own = line.len() - line.trim_start_matches(' ').len();
        let margin = " ".repeat((own + margin).min(width / 2));
        wrapped(line, width, &margin)
    };
    text.split('\n').map(one).collect::<Vec<_>>().join("\n")
}

/// A line broken between words, and within one that is too long; every line but the first begins with `margin`.
pub(crate) fn wrapped(line: &str, width: usize, margin: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    let (mut rest, mut begin, mut lines) = (&chars[..], "", Vec::new());
    loop {
        let room = width.saturating_sub(begin.chars().count()).max(1);
        if rest.len() <= room {
            lines.push(format!("{begin}{}", rest.iter().collect::<String>()));
            return lines.join("\n");
        }
        let first_word = rest.iter().position(|c| *c != ' ').unwrap_or(0);
        let space = rest[..=room].iter().rposition(|c| *c == ' ').filter(|at| *at > first_word);
        let (now, left) = rest.split_at(space.unwrap_or(room));
        lines.push(format!("{begin}{}", now.iter().collect::<String>().trim_end()));
        rest = &left[left.iter().position(|c| *c != ' ').unwrap_or(left.len())..];
        begin = margin;
    }
}

/// The end of a text that is too wide, after an ellipsis: of a path it says the most.
pub(crate) fn end_of(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(length - width.saturating_sub(1)).collect();
    format!("…{kept}")
}

/// The beginning of a text that is too wide, before an ellipsis.
pub(crate) fn beginning_of(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    format!("{}…", text.chars().take(width.saturating_sub(1)).collect::<String>().trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_passes_the_width_and_no_word_is_lost() {
        let text = "one two three four\n  five six seven eight\n\nnine";
        let narrow = broken(text, 12, 2);
        assert_eq!(narrow, "one two\n  three four\n  five six\n    seven\n    eight\n\nnine");
        assert_eq!(narrow.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
        assert_eq!(broken(text, 100, 2), text);
    }

    #[test]
    fn a_word_that_is_too_long_is_broken() {
        assert_eq!(wrapped("see abcdefghij", 6, "  "), "see\n  abcd\n  efgh\n  ij");
        assert_eq!(wrapped("äöüäöü", 3, ""), "äöü\näöü");
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(end_of("/home/ann/adder", 8), "…n/adder");
        assert_eq!(end_of("/adder", 8), "/adder");
        assert_eq!(beginning_of("add must not overflow", 10), "add must…");
    }
}
