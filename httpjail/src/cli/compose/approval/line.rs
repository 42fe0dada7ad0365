//! The words of a line for the shell, as far as they can be told without being one: those that name a file, and where they
//! stand.
//!
//! What is not understood (a variable, a pattern, what is quoted within quotes) is no word of ours and stays as it is.

use std::ops::Range;

/// A word that says the same to every shell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Where it stands in the line, quotes included.
    pub(super) span: Range<usize>,
    /// What it says.
    pub(super) text: String,
    /// Whether it names a program to run.
    pub(super) is_command: bool,
}

/// After these a command follows.
const RESERVED: [&str; 12] = [
    "if", "then", "else", "elif", "while", "until", "do", "{", "!", "time", "exec", "command",
];

/// The plain words of the line, in order; of a here-document and of a quote that does not end, none.
pub(super) fn words(line: &str) -> Vec<Word> {
    let mut reader = Reader {
        line,
        at: 0,
        is_command: true,
        words: Vec::new(),
    };
    while reader.step() {}
    reader.words
}

/// Words that a shell knows by itself, besides the reserved ones (POSIX.1-2024, XCU sections 2.4 and 2.15, and the usual more).
pub(super) const SHELLS: [&str; 42] = [
    ":", ".", "[", "[[", "alias", "bg", "builtin", "case", "cd", "echo", "eval", "exit", "export", "false", "fg",
    "for", "function", "getopts", "hash", "jobs", "kill", "let", "local", "printf", "pwd", "read", "readonly",
    "return", "select", "set", "shift", "source", "test", "times", "trap", "true", "type", "ulimit", "umask",
    "unalias", "unset", "wait",
];

/// Whether a quote begins that does not end: the shell refuses such a line.
pub(super) fn is_open(line: &str) -> bool {
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(next) = letters.next() {
        match (next, quote) {
            ('\\', None | Some('"')) => {
                letters.next();
            }
            ('\'' | '"', None) => quote = Some(next),
            // A comment, or the text of a here-document: nothing is claimed.
            ('#' | '<', None) => return false,
            (next, Some(open)) if next == open => quote = None,
            _ => {}
        }
    }
    quote.is_some()
}

/// Whether blanks or the end follow: a name before `(` is a function's.
pub(super) fn stands_alone(line: &str, word: &Word) -> bool {
    let rest = line.get(word.span.end..).unwrap_or_default();
    rest.chars().next().is_none_or(char::is_whitespace)
}

/// A line with some of its words replaced. `others` must be in order.
pub(super) fn replaced(line: &str, others: &[(Range<usize>, String)]) -> String {
    let (mut out, mut at) = (String::new(), 0);
    for (span, text) in others {
        out.push_str(line.get(at..span.start).unwrap_or_default());
        out.push_str(&format!("'{}'", text.replace('\'', r"'\''")));
        at = span.end;
    }
    out + line.get(at..).unwrap_or_default()
}

struct Reader<'a> {
    line: &'a str,
    at: usize,
    is_command: bool,
    words: Vec<Word>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.line.get(self.at..)?.chars().next()
    }

    /// One blank, operator, comment or word. `false` at the end.
    fn step(&mut self) -> bool {
        let rest = self.line.get(self.at..).unwrap_or_default();
        let Some(first) = rest.chars().next() else { return false };
        match first {
            ' ' | '\t' => self.at += 1,
            '\n' | ';' | '|' | '(' | ')' | '&' | '`' => {
                self.at += 1;
                self.is_command = true;
            }
            '<' | '>' => {
                if rest.starts_with("<<") {
                    return false;
                }
                let more = rest[1..].starts_with(['>', '&', '|']);
                self.at += 1 + usize::from(more);
                self.target();
            }
            '#' => self.at += rest.find('\n').unwrap_or(rest.len()),
            _ => return self.word(),
        }
        true
    }

    /// What a redirection leads to: no command, and no change to what follows.
    fn target(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.at += 1;
        }
        let before = self.is_command;
        self.is_command = false;
        if !matches!(
            self.peek(),
            None | Some('\n' | ';' | '|' | '(' | ')' | '&' | '`' | '<' | '>')
        ) {
            self.word();
        }
        self.is_command = before;
    }

    fn word(&mut self) -> bool {
        let start = self.at;
        let (mut text, mut plain) = (String::new(), true);
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' | '\n' | ';' | '|' | '(' | ')' | '&' | '`' | '<' | '>' => break,
                '\'' | '"' => {
                    let Some(inside) = self.quoted(next) else { return false };
                    plain &= next == '\'' || !inside.contains(['$', '`', '\\']);
                    text.push_str(&inside);
                }
                '\\' => {
                    self.at += 1;
                    let Some(escaped) = self.peek() else { return false };
                    self.at += escaped.len_utf8();
                    text.push(escaped);
                }
                _ => {
                    let special = matches!(next, '$' | '*' | '?' | '[') || (next == '~' && text.is_empty());
                    plain &= !special;
                    self.at += next.len_utf8();
                    text.push(next);
                }
            }
        }
        let span = start..self.at;
        let number = text.bytes().all(|byte| byte.is_ascii_digit()) && matches!(self.peek(), Some('<' | '>'));
        if number {
            return true;
        }
        let is_command = self.is_command;
        let assigns = is_command && assigns(&text);
        self.is_command = is_command && (assigns || RESERVED.contains(&text.as_str()));
        if plain && !(is_command && self.is_command) {
            self.words.push(Word { span, text, is_command });
        }
        true
    }

    /// What stands in quotes, which are left behind.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let rest = self.line.get(self.at + 1..)?;
        let mut escaped = false;
        let end = rest.find(|next| {
            let ends = next == quote && !escaped;
            escaped = quote == '"' && next == '\\' && !escaped;
            ends
        })?;
        self.at += end + 2;
        rest.get(..end).map(str::to_owned)
    }
}

fn assigns(text: &str) -> bool {
    let name = text.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.chars().all(|next| next.is_ascii_alphanumeric() || next == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[(&str, bool)]) {
        let found = words(line);
        let said: Vec<_> = found.iter().map(|word| (word.text.as_str(), word.is_command)).collect();
        assert_eq!(said, expected, "{line}");
    }

    #[test]
    fn words_that_say_the_same_to_every_shell() {
        check("./decide", &[("./decide", true)]);
        check(
            "  ./my\\ decide --all 'a b'",
            &[("./my decide", true), ("--all", false), ("a b", false)],
        );
        check("\"./de\"cide", &[("./decide", true)]);
        check(
            "python3 ./d.py $HOME/x *.py ~/y",
            &[("python3", true), ("./d.py", false)],
        );
        check(
            "tee log >&2 2>/dev/null | ./a && LANG=C ./b; (./c)",
            &[
                ("tee", true),
                ("log", false),
                ("2", false),
                ("/dev/null", false),
                ("./a", true),
                ("./b", true),
                ("./c", true),
            ],
        );
        check("> out ./a b", &[("out", false), ("./a", true), ("b", false)]);
        check(
            "if ./a; then exec ./b; fi # ./c",
            &[("./a", true), ("./b", true), ("fi", true)],
        );
        check("x=$(./a) ./b", &[("./a", true), ("./b", true)]);
        check("echo \"$(./a)\" '$x'", &[("echo", true), ("$x", false)]);
        check("cat <<E\n./a\nE", &[("cat", true)]);
        check("./a 'b", &[("./a", true)]);
        check("", &[]);
    }

    #[test]
    fn words_are_replaced_where_they_stand() {
        let line = "python3  ./d.py; ./e 'x'";
        let found = words(line);
        let others = [
            (found[1].span.clone(), "/a b/d.py".into()),
            (found[2].span.clone(), "/it's".into()),
        ];
        assert_eq!(replaced(line, &others), r"python3  '/a b/d.py'; '/it'\''s' 'x'");
    }
}
